"""The launcher of kernels with stamps at its hops, in the place of `inside/main.py`.

python stamped_kernel.py FOLDER_INSIDE guardian CONFIGURATION.json DESCRIPTOR
"""

import importlib
import sys
from pathlib import Path
from typing import Any

from ipykernel.kernelapp import IPKernelApp


def main(inside: str) -> None:
    """Start the kernel as `inside/main.py` does, with its parts stamped."""
    sys.path.insert(0, str(Path(__file__).parent))
    stamps = importlib.import_module("stamps")
    sys.path[0] = inside
    kernel_app: Any = IPKernelApp
    initialize = kernel_app.initialize

    def initialize_stamped(app: Any, *args: object) -> None:
        initialize(app, *args)
        kernel = type(app.kernel)
        stamps.around(kernel, "dispatch_shell", "kernel: request has come")
        stamps.around(kernel, "do_execute", "kernel: request is read", "kernel: after user code")
        stamps.around(app.shell, "run_code", "kernel: before user code", "kernel: user code")
        stamps.around(kernel, "finish_metadata", after="kernel: names and hints")
        stamps.around(kernel, "_publish_status_and_flush", "kernel: reply", "kernel: idle")

    kernel_app.initialize = initialize_stamped
    importlib.import_module("main").main()


if __name__ == "__main__":
    main(sys.argv.pop(1))
