"""An IPython traceback as a model reads it: the error, the user's line, own frames. Pure.

IPython prints a frame as a line `File ~/a.py:3, in f(x)` or `Cell In[2], line 3`, then source
lines of which the current one is marked with `----> 3`. Blocks of one traceback are separate
strings; what can't be recognised is shown as it is, at its end.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kernel_exec.kernels.outputs import ErrorOutput
from kernel_exec.kernels.terminal import strip_ansi

from .plain import one_line

_FRAME = re.compile(
    r"^(?:File (?P<file>[^\n]+?):(?P<line>\d+)(?:, in (?P<where>.+))?"
    r"|(?:Cell|Input) In\s*\[(?P<cell>\d+)\](?:, line (?P<cell_line>\d+))?.*"
    r"|(?P<old_file>[~/][^\n]*\.py) in (?P<old_where>.+))$"
)
_MARKED = re.compile(r"^-+> ?(\d+) ?(.*)$")
_CHAINED = re.compile(
    r"(?<!\n)\n+(?:The above exception was the direct cause of the following exception"
    r"|During handling of the above exception, another exception occurred):\n+"
)
_NAMED = re.compile(r"^(\S+) +Traceback \(most recent call last\)", re.MULTILINE)
_MOST_CAUSES = 3
_MOST_NOTES = 5
_NOTE = 300
"""Characters of a note's line, or of a cause's message, that are shown."""

_LONG_LINE = 300
"""Characters of a line of source that are shown."""

_LAST_LINES = 15
_EVALUE = 1500
"""Characters of an error's message that are shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One frame: its file (or `In[3]`), line, function, and the source line at which it stood."""

    file: str
    line: int
    where: str
    source: str

    def __str__(self) -> str:
        """One line, such as `a.py, line 3, in f: return 1 / 0`."""
        place = f"{one_line(self.file.rpartition('/')[2])}, line {self.line}"
        return f"{place}{f', in {one_line(self.where)}' if self.where else ''}: {self.source}"


def summarise(error: ErrorOutput, *, own: Sequence[str], home: str, full: str) -> str:
    """The error in a few lines.

    Args:
        error: What IPython sent.
        own: Paths (files or folders) whose frames are the user's.
        home: The folder that IPython prints as `~`.
        full: The call that shows the whole traceback.
    """
    head = headline(error)
    if error.ename in {"SystemExit", "StdinNotImplementedError"}:
        return head
    *causes, text = _CHAINED.split(strip_ansi("\n".join(error.traceback)))
    frames = list(_frames(text))
    if error.ename in {"SyntaxError", "IndentationError", "TabError"} or not frames:
        return "\n".join([head, *_last_lines(text, head)])
    mine = [frame for frame in frames if _is_own(frame, own, home)]
    shown = _without_repeats(mine or frames[-1:])
    lines = [head, f"  {shown[-1]}", *_notes(error, text)]
    if len(shown) > 1:
        lines.append("called from")
        lines += [f"  {frame}" for frame in reversed(shown[:-1])]
    lines += [_cause(part, own, home) for part in causes[: -_MOST_CAUSES - 1 : -1]]
    hidden = len(frames) - len(shown)
    if hidden > 0:
        lines.append(f"({hidden} more frames, most of libraries: {full})")
    return "\n".join(lines)


def headline(error: ErrorOutput) -> str:
    """`NameError: name 'x' is not defined`, or what stands for it."""
    evalue = strip_ansi(error.evalue)
    if len(evalue) > _EVALUE:
        where = f"; all of it is in {error.path}" if error.path else ""
        characters = max(len(evalue), error.characters)
        evalue = f"{evalue[:_EVALUE]} [… {characters:,} characters in all{where}]"
    if error.ename == "SystemExit":
        return f"the code ended with SystemExit({evalue}); the kernel and its variables are kept"
    ename = one_line(error.ename)
    return f"{ename}: {evalue}" if evalue else ename


def _notes(error: ErrorOutput, text: str) -> list[str]:
    """What was added to the exception with `add_note`, which IPython prints after its message."""
    message = f"{error.ename}: {strip_ansi(error.evalue)}"
    after = text.rpartition(message)[2] if message in text else ""
    return [f"note: {line[:_NOTE]}" for line in after.strip().split("\n")[:_MOST_NOTES] if line]


def _cause(text: str, own: Sequence[str], home: str) -> str:
    """One line on an exception that another one came from."""
    named = _NAMED.search(text)
    start = text.rfind(f"\n{named[1]}", named.end()) if named else -1
    message = text[start:].strip().partition("\n")[0] if start > 0 else ""
    if not message:
        message = one_line(named[1]) if named else "another exception"
    mine = [frame for frame in _frames(text) if _is_own(frame, own, home)]
    return f"caused by {message[:_NOTE]}{f' in {mine[-1]}' if mine else ''}"


def _frames(text: str) -> Iterator[Frame]:
    current: re.Match[str] | None = None
    for line in text.split("\n"):
        if found := _FRAME.match(line.rstrip()):
            current = found
        elif current is not None and (marked := _MARKED.match(line)):
            yield Frame(
                file=current["file"] or current["old_file"] or f"In[{current['cell']}]",
                line=int(marked[1]),
                where=_name(current["where"] or current["old_where"] or ""),
                source=_short(marked[2].strip()),
            )
            current = None


def _short(line: str) -> str:
    return line if len(line) <= _LONG_LINE else f"{line[:_LONG_LINE]}…"


def _name(where: str) -> str:
    """The function's name, without the values of its arguments."""
    name = where.partition("(")[0].strip()
    return "" if name == "<module>" else name


def _is_own(frame: Frame, own: Sequence[str], home: str) -> bool:
    if frame.file.startswith("In["):
        return True
    file = home + frame.file[1:] if frame.file.startswith("~") else frame.file
    if "/site-packages/" in file:
        return False  # the managed environment is below the storage root, too
    return any(file == each or file.startswith(each.rstrip("/") + "/") for each in own if each)


def _without_repeats(frames: Sequence[Frame]) -> list[Frame]:
    """At most the first three and the last three; a recursion has a thousand."""
    if len(frames) <= 6:
        return list(frames)
    return [*frames[:3], *frames[-3:]]


def _last_lines(text: str, head: str) -> list[str]:
    lines = [line.rstrip()[:200] for line in text.split("\n") if line.strip(" -")]
    body = [line for line in lines if not line.startswith(head[:60]) and "Traceback (" not in line]
    return [f"  {line}" for line in body[-_LAST_LINES:]]
