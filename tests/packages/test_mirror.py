"""Packages come from the mirror and through the proxy that a user has configured, for uv or pip."""

import os
from pathlib import Path

import pytest

from tests.environments.pythons import make_venv
from tests.packages.mirror import PACKAGE, mirror
from tests.wire import started

pytestmark = pytest.mark.kernel

ELSEWHERE = "http://mirror.invalid"
"""A name that no system resolves, so that only a proxy gets there."""


@pytest.mark.parametrize("is_proxy", [False, True], ids=["mirror", "proxy"])
@pytest.mark.parametrize("way", ["UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL", "pip.conf"])
def test_packages_come_from_the_users_mirror_and_through_their_proxy(
    way: str, is_proxy: bool, tmp_path: Path
) -> None:
    with mirror() as (address, asked):
        index = f"{ELSEWHERE if is_proxy else address}/simple"
        pip = tmp_path / ".config" / "pip" / "pip.conf"
        pip.parent.mkdir(parents=True)
        pip.write_text(f"[global]\nindex-url = {index}\n" if way == "pip.conf" else "")
        given = {} if way == "pip.conf" else {way: index}
        given |= {"HTTP_PROXY": address, "NO_PROXY": ""} if is_proxy else {}
        nothing = {name: "" for name in os.environ if name.startswith(("UV_", "PIP_"))}
        own = {"HOME": str(tmp_path), "UV_CACHE_DIR": str(tmp_path / "cache")}
        venv = ["--venv-path", str(make_venv(tmp_path / "venv"))]

        with started(tmp_path, *venv, **{**nothing, **own, **given}) as server:
            server.initialize()
            told = server.call("install_dependencies", packages=[PACKAGE], within=60)
            assert not told.is_error, told.text
            shown = server.run(f"import {PACKAGE}; print({PACKAGE}.WHERE)")

    assert shown.text.startswith("the mirror\n")
    assert all(each.startswith(ELSEWHERE if is_proxy else "/") for each in asked)
