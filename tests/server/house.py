"""An `App` in this process, and clients of it that come and go."""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from anyio import to_thread

from kernel_exec.app import App, open_app
from kernel_exec.connection import Connection
from kernel_exec.kernels.outcomes import SERVER_ENDED
from kernel_exec.server.create import create_server
from kernel_exec.sessions.session import Session
from kernel_exec.settings import ConnectionSettings, read_settings
from tests.server.peer import Peer, served
from tests.shared import CACHE
from tests.waits import wait_until


class House:
    """See the module's docstring."""

    def __init__(self, app: App, settings: ConnectionSettings) -> None:
        self.app = app
        self.settings = settings

    @asynccontextmanager
    async def client(self, name: str = "agent", *, folder: str = "/a") -> AsyncIterator[Peer]:
        settings = replace(self.settings, folder=Path(folder))
        connection = Connection(app=self.app, settings=settings)
        async with served(create_server(connection)) as peer:
            await peer.begin(name=name)
            yield peer
        connection.close()

    @property
    def sessions(self) -> list[Session]:
        return list(self.app.sessions.all)

    async def until_open(self, count: int) -> None:
        """Wait until so many sessions are open."""
        await to_thread.run_sync(wait_until, lambda: len(self.sessions) == count)


@asynccontextmanager
async def house(
    folder: Path, *, ending: str = SERVER_ENDED, **options: str
) -> AsyncIterator[House]:
    settings = read_settings(
        options={"storage_dir": str(folder), "python_path": sys.executable, **options},
        variables={**os.environ, "KERNEL_EXEC_CACHE": str(CACHE), "KERNEL_EXEC_SPARE_KERNELS": "0"},
    )
    async with open_app(settings.host, ending=ending) as app:
        yield House(app, settings.connection)
