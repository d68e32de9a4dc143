r"""Foreign text and foreign names as every host can show them. Pure.

What code prints, and what it calls its variables, classes and files, must not pass for words of
ours, hide from a person what a model reads, or drive a terminal. What would do so is shown as an
escape, such as `\x9b`. Marks that languages and emoji need stay: joiners, directional marks and
variation selectors, as long as they are not so many in a row that they spell a hidden text.

Source: Unicode TR 36 "Security Considerations", TR 51 (flags made of tags), ECMA-48 (C1).
"""

import re

from kernel_exec.terminal import strip_ansi

NAME = 80
"""Characters of a name that are shown."""

_FLAGS = "|".join(
    "\U0001f3f4" + "".join(chr(0xE0000 + ord(letter)) for letter in region) + "\U000e007f"
    for region in ("gbeng", "gbsct", "gbwls")
)
_INVISIBLE = (
    "\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2060\u3164"
    "\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef"
)
_UNSAFE = re.compile(
    f"(?P<flag>{_FLAGS})"
    r"|\r(?!\n)|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"  # C0 and C1 controls, U+0085 ends a line
    "\u2028\u2029"  # line and paragraph separators
    "\u202a-\u202e\u2061-\u206f"  # reorder what follows, or are obsolete
    "\ufeff\ufff9-\ufffb\U000e0000-\U000e007f\ud800-\udfff]"  # byte order mark, notes, tags
    f"|[{_INVISIBLE}]{{3,}}"  # emoji and scripts need two at most
)
_ENDS = str.maketrans({"\r": r"\r", "\n": r"\n", "\t": r"\t"})
_LIKE_STATUS = re.compile(
    r"^(?=[^\S\n]*\[(?:ok|exception|timeout|interrupted|running|queued|process died|kernel died"
    r"|the kernel did not start)(?=[ ,:])[^\n]* · )",
    re.MULTILINE,
)
"""The beginning of a line that could be taken for a status line (`content/status.py`)."""


def clean(written: str) -> str:
    """Text that every host can show, in which no line looks like a status line of ours."""
    plain = escaped(strip_ansi(written).replace("\r\n", "\n")).replace("\r", r"\x0d")
    return _LIKE_STATUS.sub(r"\\", plain) if " · " in plain else plain


def one_line(name: object, limit: int = NAME) -> str:
    """A foreign name, or a few foreign words, as at most `limit` characters of one line."""
    begins = strip_ansi(str(name)[: 4 * limit])
    shown = escaped(begins).translate(_ENDS)
    return shown if len(shown) <= limit else f"{shown[: limit - 1]}…"


def counted(count: int, thing: str) -> str:
    """A number and what it counts, such as `1 line` or `2,000 lines`."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def escaped(written: str) -> str:
    """Text whose unsafe characters are escapes, and that is the same otherwise."""
    if written.isascii() and written.isprintable():
        return written
    return _UNSAFE.sub(lambda found: found["flag"] or _escape(found[0]), written)


def _escape(unsafe: str) -> str:
    return "".join(
        f"\\x{ord(each):02x}" if each.isascii() else ascii(each)[1:-1] for each in unsafe
    )


def sized(size: float) -> str:
    """Bytes as people say them, such as `2.1 GB`."""
    power = min((len(str(int(size))) - 1) // 3, len(_UNITS) - 1)
    return f"{size / 1000**power:.{min(power, 1)}f} {_UNITS[power]}"


_UNITS = ("B", "KB", "MB", "GB", "TB")
