"""The tools about environments and packages, through a real client and real environments."""

import sys
from pathlib import Path

import anyio
import nbformat
import pytest

from kernel_exec.packages import installers
from tests.environments.conda import make_prefix, make_root, shared_channel, stand_in
from tests.environments.pythons import make_venv as make_venv_of
from tests.environments.pythons import require_python
from tests.server.test_tools import agent_in, make_venv, meta_of, text_of

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(180)]


async def test_switching_back_finds_the_variables_again(tmp_path: Path) -> None:
    place = make_venv(tmp_path / "venv")
    async with agent_in(tmp_path) as agent:
        await agent.run("x = 'here'")
        switched = await agent.call(
            "configure_environment", type="venv-uv", uv_venv_path=str(place)
        )
        current = (switched.structured_content or {})["current"]
        assert current["kernel_support"] == "overlay"
        assert "NameError" in await agent.run("x")
        assert "ModuleNotFoundError" in await agent.run("import pandas")
        await agent.call("configure_environment", type="python", python_path=sys.executable)
        assert (await agent.run("x")).startswith("'here'\n")


@pytest.mark.network
async def test_what_was_just_installed_imports_in_the_running_kernel(tmp_path: Path) -> None:
    place = make_venv(tmp_path / "venv")
    async with agent_in(tmp_path) as agent:
        await agent.call("configure_environment", type="venv-uv", uv_venv_path=str(place))
        assert "ModuleNotFoundError" in await agent.run("import tabulate")
        first = await agent.call("install_dependencies", packages=["tabulate==0.8.10"])
        assert "+ tabulate 0.8.10\n" in text_of(first)
        assert (await agent.run("import tabulate; tabulate.__version__")).startswith("'0.8.10'")
        second = await agent.call("install_dependencies", packages='["tabulate==0.9.0"]')
        assert "~ tabulate 0.8.10 -> 0.9.0\n" in text_of(second)
        assert "now stale: tabulate" in text_of(second)
        checked = await agent.call("check_installed_packages", packages="tabulate>=0.9")
        assert (checked.structured_content or {})["all_installed"]
        unheard_of = await agent.call("install_dependencies", packages=["no-such-package-as-this"])
        assert unheard_of.is_error
        assert "exit code 1" in text_of(unheard_of)


@pytest.mark.slow
@pytest.mark.network
async def test_environments_of_several_pythons_run_at_once(tmp_path: Path) -> None:
    places = {
        version: make_venv_of(tmp_path / version, python=require_python(version))
        for version in ("3.9", "3.12")
    }
    async with agent_in(tmp_path) as agent:
        await agent.run("x = 'own'")
        for version, place in places.items():
            await agent.call("configure_environment", type="venv", venv_path=str(place))
            assert version in await agent.run("import sys; x = sys.version; x")
        told = (await agent.call("get_environment_config")).structured_content or {}
        assert told["config"]["python_version"].startswith("3.12")
        kernels = [each["kernels"][0] for each in told["environments"] if each["kernels"]]
        assert {kernel["state"] for kernel in kernels} == {"idle"}
        assert len({kernel["python_version"] for kernel in kernels}) == 3
        for version, place in places.items():
            await agent.call("configure_environment", type="venv", venv_path=str(place))
            assert version in await agent.run("x")
        await agent.call("configure_environment", name="configured")
        assert (await agent.run("x")).startswith("'own'\n")


async def test_what_is_configured_is_told_though_it_is_broken(tmp_path: Path) -> None:
    file = tmp_path / "kernel_exec.toml"
    file.write_text(f'[environments.lab]\nkind = "venv"\npath = "{tmp_path}/gone"\n')
    async with agent_in(tmp_path, python_path=str(tmp_path / "none"), config=str(file)) as agent:
        shown = await agent.call("get_environment_config")
        told = shown.structured_content or {}
        assert f"it can't be used: {told['config']['error']}\n" in text_of(shown)
        assert f"also configured: lab, venv:{tmp_path}/gone\n" in text_of(shown)
        assert "does not exist" in told["config"]["error"]
        assert told["limits"]["wait_seconds"] == 45
        named = [(each["name"], each["current"]) for each in told["environments"]]
        assert named[:2] == [("configured", True), ("lab", False)]
        failed = await agent.call("configure_environment", name="lab")
        assert failed.is_error
        assert f"{tmp_path}/gone" in text_of(failed)
        again = (await agent.call("get_environment_config")).structured_content or {}
        assert again["config"] == told["config"]


NAMES_REFUSED = ["x; touch P #", "$(id)", "a b", "../../env", "-n base", "x\ny", "envs/ml"]


