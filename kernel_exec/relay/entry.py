"""Where the program begins: as a relay at once where nothing but that can be meant."""

import importlib
import os
import sys

from .relay import relay


def main() -> None:
    """Serve a client that gave no options; everything else is the command line's."""
    plain = sys.argv[1:] in ([], ["serve"]) and os.name != "nt"
    # a shell that asks what to complete gives no arguments either
    plain = plain and "_KERNEL_EXEC_COMPLETE" not in os.environ  # noqa: TID251
    if not plain or (sys.stdin is not None and sys.stdin.isatty()):
        importlib.import_module("kernel_exec.cli.main").main()
    elif reason := relay({}):
        importlib.import_module("kernel_exec.cli.serve").refuse(reason, {})
    else:
        importlib.import_module("kernel_exec.cli.main").main(["serve", "--in-process"])
