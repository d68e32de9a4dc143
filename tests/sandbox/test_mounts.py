"""What bubblewrap was told to mount is compared with what it has mounted."""

from typing import Any

import pytest

from kernel_exec.inside import confine as untyped

confine: Any = untyped
_Mount = tuple[str, str, str, str]

HOST: list[_Mount] = [
    ("8:1", "/", "/", "rw"),
    ("8:2", "/", "/data", "rw"),
    ("8:3", "/volumes/w", "/storage", "rw"),
    ("0:5", "/", "/dev", "rw"),
]


def told(*words: str) -> list[str]:
    return ["--unshare-user", *words, "--clearenv", "--setenv", "--bind", "x"]


@pytest.mark.parametrize(
    ("words", "mounts", "wrong"),
    [
        (("--bind", "/data/me/w", "/data/me/w"), [("8:2", "/me/w", "/data/me/w", "rw")], ""),
        (("--ro-bind", "/usr", "/usr"), [("8:1", "/usr", "/usr", "ro")], ""),
        (("--bind", "/data", "/data"), [("8:2", "/", "/data", "rw")], ""),
        (("--bind", "/storage/a", "/tmp"), [("8:3", "/volumes/w/a", "/tmp", "rw")], ""),
        (("--ro-bind", "/dev/null", "/w/s"), [("0:5", "/null", "/w/s", "ro")], ""),
        (("--tmpfs", "/w/.kernel_exec"), [("0:9", "/", "/w/.kernel_exec", "rw")], ""),
        (("--ro-bind-try", "/gone", "/gone"), [], ""),
        (("--bind", "/data/a", "/data/a"), [("8:2", "/b", "/data/a", "rw")], "/data/a"),
        (("--bind", "/usr", "/usr"), [("8:2", "/usr", "/usr", "rw")], "/usr"),
        (("--bind", "/storage/a", "/a"), [("8:3", "/volumes/we/a", "/a", "rw")], "/a"),
        (("--bind", "/usr", "/usr"), [("8:1", "/usr//deleted", "/usr", "rw")], "/usr"),
        (("--bind", "/usr", "/usr"), [("8:1", "/usr", "/elsewhere", "rw")], "/usr"),
        (("--tmpfs", "/w/k"), [("0:9", "/", "/x/k", "rw")], "/w/k"),
        (("--ro-bind-try", "/", "/there"), [], "/there"),
        (("--symlink", "--clearenv", "/l", "--bind", "/usr", "/usr"), [], "/usr"),
        (("--symlink", "--bind", "/l", "--tmpfs", "/k"), [("0:9", "/", "/k", "rw")], ""),
        (
            ("--bind", "/usr", "/usr", "--bind", "/opt", "/opt"),
            [("8:1", "/usr", "/usr", "rw"), ("8:1", "/usr", "/opt", "rw")],
            "/opt",
        ),
    ],
)  # fmt: skip
def test_another_thing_in_a_place_is_found(
    words: tuple[str, ...], mounts: list[_Mount], wrong: str
) -> None:
    assert confine.misplaced(told(*words), mounts, HOST) == wrong


def test_this_process_sees_its_own_mounts() -> None:
    places = {place: options for _, _, place, options in confine._mounts("self")}
    assert places["/"] in {"ro", "rw"}
    assert "/proc" in places
