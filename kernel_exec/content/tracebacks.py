"""A traceback as a model reads it: the error, the user's line, own frames. Pure.

IPython prints a frame as a line `File ~/a.py:3, in f(x)` or `Cell In[2], line 3`, then source
lines of which the current one is marked with `----> 3`. Python itself, for groups of exceptions and
in other processes, prints `File "/a.py", line 3, in f`, then the current line, indented. What can't
be recognised is shown as it is, at its end.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from textwrap import dedent, indent

from kernel_exec.kernels.outputs import ErrorOutput
from kernel_exec.terminal import strip_ansi

from .plain import counted, one_line

_FRAME = re.compile(
    r"^(?P<indent>[ |]*)(?:File (?P<file>[^\n\"]+?):(?P<line>\d+)(?:,? in (?P<where>.+))?"
    r"|File \"(?P<own_file>[^\"\n]+)\", line (?P<own_line>\d+)(?:, in (?P<own_where>.+))?"
    r"|(?:Cell|Input) In\s*\[(?P<cell>\d+)\](?:, line (?P<cell_line>\d+))?.*"
    r"|(?P<old_file>[~/][^\n]*\.py) in (?P<old_where>.+))$"
)
"""The first line of a frame: IPython's, Python's own, that of a cell, that of IPython 7."""

_MARKED = re.compile(r"^-+> ?(\d+) ?(.*)$")
_NUMBERED = re.compile(r"^ *\d+( |$)|^ *\[\.\.\. skipping")
_SIMILAR = re.compile(r"\((\d{1,9}) times\)")
_NO_SOURCE = "'Could not get source"
_CHAINED = re.compile(
    r"(?<!\n)\n+(?:The above exception was the direct cause of the following exception"
    r"|During handling of the above exception, another exception occurred):\n+"
)
_REMOTE = re.compile(r"^_?RemoteTraceback\b", re.MULTILINE)
_GROUP = "Exception Group Traceback (most recent call last)"
_DYNAMIC = {"<string>", "<stdin>", "<timed exec>", "<timed eval>", "<magic-timeit>",
            "<dynamic-code>"}  # fmt: skip
"""What code is called that the user's code has made, or a cell magic runs."""

_SYNTAX = {"SyntaxError", "IndentationError", "TabError"}
_NEAR, _FAR = 3, 2
"""Callers that are shown: those next to the error, and the outermost."""

_MOST_CAUSES = 3
_MOST_NOTES = 5
_NOTE = 300
"""Characters of a note's line, or of a cause's message, that are shown."""

_LONG_LINE = 300
"""Characters of a line of source that are shown."""

_LAST_LINES = 15
_MOST_LINES = 40
"""Lines of a group that are shown."""

_EVALUE, _END = 1500, 400
"""Characters of an error's message that are shown, and how many of them are its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One frame: its file (or `In[3]`), line, function, and the source line at which it stood."""

    file: str
    line: int
    where: str
    source: str
    indent: str = ""

    def __str__(self) -> str:
        """One line, such as `a.py, line 3, in f: return 1 / 0`."""
        place = f"{one_line(self.file.rpartition('/')[2])}, line {self.line}"
        where = f", in {one_line(self.where)}" if self.where else ""
        return f"{place}{where}{f': {self.source}' if self.source else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Owner:
    """Whose frames are shown: those of `paths`; `home` is what IPython prints as `~`."""

    paths: Sequence[str]
    home: str

    def has(self, frame: Frame) -> bool:
        """True for a frame of the user's code."""
        if frame.file.startswith("In[") or frame.file in _DYNAMIC:
            return True
        file = self.home + frame.file[1:] if frame.file.startswith("~") else frame.file
        if "/site-packages/" in file:
            return False  # the managed environment is below the storage root, too
        return any(file == each or file.startswith(each.rstrip("/") + "/") for each in self.paths
                   if each)  # fmt: skip


def summarise(error: ErrorOutput, *, own: Sequence[str], home: str, full: str) -> str:
    """The error in a few lines, and `full`, the call that shows the whole traceback.

    `own` are paths (files or folders) whose frames are the user's, `home` is what IPython prints
    as `~`.
    """
    head = headline(error)
    if error.ename in {"SystemExit", "StdinNotImplementedError"}:
        return head
    owner = _Owner(paths=own, home=home)
    *causes, text = _CHAINED.split(strip_ansi("\n".join(error.traceback)))
    frames = list(_frames(text))
    if not frames:
        return "\n".join([head, *_last_lines(text, head)])
    mine = [frame for frame in frames if owner.has(frame)]
    if _GROUP in text:
        lines, callers = _group(text, head, owner), []
    elif error.ename in _SYNTAX:
        lines, callers = _wrong_source(text), [each for each in mine if each is not frames[-1]]
    else:
        *callers, last = mine or frames[-1:]
        lines = [f"  {last}", *_notes(error, text)]
    causes_shown = [_cause(part, head, owner) for part in causes[: -_MOST_CAUSES - 1 : -1]]
    hidden = [
        (len(frames) - len(mine or frames[-1:]) + _left_out(callers, text), "more frame"),
        (len(causes) - len(causes_shown), "more cause"),
    ]
    lines = [head, *lines, *_called_from(callers), *filter(None, dict.fromkeys(causes_shown))]
    if more := [counted(many, what) for many, what in hidden if many > 0]:
        lines.append(f"({', '.join(more)}: {full})")
    return "\n".join(lines)


