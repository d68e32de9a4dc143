"""A filter of system calls, as the BPF program that Linux takes. Pure."""

import errno
import socket
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from .walls import Walls


class _Machine(NamedTuple):
    """An architecture: how the kernel calls it, and the column of its numbers below."""

    audit: int
    column: int


_MACHINES: Mapping[str, _Machine] = {
    "x86_64": _Machine(0xC000003E, 0),
    "aarch64": _Machine(0xC00000B7, 1),
}

_NUMBERS: Mapping[str, tuple[int, int]] = {
    "add_key": (248, 217),
    "bpf": (321, 280),
    "clone": (56, 220),
    "clone3": (435, 435),
    "delete_module": (176, 106),
    "finit_module": (313, 273),
    "init_module": (175, 105),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "perf_event_open": (298, 241),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "request_key": (249, 218),
    "setns": (308, 268),
    "socket": (41, 198),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
}

_NEVER = ("add_key", "keyctl", "request_key")
"""Refused behind any walls: keyrings are of the user, not of a namespace."""

_NOT_ISOLATED = (
    *("bpf", "delete_module", "finit_module", "init_module", "io_uring_enter"),
    *("io_uring_register", "io_uring_setup", "kexec_load", "perf_event_open"),
    *("process_vm_readv", "process_vm_writev", "ptrace", "setns", "userfaultfd"),
)

_FAMILIES: Mapping[Walls, Sequence[int]] = {
    Walls.WORKSPACE: (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, 16),  # AF_NETLINK
    Walls.ISOLATED: (socket.AF_UNIX,),
}

_NEW_USER = 0x10000000
"""CLONE_NEWUSER."""

_LOAD, _EQUAL, _GREATER, _ANY_OF, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000
_X32 = 0x40000000
"""Where the numbers of x86-64's second set of calls begin."""

_Step = tuple[int, int, int, int]


def program(walls: Walls, machine: str) -> bytes | None:
    """The filter for a machine such as `x86_64`; None where we know no numbers."""
    known = _MACHINES.get(machine)
    if known is None:
        return None
    number = {name: numbers[known.column] for name, numbers in _NUMBERS.items()}
    steps: list[_Step] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, known.audit),
        _refuse(errno.ENOSYS),
        (_LOAD, 0, 0, _NUMBER),
        (_GREATER, 0, 1, _X32),
        _refuse(errno.ENOSYS),
        *_refuse_families(number["socket"], _FAMILIES[walls]),
    ]
    for name in _NEVER + (_NOT_ISOLATED if walls is Walls.ISOLATED else ()):
        steps += [(_EQUAL, 0, 1, number[name]), _refuse(errno.EPERM)]
    if walls is Walls.ISOLATED:
        # clone3 hides its flags in memory; C libraries then use clone
        steps += [(_EQUAL, 0, 1, number["clone3"]), _refuse(errno.ENOSYS)]
        for name in ("clone", "unshare"):
            steps += _refuse_flag(number[name], _NEW_USER)
    steps.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


def _refuse(code: int) -> _Step:
    return (_RETURN, 0, 0, _REFUSE | code)


def _refuse_flag(number: int, flag: int) -> Iterable[_Step]:
    yield (_EQUAL, 0, 4, number)
    yield (_LOAD, 0, 0, _FIRST_ARGUMENT)
    yield (_ANY_OF, 0, 1, flag)
    yield _refuse(errno.EPERM)
    yield (_RETURN, 0, 0, _ALLOW)


def _refuse_families(number: int, allowed: Sequence[int]) -> Iterable[_Step]:
    """Sockets of other families; the code is what libzmq takes for a family that is missing."""
    yield (_EQUAL, 0, len(allowed) + 3, number)
    yield (_LOAD, 0, 0, _FIRST_ARGUMENT)
    for at, family in enumerate(allowed):
        yield (_EQUAL, len(allowed) - at, 0, family)
    yield _refuse(errno.EOPNOTSUPP)
    yield (_RETURN, 0, 0, _ALLOW)