@pytest.mark.parametrize("name", NAMES_REFUSED)
async def test_what_is_no_environment_name_is_refused(tmp_path: Path, name: str) -> None:
    async with agent_in(tmp_path) as agent:
        refused = await agent.call("configure_environment", type="conda", conda_name=name)
        assert refused.is_error
        assert "use letters, digits" in text_of(refused)
    assert not (tmp_path / "P").exists()


@pytest.mark.slow
@pytest.mark.network
async def test_a_conda_environment_is_used_from_end_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_root(tmp_path / "miniforge3")
    stand_in(root)
    await make_prefix(
        root / "envs" / "ml", shared_channel(), "python", "native-lib", "demo-noarch=1.0"
    )
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CONDA_CHANNELS", shared_channel().as_uri())
    async with agent_in(tmp_path) as agent:
        wrong = await agent.call("configure_environment", type="conda", conda_name="mm")
        assert "known are base, ml; name one of them" in text_of(wrong)
        await agent.call("configure_environment", type="conda", conda_name="ml")
        seen = await agent.run(
            "import os, demo_noarch; print(os.environ['NATIVE_LIB_DATA'], demo_noarch.__version__)"
        )
        assert f"{root}/envs/ml/share/native-lib 1.0\n" in seen
        done = await agent.call("install_dependencies", packages=["demo-noarch"], upgrade=True)
        assert text_of(done).startswith("~ demo-noarch 1.0 -> 2.0\ninstalled with conda\n")
        assert "now stale: demo_noarch; restart_kernel" in text_of(done)
        failed = text_of(await agent.call("install_dependencies", packages=["nothere"]))
        assert failed.count("PackagesNotFoundError") == 1
        exported = (await agent.call("export_notebook")).structured_content or {}
        notebook = nbformat.read(exported["path"], as_version=4)  # type: ignore[no-untyped-call]
        words = "\n".join(cell.source for cell in notebook.cells)
        assert "*Switched to environment* `conda:ml`" in words
        assert "*Installed* `demo-noarch` *with* `conda`" in words
        assert "*Installing* `nothere` *failed:*" in words


@pytest.mark.network
async def test_a_long_install_is_followed_and_stopped_like_an_execution(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = anyio.Event()
    carry_out = installers.carry_out

    async def hold(order: installers.Order, *, present: frozenset[str]) -> installers.Carried:
        order.on_line("Resolving")
        begun.set()
        await anyio.sleep_forever()
        return await carry_out(order, present=present)

    place = make_venv(tmp_path / "venv")
    async with agent_in(tmp_path) as agent:
        await agent.call("configure_environment", type="venv-uv", uv_venv_path=str(place))
        monkeypatch.setattr(installers, "carry_out", hold)
        running = await agent.call("install_dependencies", packages=["six"], wait_seconds=0.1)
        meta = meta_of(running)
        assert meta["outcome"] == "running"
        await begun.wait()
        assert "2\n" in await agent.run("1 + 1")
        followed = await agent.call(
            "get_execution", execution_id=meta["execution_id"], wait_seconds=0.1, offset=0
        )
        assert "Resolving\n" in text_of(followed)
        stopped = await agent.call("interrupt_execution", execution_id=meta["execution_id"])
        assert "the environment is usable; nothing has changed" in text_of(stopped)
        monkeypatch.undo()
        again = await agent.call("install_dependencies", packages=["six==1.16.0"])
        assert "+ six 1.16.0\n" in text_of(again)
        both = await agent.call(
            "check_installed_packages", packages=["six>=1.16", "six<1.16", "PIL"]
        )
        told = [
            (name, each["installed"], each["satisfied"])
            for name, each in (both.structured_content or {})["package_details"].items()
        ]
        assert told == [("six>=1.16", True, True), ("six<1.16", True, False), ("PIL", False, False)]


async def test_a_requirement_whose_marker_excludes_the_environment_is_told_as_such(
    tmp_path: Path,
) -> None:
    excluded = 'no-such-package; sys_platform == "win32"'
    async with agent_in(tmp_path, python_path=sys.executable) as agent:
        told = text_of(await agent.call("install_dependencies", packages=[excluded]))
        assert told.startswith(f"{excluded}: not needed, its marker excludes this environment\n")
        assert "already" not in told
        both = [excluded, "pytest"]
        for packages, installed in (([excluded], False), (both, True)):
            checked = await agent.call("check_installed_packages", packages=packages)
            found = checked.structured_content or {}
            assert found["all_installed"] is installed
            assert "marker excludes" in found["package_details"][excluded]["excluded"]
            assert found["package_details"][excluded]["installed"] is False
            assert found["not_installed"] == []
