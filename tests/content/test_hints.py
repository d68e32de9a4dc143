"""One line of advice, where it is known."""

import pytest

from kernel_exec.content.hints import hint
from kernel_exec.kernels.outputs import DisplayData, ErrorOutput, Stream

KNOWN = {
    "a module": ("ModuleNotFoundError", "No module named 'nope'", '["nope"]'),
    "a part of a module": ("ModuleNotFoundError", "No module named 'google.cloud'", '["google"]'),
    "another name": ("ModuleNotFoundError", "No module named 'yaml'", '["PyYAML"]'),
    "a part with another name": (
        "ModuleNotFoundError",
        "No module named 'PIL.Image'",
        '["pillow"]',
    ),
    "memory": ("MemoryError", "", "restart_kernel"),
    "memory of numpy": ("_ArrayMemoryError", "Unable to allocate 8 GiB", "restart_kernel"),
    "a loop": ("RuntimeError", "This event loop is already running", "await"),
    "a command": ("CalledProcessError", "Command 'x' returned 1", "sys.last_value.stderr"),
    "anything else": ("ValueError", "no module named x", ""),
}


@pytest.mark.parametrize("name", KNOWN)
def test_an_error_comes_with(name: str) -> None:
    ename, evalue, advice = KNOWN[name]
    told = hint([ErrorOutput(ename=ename, evalue=evalue, traceback=())])
    assert advice in told if advice else told == ""


def test_only_stderr_is_looked_at() -> None:
    words = "AttributeError: Can't get attribute 'f' on <module '__main__' (built-in)>"
    assert "`f` is defined" in hint([Stream(name="stderr", text=words)])
    assert hint([Stream(name="stdout", text=words)]) == ""


def test_a_figure_that_is_only_a_drawing_is_noticed() -> None:
    data = {"text/plain": "<Figure size 640x480 with 1 Axes>", "image/svg+xml": "<svg/>"}
    assert "figure_formats" in hint([DisplayData(data=data, metadata={})])
    assert hint([DisplayData(data=data | {"image/png": "aGk="}, metadata={})]) == ""
