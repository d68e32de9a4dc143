"""Walls held by bubblewrap: a view of the file system, and namespaces of one's own."""

import os
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

from .policy import REPLACED, Policy, innermost_last
from .walls import Walls

Listing: TypeAlias = Callable[[Path], Iterable[Path]]
"""What lies in a folder; nothing for one that can't be read."""

BINDS = ("--bind", "--ro-bind", "--ro-bind-try")
"""What is told of a path that is shown."""

_GRAPHICS = ("/dev/dri", "/dev/kfd", "/dev/nvidia*")
"""Devices that compute; without them frameworks fall back silently."""


_OF_THE_MACHINE = (
    *("/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs", "/proc/acpi"),
    *("/proc/scsi", "/proc/tty", "/proc/driver"),
)
"""What root may change there, also without a capability: it owns these files."""

_MOST_PARTS = 100
"""Entries of a folder that are shown one by one: for a thousand bubblewrap takes a second."""

_KEYS = ("/proc/keys", "/proc/key-users")
"""What names the user's keys; keyrings themselves are closed by the filter of system calls."""

_NAMESPACES = (
    *("--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts"),
    *("--unshare-cgroup-try", "--die-with-parent", "--cap-drop", "ALL"),
)


def arguments(policy: Policy, variables: Mapping[str, str], listing: Listing) -> Iterator[str]:
    """What bubblewrap is told; the program follows them, and has the `variables`."""
    yield from _NAMESPACES
    if policy.walls is Walls.ISOLATED:
        yield from ("--unshare-net", "--disable-userns")
    hidden = policy.hidden | policy.absent | policy.sockets
    hidden |= {policy.runtime, *map(Path, REPLACED)}
    # our own folder is there already, and scripts are to be seen as they come
    whole = [each.parent for each in policy.ours if each.is_dir()]
    view = _View(hidden, added=policy.writable, whole=whole, listing=listing)
    for tree in innermost_last([*policy.shown()]):
        yield from view.show(tree)
    yield from _kernel_files()
    if policy.walls is Walls.WORKSPACE:
        yield from _devices()
        yield from _name_resolution()
    for place in ("/tmp", "/var/tmp"):
        yield from ("--bind", str(policy.temporary), place)
    yield from _writable(policy, view)
    for tree in innermost_last(policy.needed):
        yield from view.show(tree, always=True)
    for folder in policy.own:
        yield from ("--bind", str(folder), str(folder))
    for folder in set(view.frozen) - {*policy.own}:
        yield from ("--remount-ro", str(folder))
    yield from ("--remount-ro", "/", "--chdir", str(policy.working_directory))
    # bubblewrap itself gets none of them: they may name libraries that it would load
    yield "--clearenv"
    for name, value in variables.items():
        yield from ("--setenv", name, value)


def _kernel_files() -> Iterator[str]:
    """`/proc` and `/dev` of one's own, without what is the machine's or the user's in them."""
    yield from ("--proc", "/proc", "--dev", "/dev")
    for each in _OF_THE_MACHINE:
        yield from ("--ro-bind-try", each, each)
    for each in filter(os.path.exists, _KEYS):
        yield from ("--ro-bind", "/dev/null", each)


def _writable(policy: Policy, view: "_View") -> Iterator[str]:
    """The folders that may be changed, less what is ours in them."""
    for folder in innermost_last(policy.writable):
        yield from ("--bind", str(folder), str(folder))
        yield from _pinned(folder, (*policy.needed, *policy.ours))
        for ours in policy.ours:
            # what lies in an environment is left out there
            if ours.is_relative_to(folder) and not any(map(ours.is_relative_to, policy.needed)):
                yield from view.covered(ours)
    for socket in policy.sockets:
        if any(map(socket.is_relative_to, policy.writable)):
            yield from ("--ro-bind", "/dev/null", str(socket))


class _View:
    """What is shown of the machine as it is, less what is hidden; `frozen` are folders of ours.

    A folder that holds something hidden has only what it holds now, but for those that are `whole`
    or have too many parts. What is `added` later is left out.
    """

    def __init__(
        self,
        hidden: Collection[Path],
        *,
        added: Collection[Path],
        whole: Collection[Path],
        listing: Listing,
    ) -> None:
        self.frozen: list[Path] = []
        self._hidden = {*hidden}
        self._added, self._whole = {*added}, {*whole}
        self._above = {above for each in hidden for above in each.parents}
        self._listing = listing

    def show(self, tree: Path, *, always: bool = False) -> Iterator[str]:
        """A tree, itself `always` and its parts unless they are hidden."""
        if tree in self._hidden | self._added and not always:
            return
        try:
            mode = tree.lstat().st_mode
        except OSError:
            return
        if stat.S_ISLNK(mode):
            yield from ("--symlink", str(tree.readlink()), str(tree))
        elif stat.S_ISDIR(mode) and tree in self._above:
            yield from self._parts(tree)
        elif not stat.S_ISSOCK(mode):
            yield from ("--ro-bind" if always else "--ro-bind-try", str(tree), str(tree))

    def _parts(self, tree: Path) -> Iterator[str]:
        """A folder with something hidden: each of its parts, or all but what is hidden by now."""
        parts = [*self._listing(tree)]
        if tree == Path("/") or (len(parts) <= _MOST_PARTS and tree not in self._whole):
            if tree != Path("/"):
                yield from self.covered(tree)
            for each in parts:
                yield from self.show(each)
            return
        yield from ("--ro-bind", str(tree), str(tree))
        for each in parts:
            if each in self._hidden and each.is_dir():
                yield from self.covered(each)
            elif each in self._hidden:
                yield from ("--ro-bind", "/dev/null", str(each))
            elif each in self._above:
                yield from self.show(each)

    def covered(self, folder: Path) -> Iterator[str]:
        """An empty folder in its place, which is read-only in the end."""
        self.frozen.append(folder)
        yield from ("--tmpfs", str(folder))


def _pinned(folder: Path, needed: Collection[Path]) -> Iterator[str]:
    """Folders on the way to what must not change: what is mounted can't be renamed."""
    for tree in needed:
        if folder in tree.parents:
            between = [each for each in tree.parents if folder in each.parents]
            for each in reversed(between):
                yield from ("--bind", str(each), str(each))


def _devices() -> Iterator[str]:
    for pattern in _GRAPHICS:
        for device in Path("/").glob(pattern[1:]):
            yield from ("--dev-bind", str(device), str(device))


def _name_resolution() -> Iterator[str]:
    """What `/etc/resolv.conf` leads to, where that lies below `/run`."""
    resolved = Path("/etc/resolv.conf").resolve()
    if resolved.is_relative_to("/run") and resolved.exists():
        yield from ("--ro-bind", str(resolved), str(resolved))
