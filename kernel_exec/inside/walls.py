"""What to say of an error that a wall of the sandbox has caused; runs in the kernel's process.

Standard library only, Python 3.8 syntax. The walls themselves stand outside: nothing here holds
anything.
"""

import errno
import os

_CHAIN = 5
"""Errors behind an error that are looked at: libraries wrap those of the system."""

_NETWORK = {errno.EOPNOTSUPP, errno.ENETUNREACH, errno.EAFNOSUPPORT}

_OF_SQLITE = {"unable to open database file", "attempt to write a readonly database"}
"""What it reports where a file can't be written, and also for other reasons."""

settings = {}
"""`walls`: the word; `writable`: the folders that code may write to; `shown`: those it sees."""


def refused(error, frames):
    """The wall that the error comes from, and how a person may open it; "" for no wall."""
    word = settings.get("walls")
    if not word:
        return ""
    for each in _chain(error):
        line = _of_database(each, word) or _of_system(each, word)
        if line:
            return line
    return ""


def _chain(error):
    found = []
    while isinstance(error, BaseException) and len(found) < _CHAIN:
        found.append(error)
        error = error.__cause__ or error.__context__ or getattr(error, "reason", None)
    return found


def _of_database(error, word):
    if type(error).__name__ != "OperationalError" or str(error) not in _OF_SQLITE:
        return ""
    return "SQLite does not name the file; %s" % _writable(word)


def _writable(word):
    return (
        "the sandbox (%s) lets code write only in %s; a person may open other folders"
        " with KERNEL_EXEC_SANDBOX_WRITE" % (word, ", ".join(settings["writable"]))
    )


def _of_system(error, word):
    if not isinstance(error, OSError):
        return ""
    paths = [path for path in (error.filename, error.filename2) if isinstance(path, str)]
    outside = any(not _within(path, "writable") for path in paths)
    path = paths[0] if paths else ""
    code = error.errno
    if word == "isolated" and (code in _NETWORK or type(error).__name__ == "gaierror"):
        return "the sandbox (isolated) has no network; a person may choose `workspace` instead"
    if code in (errno.EROFS, errno.EACCES, errno.EPERM, errno.EXDEV) and outside:
        return _writable(word)
    if code == errno.EXDEV:
        return (
            "each folder that the sandbox (%s) opens is a file system of its own;"
            " copy the file, or move it with shutil.move" % word
        )
    hides = word == "isolated" and os.path.isabs(path) and not _within(path, "shown")
    if code == errno.ENOENT and hides:
        return (
            "the sandbox (isolated) may hide %r; a person may open its folder with"
            " KERNEL_EXEC_SANDBOX_READ" % path
        )
    return ""


def _within(path, key):
    path = os.path.realpath(path)
    return any(
        path == folder or path.startswith(folder.rstrip("/") + "/") for folder in settings[key]
    )
