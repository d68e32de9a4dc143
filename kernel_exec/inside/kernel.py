"""What kernel-exec changes inside a kernel; runs in the kernel's process.

Python 3.8 syntax; beside the standard library only what every kernel support brings (ipykernel
6 to 7, IPython 7 to 9). Each change cures something that was measured:

- streams that skip empty flushes, drain the captured file descriptors before a cell ends,
  decode UTF-8 across chunk edges, and send what exceeds a budget to a file;
- what user code took from its kernel is put back (`mending.py`);
- what has no UTF-8 or no JSON is sent as close as it can be;
- whatever goes wrong, a request is answered, and the event loop goes on;
- `!command` gets no terminal, so nothing waits for input for ever;
- SIGINT wakes the event loop, so that `await` can be interrupted (ipykernel#881); it never hits
  ipykernel's own code, which would lose its reply;
- the event loops begin again when user code stopped them, and a forked child never serves requests;
- cells of the same source are compiled under the same name, and scripts find what they expect;
- what ipykernel adds to `sys.path` and to the environment does not reach child processes;
- a note names what a cell imports from the overlay, as the environment does not have it;
- replies tell which names are new, changed or gone, a new working directory, and the next step
  after a mistake; `variables` describes what there is.
"""

import asyncio
import logging
import os
import signal
import sys
import threading
import warnings

import jupyter_client.localinterfaces
from ipykernel.iostream import IOPubThread
from ipykernel.ipkernel import IPythonKernel
from ipykernel.kernelapp import IPKernelApp
from IPython.core.error import StdinNotImplementedError
from tornado import ioloop
from traitlets.config import Config

from . import (
    budgets,
    defence,
    displays,
    errors,
    figures,
    forms,
    hints,
    mending,
    names,
    overlay,
    owners,
    packing,
    questions,
    sources,
    walls,
)
from . import shell as shells
from .defence import attempt
from .outlet import outlet

try:
    from ipykernel.thread import BaseThread as ServingThread
except ImportError:  # before ipykernel 7
    from ipykernel.control import ControlThread as ServingThread

_NO_INPUT = "nobody can answer a prompt here: pass the value in the code instead of asking for it"
_LOOP_FAILURES = 100
"""How often the event loop may fail between two requests; an unusable one fails at once again."""


def make_app(config):
    """The kernel application, initialised and ready to start."""
    budgets.settings.update(config, spill_dir=config["run_dir"])  # until a request names one
    walls.settings.update(config.get("sandbox", {}))
    interfaces = jupyter_client.localinterfaces
    if hasattr(interfaces, "_load_ips_dumb"):
        # the scan of network interfaces serves TCP only
        interfaces._load_ips_psutil = interfaces._load_ips_dumb
    ipython_dir = os.path.join(config["run_dir"], "ipython")
    os.makedirs(ipython_dir, exist_ok=True)
    options = Config()
    options.IPKernelApp.connection_file = config["connection_file"]
    options.IPKernelApp.outstream_class = __package__ + ".streams.KernelStream"
    options.IPKernelApp.exec_PYTHONSTARTUP = False
    options.IPKernelApp.ipython_dir = ipython_dir
    options.HistoryManager.enabled = False
    app = KernelApp.instance(config=options, kernel_class=Kernel)
    app.initialize([])
    if app.kernel is None or app.shell is None:
        raise SystemExit("the kernel application did not initialise")
    _set_up(app, config)
    return app


def keep_to_ourselves(path, variables):
    """Make `sys.path`, the environment and warnings what they were before the start.

    Child processes get them. What the start added stays importable in this process.
    """
    warnings.filters[:] = [
        each for each in warnings.filters if not each[2].__module__.startswith("IPython.")
    ]
    added = [entry for entry in sys.path if entry not in ("", *path)]
    sys.path[:] = [entry for entry in sys.path if entry not in added]
    sys.meta_path.append(overlay.Behind(added))
    if not variables.get("MPLBACKEND"):
        sys.meta_path.insert(0, figures.InlineBackend(os.environ.get("MPLBACKEND")))
    for name in [*os.environ]:
        if name not in variables:
            del os.environ[name]
    os.environ.update(variables)


