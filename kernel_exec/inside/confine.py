"""Goes through the walls first, and becomes the program that is to run behind them.

    python -I -S main.py confine WALLS BWRAP ARGUMENTS FILTER PROGRAM [ARGUMENT…]

Run by our own interpreter, before one that is not ours; it imports next to nothing, as a start
waits for it. ARGUMENTS is a file with what bubblewrap is told, a NUL behind each; FILTER one with
the filter of system calls that it installs. Where WALLS share the network with the user
(`workspace`), Landlock closes sockets without a file.

Bubblewrap is told paths, and code that runs already may exchange what lies at them. So PROGRAM
waits until another process has seen that all is mounted where it belongs.
"""

import ctypes
import os
import sys
import time

_SET_NO_NEW_PRIVILEGES = 38
_CREATE_RULESET, _RESTRICT_SELF = 444, 446
_SCOPE_ABSTRACT_SOCKETS = 1

_SIGKILL = 9
"""The module that names it takes as long to import as the rest of this."""

_POLL = 0.001
"""Seconds between two looks at mounts; all are made within some milliseconds."""

_BINDS = ("--bind", "--ro-bind", "--ro-bind-try", "--dev-bind")
_VALUES = dict.fromkeys((*_BINDS, "--symlink", "--setenv"), 2)
_VALUES.update(
    dict.fromkeys(("--cap-drop", "--proc", "--dev", "--tmpfs", "--remount-ro", "--chdir"), 1)
)
"""How many words belong to one that bubblewrap is told; a link may lead to any word."""


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
    told, held = os.pipe(), os.pipe()
    _look_aside(arguments, told, held)
    options = {
        "--args": os.open(arguments, os.O_RDONLY),
        "--seccomp": os.open(filtered, os.O_RDONLY),
        "--info-fd": told[1],
        "--block-fd": held[0],
    }
    # it would also begin if nobody could write to the pipe any more: bubblewrap itself can
    for descriptor in (*options.values(), held[1]):
        os.set_inheritable(descriptor, True)
    words = [word for name, value in options.items() for word in (name, str(value))]
    os.execv(bubblewrap, [bubblewrap, *words, "--", *sys.argv[5:]])


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


def _look_aside(arguments, told, held):
    """Look in a process that is nobody's child, so that bubblewrap has no other than its own."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    if not os.fork():
        os.close(told[1])
        os.close(held[0])
        _look(arguments, told[0], held[1])
    os._exit(0)


def _look(arguments, told, held):
    """Let the program begin, or end what sees something else than it is meant to see."""
    import json  # here, where it delays nothing

    with open(told) as file:
        pid = json.loads(file.read() or "{}").get("child-pid")
    if pid is None:  # bubblewrap has failed, and said so
        return
    why = "nobody could look at its mounts"
    try:
        with open(arguments, "rb") as file:
            words = os.fsdecode(file.read()).split("\0")
        outer = _mounts("self")
        wrong = misplaced(words, _all_mounts(pid, outer), outer)
        why = wrong and "%s was exchanged meanwhile" % wrong
    finally:
        if why:
            os.write(2, os.fsencode("confine: %s\n" % why))
            os.kill(pid, _SIGKILL)
    os.write(held, b"x")


def _all_mounts(pid, outer):
    """The mounts of a process once there will be no more: its own root is read-only in the end."""
    machine = [device for device, _, point, _ in outer if point == "/"]
    while True:
        try:
            mounts = _mounts(pid)
        except FileNotFoundError:  # bubblewrap has failed, and said so
            os._exit(0)
        roots = [(device, options) for device, _, point, options in mounts if point == "/"]
        if len(roots) == 1 and roots[0][1] == "ro" and roots[0][0] not in machine:
            return mounts
        time.sleep(_POLL)


def _mounts(pid):
    """Device, path on it, place and "ro" or "rw" of each mount that a process sees."""
    with open("/proc/%s/mountinfo" % pid, "rb") as file:
        lines = [os.fsdecode(line).split(" ") for line in file.read().split(b"\n") if line]
    return [
        (words[2], _plain(words[3]), _plain(words[4]), words[5].partition(",")[0])
        for words in lines
    ]


def _plain(path):
    first, *others = path.split("\\")
    return first + "".join(chr(int(each[:3], 8)) + each[3:] for each in others)


def misplaced(arguments, inner, outer):
    """The first place where another thing is mounted than bubblewrap was told; "" for none.

    `inner` are the mounts behind the walls, `outer` those before them.
    """
    places = {point: (device, path) for device, path, point, _ in inner}
    at = 0
    while at < len(arguments):
        word, end = arguments[at], at + 1 + _VALUES.get(arguments[at], 0)
        place = arguments[end - 1]
        mounted = places.get(place)
        if word == "--tmpfs" and mounted is None:
            return place
        if word in _BINDS:
            source = arguments[at + 1]
            is_left_out = word == "--ro-bind-try" and not os.path.lexists(source)
            if source not in _names(*mounted, outer) if mounted else not is_left_out:
                return place
        at = end
    return ""


def _names(device, path, outer):
    """What is mounted is called before the walls."""
    for other, root, point, _ in outer:
        above = root.rstrip("/")
        if other == device and (path + "/").startswith(above + "/"):
            yield (point.rstrip("/") + path[len(above) :]).rstrip("/") or "/"
