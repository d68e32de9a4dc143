"""Makes an IPython kernel of its process; run by the environment's own interpreter.

    python main.py launch CONFIGURATION.json

Standard library only at import, Python 3.8 syntax. Most often a `guardian` has forked before.
"""

import builtins
import ctypes
import gc
import json
import os
import select
import signal
import sys
import time
import types
from importlib.machinery import FileFinder

if os.name == "posix":
    import resource


def _copied(module):
    copy = types.ModuleType(module.__name__)
    vars(copy).update(vars(module))
    return copy


_COPIES = [(module, _copied(module)) for module in (os, select, signal, time)]
"""What our modules have in the place of these."""

_HERE = os.path.dirname(os.path.abspath(__file__))


def main():
    """Become a kernel."""
    with open(sys.argv[1], encoding="utf-8") as file:
        config = json.load(file)
    if config.get("smoke"):
        _try_start(config)
    _restore(config)
    _set_limits(config)
    _make_app(config).start()


def _restore(config):
    """Have umask and limits of the client, as far as they are ours to set, and signals as usual.

    Signals that `nohup` or a shell's `&` ignores would stay ignored in all that the kernel starts.
    """
    if os.name != "posix":
        return
    for number in signal.valid_signals() - {signal.SIGPIPE, signal.SIGXFSZ}:  # Python's own
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.umask(config["umask"])
    for number, *wanted in config["limits"]:
        most = resource.getrlimit(number)[1]
        limits = tuple(most if _exceeds(each, most) else each for each in wanted)
        try:
            resource.setrlimit(number, limits)
        except (OSError, ValueError):  # another system's, or one that this system does not grant
            pass


def _exceeds(limit, most):
    unlimited = resource.RLIM_INFINITY
    return most != unlimited and (limit == unlimited or limit > most)


def _set_limits(config):
    """Those that were asked for; they hold for all that the kernel starts."""
    for kind, name in (("processes", "RLIMIT_NPROC"), ("file_size", "RLIMIT_FSIZE")):
        wanted = config.get(kind)
        if wanted is not None:
            number = getattr(resource, name)
            _, most = resource.getrlimit(number)
            if most != resource.RLIM_INFINITY:
                wanted = min(wanted, most)
            resource.setrlimit(number, (wanted, wanted))


def _try_start(config):
    """Do all of a start but serve; tell the version on what stdout was before it was captured."""
    if config["path"] is not None:
        sys.path[:] = config["path"]
    out = os.dup(1)
    _make_app(config)
    version = sys.modules["ipykernel"].__version__
    os.write(out, ("\n<ipykernel %s>\n" % version).encode("ascii"))
    os._exit(0)


def _make_app(config):
    """Import ipykernel by the way of its support, tuned for a fast start."""
    overlay = config["overlay"]
    sys.argv = [""]
    sys.dont_write_bytecode = True  # the environment stays as it is, to the last file
    gc.disable()  # what is imported now lives as long as the kernel
    path, variables = list(sys.path), dict(os.environ)
    if overlay:
        sys.path.insert(0 if config["support"] == "shadow" else len(sys.path), overlay)
    sys.modules["debugpy"] = None  # its import costs more than all else, and nobody debugs here
    sys.path_importer_cache[_HERE] = FileFinder(_HERE, (_Loader, [".py"]))
    from . import kernel

    app = kernel.make_app(config)
    del sys.modules["debugpy"]
    kernel.keep_to_ourselves(path, variables)
    gc.freeze()
    gc.enable()
    _give_memory_back()
    return app


def _give_memory_back():
    """Return to the system what imports took for a moment, up to a tenth of a kernel."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):
        pass  # a library of C that has no such function


class _Loader(type(__loader__)):
    """Loads what user code meets."""

    def exec_module(self, module):
        """Give it copies: user code that takes `len` or `os.write` away must not take ours."""
        module.__dict__["__builtins__"] = dict(vars(builtins))
        super().exec_module(module)
        for original, copy in _COPIES:
            if vars(module).get(original.__name__) is original:
                setattr(module, original.__name__, copy)