def _set_up(app, config):
    app.log.setLevel(logging.WARNING)  # nobody reads what each message makes it write
    app.kernel._execute_sleep = 0.0
    app.kernel.session.pack = packing.pack
    shown = displays.Widgets(app.shell)
    displays.Displays(
        app.kernel.session,
        shown.note_change,
        lambda: app.shell.ast_node_interactivity == "last_expr",
    )
    owners.follow(app.shell)
    errors.show_groups(app.shell)
    shells.plain_terminal(app.shell)
    shells.without_repetitions(app.shell)
    shells.without_copies(app.shell)
    shells.without_terminal(app.shell, app.kernel.hints.commands.ended)
    shells.without_reader(app.shell, app.kernel.say)
    shells.events_that_fail(app.shell, app.kernel.say)
    for stream in (sys.__stdout__, sys.__stderr__):
        stream.reconfigure(line_buffering=True)
    defence.dump_faults(config["run_dir"])
    warnings.filterwarnings("ignore", "To exit: use")  # IPython's advice for a terminal
    forms.format_values(app.shell)
    errors.show_errors(app.shell, app.kernel.cell_files)
    ioloop.IOLoop.current().add_callback(_wake_on_signal)


class KernelApp(IPKernelApp):
    """The kernel application: never drops a message because its reader is slow, ends on request."""

    def parse_command_line(self, argv=None):
        """Nothing comes from there, and a parser of all that could costs a fifth of a start."""

    def init_control(self, context):
        """Make the control socket, but no thread between the shell socket and the main thread."""
        super().init_control(context)
        if hasattr(self, "shell_channel_thread"):  # since ipykernel 7
            self.shell_channel_thread.io_loop.close()
            self.shell_channel_thread = _NoThread()

    def init_iopub(self, context):
        """Make the iopub socket without a high-water mark, and the first thread that serves."""
        context.sndhwm = 0
        for kind in (IOPubThread, ServingThread):
            defence.make_lasting(kind, self.mend_python)
        IOPubThread._setup_xpub_listener = _nothing  # whose greetings nobody needs: the socket is
        super().init_iopub(context)  # for one sender at a time, and the lock is `outlet`'s

    def mend_python(self):
        """Mend what the threads that serve need; streams and shell are for the cell to keep."""
        self.kernel.mending.mend_python()

    def start(self):
        """Serve until the end is asked for, whatever user code does to the event loop."""
        serve = super().start
        while True:
            try:
                serve()
            except BaseException as error:
                if self.shell.exit_now or not self.kernel.may_go_on(error):
                    raise
            if self.shell.exit_now:
                return
            serve = self.io_loop.start


class _NoThread:
    """Stands for the thread that hands requests on to subshells, and costs each cell four hops.

    Questions that are asked while a cell runs go to the control channel, which has a thread.
    """

    def __init__(self):
        self.parent_thread = threading.current_thread()

    def __bool__(self):
        return False


