"""Storage roots whose hosts end with the tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.wire import end_host, serving


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """One for a test."""
    yield tmp_path / "storage"
    end_host(tmp_path / "storage")


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One whose host serves all tests of a module that leave it as it was."""
    folder = tmp_path_factory.mktemp("lasting")
    with serving(folder, command=("serve",)):
        yield folder / "storage"
    end_host(folder / "storage")
