import anyio

from kernel_exec.signals import Signal


async def test_a_signal_wakes_all_who_wait_and_nobody_who_comes_later() -> None:
    signal, woken = Signal(), []

    async def wait(name: str) -> None:
        await signal.wait()
        woken.append(name)

    signal.fire()
    async with anyio.create_task_group() as tasks:
        for name in ("one", "other"):
            tasks.start_soon(wait, name)
        await anyio.wait_all_tasks_blocked()
        signal.fire()
        tasks.start_soon(wait, "late")
        await anyio.wait_all_tasks_blocked()
        assert woken == ["one", "other"]
        signal.fire()

    assert woken == ["one", "other", "late"]
