"""The guardian of a kernel: its parent, which reports its end and leaves nothing behind.

    python main.py guardian CONFIGURATION.json DESCRIPTOR

Standard library only, Python 3.8 syntax. The process forks at once, and its child goes on in
`launch`: what is imported before costs memory once more for each kernel, so that is next to
nothing. The guardian reports the kernel's end on a socket, signals it on request, and ends every
descendant (also those that changed their session or lost their parent) when the kernel or the
server is gone. Commands of the server are single bytes, reports are lines:

    i interrupt    u dump the stack    t terminate    k kill everything
    kernel PID     exit CODE           signal NUMBER    continued PID

A kernel that a signal has stopped, as SIGSTOP does, goes on after a short while: nobody sits at a
terminal who would continue it.

Only a parent hears how a process ended, and only a subreaper inherits what lost its parent: while
the server lives, nobody else could end what a dead kernel has started. When the server is gone,
the `warden` would find all of it too, but a second later; where a kernel runs on another machine
there is no warden at all.
"""

import _signal as signal  # that of the library makes an enumeration, which takes a megabyte
import ctypes
import os
import select
import sys
import time

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_TGKILL = {"x86_64": 234, "aarch64": 131}
_STOPPED_LIMIT = 2.0
"""Seconds that a kernel may be stopped."""


def main():
    """Fork, and go on as a kernel in the child."""
    fd = int(sys.argv.pop())
    if hasattr(os, "fork"):
        fork(fd)
    from . import launch

    launch.main()


def fork(fd):
    """Stay as the guardian, which speaks on `fd`; return in the child only, the kernel to be."""
    libc = _libc()
    if libc is not None:
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    guardian = os.getpid()
    pid = os.fork()
    if pid == 0:
        _report(fd, "kernel %d" % os.getpid())  # said by itself: the server learns who it is
        os.close(fd)
        os.setsid()
        if libc is not None:
            libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != guardian:
            os._exit(1)
        return
    try:
        try:
            _watch(fd, pid, libc)
        finally:
            _sweep()
        os._exit(0)
    except BaseException:  # the server finds it in the kernel's stderr
        sys.excepthook(*sys.exc_info())
        sys.stderr.flush()
    finally:
        os._exit(1)


def _libc():
    if not sys.platform.startswith("linux"):
        return None
    try:
        return ctypes.CDLL(None, use_errno=True)
    except OSError:
        return None


def _watch(fd, kernel, libc):
    """Serve commands until the kernel has ended or the server is gone."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # a server may have been started without
    waker, wakeup = os.pipe()
    os.set_blocking(wakeup, False)
    signal.set_wakeup_fd(wakeup)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(ignored, signal.SIG_IGN)
    stopped_until = None
    while True:
        status = _reap(kernel)
        if status is not None and os.WIFSTOPPED(status):
            stopped_until = time.monotonic() + _STOPPED_LIMIT
        elif status is not None:
            _report_end(fd, status)
            return
        left = None if stopped_until is None else max(0.0, stopped_until - time.monotonic())
        ready = _readable((fd, waker), left)
        if waker in ready:
            os.read(waker, 4096)
        if fd in ready and not _obey(fd, kernel, libc):
            _signal(kernel, signal.SIGKILL)
            os.close(fd)
            return
        # a stopped kernel hears no command before it goes on
        if stopped_until is not None and (fd in ready or time.monotonic() >= stopped_until):
            stopped_until = None
            if _is_stopped(kernel):  # not if somebody else has continued it, or a debugger holds it
                _signal(kernel, signal.SIGCONT)
                _report(fd, "continued %d" % kernel)


def _report_end(fd, status):
    if os.WIFSIGNALED(status):
        _report(fd, "signal %d" % os.WTERMSIG(status))
    else:
        _report(fd, "exit %d" % os.WEXITSTATUS(status))


def _readable(fds, patience):
    """Those of `fds` that can be read, after `patience` seconds at most; None has no limit."""
    poll = select.poll()  # unlike select, it takes descriptors of any number
    for fd in fds:
        poll.register(fd, select.POLLIN)
    return [fd for fd, _ in poll.poll(None if patience is None else int(patience * 1000) + 1)]


def _reap(kernel):
    """Wait for whoever has ended or stopped; the kernel's status once it is among them."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
        except ChildProcessError:
            return None
        if pid == 0:
            return None
        if pid == kernel:
            return status


def _is_stopped(pid):
    """True when a signal holds the process, and no debugger does."""
    try:
        with open("/proc/%d/status" % pid, "rb") as file:
            status = dict(line.split(b":", 1) for line in file.read().splitlines() if b":" in line)
    except OSError:
        return True  # no /proc: the system has just said so
    return status[b"State"].split()[0] == b"T" and int(status.get(b"TracerPid", 0)) == 0


def _obey(fd, kernel, libc):
    """Carry out what the server asks; False when it is gone or wants all to end."""
    try:
        commands = os.read(fd, 64)
    except OSError:
        return False
    for command in commands.decode("ascii", "replace"):
        if command == "i":
            _interrupt(kernel, libc)
        elif command == "u":
            _signal_main_thread(kernel, signal.SIGURG, libc)
        elif command == "t":
            _signal(kernel, signal.SIGTERM)
        elif command == "k":
            _signal(kernel, signal.SIGKILL)
    return bool(commands)


def _interrupt(kernel, libc):
    """SIGINT for the kernel's main thread, so that no other thread takes it, and all below."""
    _signal_main_thread(kernel, signal.SIGINT, libc)
    below = _descendants(kernel)
    if below is None:
        try:
            os.killpg(kernel, signal.SIGINT)
        except OSError:
            pass
    for pid in below or ():
        _signal(pid, signal.SIGINT)


def _signal_main_thread(pid, signum, libc):
    number = _TGKILL.get(os.uname().machine)
    if libc is None or number is None or libc.syscall(number, pid, pid, int(signum)) != 0:
        _signal(pid, signum)


def _signal(pid, signum):
    try:
        os.kill(pid, signum)
    except OSError:
        pass


def _sweep():
    """End every descendant; stopping them first keeps a fork bomb from outrunning us."""
    while True:
        below = _descendants(os.getpid())
        for signum in (signal.SIGSTOP, signal.SIGKILL):
            for pid in below or ():
                _signal(pid, signum)
        try:
            os.waitpid(-1, 0 if below else os.WNOHANG)
        except ChildProcessError:
            return
        if below is None:
            return


def _descendants(root):
    """The process ids below `root`, or None where /proc does not tell."""
    parents = {}
    try:
        names = os.listdir("/proc")
    except OSError:
        return None
    for name in names:
        if name.isdigit():
            try:
                with open("/proc/%s/stat" % name, "rb") as file:
                    # the command's name may hold anything, even ")"
                    fields = file.read().rpartition(b")")[2].split()
            except OSError:
                continue
            if fields[0] != b"Z":
                parents.setdefault(int(fields[1]), []).append(int(name))
    found = []
    ahead = [root]
    while ahead:
        below = parents.get(ahead.pop(), [])
        found += below
        ahead += below
    return found


def _report(fd, line):
    try:
        os.write(fd, line.encode("ascii") + b"\n")
    except OSError:
        pass
