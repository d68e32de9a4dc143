"""The file tools: whole or not at all, one after the other, and never outside of their folder."""

import os
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from tests.promises.conftest import Agent
from tests.waits import lives, patient
from tests.wire import Result, Server, serving

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(sys.platform == "win32", reason="paths are confined by descriptors"),
]

MODES = ["kernel", "isolated"]


def storage(server: Server) -> Path:
    return server.stderr.parent / "storage"


def stored(server: Server, name: str, content: str | bytes) -> str:
    """The path of a file that somebody has put there."""
    path = storage(server) / name
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def begun(server: Server, content: str = "", stem: str = "job") -> Path:
    """A file as an agent begins it."""
    result = server.call("initialize_code_file", content=content, filename=stem, within=5)
    assert not result.is_error, result.text
    return Path(result.structured["file_path"])


def files(server: Server) -> list[Path]:
    """All below the storage root that is not the server's own."""
    return sorted(path for path in storage(server).rglob("*") if ".kernel_exec" not in path.parts)


def read(server: Server, path: str, **arguments: object) -> Result:
    return server.call("read_code_file", file_path=path, within=10, **arguments)


# One file from its beginning to its run


def test_a_file_is_begun_added_to_read_by_pages_and_run_under_the_path_it_was_given(
    server: Server, agent: Agent
) -> None:
    path = begun(server, "total = 0")
    assert path.is_absolute()
    for at in range(5):
        added = server.call(
            "append_to_code_file", file_path=str(path), content=f"total += {at}", within=5
        )
        assert added.structured["lines"] == at + 2
    text = ""
    for offset in (0, 2, 4):
        page = read(server, str(path), offset=offset, limit=2).structured
        assert page["next_offset"] == (offset + 2 if offset < 4 else None)
        text += page["content"]
    assert text == "total = 0\n" + "\n".join(f"total += {at}" for at in range(5))
    ran = agent.call("execute_code_file", file_path=str(path), within=10)
    assert ran.outcome == "ok"
    assert agent.run("total").text.startswith("10\n")


@pytest.mark.parametrize("mode", MODES)
def test_a_file_runs_as_a_script_with_its_name_path_and_arguments(
    server: Server, agent: Agent, mode: str
) -> None:
    path = stored(
        server, f"as_script_{mode}.py", "import sys\nprint(__name__, __file__, sys.argv[1:])\n"
    )
    ran = agent.call("execute_code_file", file_path=path, mode=mode, args=["a b", "--x"], within=10)
    assert ran.text.startswith(f"__main__ {path} ['a b', '--x']\n")


@pytest.mark.parametrize("mode", MODES)
def test_a_files_traceback_has_its_own_lines(server: Server, agent: Agent, mode: str) -> None:
    path = stored(server, "half.py", "def half(x):\n    return x / 0\n\n\nhalf(1)\n")
    ran = agent.call("execute_code_file", file_path=path, mode=mode, within=10)
    assert not ran.is_error
    assert ran.text.startswith("ZeroDivisionError: division by zero\n")
    assert "half.py, line 2, in half: return x / 0" in ran.text


@pytest.mark.parametrize("mode", MODES)
def test_a_file_is_stopped_at_its_limit_and_on_request(
    server: Server, agent: Agent, mode: str
) -> None:
    path = stored(server, "loop.py", "print('begun', flush=True)\nwhile True:\n    pass\n")
    late = agent.call(
        "execute_code_file", file_path=path, mode=mode, timeout_seconds=0.5, within=10
    )
    assert (late.outcome, "begun\n" in late.text) == ("timeout", True)
    running = agent.call("execute_code_file", file_path=path, mode=mode, wait_seconds=0.2)
    assert running.outcome == "running"
    stopped = agent.call("interrupt_execution", execution_id=running.id, within=10)
    assert stopped.outcome == "interrupted"


