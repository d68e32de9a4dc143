"""Waking those who wait until something has changed, again and again."""

import asyncio


class Signal:
    """Wakes everybody who waits at the moment it fires; check your condition, then wait."""

    def __init__(self) -> None:
        self._event: asyncio.Event | None = None

    def fire(self) -> None:
        """Wake all who wait now."""
        if self._event is not None:
            self._event.set()
            self._event = None

    async def wait(self) -> None:
        """Wait for the next `fire`."""
        if self._event is None:
            self._event = asyncio.Event()
        await self._event.wait()
