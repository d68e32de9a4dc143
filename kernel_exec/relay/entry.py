"""Where the program begins: as a relay at once where nothing but that can be meant."""

import importlib
import os
import sys
from collections.abc import Iterable

from .relay import relay


def main() -> None:
    """Serve a client that gave nothing but settings; everything else is the command line's."""
    options = given_settings(sys.argv[1:])
    # a shell that asks what to complete gives no arguments either
    is_person = "_KERNEL_EXEC_COMPLETE" in os.environ  # noqa: TID251
    is_person = is_person or (sys.stdin is not None and sys.stdin.isatty())
    if options is not None and os.name != "nt" and not is_person and (reason := relay(options)):
        importlib.import_module("kernel_exec.cli.serve").refuse(reason, options)
    # also where the host refused the settings, so that they are explained to the client
    importlib.import_module("kernel_exec.cli.main").main()


def given_settings(arguments: Iterable[str]) -> dict[str, str] | None:
    """The settings by key that are all that a server was started with; None with anything else.

    Whether there are such settings is for the host to say: to know them takes as long to import as
    all else that a relay does.
    """
    options: dict[str, str] = {}
    is_named = False
    words = iter(arguments)
    for word in words:
        if word == "serve" and not is_named:
            is_named = True
            continue
        name, is_set, value = word.partition("=")
        if not is_set:
            value = next(words, "-")
        if not name.startswith("--") or "_" in name or value.startswith("-"):
            return None
        options[name[2:].replace("-", "_")] = value
    return options
