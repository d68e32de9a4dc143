"""The last line of defence: a defect of ours is reported, and never costs a reply.

Standard library only, Python 3.8 syntax. Whatever decorates a cell (names, notes, descriptions,
smaller displays) goes through `attempt`. The report goes to descriptor 2, which any thread may
write to, with no lock held: the streams are among what may fail.
"""

import os

_MOST = 20
"""Reports in a kernel's life: one is output again, which may meet the same defect."""

_LONGEST = 500
_reported = set()


def attempt(part, *args, otherwise=None, **kwargs):
    """The result of `part`, or `otherwise` where it fails, which is reported.

    It may look at values of the user, whose own code can raise anything, SystemExit included.
    """
    try:
        return part(*args, **kwargs)
    except BaseException as error:
        report(defect(part, error))
        return otherwise


def defect(part, error):
    """What failed and why, in one line; the error's own text may be hostile as well."""
    try:
        why = str(error)[:_LONGEST]
    except BaseException:
        why = "it can't say why"
    name = getattr(part, "__name__", "a part").strip("_")
    return "%s failed: %s: %s" % (name, type(error).__name__[:100], why)


def report(note):
    """Write a note to stderr, each only once: a value that fails may stay for many cells."""
    if note not in _reported and len(_reported) < _MOST:
        _reported.add(note)
        try:
            os.write(2, ("[kernel-exec] %s\n" % note).encode("utf-8", "backslashreplace"))
        except OSError:
            pass  # user code has closed it
