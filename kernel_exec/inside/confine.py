"""Goes through the walls first, and becomes the program that is to run behind them.

    python -I -S main.py confine CONFIGURATION.json PROGRAM [ARGUMENT…]

Standard library only; run by our own interpreter, before one that is not ours. CONFIGURATION says
what bubblewrap is told (`arguments`), the filter of system calls that it installs (`filter`,
base64), and whether sockets without a file are closed (`abstract`): that needs Landlock, as they
belong to the network that is shared.
"""

import base64
import ctypes
import json
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
    with open(sys.argv[1], encoding="utf-8") as file:
        config = json.load(file)
    if config["abstract"]:
        _close_abstract_sockets()
    told = "\0".join(config["arguments"])
    options = ["--args", str(_file(os.fsencode(told)))]
    if config["filter"]:
        options += ["--seccomp", str(_file(base64.b64decode(config["filter"])))]
    bubblewrap = config["bubblewrap"]
    os.execv(bubblewrap, [bubblewrap, *options, "--", *sys.argv[2:]])


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


def _file(content):
    """A descriptor that the next program inherits, from which it reads this."""
    fd = os.memfd_create("confine", 0)
    os.write(fd, content)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd
