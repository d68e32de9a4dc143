"""What kernel-exec changes inside a kernel; imported by `_launch.py` in the kernel's process.

Python 3.8 syntax; beside the standard library only what every kernel support brings (ipykernel
6 to 7, IPython 7 to 9). Each change cures something that was measured:

- streams that skip empty flushes, drain the captured file descriptors before a cell ends,
  decode UTF-8 across chunk edges, and send what exceeds a budget to a file;
- `sys.stdout`, `print` and the working directory are put back when user code took them away;
- messages that hold lone surrogates are sent escaped instead of lost;
- `!command` gets no terminal, so nothing waits for input for ever;
- SIGINT wakes the event loop, so that `await` can be interrupted (ipykernel#881); it never hits
  ipykernel's own code, which would lose its reply;
- the event loop begins again when user code stopped it, and a forked child never serves requests;
- cells are compiled under the name of their stored script, and scripts find what they expect;
- what a cell imports from the overlay is told, as the environment does not have it;
- replies tell which names are new, changed or gone, and a new working directory; `variables`
  describes what there is.
"""

import asyncio
import faulthandler
import fnmatch
import importlib
import json
import os
import signal
import site
import subprocess
import sys
import sysconfig
import threading
import warnings

import _kernel_exec_descriptions as descriptions
import _kernel_exec_displays as displays
import _kernel_exec_mending as mending
import _kernel_exec_overlay as overlay
import _kernel_exec_owners as owners
import _kernel_exec_script as script
import _kernel_exec_streams as streams
import _kernel_exec_widgets as widgets
import jupyter_client.localinterfaces
from ipykernel.ipkernel import IPythonKernel
from ipykernel.kernelapp import IPKernelApp
from IPython.core.error import StdinNotImplementedError
from IPython.utils.text import LSString, SList
from tornado import ioloop
from traitlets.config import Config

_NO_INPUT = "nobody can answer a prompt here: pass the value in the code instead of asking for it"
_settings = {}


def make_app(config):
    """The kernel application, initialised and ready to start."""
    _settings.update(config)
    streams.settings.update(config)
    interfaces = jupyter_client.localinterfaces
    if hasattr(interfaces, "_load_ips_dumb"):
        # the scan of network interfaces serves TCP only
        interfaces._load_ips_psutil = interfaces._load_ips_dumb
    ipython_dir = os.path.join(config["run_dir"], "ipython")
    os.makedirs(ipython_dir, exist_ok=True)
    options = Config()
    options.IPKernelApp.connection_file = config["connection_file"]
    options.IPKernelApp.outstream_class = "_kernel_exec_streams.KernelStream"
    options.IPKernelApp.exec_PYTHONSTARTUP = False
    options.IPKernelApp.ipython_dir = ipython_dir
    options.HistoryManager.enabled = False
    app = KernelApp.instance(config=options, kernel_class=Kernel)
    app.initialize([])
    if app.kernel is None or app.shell is None:
        raise SystemExit("the kernel application did not initialise")
    _set_up(app)
    return app


def _set_up(app):
    app.kernel._execute_sleep = 0.0
    _send_surrogates_escaped(app.kernel.session)
    shown = widgets.Widgets(app.shell)
    displays.Displays(app.kernel.session, shown.note_change)
    owners.follow(app.shell)
    _plain_terminal(app.shell)
    _shell_without_terminal(app.shell)
    _name_cells(app.shell)
    _dump_faults(_settings["run_dir"])
    warnings.filterwarnings("ignore", "To exit: use")  # IPython's advice for a terminal
    descriptions.format_frames(app.shell)
    descriptions.name_nameless_errors(app.shell)
    ioloop.IOLoop.current().add_callback(_wake_on_signal)


class KernelApp(IPKernelApp):
    """The kernel application: never drops a message because its reader is slow, ends on request."""

    def init_iopub(self, context):
        """Make the iopub socket without a high-water mark."""
        context.sndhwm = 0
        super().init_iopub(context)

    def start(self):
        """Serve until the end is asked for, whatever user code does to the event loop."""
        serve = super().start
        while True:
            try:
                serve()
            except SystemExit as error:
                if self.shell.exit_now:
                    raise
                self.kernel.say("a task raised SystemExit(%s): the kernel goes on" % error)
            if self.shell.exit_now:
                return
            serve = self.io_loop.start


