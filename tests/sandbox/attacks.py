"""What code behind walls tries: each snippet binds `got` to what it should not have got."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """A name, and code that runs in a kernel; `isolated` when `workspace` does not promise it.

    The code finds `home`, `outside` (a folder of the user), `secret` (what each planted secret
    holds), `environment`, `storage`, `server` (a process), `other` and
    `abstract` (Unix sockets that somebody listens on) and `port` (the same over TCP).
    """

    name: str
    code: str
    isolated: bool = False


def _read(path: str) -> str:
    return f"got = secret in open({path}, errors='replace').read()"


SECRETS = (
    *(".ssh/id_ed25519", ".gnupg/private-keys-v1.d/key", ".aws/credentials", ".azure/token"),
    *(".config/gcloud/credentials.db", ".config/gh/hosts.yml", ".config/hub", ".kube/config"),
    *(".docker/config.json", ".netrc", ".pypirc", ".npmrc", ".git-credentials"),
    *(".password-store/a.gpg", ".local/share/keyrings/login.keyring"),
    *(".cache/huggingface/token", ".claude/.credentials.json", ".claude.json"),
    *(".codex/auth.json", ".gemini/oauth_creds.json", ".config/chromium/Default/Cookies"),
    *(".config/google-chrome/Default/Login Data", ".config/BraveSoftware/x/Cookies"),
    *(".config/microsoft-edge/Default/Cookies", ".mozilla/firefox/p/logins.json"),
    *(".bash_history", ".zsh_history", ".python_history", ".local/share/fish/fish_history"),
)
"""Files with a secret, below the home folder."""

_READS = (
    *(Attack(name=f"reads ~/{path}", code=_read(f"home + '/{path}'")) for path in SECRETS),
    Attack(name="reads a secret that a variable has moved", code=_read("home + '/moved/auth'")),
    Attack(name="lists a hidden folder", code="got = os.listdir(home + '/.ssh')"),
    Attack(
        name="reads a secret through a link of its own",
        code="os.symlink(home + '/.ssh', 'way'); " + _read("'way/id_ed25519'"),
    ),
    Attack(
        name="reads a secret through a link that was there", code=_read("home + '/dotfiles/link'")
    ),
    Attack(name="reads what a secret leads to", code=_read("home + '/dotfiles/netrc'")),
    Attack(
        name="makes a hard link to a secret",
        code="os.link(home + '/.netrc', 'copy'); " + _read("'copy'"),
    ),
    Attack(
        name="reads a secret through /proc",
        code="import glob\ngot = [p for p in glob.glob('/proc/*/root' + home + '/.netrc')"
        " if secret in open(p).read()]",
    ),
    Attack(
        name="reads a secret through an open descriptor",
        code="got = []\nfor fd in os.listdir('/proc/self/fd'):\n"
        "    try:\n"
        "        root = os.open(home[1:] + '/.netrc', os.O_RDONLY, dir_fd=int(fd))\n"
        "        got.append(os.read(root, 99))\n"
        "    except OSError: pass",
    ),
    Attack(
        name="reads the variables of the server",
        code="got = b'SERVER_SECRET' in open(f'/proc/{server}/environ', 'rb').read()",
    ),
    Attack(
        name="finds a variable of the server in any process",
        code="import glob\ngot = [p for p in glob.glob('/proc/*/environ')"
        " if b'SERVER_SECRET' in open(p, 'rb').read()]",
    ),
    Attack(name="reads our history", code="got = open(storage + '/.kernel_exec/history.db', 'rb')"),
    Attack(
        name="lists our folder",
        code="got = set(os.listdir(storage + '/.kernel_exec')) - {'spill', 'environment'}",
    ),
    Attack(
        name="reads what another session left",
        code="got = open(storage + '/.kernel_exec/spill/x/y')",
    ),
    Attack(
        name="uses a new mount to see a secret",
        code="import subprocess\nsubprocess.run(['umount', home], capture_output=True)\n"
        "subprocess.run(['mount', '-o', 'remount,rw', '/'], capture_output=True)\n"
        + _read("home + '/.netrc'"),
    ),
    Attack(name="sees a file of the user", code=_read("outside + '/data.txt'"), isolated=True),
    Attack(
        name="lists the home folder", code="got = 'notes.txt' in os.listdir(home)", isolated=True
    ),
)

_WRITES = tuple(
    Attack(name=name, code=code + "; got = True")
    for name, code in (
        ("writes into the user's folder", "open(outside + '/new', 'w')"),
        ("writes into the home folder", "open(home + '/new', 'w')"),
        ("appends to a shell's startup", "open(home + '/.bashrc', 'a')"),
        ("truncates", "os.truncate(outside + '/data.txt', 0)"),
        ("renames", "os.rename(outside + '/data.txt', outside + '/moved')"),
        ("removes", "os.unlink(outside + '/data.txt')"),
        ("changes a mode", "os.chmod(outside + '/data.txt', 0o777)"),
        ("changes times", "os.utime(outside + '/data.txt')"),
        ("links into the user's folder", "os.link(__file__, outside + '/linked')"),
        ("makes a folder", "os.mkdir(outside + '/folder')"),
        (
            "makes a device",
            "import stat; os.mknod('device', 0o600 | stat.S_IFBLK, os.makedev(8, 0))",
        ),
        ("writes into the environment", "open(environment + '/planted', 'w')"),
        (
            "plants a sitecustomize",
            "import sysconfig; open(sysconfig.get_path('purelib') + '/sitecustomize.py', 'w')",
        ),
        ("moves the environment away", "os.rename(environment, environment + '.old')"),
        ("moves the folder of the environment", "os.rename('deps', 'deps.old')"),
        ("writes into another environment", "open('deps/other/bin/python', 'w')"),
        ("removes another environment", "import shutil; shutil.rmtree('deps/other')"),
        ("writes into our folder", "open(storage + '/.kernel_exec/x', 'w')"),
        ("writes into the server's code", "import kernel_exec; open(kernel_exec.__file__, 'a')"),
        ("preloads a library everywhere", "open('/etc/ld.so.preload', 'w')"),
        ("writes to /etc", "open('/etc/cron.d/x', 'w')"),
        ("writes to a kernel setting", "open('/proc/sys/kernel/core_pattern', 'r+')"),
        (
            "writes to /sys",
            "open('/sys/kernel/mm/transparent_hugepage/enabled', 'r+')",
        ),
        (
            "opens what the machine's root may write in /proc",
            "import subprocess; found = subprocess.run(['find', '/proc/sys', '/proc/irq',"
            " '/proc/bus', '/proc/fs', '/proc/sysrq-trigger', '-type', 'f', '-writable'],"
            " capture_output=True, text=True).stdout.split(); open(found[0], 'r+')",
        ),
        ("makes a control group", "os.mkdir('/sys/fs/cgroup/mine')"),
    )
)

_LEAVES = (
    Attack(
        name="leaves a file in the machine's /tmp",
        code="open('/tmp/left', 'w').write('x'); got = False",
    ),
    Attack(
        name="leaves a file in the machine's /dev/shm",
        code="open('/dev/shm/left', 'w'); got = False",
    ),
)

_SOCKETS = (
    Attack(
        name="connects to a socket with a path",
        code="import socket\ns = socket.socket(socket.AF_UNIX)\ns.connect(other)\ngot = True",
    ),
    Attack(
        name="connects to an abstract socket",
        code="import socket\ns = socket.socket(socket.AF_UNIX)\ns.connect(abstract)\ngot = True",
    ),
    Attack(
        name="connects to our host",
        code="import glob\ngot = [p for p in glob.glob('/tmp/kx-*/*') + glob.glob('/run/**/kx-*')"
        " if 'host' in p]",
    ),
    Attack(name="opens vsock", code="import socket\ngot = socket.socket(40, socket.SOCK_STREAM)"),
    Attack(
        name="opens a raw socket",
        code="import socket\ngot = socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)",
    ),
    Attack(
        name="opens a packet socket",
        code="import socket\ngot = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
    ),
    Attack(
        name="connects over TCP",
        code="import socket\ngot = socket.create_connection(('127.0.0.1', port), timeout=2)",
        isolated=True,
    ),
    Attack(
        name="sends over UDP",
        code="import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "got = s.sendto(b'x', ('127.0.0.1', port))",
        isolated=True,
    ),
    Attack(
        name="listens on loopback",
        code="import socket\ngot = socket.create_server(('127.0.0.1', 0))",
        isolated=True,
    ),
    Attack(
        name="opens netlink",
        code="import socket\ngot = socket.socket(16, socket.SOCK_RAW)",
        isolated=True,
    ),
    Attack(
        name="resolves a name",
        code="import socket\ngot = socket.getaddrinfo('localhost', 80, type=socket.SOCK_STREAM)"
        " and socket.create_connection(('localhost', port), timeout=2)",
        isolated=True,
    ),
)

_PROCESSES = (
    Attack(name="signals the server", code="os.kill(server, 0); got = True"),
    Attack(
        name="sees other processes",
        code="import glob\ngot = len(glob.glob('/proc/[0-9]*')) > 12",
    ),
    Attack(name="signals every process", code="os.kill(-1, 0); got = False"),
    Attack(
        name="reads the memory of the server",
        code="got = open(f'/proc/{server}/mem', 'rb')",
    ),
    Attack(
        name="traces the server",
        code="import ctypes\ngot = ctypes.CDLL(None).ptrace(16, server, 0, 0) == 0",
    ),
    Attack(
        name="changes a limit of the server",
        code="import resource\ngot = resource.prlimit(server, resource.RLIMIT_NOFILE)",
    ),
    Attack(
        name="changes the priority of the server",
        code="os.setpriority(os.PRIO_PROCESS, server, 19); got = True",
    ),
    Attack(
        name="uses the user's keyring",
        code="import ctypes\nl = ctypes.CDLL(None, use_errno=True)\n"
        "got = l.syscall({'x86_64': 250, 'aarch64': 219}[os.uname().machine], 0, -4, 1) >= 0",
    ),
)


def _call(name: str, x86: int, arm: int, arguments: str) -> Attack:
    return Attack(
        name=name,
        code="import ctypes\nl = ctypes.CDLL(None, use_errno=True)\n"
        f"n = {{'x86_64': {x86}, 'aarch64': {arm}}}[os.uname().machine]\n"
        f"got = l.syscall(n, {arguments}) >= 0 or ctypes.get_errno() not in (1, 38)",
        isolated=True,
    )


_CALLS = (
    _call("makes a user namespace", 272, 97, "0x10000000"),
    _call("clones into a user namespace", 56, 220, "0x10000011, 0, 0, 0, 0"),
    _call("uses clone3", 435, 435, "0, 0"),
    _call("uses bpf", 321, 280, "0, 0, 0"),
    _call("uses io_uring", 425, 425, "1, 0"),
    _call("uses perf", 298, 241, "0, 0, -1, -1, 0"),
    _call("uses userfaultfd", 323, 282, "0"),
    _call("uses ptrace", 101, 117, "0, 0, 0, 0"),
    _call("uses process_vm_readv", 310, 270, "1, 0, 0, 0, 0, 0"),
    Attack(
        name="makes a user namespace with a program",
        code="import subprocess\n"
        "got = subprocess.run(['unshare', '-Ur', 'true'], capture_output=True).returncode == 0",
        isolated=True,
    ),
)

ATTACKS = (*_READS, *_WRITES, *_LEAVES, *_SOCKETS, *_PROCESSES, *_CALLS)
