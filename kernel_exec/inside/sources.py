"""Under which names cells are compiled, and which files are shown for them.

Loaded in the kernel's process; standard library only, Python 3.8 syntax.
"""

import re
import sys
import threading
import traceback
import warnings

_NAME = re.compile(r"/ipykernel_0/\d+\.py")
"""What the server names cells; see `messages.cell_name`."""


class CellFiles:
    """Compiles cells under names made of their source, and shows the files that they are stored in.

    A name that is the same for the same source, as ipykernel gives it, is how `joblib`, `numba` and
    others know what they have on disk. Of several files with the same source the latest is shown.
    """

    def __init__(self, shell):
        """Nothing is compiled yet."""
        self._files = {}
        self._name = None
        compiler = shell.compile
        self._stock_name = compiler.get_code_name
        self._stock_format = getattr(compiler, "format_code_name", lambda name: None)
        compiler.get_code_name = self._code_name
        compiler.format_code_name = self._format
        _show_in_library(self.shown)

    def begin(self, name, file, is_script):
        """What is compiled next is a cell: its name, and its file or None. A script has its own."""
        self._name = file if is_script else name
        if file is not None:
            self._files[self._name] = file

    def shown(self, name):
        """The file to show for a name."""
        return self._files.get(name, name)

    def with_files(self, text):
        """The same text with files in place of names."""
        return _NAME.sub(lambda found: self.shown(found[0]), text)

    def _code_name(self, *args):
        return self._name or self._stock_name(*args)

    def _format(self, name):
        """IPython's own way to name a cell, `In[3]`, or None for what has a file."""
        return None if name in self._files else self._stock_format(name)


def _show_in_library(shown):
    """Show files also where code prints a traceback, logs an error, or warns."""
    begin, write = traceback.FrameSummary.__init__, warnings.formatwarning

    def begin_shown(self, filename, *args, **kwargs):
        begin(self, shown(filename), *args, **kwargs)

    def write_shown(message, category, filename, *args, **kwargs):
        return write(message, category, shown(filename), *args, **kwargs)

    traceback.FrameSummary.__init__, warnings.formatwarning = begin_shown, write_shown
    threading.excepthook = _report_thread


def _report_thread(failed):
    """As Python itself, which looks for the lines of a cell on the disk only."""
    if failed.exc_type is not SystemExit:
        name = failed.thread.name if failed.thread is not None else threading.get_ident()
        print("Exception in thread %s:" % name, file=sys.stderr)
        traceback.print_exception(failed.exc_type, failed.exc_value, failed.exc_traceback)
