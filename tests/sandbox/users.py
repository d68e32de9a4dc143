"""Who starts a server: whoever runs the tests or, when that is root, a user without rights."""

import os
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_UID = 12345


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """The command under which their programs run, and the variables that these need."""

    prefix: Sequence[str] = ()
    variables: Mapping[str, str] = field(default_factory=dict)

    def own(self, home: Path) -> None:
        """Give them all that lies there; what is a hard link would be taken from others."""
        if self.prefix:
            subprocess.run(["chown", "-hR", f"{_UID}:{_UID}", str(home)], check=True)


MYSELF = User()


def ordinary_user(home: Path) -> User:
    """One who may read the interpreter and the checkout, and owns nothing but `home`.

    A folder on the way that is closed to others, as root's home is, shows them nothing else.
    """
    if os.geteuid() != 0:
        pytest.skip("these tests run as an ordinary user anyway")
    trees = [Path(sys.base_prefix), Path(sys.prefix), ROOT]
    closed = {each for tree in trees for each in _closed(tree)}
    lines = ["mount -t tmpfs tmpfs /mnt"]
    kept = [tree for tree in trees if closed.intersection(tree.parents)]
    lines += [f"mkdir /mnt/{at}; mount --bind {tree} /mnt/{at}" for at, tree in enumerate(kept)]
    lines += [f"mount -t tmpfs -o mode=755 tmpfs {folder}" for folder in closed]
    lines += [f"mkdir -p {tree}; mount --move /mnt/{at} {tree}" for at, tree in enumerate(kept)]
    lines += [
        f"exec setpriv --reuid={_UID} --regid={_UID} --clear-groups --inh-caps=-all"
        ' --bounding-set=-all "$@"'
    ]
    prefix = ["unshare", "--mount", "sh", "-ec", "\n".join(lines), "sh"]
    python = subprocess.run([*prefix, sys.executable, "-c", ""], capture_output=True, check=False)
    if python.returncode != 0:
        pytest.skip(f"no program can be run as another user: {python.stderr.decode()}")
    return User(prefix=prefix, variables={"KERNEL_EXEC_CACHE": str(home / "cache")})


def _closed(tree: Path) -> Iterator[Path]:
    """The folders above that others may not enter."""
    return (each for each in tree.parents if not each.stat().st_mode & stat.S_IXOTH)
