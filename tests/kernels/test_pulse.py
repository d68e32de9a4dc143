"""Three signs together make a kernel broken; any of them missing, it is at work."""

import pytest

from kernel_exec.kernels.pulse import is_broken

LOOP = 'File "/lib/selectors.py", line 468 in select'
CELL = 'File "/data/code_1.py", line 1 in <module>\nFile "/lib/IPython/interactiveshell.py", line 9'

AT_WORK = {
    "it uses the processor": (0.2, LOOP),
    "a cell is on its stack": (0.0, CELL),
    "its stack is too deep to tell": (0.0, f"{LOOP}\n  ..."),
    "it can't write its stack": (0.0, ""),
}


def test_a_silent_kernel_that_rests_and_runs_no_cell_is_broken() -> None:
    assert is_broken(used=0.01, stack=LOOP)


@pytest.mark.parametrize("sign", AT_WORK)
def test_a_silent_kernel_that_lacks_a_sign_is_at_work(sign: str) -> None:
    used, stack = AT_WORK[sign]
    assert not is_broken(used=used, stack=stack)