@pytest.mark.parametrize("mode", MODES)
def test_all_output_of_a_file_is_kept(server: Server, agent: Agent, mode: str) -> None:
    path = stored(server, "much.py", "for at in range(20_000):\n    print('line', at)\n")
    ran = agent.call("execute_code_file", file_path=path, mode=mode, within=20)
    assert len(ran.text) < 11_000
    found = agent.call("get_execution", execution_id=ran.id, search="^line 12345$", within=10)
    assert "line 12345\n" in found.text


def test_an_isolated_file_is_a_process_of_its_own(server: Server, agent: Agent) -> None:
    agent.run("mine = 1")
    path = stored(server, "alone.py", "import os\nprint('mine' in globals(), os.getpid())\n")
    ran = agent.call("execute_code_file", file_path=path, mode="isolated", within=10)
    seen, pid = ran.text.split()[:2]
    assert seen == "False"
    assert int(pid) != agent.pid()
    assert not psutil.pid_exists(int(pid)) or not lives(psutil.Process(int(pid)))


# Names

NAMES = [
    "../x", "a/../../x", "/etc/passwd", "~/x", "C:\\x", "..\\..\\x", "a//b", "./a", "a\0b", "a\nb",
    "\u202ea.py", "-rf", "\ud800", "", "a/", ".", "..", "/", "//etc/passwd", "a/./b", "a/../b",
    "~root/x", "file:///etc/passwd", "\u200bx", "\ufeffx", "a\x1b[2Jb", "a\u2028b", "x" * 256,
    "é" * 128, "/".join(["a" * 100] * 11), ".kernel_exec/history.db", ".KERNEL_EXEC/history.db",
]  # fmt: skip

STEMS = [name for name in NAMES if name] + [
    "a/b", ".hidden", "a*b", "a?b", "a|b", "a<b", "a>b", 'a"b', "a'b", "a;b", "a&b", "a$b", "a`b",
    "a(b", "a{b", "a%b", "a!b", "a#b", "\x85", "a\u202eb", "a:b", "x ", "x.",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_path_that_is_not_plain_is_refused_by_each_tool(server: Server, name: str) -> None:
    begun(server)
    before = files(server)
    calls = [
        ("read_code_file", {}),
        ("append_to_code_file", {"content": "evil"}),
        ("execute_code_file", {}),
        ("execute_code_file", {"mode": "isolated"}),
    ]
    for tool, others in calls:
        result = server.call(tool, file_path=name, within=5, **others)
        assert result.is_error
        assert "is not allowed" in result.text or "half a surrogate pair" in result.text
        assert len(result.text) < 700
        assert "\x1b" not in result.text
    assert files(server) == before


@pytest.mark.parametrize("stem", STEMS, ids=ascii)
def test_a_file_name_that_is_not_plain_is_refused(server: Server, stem: str) -> None:
    begun(server)
    before = files(server)
    for tool, others in (
        ("initialize_code_file", {"content": "1"}),
        ("execute_code", {"code": ""}),
    ):
        result = server.call(tool, filename=stem, within=5, **others)
        assert result.is_error
        assert result.text.startswith(("filename", "argument 'filename'"))
        assert len(result.text) < 700
    assert files(server) == before


@pytest.mark.parametrize("stem", ["größe", "数据", "a b", "a.b", "x" * 200, "job.py", "e\u0301"])
def test_a_plain_name_in_any_language_is_kept(server: Server, stem: str) -> None:
    path = begun(server, "1", stem)
    assert read(server, path.name).structured["content"] == "1"


@pytest.mark.parametrize("kind", ["link", "link in the middle", "pipe", "folder", "socket"])
def test_only_plain_files_are_opened_and_nothing_is_waited_for(
    server: Server, tmp_path: Path, kind: str
) -> None:
    (tmp_path / "secret").write_text("secret")
    root = begun(server).parent
    name = f"odd-{secrets.token_hex(4)}"
    match kind:
        case "link":
            (root / name).symlink_to(tmp_path / "secret")
        case "link in the middle":
            (root / name).symlink_to(tmp_path)
            name = f"{name}/secret"
        case "pipe":
            os.mkfifo(root / name)
        case "folder":
            (root / name).mkdir()
        case _:
            subprocess.run(
                [sys.executable, "-c", f"import socket; socket.socket(1).bind({name!r})"],
                cwd=root, check=True,
            )  # fmt: skip
    for tool, others in (
        ("read_code_file", {}),
        ("append_to_code_file", {"content": "evil"}),
        ("execute_code_file", {}),
    ):
        result = server.call(tool, file_path=name, within=3, **others)
        assert result.is_error
        assert "which is not opened" in result.text
    assert (tmp_path / "secret").read_text() == "secret"


def test_a_link_that_is_swapped_in_meanwhile_leads_nowhere(server: Server, tmp_path: Path) -> None:
    root = begun(server).parent
    (tmp_path / "a.py").write_text("secret")
    inside, outside = root / "swapped", root / "swapped-link"
    inside.mkdir()
    (inside / "a.py").write_text("harmless")
    outside.symlink_to(tmp_path)
    over = threading.Event()

    def swap() -> None:
        aside = root / "swapped-aside"
        while not over.is_set():
            for one, other in ((inside, outside), (outside, inside)):
                if one is inside:
                    inside.rename(aside)
                    other.rename(inside)
                else:
                    inside.rename(outside)
                    aside.rename(inside)

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        answers = [read(server, "swapped/a.py") for _ in range(200)]
    finally:
        over.set()
        swapper.join()
    assert not any("secret" in answer.text for answer in answers)
    assert any("harmless" in answer.text for answer in answers)


# What a file may hold


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("content", "prints"),
    [
        (b"\xef\xbb\xbfprint('\xc3\xa9')\r\nprint(2)\r\n", "é\n2\n"),
        (b"print(1)\rprint(2)\r", "1\n2\n"),
        (b"if 1:\r\n\tprint('''a\r\nb''')\n", "a\nb\n"),
        (b"# -*- coding: latin-1 -*-\nprint('\xe9')", "é\n"),
        (b"#!/usr/bin/env python\n# vim: set fileencoding=cp1252 :\nprint('\x80')", "€\n"),
    ],
    ids=["mark and CRLF", "CR", "mixed ends and tabs", "latin-1", "cp1252"],
)
def test_a_file_runs_in_the_encoding_it_declares_whatever_its_line_ends(
    server: Server, agent: Agent, content: bytes, prints: str, mode: str
) -> None:
    path = stored(server, "encoded.py", content)
    ran = agent.call("execute_code_file", file_path=path, mode=mode, within=10)
    assert ran.text.startswith(prints)


