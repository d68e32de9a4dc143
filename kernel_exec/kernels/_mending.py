"""Puts back what user code took from its kernel; loaded in the kernel's process.

Python 3.8 syntax. Before and after each cell: a closed or replaced `sys.stdout` or `sys.stderr`, a
replaced `print`, a working directory that is gone. Each time a note says so, in the output of the
cell that did it, as what was written in between may be missing.
"""

import builtins
import os
import sys

import _kernel_exec_streams as streams


class Mending:
    """Knows how the streams, `print` and the working directory of one kernel ought to be."""

    def __init__(self, kernel):
        """All is well now."""
        self._kernel = kernel
        self._print = builtins.print
        self._streams = {"stdout": sys.stdout, "stderr": sys.stderr}
        self._home = self._folder = os.getcwd()

    def mend(self):
        """Mend what is broken, and say so."""
        self.say([*map(self._mend_stream, self._streams), self._mend_print(), self._mend_folder()])

    def say(self, notes):
        """Write notes to stderr; "" is none."""
        for note in filter(None, notes):
            self._streams["stderr"].write("[kernel-exec] %s\n" % note)

    def moved_to(self):
        """The working directory, if it is another than when this was asked last; or ""."""
        before, self._folder = self._folder, os.getcwd()
        return "" if self._folder == before else self._folder

    def _mend_stream(self, name):
        stream, found = self._streams[name], getattr(sys, name, None)
        closed = stream.closed
        if found is stream and not closed:
            return ""
        if closed:
            setattr(sys, name, getattr(sys, "__%s__" % name))
            stream = streams.KernelStream(self._kernel.session, self._kernel.iopub_thread, name)
            self._streams[name] = stream
        stream.set_parent(self._kernel.request)
        setattr(sys, name, stream)
        if closed:
            return "sys.%s was closed and is open again" % name
        by = "None" if found is None else type(found).__name__
        return "sys.%s was replaced by %s and is restored" % (name, by)

    def _mend_print(self):
        if getattr(builtins, "print", None) is self._print:
            return ""
        builtins.print = self._print
        return "print was replaced and is restored"

    def _mend_folder(self):
        try:
            os.getcwd()
            return ""
        except OSError:
            os.makedirs(self._home, exist_ok=True)
            os.chdir(self._home)
            return "the working directory was deleted; it is %s now" % self._home
