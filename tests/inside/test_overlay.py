"""Which imports of a cell are told; `tests/environments/test_support.py` has it with real ones."""

import importlib
import json
import sys
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

# runs in kernels of any Python, so it has no types
overlay: Any = importlib.import_module("kernel_exec.inside.overlay")
OverlayImports = overlay.OverlayImports

TOLD = {
    "import only_here": True,
    "import json, only_here.deep as deep": True,
    "from only_here.deep import name": True,
    "def later():\n    import only_here": True,
    "import only_here\nx = '\\d'": True,
    "from . import only_here": False,
    "only_here = 1": False,
    "import only_here_too": False,
    "'import only_here'": False,
    "import only_here (": False,
}


@pytest.mark.parametrize("code", TOLD)
def test_what_is_imported_is_told_and_nothing_else(tmp_path: Path, code: str) -> None:
    (tmp_path / "only_here").mkdir()
    told = OverlayImports(str(tmp_path)).warnings(code, str)
    assert len(told) == TOLD[code]
    assert all("only_here comes from the kernel's overlay" in each for each in told)


def test_a_name_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "only_here.py").touch()
    imports = OverlayImports(str(tmp_path))
    assert len(imports.warnings("import only_here", str)) == 1
    assert imports.warnings("import only_here", str) == []


def test_without_an_overlay_nothing_is_told() -> None:
    assert OverlayImports("").warnings("import only_here", str) == []


def test_what_only_the_kernel_has_is_found_last_and_is_not_on_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").touch()
    (tmp_path / "only_behind").mkdir()
    (tmp_path / "only_behind" / "__init__.py").touch()
    (tmp_path / "behind-1.0.dist-info").mkdir()
    (tmp_path / "behind-1.0.dist-info" / "METADATA").write_text("Name: behind\nVersion: 1.0\n")
    (tmp_path / "share").mkdir()  # no package: a namespace would hide that it is missing
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, overlay.Behind([str(tmp_path)])])
    assert find_spec("only_behind") is not None
    assert find_spec("share") is None
    assert find_spec("json") == json.__spec__
    assert metadata.version("behind") == "1.0"
    assert [*metadata.distributions(path=[])] == []
    assert str(tmp_path) not in sys.path