@pytest.mark.parametrize(
    "content",
    [
        "print('é')".encode("utf-16"),
        "print('é')".encode("latin-1"),
        bytes(range(256)),
        b"# coding: nope\nprint(1)",
        b"# coding: rot13\nprint(1)",
        b"# coding: idna\nprint('\xff')",
        b"# coding: utf-16\nprint(1)",
        b"\xef\xbb\xbf# coding: latin-1\nprint(1)",
        b"a = 1\n" * 1000 + b"\xff",
    ],
    ids=["utf-16", "latin-1", "binary", "unknown", "rot13", "idna", "no utf-16", "both", "late"],
)
def test_a_file_that_is_no_text_is_told_and_left_alone(server: Server, content: bytes) -> None:
    path = stored(server, "odd.py", content)
    for tool, others in (
        ("execute_code_file", {}),
        ("execute_code_file", {"mode": "isolated"}),
        ("append_to_code_file", {"content": "print('ü')"}),
    ):
        result = server.call(tool, file_path=path, within=5, **others)
        assert result.is_error
        assert "save it as UTF-8" in result.text
    assert Path(path).read_bytes() == content
    assert not read(server, path).is_error


@pytest.mark.parametrize(
    ("content", "added", "becomes"),
    [
        (b"a\r\nb\r\n", "c\nd\n", b"a\r\nb\r\nc\nd\n"),
        (b"a\r\nb", "c", b"a\r\nb\r\nc"),
        (b"a\n", "b\r\nc\r\n", b"a\nb\r\nc\r\n"),
        (b"a\rb", "c", b"a\rb\rc"),
        (b"a\rb\r", "c", b"a\rb\rc"),
        (b"a", "b\r\n", b"a\r\nb\r\n"),
        (b"a\n\nb", "\n", b"a\n\nb\n\n"),
        (b"", "\ufeffa\r\n", b"\xef\xbb\xbfa\r\n"),
        (b"'\x0c'", "\u2029", b"'\x0c'\n\xe2\x80\xa9"),
        (b"\xef\xbb\xbfa = 1\n", "\ufeffb = '\xe9'", b"\xef\xbb\xbfa = 1\nb = '\xc3\xa9'"),
        (b"# coding: latin-1\n", "'\xe9'", b"# coding: latin-1\n'\xe9'"),
    ],
    ids=[
        *("CRLF", "CRLF without an end", "LF", "CR without an end", "CR", "none", "empty lines"),
        *("empty", "separators", "mark", "latin-1"),
    ],
)
def test_what_is_appended_is_as_it_was_given_in_the_encoding_of_the_file(
    server: Server, content: bytes, added: str, becomes: bytes
) -> None:
    path = stored(server, "grows.py", content)
    assert not server.call("append_to_code_file", file_path=path, content=added).is_error
    assert Path(path).read_bytes() == becomes


