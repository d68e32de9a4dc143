"""Memory set aside for the end of a cell that took all of it; loaded in the kernel's process.

Python 3.8 syntax, standard library only. Without it the kernel could not say that there was none
left, nor run the cell that frees some.
"""

import mmap

_SIZE = 16 << 20
"""Bytes of address space, never touched: a traceback, a reply and a small cell fit."""


class Reserve:
    """Held while code runs, given back when it failed."""

    def __init__(self):
        self._held = []
        self.take()

    def take(self):
        """Set memory aside, if as much again is left for the code."""
        if self._held:
            return
        try:
            for _ in range(2):
                self._held.append(mmap.mmap(-1, _SIZE))
        except (OSError, MemoryError):
            self.release()
        else:
            self._held.pop().close()

    def release(self):
        """Give it back."""
        while self._held:
            self._held.pop().close()
