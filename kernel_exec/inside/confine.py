"""Goes through the walls first, and becomes the program that is to run behind them.

    python -I -S main.py confine WALLS BWRAP ARGUMENTS FILTER PROGRAM [ARGUMENT…]

Run by our own interpreter, before one that is not ours; it imports next to nothing, as a start
waits for it. ARGUMENTS is a file with what bubblewrap is told, a NUL behind each; FILTER one with
the filter of system calls that it installs. Where WALLS share the network with the user
(`workspace`), Landlock closes sockets without a file.
"""

import ctypes
import os
import sys

_SET_NO_NEW_PRIVILEGES = 38
_CREATE_RULESET, _RESTRICT_SELF = 444, 446
_SCOPE_ABSTRACT_SOCKETS = 1


class _Ruleset(ctypes.Structure):
    """What `landlock_create_ruleset` takes since ABI 6."""

    _fields_ = (
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


def main():
    """Confine this process, and run the rest of its arguments."""
    walls, bubblewrap, arguments, filtered = sys.argv[1:5]
    if walls == "workspace":
        _close_abstract_sockets()
    told = ["--args", _inherited(arguments), "--seccomp", _inherited(filtered), "--"]
    os.execv(bubblewrap, [bubblewrap, *told, *sys.argv[5:]])


def _close_abstract_sockets():
    """Connect to none that was bound outside."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0) != 0:
        _fail("no_new_privs")
    rules = _Ruleset(0, 0, _SCOPE_ABSTRACT_SOCKETS)
    ruleset = libc.syscall(_CREATE_RULESET, ctypes.byref(rules), ctypes.sizeof(rules), 0)
    if ruleset < 0 or libc.syscall(_RESTRICT_SELF, ruleset, 0) != 0:
        _fail("Landlock")
    os.close(ruleset)


def _fail(what):
    code = ctypes.get_errno()
    sys.exit("confine: %s: %s" % (what, os.strerror(code)))


def _inherited(path):
    """The number of a descriptor that the next program finds open on the file."""
    fd = os.open(path, os.O_RDONLY)
    os.set_inheritable(fd, True)
    return str(fd)