def test_what_an_encoding_does_not_have_is_not_appended(server: Server) -> None:
    path = stored(server, "latin.py", "# coding: latin-1\n")
    result = server.call("append_to_code_file", file_path=path, content="'数据'", within=5)
    assert result.is_error
    assert "is unchanged" in result.text
    assert Path(path).read_bytes() == b"# coding: latin-1\n"


@pytest.mark.parametrize("content", ["a\0b", "a\ud800"], ids=["NUL", "surrogate"])
def test_content_that_is_no_text_is_refused_by_each_tool(server: Server, content: str) -> None:
    path = str(begun(server, "a"))
    calls: list[tuple[str, dict[str, object]]] = [
        ("append_to_code_file", {"file_path": path, "content": content}),
        ("initialize_code_file", {"content": content}),
        ("execute_code", {"code": content}),
    ]
    for tool, arguments in calls:
        result = server.call(tool, within=5, **arguments)
        assert result.is_error
        assert "as an escape" in result.text
    assert Path(path).read_bytes() == b"a"


def test_a_page_of_a_gigabyte_is_read_without_loading_it(server: Server) -> None:
    path = Path(stored(server, "huge.py", b"first\nsecond\n"))
    os.truncate(path, 1 << 30)
    before = server.memory()
    page = read(server, str(path), limit=2)
    assert page.structured["content"] == "first\nsecond\n"
    assert page.structured["total_lines"] == 3
    for tool in ("execute_code_file", "append_to_code_file"):
        content = {"content": "1"} if tool == "append_to_code_file" else {}
        refused = server.call(tool, file_path=str(path), within=5, **content)
        assert refused.is_error
        assert "bytes" in refused.text
    assert server.memory() - before < 40
    path.unlink()


# Whole or not at all


def test_a_server_killed_while_it_writes_leaves_the_old_or_the_new_content(tmp_path: Path) -> None:
    block = "x = '" + "y" * 1_000_000 + "'\n"
    head = "# the head\n" + block * 4
    root = tmp_path / "storage"
    root.mkdir()
    path = root / "big.py"
    path.write_text(head)
    with serving(tmp_path) as server:
        deadline = time.monotonic() + patient(10)
        sent, latest = 0, 0
        while not list(root.glob(".unfinished-*")):  # as soon as one is half way
            assert time.monotonic() < deadline
            if not sent or server.has_answered(latest):  # too quick to be seen half way
                server.begin_call("append_to_code_file", file_path="big.py", content=block)
                latest = server.begin_call("initialize_code_file", filename="new", content=block)
                sent += 1
        server.process.kill()
        server.process.wait(patient(5))
    content = path.read_text()
    assert content in {head + block * done for done in range(sent + 1)}
    assert all(new.read_text() == block for new in root.glob("new_*.py"))
    with serving(tmp_path) as server:
        again = server.call("append_to_code_file", file_path="big.py", content="1", within=5)
        assert not again.is_error
    assert path.read_text() == content + "1"


