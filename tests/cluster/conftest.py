"""Fixtures for the tests of cluster/."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.catalog import Catalog, boot_clock, change_timer, open_catalog
from tests.postgres import postgres
from tests.s3 import s3_server

__all__ = ["postgres", "s3_server"]


BOTH = ["sqlite", "postgresql"]


@pytest.fixture(scope="session")
def new_catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a catalog without rows. Copying it is ten times faster than making one."""
    path = tmp_path_factory.mktemp("catalog") / "catalog.db"
    open_catalog(f"sqlite:///{path}").close()
    return path


@pytest.fixture(params=BOTH)
def catalog_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A catalog without rows: on each database in turn."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("new_catalog"), tmp_path / "catalog.db")
        yield f"sqlite:///{tmp_path}/catalog.db"
    else:
        with request.getfixturevalue("postgres").catalog() as url:
            yield url


@pytest.fixture(params=BOTH)
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database in which there is nothing yet: on each database in turn."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/catalog.db"
    else:
        server = request.getfixturevalue("postgres")
        url = server.new_database()
        yield url
        server.drop(url)


class Clocks:
    """The clocks of this machine as the catalog reads them: they stand still but when a test moves them."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._boot, self._wall = boot_clock.boot_seconds(), time.time()
        patch.setattr(boot_clock, "boot_seconds", lambda: self._boot)
        patch.setattr(change_timer, "monotonic", lambda: self._boot)
        patch.setattr(time, "time", lambda: self._wall)

    def run(self, seconds: float) -> None:
        """Time passes."""
        self._boot += seconds
        self._wall += seconds

    def set(self, seconds: float) -> None:
        """Somebody sets the wall clock, forward or back."""
        self._wall += seconds


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    """Time in the test's own hands."""
    return Clocks(monkeypatch)


@pytest.fixture
def catalog(catalog_url: str) -> Iterator[Catalog]:
    """An empty catalog."""
    with open_catalog(catalog_url) as catalog:
        yield catalog