class Kernel(IPythonKernel):
    """The kernel: mends itself, compiles cells under their scripts' names, reports names."""

    def __init__(self, **kwargs):
        """Remember what the namespace looks like."""
        super().__init__(**kwargs)
        self._mending = mending.Mending(self)
        self._names = {}
        self._overlay = overlay.OverlayImports(_settings["overlay"])
        self._in_user_code = 0
        self._interrupt_came = False
        self._pid = os.getpid()
        self._guard_user_code(self.shell)

    @property
    def request(self):
        """The request that is served."""
        return self.get_parent("shell") if hasattr(self, "get_parent") else self._parent_header

    def say(self, *notes):
        """Write notes to stderr."""
        self._mending.say(notes)

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
                return await run_code(*args, **kwargs)
            finally:
                self._in_user_code -= 1

        shell.run_code = run_user_code

    async def do_execute(self, *args, **kwargs):
        """Run a cell."""
        ours = (self.request or {}).get("metadata", {}).get("kernel_exec", {})
        self.shell.compile.cell_file = ours.get("file")
        self._mending.mend()
        self.say(*self._overlay_warnings(*args, **kwargs))
        try:
            with script.as_script(self.shell, ours):
                return await super().do_execute(*args, **kwargs)
        except Exception as error:  # in IPython's own code, such as a recursion in its compiler
            return self._error_reply(error)
        finally:
            if os.getpid() != self._pid:
                _end_child()
            self._mending.mend()

    def _error_reply(self, error):
        """What a cell that could not even be run is answered with; else nobody would answer."""
        name, message = type(error).__name__, str(error)
        return {
            "status": "error",
            "execution_count": self.shell.execution_count,
            "ename": name,
            "evalue": message,
            "traceback": ["%s: %s" % (name, message)],
            "payload": [],
            "user_expressions": {},
        }

    def finish_metadata(self, parent, metadata, reply_content):
        """Add to a reply which names are new, changed or gone, and a new working directory."""
        if not parent.get("content", {}).get("silent"):
            moved_to = self._mending.moved_to()
            metadata["kernel_exec"] = {**self._name_changes(), "working_directory": moved_to}
        return super().finish_metadata(parent, metadata, reply_content)

    def raw_input(self, prompt=""):
        """Refuse `input()` at once."""
        raise StdinNotImplementedError("input(%r): %s" % (str(prompt), _NO_INPUT))

    def getpass(self, prompt="", stream=None):
        """Refuse `getpass()` at once."""
        raise StdinNotImplementedError("getpass(%r): %s" % (str(prompt), _NO_INPUT))

    def _name_changes(self):
        before = self._names
        now = {
            name: value
            for name, value in self.shell.user_ns.copy().items()
            if name[:1] != "_" and name not in self.shell.user_ns_hidden
        }
        self._names = {name: _trace(value) for name, value in now.items()}
        changed = [name for name in now if self._names[name] != before.get(name)]
        return {
            "names": {name: descriptions.describe_briefly(now[name]) for name in changed},
            "gone": [name for name in before if name not in now],
        }

    def _overlay_warnings(self, code, silent, *args, **kwargs):
        """What to say of a cell's imports; nothing of what we ask ourselves."""
        return [] if silent else self._overlay.warnings(code, self.shell.transform_cell)


def _trace(value):
    """What tells an object from another one, without keeping it alive if it is large.

    The address alone does not: the next number or short text may well get that of the last one.
    """
    kind = type(value)
    small = kind in (float, bool) or (kind is int and value.bit_length() < 256)
    small = small or (kind is str and len(value) < 100)
    return id(value), kind.__name__, value if small else None


