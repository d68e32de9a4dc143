"""Calls that leave what they are given as it is, by what is known of it. Pure.

A method may change its object and a function its arguments; of some types and modules it is known
which do not. The kernel tells the type of each name, imports tell what a name stands for. What is
in no table here is taken to change things.
"""

import ast
import builtins
import re
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What names stand for: the types of their objects, and what they were imported as.

    `kinds` are names of types, as the kernel describes them; `modules` are dotted paths.
    """

    kinds: Mapping[str, str] = field(default_factory=dict)
    modules: Mapping[str, str] = field(default_factory=dict)

    def without(self, names: AbstractSet[str]) -> "Known":
        """The same, but nothing of the types that `names` stand for."""
        kinds = {name: kind for name, kind in self.kinds.items() if name not in names}
        return Known(kinds=kinds, modules=self.modules)

    def is_data(self, name: str) -> bool:
        """Whether a name stands for data alone, which calls nothing that a session has made."""
        return self.kinds.get(name, "") in _IMMUTABLE | _FRAMES

    def is_immutable(self, name: str) -> bool:
        """Whether a name stands for an object that nothing changes in place."""
        return self.kinds.get(name, "") in _IMMUTABLE | _DEFINED


NOTHING_KNOWN = Known()

READ_ONLY = frozenset(
    {"abs", "bool", "callable", "dir", "display", "float", "format", "hasattr", "hash", "id", "int"}
    | {"isinstance", "issubclass", "len", "print", "range", "repr", "round", "str", "type"}
)
"""Functions that leave any argument as it is."""

_READERS = frozenset(
    {"all", "any", "bytes", "chr", "complex", "dict", "divmod", "enumerate", "frozenset", "iter"}
    | {"list", "max", "min", "open", "ord", "pow", "reversed", "set", "slice", "sorted", "sum"}
    | {"tuple", "zip"}
    | {name for name, each in vars(builtins).items()
       if isinstance(each, type) and issubclass(each, BaseException)}
)  # fmt: skip
"""Functions that read their arguments: an iterator is another one afterwards, nothing else is."""

_IMMUTABLE = frozenset(
    {"bool", "bytes", "complex", "date", "datetime", "Decimal", "float", "Fraction", "int", "str"}
    | {"NoneType", "Pattern", "PosixPath", "range", "timedelta", "Timedelta", "Timestamp"}
    | {"WindowsPath"}
)
"""Types whose objects no method changes."""

_DEFINED = frozenset({"builtin_function_or_method", "function", "module", "type"})
"""Types of objects that code defines or imports; hardly any code changes them in place."""

_CONTAINERS: Mapping[str, frozenset[str]] = {
    "list": frozenset({"copy", "count", "index"}),
    "tuple": frozenset({"count", "index"}),
    "dict": frozenset({"copy", "get", "items", "keys", "values"}),
    "set": frozenset(
        {"copy", "difference", "intersection", "isdisjoint", "issubset", "issuperset", "union"}
        | {"symmetric_difference"}
    ),
    "frozenset": frozenset({"copy", "difference", "intersection", "union"}),
}
"""Types that may hold anything, with methods that only read."""

_FRAMES = frozenset(
    {"DataFrame", "DataFrameGroupBy", "DatetimeIndex", "Index", "LazyFrame", "MultiIndex"}
    | {"RangeIndex", "Series", "SeriesGroupBy", "ndarray"}
)
"""Types of pandas, Polars and NumPy; what is in them is data."""

_DATA = frozenset({"numpy", "pandas", "polars"})
"""Their modules, whose functions make them."""

_FRAME_METHODS = frozenset(
    re.findall(
        r"\w+",
        """
    abs add agg aggregate all any argmax argmin argsort asfreq asof assign astype at_time
    bar between bfill box boxplot capitalize ceil clip combine_first contains copy corr
    corrwith count cov cummax cummin cumprod cumsum date day day_name density describe diff
    div dot drop drop_duplicates dropna duplicated endswith eq equals ewm expanding explode
    extract ffill fillna filter findall first flatten floor floordiv ge get get_group
    group_by groupby gt head hist idxmax idxmin infer_objects info interpolate isin isna
    isnull item items iterrows itertuples join keys kurt last le len len_chars line lower
    lstrip lt mad mask match max mean median melt memory_usage merge min mod mode month mul
    ne nlargest normalize notna notnull nsmallest nth nunique pad pct_change pie pivot
    pivot_table plot pow prod product quantile query rank ravel reindex rename rename_axis
    replace resample reset_index reshape rolling round rstrip scatter select select_dtypes
    sem set_axis set_index shift size skew slice sort_index sort_values split squeeze stack
    startswith std strftime strip sub sum swapaxes tail take title to_csv to_dict to_excel
    to_json to_list to_numpy to_pandas to_parquet to_period to_series to_string to_timestamp
    tolist total_seconds transpose truediv tz_convert tz_localize unique unstack upper
    value_counts values var where with_columns xs year zfill
        """,
    )
)
"""Their methods, and those of what these give, that leave the data as it is."""

_TEXT_METHODS = frozenset(
    {"capitalize", "casefold", "endswith", "isalpha", "isdigit", "lower", "lstrip", "rsplit"}
    | {"rstrip", "splitlines", "startswith", "strip", "upper", "zfill"}
)
"""Methods that only text has, by their names."""

_FUNCTIONS: Mapping[str, re.Pattern[str]] = {
    "json": re.compile(r"loads|dumps"),
    "math": re.compile(r"\w+"),
    "re": re.compile(r"compile|escape|find\w+|fullmatch|match|search|split"),
    "statistics": re.compile(r"\w+"),
    "datetime": re.compile(r"[\w.]+"),
    "os": re.compile(r"environ\.get|getcwd|getenv|listdir|path\.\w+|stat"),
    "pathlib": re.compile(r"Path|Path\.(?:cwd|home)"),
    "pandas": re.compile(
        r"concat|crosstab|cut|date_range|factorize|get_dummies|is(?:na|null)|melt|merge\w*|not(?:na|null)"
        r"|pivot\w*|qcut|read_\w+|to_(?:datetime|numeric|timedelta)|unique|wide_to_long"
        r"|Categorical|DataFrame|Index|Interval|MultiIndex\.\w+|Series|Timedelta|Timestamp"
    ),
    "polars": re.compile(r"col|concat|DataFrame|LazyFrame|lit|read_\w+|scan_\w+|Series|when"),
    "numpy": re.compile(
        r"(?!apply_|copyto|fill_diagonal|fromfunction|frompyfunc|nditer|place|printoptions|put"
        r"|random|save|set_?|vectorize)\w+|linalg\.\w+|fft\.\w+"
    ),
    # what the current figure is shows with the cell that drew it, and is closed there
    "matplotlib.pyplot": re.compile(
        r"annotate|axhline|axvline|bar\w*|boxplot|colorbar|contourf?|errorbar|figure|fill_between"
        r"|grid|hexbin|hist\w*|imshow|legend|loglog|pcolormesh|pie|plot|scatter|semilog[xy]|show"
        r"|stem|step|subplots?|sup\w+|text|tick_params|tight_layout|title|violinplot"
        r"|[xy](?:label|lim|ticks)"
    ),
}  # fmt: skip
"""By module, the functions that leave their arguments as they are, and remember nothing."""

_WRITES = frozenset({"inplace", "out", "copy", "memo"})
"""Keywords by which a function may change what it is given, or share it."""


def is_harmless(call: ast.Call, known: Known) -> bool:
    """Whether a call leaves all as it is, except that it reads its arguments."""
    if any(each.arg is None or each.arg in _WRITES for each in call.keywords):
        return False
    match call.func:
        case ast.Name(id=name):
            return name in READ_ONLY or name in _READERS or _is_function(call.func, known)
        case ast.Attribute(value=into, attr=method):
            named = method in _TEXT_METHODS or _is_function(call.func, known)
            return named or _reads(into, method, known)
        case _:
            return False


def is_calm(value: ast.AST, known: Known) -> bool:
    """Whether reading `value` leaves it as it is; an iterator would be another one."""
    match value:
        case ast.Constant() | ast.JoinedStr() | ast.Compare() | ast.BinOp() | ast.UnaryOp():
            return True
        case ast.Name(id=name):
            kind = known.kinds.get(name, "")
            return kind in _IMMUTABLE or kind in _FRAMES or kind in _CONTAINERS
        case ast.Attribute() | ast.Subscript():
            return _kind(_root(value, known)[0], known) in _IMMUTABLE | _FRAMES
        case ast.List(elts=parts) | ast.Tuple(elts=parts) | ast.Set(elts=parts):
            return all(is_calm(part, known) for part in parts)
        case ast.Dict(keys=keys, values=values):
            return all(part is None or is_calm(part, known) for part in (*keys, *values))
        case ast.Call(args=args, keywords=keywords):
            parts = [*args, *(each.value for each in keywords)]
            fresh = is_harmless(value, known) and not _hands_out(value, known)
            return fresh and all(is_calm(part, known) for part in parts)
        case _:
            return False


def modules(nodes: Iterable[ast.AST]) -> dict[str, str]:
    """What names were imported as, where nothing else ever has such a name."""
    found: dict[str, str] = {}
    others: set[str] = set()
    for node in nodes:
        for name, path in _imports(node):
            if found.setdefault(name, path) != path:
                others.add(name)
        match node:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()) | ast.arg(arg=name):
                others.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                others.add(name)
            case ast.ClassDef(name=name) | ast.ExceptHandler(name=str(name)):
                others.add(name)
            case _:
                pass
    return {name: path for name, path in found.items() if name not in others}


def _imports(node: ast.AST) -> Iterator[tuple[str, str]]:
    match node:
        case ast.Import(names=names):
            for each in names:
                path = each.name if each.asname else each.name.partition(".")[0]
                yield each.asname or path, path
        case ast.ImportFrom(module=str(module), names=names, level=0):
            for each in names:
                yield each.asname or each.name, f"{module}.{each.name}"
        case _:
            pass


def _is_function(called: ast.expr, known: Known) -> bool:
    """Whether it is a function of a module, in the table."""
    path = _path(called, known)
    for module, functions in _FUNCTIONS.items():
        if path.startswith(f"{module}.") and functions.fullmatch(path[len(module) + 1 :]):
            return True
    return False


def _path(called: ast.expr, known: Known) -> str:
    """The dotted path of something in a module, "" for anything else."""
    match called:
        case ast.Name(id=name):
            return known.modules.get(name, "")
        case ast.Attribute(value=into, attr=name):
            path = _path(into, known)
            return path and f"{path}.{name}"
        case _:
            return ""


def _reads(into: ast.expr, method: str, known: Known) -> bool:
    """Whether a method only reads the object that `into` gives."""
    root, methods = _root(into, known)
    kind = _kind(root, known)
    if kind in _IMMUTABLE:
        return True
    if kind in _FRAMES:
        return _FRAME_METHODS.issuperset({*methods, method})
    if isinstance(into, ast.Name):
        return method in _CONTAINERS.get(kind, ())
    return False


def _hands_out(call: ast.Call, known: Known) -> bool:
    """Whether a harmless call may give what a container holds, such as an iterator."""
    match call.func:
        case ast.Name(id=name):
            return name in {"max", "min", "sum"}
        case ast.Attribute(value=into, attr="get"):
            return _kind(into, known) in _CONTAINERS
        case _:
            return False


def _kind(root: ast.expr, known: Known) -> str:
    """The type of a chain's first object, "" where it is not known."""
    match root:
        case ast.Name(id=name):
            return known.kinds.get(name, "")
        case ast.Constant() | ast.JoinedStr():
            return "str"
        case ast.Call(func=called):
            return "DataFrame" if _path(called, known).partition(".")[0] in _DATA else ""
        case _:
            return ""


def _root(value: ast.expr, known: Known) -> tuple[ast.expr, list[str]]:
    """Where a chain of attributes, items and calls begins, and the methods that it calls."""
    methods: list[str] = []
    while True:
        match value:
            case ast.Call(func=ast.Attribute(value=into, attr=method) as called, keywords=named):
                if _is_function(called, known):
                    return value, methods
                writes = any(each.arg is None or each.arg in _WRITES for each in named)
                methods.append("" if writes else method)
                value = into
            case ast.Attribute(value=into) | ast.Subscript(value=into):
                value = into
            case _:
                return value, methods
