"""One line of advice for common mistakes whose errors say little about the way out. Pure."""

import json
import re
from collections.abc import Iterable, Sequence

from kernel_exec.history.entries import Entry
from kernel_exec.jsons import JSONObject, text
from kernel_exec.kernels.outputs import DisplayData, ErrorOutput, ExecuteResult, Output, Stream
from kernel_exec.terminal import strip_ansi

from .plain import one_line

_HINTS = {
    r"RuntimeError: (?:asyncio\.run\(\) cannot be called|This event loop is already running)": (
        "an event loop is already running: use `await ...` at the top level of the code instead of"
        " `asyncio.run(...)` or `run_until_complete(...)`"
    ),
    r"Can't get attribute '([^']+)' on <module '__main__'": (
        "`{0}` is defined in this session, where processes spawned by multiprocessing can't find"
        ' it: use `multiprocessing.get_context("fork")`, joblib, or move it to a script file and'
        " import it"
    ),
    r"^(?:\w+\.)?_?\w*MemoryError": (
        "`sys.last_value` may keep the failed code's objects alive: `del` large names, or call"
        " restart_kernel for a clean start"
    ),
    r"^CalledProcessError: ": (
        "`sys.last_value.stderr` holds what the command wrote to stderr, if that was captured"
    ),
    r"^AttributeError: '(?:DataFrame|Series)' object has no attribute 'append'": (
        "pandas 2 has no `append`: `pd.concat([...])`"
    ),
    r"Mime type rendering requires nbformat": (
        'this display needs another package: install_dependencies(packages=["nbformat"])'
    ),
}
_PATTERNS = {re.compile(pattern, re.MULTILINE): advice for pattern, advice in _HINTS.items()}
_MISSING = re.compile(r"^ModuleNotFoundError: No module named '([\w.]+)'$")
_OF_WALLS = {
    re.compile("Read-only file system.*(?:site|dist)-packages"): (
        "the environment is read-only behind walls: use install_dependencies"
    ),
    re.compile("Read-only file system"): (
        "the sandbox ({0}) lets commands write only in the working directory and the temporary"
        " folder; a person may open other folders with KERNEL_EXEC_SANDBOX_WRITE"
    ),
}
_WITHOUT_NETWORK = {
    re.compile("Could not resolve host|[Nn]ame resolution|Network is unreachable"): (
        "the sandbox ({0}) has no network; a person may choose `workspace` instead"
    ),
}
_FENCE = re.compile(r"^\s*(?:```|~~~)|^```\w*\s*$", re.MULTILINE)
_LONGEST = 400
"""Characters of one line."""

_FORMATS = (
    'a figure in SVG is no picture here: `%config InlineBackend.figure_formats = {"png", "svg"}`'
)
_READ = 20_000
"""Characters of an output in which a mistake is looked for."""

_DISTRIBUTIONS = {
    "attr": "attrs",
    "bs4": "beautifulsoup4",
    "Crypto": "pycryptodome",
    "cv2": "opencv-python-headless",
    "dateutil": "python-dateutil",
    "docx": "python-docx",
    "dotenv": "python-dotenv",
    "fitz": "pymupdf",
    "git": "GitPython",
    "github": "PyGithub",
    "google.protobuf": "protobuf",
    "igraph": "python-igraph",
    "jose": "python-jose",
    "jwt": "PyJWT",
    "MySQLdb": "mysqlclient",
    "OpenSSL": "pyOpenSSL",
    "osgeo": "GDAL",
    "PIL": "pillow",
    "pptx": "python-pptx",
    "psycopg2": "psycopg2-binary",
    "serial": "pyserial",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "slugify": "python-slugify",
    "umap": "umap-learn",
    "usb": "pyusb",
    "yaml": "PyYAML",
    "zmq": "pyzmq",
}
"""Distributions by the modules they provide, where the names differ."""


_NAMESPACES = {"azure", "google", "sphinxcontrib", "zope"}
"""Packages that many distributions have parts of, and none the whole."""


def hints(
    entry: Entry, outputs: Sequence[Output], *, held_in: str = "", walls: str = ""
) -> list[str]:
    """The next steps after what went wrong: those that the kernel knows, or else one from here.

    `held_in` is another session that has the name which is missing, `walls` the kernel's word.
    """
    known = text(entry.details, "help")
    lines = [one_line(line, _LONGEST) for line in known.split("\n")] if known else []
    if walls not in {"", "off"} and "the sandbox (" not in known:
        lines += _of_walls(outputs, walls)
    if held_in:
        session = json.dumps(one_line(held_in, _LONGEST), ensure_ascii=False)
        lines.append(f"that name exists in another session: pass session={session}")
    if lines:
        return lines
    if _is_in_a_fence(entry.source, outputs):
        return ["send the code alone, without its Markdown fence (```)"]
    return [advice] if (advice := hint(outputs)) else []


def _of_walls(outputs: Iterable[Output], walls: str) -> list[str]:
    """The wall that a command has met, as it wrote to stderr."""
    patterns = _OF_WALLS | (_WITHOUT_NETWORK if walls == "isolated" else {})
    for output in outputs:
        if isinstance(output, Stream) and output.name == "stderr":
            for pattern, advice in patterns.items():
                if pattern.search(output.text[-_READ:]):
                    return [advice.format(walls)]
    return []


def _is_in_a_fence(source: str, outputs: Iterable[Output]) -> bool:
    """True when code can't be parsed and has the line that begins or ends a fence."""
    return bool(_FENCE.search(source[:_READ])) and any(
        isinstance(output, ErrorOutput) and output.ename == "SyntaxError" for output in outputs
    )


def hint(outputs: Iterable[Output]) -> str:
    """The advice for the first known mistake; "" if there is none."""
    for output in outputs:
        if isinstance(output, ErrorOutput):
            said = f"{output.ename}: {strip_ansi(output.evalue[:_READ])}".removesuffix(": ")
            if missing := _MISSING.match(said):
                return _install(missing[1])
        elif isinstance(output, (DisplayData, ExecuteResult)) and _is_unseen(output.data):
            return _FORMATS
        elif isinstance(output, Stream) and output.name == "stderr":
            said = output.text[-_READ:]
        else:
            continue
        for pattern, advice in _PATTERNS.items():
            if found := pattern.search(said):
                return advice.format(*map(one_line, found.groups()))
    return ""


def _is_unseen(data: JSONObject) -> bool:
    """True for a figure of Matplotlib without a form that is shown as a picture."""
    drawn = "image/svg+xml" in data and "image/png" not in data
    return drawn and text(data, "text/plain").startswith("<Figure")


def _install(module: str) -> str:
    """The call that installs a module; "" for a part of a package, which is there already."""
    name = _DISTRIBUTIONS.get(module, "")
    if module.startswith("google.cloud."):
        name = "-".join(module.split(".")[:3]).replace("_", "-")
    if "." not in module and module not in _NAMESPACES:
        name = name or one_line(module)
    return f'if it is not installed: install_dependencies(packages=["{name}"])' if name else ""