def test_appends_of_two_servers_come_one_after_the_other(tmp_path: Path) -> None:
    with serving(tmp_path) as one, serving(tmp_path) as other:
        path = begun(one)
        calls = []
        for at in range(40):
            for server, name in ((one, "a"), (other, "b")):
                content = f"{name} {at} " + "x" * 5000 + f"\n{name} {at} end"
                call = server.begin_call(
                    "append_to_code_file", file_path=str(path), content=content
                )
                calls.append((server, call))
        for server, call in calls:
            assert not server.result(call, within=20).is_error
    lines = path.read_text().splitlines()
    assert len(lines) == 160
    for first, second in zip(lines[::2], lines[1::2], strict=True):
        assert first.split()[:2] == second.split()[:2]
        assert second.endswith(" end")
    assert len({line[:5] for line in lines[::2]}) == len({line[:5] for line in lines[1::2]})


@contextmanager
def small_disk(folder: Path, *, megabytes: int) -> Iterator[None]:
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if mounted.returncode != 0:
        pytest.skip(f"no small disk can be mounted: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mounts a tmpfs")
def test_on_a_full_disk_the_old_content_stays_and_the_reason_is_told(tmp_path: Path) -> None:
    root = tmp_path / "storage"
    with small_disk(root, megabytes=8), serving(tmp_path) as server:
        path = begun(server, "old = 1\n")
        filling = root / "filling"
        with filling.open("wb", buffering=0) as file, suppress(OSError):
            while file.write(b"x" * 4096):
                pass
        appended = server.call(
            "append_to_code_file", file_path=str(path), content="x" * 1_000_000, within=10
        )
        assert appended.is_error
        assert "No space left on device; it is unchanged" in appended.text
        begun_new = server.call("initialize_code_file", content="x" * 1_000_000, within=10)
        assert begun_new.is_error
        assert "No space left on device" in begun_new.text
        assert path.read_text() == "old = 1\n"
        assert not list(root.glob(".unfinished-*"))
        filling.unlink()
        again = server.call("append_to_code_file", file_path=str(path), content="new = 2")
        assert not again.is_error
        assert path.read_text() == "old = 1\nnew = 2"


# Names that hide modules

SHADOWS = [
    "random.py", "json.py", "ipykernel.py", "sitecustomize.py", "IPython.py", "zmq.py",
    "asyncio.py", "usercustomize.py", "typing.py", "traitlets/__init__.py",
]  # fmt: skip

BAIT = "raise SystemExit('this file must not be imported')\n"


@pytest.mark.parametrize("name", SHADOWS)
def test_a_file_that_hides_a_module_hinders_no_kernel(
    server: Server, agent: Agent, name: str
) -> None:
    """In the working directory, which is the storage root, and beside the script."""
    here, beside = Path(stored(server, name, BAIT)), Path(stored(server, f"sub/{name}", BAIT))
    script = stored(server, "sub/main.py", "print(6 * 7)\n")
    try:
        agent.still_works()
        for mode in MODES:
            ran = agent.call("execute_code_file", file_path=script, mode=mode, within=10)
            assert ran.text.startswith("42\n"), ran.text
        agent.still_works()
    finally:
        here.unlink()
        beside.unlink()


def test_files_that_hide_modules_do_not_hinder_the_first_start(tmp_path: Path) -> None:
    """The server's own start, the interpreter's probe and the first kernel, all with them there."""
    root = tmp_path / "storage"
    for name in SHADOWS:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(BAIT)
    with serving(tmp_path, KERNEL_EXEC_CACHE=str(tmp_path / "cache")) as server:
        assert server.run("print(6 * 7)", within=15).text.startswith("42\n")
        checked = server.call("check_installed_packages", packages=["pip"], within=15)
        assert not checked.is_error