def _end_child():
    """End a forked child whose cell is over: it must not serve the kernel's requests."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _send_surrogates_escaped(session):
    """A lone surrogate has no UTF-8 form; escaped, the message at least arrives."""
    pack = session.pack

    def pack_any(content):
        try:
            return pack(content)
        except (UnicodeEncodeError, TypeError, ValueError):
            return json.dumps(content, default=str).encode("ascii")

    session.pack = pack_any


def _plain_terminal(shell):
    """Text without colours: a model reads it."""
    for name in ("FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE"):
        os.environ.pop(name, None)
    os.environ.update(TERM="dumb", NO_COLOR="1")
    try:
        shell.colors = "nocolor"
    except Exception:
        shell.colors = "NoColor"  # before IPython 9


def _shell_without_terminal(shell):
    """`!command` without a terminal: its output goes where C code's goes, its input is empty."""

    def system(cmd):
        __tracebackhide__ = True
        code = subprocess.call(
            shell.var_expand(cmd, depth=1),
            shell=True,
            executable=_shell_program(),
            stdin=subprocess.DEVNULL,
        )
        shell.user_ns["_exit_code"] = code

    def getoutput(cmd, split=True, depth=0):
        __tracebackhide__ = True
        done = subprocess.run(
            shell.var_expand(cmd, depth=depth + 1),
            shell=True,
            executable=_shell_program(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        output = done.stdout.decode("utf-8", "replace").replace("\r\n", "\n")
        shell.user_ns["_exit_code"] = done.returncode
        return SList(output.splitlines()) if split else LSString(output)

    if os.name == "posix":
        shell.system = system
        shell.getoutput = getoutput


def _shell_program():
    return "/bin/bash" if os.path.exists("/bin/bash") else "/bin/sh"


def _name_cells(shell):
    """Compile a cell under the path of its script, and show that path in tracebacks."""
    compiler = shell.compile
    compiler.cell_file = None
    get_code_name = compiler.get_code_name
    format_code_name = getattr(compiler, "format_code_name", None)
    scripts = set()

    def name_cell(*args):
        if compiler.cell_file is None:
            return get_code_name(*args)
        scripts.add(compiler.cell_file)
        return compiler.cell_file

    def format_name(name):
        return None if name in scripts or format_code_name is None else format_code_name(name)

    compiler.get_code_name = name_cell
    compiler.format_code_name = format_name


def _dump_faults(run_dir):
    """Python's stack at a crash goes to `fault`, at SIGUSR1 to `stack`; fd 2 is captured."""
    crash = open(os.path.join(run_dir, "fault"), "w", encoding="utf-8")
    faulthandler.enable(file=crash, all_threads=False)
    if hasattr(faulthandler, "register") and hasattr(signal, "SIGUSR1"):
        stack = open(os.path.join(run_dir, "stack"), "w", encoding="utf-8")
        faulthandler.register(signal.SIGUSR1, file=stack, all_threads=False)


def _wake_on_signal():
    """A signal that arrives while the loop waits is handled at once, not at the next event."""
    loop = asyncio.get_event_loop()
    waker = getattr(loop, "_csock", None)
    if waker is not None and threading.current_thread() is threading.main_thread():
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)


class _Text:
    """A value whose representation is a given text, so that it travels as it is."""

    def __init__(self, text):
        self._text = text

    def __repr__(self):
        return self._text


def variables(pattern="*", most=500):
    """The user's variables whose name matches, as JSON; imports nothing, changes nothing."""
    shell = KernelApp.instance().shell
    found = []
    total = 0
    for name, value in sorted(shell.user_ns.copy().items()):
        if name[:1] == "_" or name in shell.user_ns_hidden or not fnmatch.fnmatch(name, pattern):
            continue
        total += 1
        if len(found) < most:
            found.append(descriptions.describe_variable(name, value))
    return _Text(json.dumps({"variables": found, "total": total}))


def refresh(modules):
    """Make what was just installed importable; which of `modules` were imported before, as JSON."""
    importlib.invalidate_caches()
    for folder in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        site.addsitedir(folder)  # reads new .pth files
    return _Text(json.dumps(sorted(name for name in modules if name in sys.modules)))
