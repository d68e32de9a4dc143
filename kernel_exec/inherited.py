"""What a program gets from whoever starts it, besides its variables and its folder."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass

if sys.platform != "win32":
    import resource


@dataclass(frozen=True, slots=True)
class Inherited:
    """The `umask`, and soft and hard limits by number."""

    umask: int
    limits: Mapping[int, tuple[int, int]]

    @property
    def descriptors(self) -> int:
        """How many files may be open at once, by the soft limit; 0 where there is none to tell."""
        if sys.platform == "win32":
            return 0
        return self.limits.get(resource.RLIMIT_NOFILE, (0, 0))[0]


def _inherited() -> Inherited:
    umask = os.umask(0o077)
    os.umask(umask)
    if sys.platform == "win32":
        return Inherited(umask, {})
    numbers = {getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")}
    return Inherited(umask, {number: resource.getrlimit(number) for number in sorted(numbers)})


INHERITED = _inherited()
"""What this process got when it started, and what kernels get again."""
