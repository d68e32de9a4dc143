"""Walls held by macOS: the profile that `sandbox-exec` is given. Pure, and untested on a Mac.

Of the rules that match, the last one counts. A profile that the system does not understand is a
start that fails.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from .policy import Policy, innermost_last
from .walls import Walls

PROGRAM = "/usr/bin/sandbox-exec"

_SYSTEM = (
    *("/System", "/usr", "/bin", "/sbin", "/Library/Apple", "/Library/Frameworks", "/dev"),
    *("/private/etc", "/private/var/db/dyld", "/private/var/db/timezone", "/opt/homebrew"),
)
"""What `isolated` shows of a Mac; no keychain lies there."""

_BASIS = """(version 1)
(deny default)
(allow process-exec process-fork)
(allow signal process-info* (target same-sandbox))
(allow sysctl-read)
(deny sysctl-read (sysctl-name-prefix "kern.proc"))
(allow ipc-posix-sem ipc-posix-shm)
(allow mach-lookup (global-name "com.apple.system.opendirectoryd.libinfo"))
(allow file-read-metadata)
(allow file-write* (literal "/dev/null") (literal "/dev/tty"))"""

_NETWORK = """(allow system-socket)
(allow network-outbound (remote ip))
(allow network-bind network-inbound (local ip))
(allow network-outbound (literal "/private/var/run/mDNSResponder"))"""


def profile(policy: Policy) -> str:
    """What holds the walls of a policy; one rule a line."""
    return "\n".join([_BASIS, *_files(policy), *_sockets(policy)])


def _files(policy: Policy) -> Iterator[str]:
    if policy.walls is Walls.WORKSPACE:
        yield "(allow file-read*)"
    else:
        yield _rule("allow file-read*", [*map(Path, _SYSTEM), *policy.readable])
    yield _rule("deny file-read* file-write*", [policy.runtime])
    yield _rule("allow file-read* file-write*", policy.writable)
    yield _rule("deny file-read* file-write*", policy.hidden | policy.absent)
    needed = innermost_last(policy.needed)
    yield _rule("allow file-read*", needed)
    yield _rule("deny file-write*", needed)
    if secrets := [each for each in policy.hidden if any(map(each.is_relative_to, needed))]:
        yield _rule("deny file-read*", secrets)
    # a folder that is moved away would make room for another one
    if ways := {above for tree in (*needed, *policy.ours) for above in tree.parents}:
        yield _rule("deny file-write-unlink", ways, "literal")
    yield _rule("allow file-read* file-write*", policy.own)


def _sockets(policy: Policy) -> Iterator[str]:
    if policy.walls is Walls.WORKSPACE:
        yield _NETWORK
    yield _rule("allow network*", policy.own)


def _rule(what: str, paths: Iterable[Path], form: str = "subpath") -> str:
    named = " ".join(
        f"({form} {json.dumps(str(each), ensure_ascii=False)})" for each in sorted(set(paths))
    )
    return f"({what} {named})"