class Kernel(IPythonKernel):
    """The kernel: mends itself, compiles cells under their scripts' names, reports names."""

    _supports_kernel_subshells = False

    def __init__(self, **kwargs):
        """Remember what the namespace looks like."""
        super().__init__(**kwargs)
        self.mending = mending.Mending(self)
        self._reserve = errors.Reserve()
        self._names = names.Names()
        self._overlay = overlay.OverlayImports(budgets.settings["overlay"])
        self._context = shells.Context()
        self.hints = hints.Hints()
        self._in_user_code = 0
        self._interrupt_came = False
        self._loop_failures = 0
        self._pid = os.getpid()
        self.cell_files = sources.CellFiles(self.shell)
        self._guard_user_code(self.shell)
        errors.give_back_before(self.shell, self._reserve.release, self.mending.mend_python)
        self.control_handlers["question_request"] = self._answer_question

    @property
    def request(self):
        """The request that is served."""
        return self.get_parent("shell") if hasattr(self, "get_parent") else self._parent_header

    def say(self, *notes):
        """Write notes to stderr."""
        self.mending.say(notes)

    def may_go_on(self, error):
        """True when the event loop, which `error` left, may begin again."""
        self.mending.mend()
        self._loop_failures += 1
        if self._loop_failures > _LOOP_FAILURES:
            return False
        name, message = type(error).__name__[:100], attempt(str, error, otherwise="")[:500]
        self.say("a task raised %s(%s): the kernel continues" % (name, message))
        return True

    def pre_handler_hook(self):
        """A request begins: from here on an interrupt is for it."""
        self._interrupt_came = False
        signal.signal(signal.SIGINT, self._on_interrupt)

    def post_handler_hook(self):
        """A request is over; `_on_interrupt` stays, and only takes note."""

    def _on_interrupt(self, signum, frame):
        """Interrupt user code, and nothing but user code: ipykernel's own would lose its reply."""
        if self._in_user_code:
            raise KeyboardInterrupt
        self._interrupt_came = True
        while frame is not None:
            if frame.f_globals is self.shell.user_ns:
                # a task that blocks the loop; KeyboardInterrupt would end the loop itself
                raise asyncio.CancelledError
            frame = frame.f_back

    def _guard_user_code(self, shell):
        run_code = shell.run_code

        async def run_user_code(*args, **kwargs):
            self._in_user_code += 1
            try:
                if self._interrupt_came:  # after the request had come, before its code ran
                    self._interrupt_came = False
                    raise KeyboardInterrupt
                with self._context.carried_on():
                    return await run_code(*args, **kwargs)
            finally:
                self._in_user_code -= 1
                self.mending.mend_builtins()

        shell.run_code = run_user_code

    async def dispatch_shell(self, *args, **kwargs):
        """Serve a request; what is sent for it while no code of the user's runs is sent at once."""
        outlet.sender.is_direct = True
        try:
            await super().dispatch_shell(*args, **kwargs)
        finally:
            outlet.sender.is_direct = False

    async def execute_request(self, stream, ident, parent):
        """Serve a request; whatever happens, it is answered, or it would be waited for for ever."""
        try:
            await super().execute_request(stream, ident, parent)
        except GeneratorExit:
            raise
        except BaseException as error:  # of two replies the first counts
            self._reserve.release()
            try:
                self.mending.mend()
                reply = errors.reply_for(error, self.shell.execution_count)
                self.session.send(stream, "execute_reply", reply, parent, ident=ident)
            except BaseException as reason:
                defence.give_up(reason)

    async def do_execute(self, code, silent, *args, **kwargs):
        """Run a cell."""
        self._loop_failures = 0
        ours = (self.request or {}).get("metadata", {}).get("kernel_exec", {})
        budgets.settings["spill_dir"] = ours.get("spill_dir", budgets.settings["spill_dir"])
        self._reserve.take()
        self.mending.mend()
        attempt(defence.dump_on_request)
        is_script = ours.get("arguments") is not None
        self.cell_files.begin(ours.get("name"), ours.get("file"), is_script)
        if not silent:
            notes = attempt(self._overlay.warnings, code, self.shell.transform_cell, otherwise=())
            attempt(self.say, *notes)
            attempt(self.hints.begin, code, self.shell.transform_cell)
            attempt(self._names.begin, self.shell, code)
        outlet.sender.is_direct = False
        try:
            with sources.as_script(self.shell, ours):
                return await super().do_execute(code, silent, *args, **kwargs)
        except GeneratorExit:
            raise
        except BaseException as error:  # in IPython's own code, such as a recursion in its compiler
            self._reserve.release()
            return errors.reply_for(error, self.shell.execution_count)
        finally:
            if os.getpid() != self._pid:
                _end_child()
            self.mending.mend()
            outlet.sender.is_direct = True
            if not silent:
                attempt(_finish_streams)

    def finish_metadata(self, parent, metadata, reply_content):
        """Add to a reply which names are new, changed or gone, and what else the cell did."""
        content = parent.get("content", {})
        if not content.get("silent"):
            metadata["kernel_exec"] = {
                **attempt(self._names.changes, self.shell, content.get("code", ""), otherwise={}),
                "working_directory": attempt(self.mending.folder.moved_to, otherwise=""),
                "interrupted": attempt(errors.was_interrupted, self.shell, otherwise=False),
                "help": attempt(self.hints.finish, self.shell, otherwise=""),
                "exits": attempt(bool, self.shell.exit_now, otherwise=False),
            }
        return super().finish_metadata(parent, metadata, reply_content)

    def _answer_question(self, stream, ident, parent):
        """Answer the server, in the thread of the control channel."""
        asked = parent["content"]
        try:
            answer = questions.answer(self.shell, asked["question"], asked["arguments"])
            reply = {"status": "ok", "answer": answer}
        except Exception as error:
            reply = {"status": "error", "ename": type(error).__name__, "evalue": str(error)}
        self.session.send(stream, "question_reply", reply, parent, ident=ident)

    def raw_input(self, prompt=""):
        """Refuse `input()` at once."""
        raise StdinNotImplementedError("input(%r): %s" % (str(prompt), _NO_INPUT))

    def getpass(self, prompt="", stream=None):
        """Refuse `getpass()` at once."""
        raise StdinNotImplementedError("getpass(%r): %s" % (str(prompt), _NO_INPUT))


def _nothing(*args):
    """Stands for what is not to be done."""


def _finish_streams():
    sys.stdout.finish_cell()
    sys.stderr.finish_cell()


def _end_child():
    """End a forked child whose cell is over: it must not serve the kernel's requests."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(0)


def _wake_on_signal():
    """A signal that arrives while the loop waits is handled at once, not at the next event."""
    loop = asyncio.get_event_loop()
    waker = getattr(loop, "_csock", None)
    if waker is not None and threading.current_thread() is threading.main_thread():
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
