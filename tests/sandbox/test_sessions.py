"""Clients that ask for different walls never share a kernel."""

import sys
from pathlib import Path

import pytest

from tests.wire import end_host, serving

from .holding import require_walls

pytestmark = pytest.mark.kernel


def test_a_session_has_the_walls_of_all_its_clients(tmp_path: Path) -> None:
    require_walls()
    options = ("--python-path", sys.executable, "--sandbox")
    try:
        with serving(tmp_path, *options, "off", command=("serve",)) as first:
            first.run("x = 'open'", session="shared")
            first.run("x = 'mine'")
            first.leave()
        with serving(tmp_path, *options, "workspace", command=("serve",)) as second:
            refused = second.run("x", session="shared")
            own = second.run("x")
    finally:
        end_host(tmp_path / "storage")

    assert refused.is_error
    assert "session shared is one with sandbox 'off'" in refused.text
    assert "asks for 'workspace'" in refused.text
    assert "NameError" in own.text


def test_a_client_may_ask_for_more_than_its_host_has_but_not_for_less(tmp_path: Path) -> None:
    require_walls()
    options = ("--python-path", sys.executable, "--sandbox")
    try:
        with serving(tmp_path, *options, "workspace", command=("serve",)) as first:
            first.run("1")
            with serving(tmp_path, *options, "off", command=("serve",)) as second:
                told = [second.run("1").text for _ in range(2)]
                shown = second.call("kernel_status").text
            with serving(tmp_path, *options, "isolated", command=("serve",)) as third:
                third.run("1")
                more = third.call("kernel_status").text
    finally:
        end_host(tmp_path / "storage")

    assert "sandbox is workspace here and not off" in told[0]
    assert "not off" not in told[1]
    assert "sandbox workspace, held by bubblewrap, temporary files end with the kernel" in shown
    assert "sandbox isolated" in more
