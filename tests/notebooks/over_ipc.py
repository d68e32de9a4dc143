"""A plugin for the pytest of judges: their kernels listen on Unix sockets.

For TCP a free port is looked for and left to the kernel, and another process may take it before.
"""

from typing import Any

from jupyter_client.manager import KernelManager
from traitlets.config import Config


def pytest_configure() -> None:
    create: Any = KernelManager.__init__

    def create_with_sockets(self: KernelManager, *arguments: object, **traits: object) -> None:
        create(self, *arguments, **{"transport": "ipc", **traits})

    setattr(KernelManager, "__init__", create_with_sockets)  # noqa: B010 - mypy: to a method


def sockets_in(folder: str) -> Config:
    """The same for the kernel of a `NotebookClient`; the path of `folder` must be short."""
    return Config({"AsyncKernelManager": {"transport": "ipc", "ip": f"{folder}/kernel"}})