def headline(error: ErrorOutput) -> str:
    """`NameError: name 'x' is not defined`, or what stands for it."""
    evalue = strip_ansi(error.evalue)
    if len(evalue) > _EVALUE:
        where = f"; all of it is in {error.path}" if error.path else ""
        characters = max(len(evalue), error.characters)
        end = f" {evalue[-_END:]}" if characters == len(evalue) else ""
        begins = evalue[: _EVALUE - len(end)]
        evalue = f"{begins} [… {characters:,} characters in total{where}]{end}"
    if error.ename == "SystemExit":
        return f"the code ended with SystemExit({evalue}); the kernel and its variables are kept"
    ename = one_line(error.ename)
    return f"{ename}: {evalue}" if evalue else ename


def _called_from(callers: Sequence[Frame]) -> list[str]:
    """The callers, the nearest first; of many, such as those of a recursion, both ends."""
    lines = [f"  {frame}" for frame in reversed(callers)]
    if len(lines) > _NEAR + _FAR:
        lines[_NEAR:-_FAR] = ["  …"]
    return ["called from", *lines] if lines else []


def _left_out(callers: Sequence[Frame], text: str) -> int:
    """The callers that are not shown, and frames that IPython itself has left out."""
    similar = sum(int(count) for count in _SIMILAR.findall(text)) if "[... skipping" in text else 0
    return max(0, len(callers) - _NEAR - _FAR) + similar


def _notes(error: ErrorOutput, text: str) -> list[str]:
    """What was added to the exception with `add_note`, which IPython prints after its message."""
    message = f"{error.ename}: {strip_ansi(error.evalue)}"
    after = text.rpartition(message)[2] if message in text else ""
    return [f"note: {line[:_NOTE]}" for line in after.strip().split("\n")[:_MOST_NOTES] if line]


def _cause(text: str, head: str, owner: _Owner) -> str:
    """One line on an exception that another one came from, "" when it says the same."""
    mine = [frame for frame in _frames(text) if owner.has(frame)]
    said = [part for part in _parts(text) if isinstance(part, str) and _says_something(part)]
    if _REMOTE.search(text):
        return f"in another process: {mine[-1] if mine else said[-1][:_NOTE]}"
    message = said[0].strip(" |:")[:_NOTE] if said else "another exception"
    if message == head and not mine:
        return ""
    return f"caused by {message}{f' in {mine[-1]}' if mine else ''}"


def _group(text: str, head: str, owner: _Owner) -> list[str]:
    """The exceptions of a group as Python draws them, each with own frames in a line."""
    text = text.replace(f"  | {head}\n", "", 1)
    lines = [
        f"{part.indent[:-2]}{part}" if isinstance(part, Frame) else part[:_LONG_LINE].rstrip()
        for part in _parts(text)
        if (owner.has(part) if isinstance(part, Frame) else _says_something(part))
    ]
    left_out = len(lines) - _MOST_LINES
    return [*lines[:_MOST_LINES], *([f"… {left_out:,} more lines"] if left_out > 0 else [])]


def _wrong_source(text: str) -> list[str]:
    """The source that can't be parsed, with its arrow."""
    lines = text.split("\n")
    start = max(at for at, line in enumerate(lines) if _FRAME.match(line.rstrip()))
    after = [line.rstrip()[:_LONG_LINE] for line in lines[start + 1 :] if line.startswith("    ")]
    return indent(dedent("\n".join(after)), "  ").split("\n") if after else []


def _frames(text: str) -> Iterator[Frame]:
    return (part for part in _parts(text) if isinstance(part, Frame))


def _parts(text: str) -> Iterator[Frame | str]:
    """The frames of a traceback, and the lines between them."""
    found: re.Match[str] | None = None
    number, source = 0, ""
    for line in text.split("\n"):
        header = _FRAME.match(line.rstrip())
        if found and not header and _is_within(found, line):
            if marked := _MARKED.match(line):
                number, source = int(marked[1]), marked[2]
            elif found["indent"]:
                source = source or line.strip(" |~^")
            continue
        if found:
            yield _frame(found, number, source)
        found, number, source = header, 0, ""
        if not header:
            yield line
    if found:
        yield _frame(found, number, source)


def _says_something(line: str) -> bool:
    """False for a line that only holds frames together."""
    return "Traceback (most recent call last)" not in line and line.strip(' "|+-~^') != ""


def _is_within(frame: re.Match[str], line: str) -> bool:
    """True for the source lines of a frame."""
    inner = f"{frame['indent']}  "
    if frame["indent"]:
        return line.startswith(inner)
    return bool(_MARKED.match(line) or _NUMBERED.match(line) or line.startswith(inner))


def _frame(found: re.Match[str], number: int, source: str) -> Frame:
    line = found["line"] or found["own_line"] or found["cell_line"]
    file = found["file"] or found["own_file"] or found["old_file"] or f"In[{found['cell']}]"
    return Frame(
        file=file,
        line=int(line or number),
        where=_name(found["where"] or found["own_where"] or found["old_where"] or ""),
        source="" if source.startswith(_NO_SOURCE) else _short(source.strip()),
        indent=found["indent"],
    )


def _short(line: str) -> str:
    return line if len(line) <= _LONG_LINE else f"{line[:_LONG_LINE]}…"


def _name(where: str) -> str:
    """The function's name, without the values of its arguments."""
    name = where.partition("(")[0].strip()
    return "" if name == "<module>" else name


def _last_lines(text: str, head: str) -> list[str]:
    lines = [line.rstrip()[:200] for line in text.split("\n") if line.strip(" -")]
    body = [line for line in lines if not line.startswith(head[:60]) and "Traceback (" not in line]
    return [f"  {line}" for line in body[-_LAST_LINES:]]
