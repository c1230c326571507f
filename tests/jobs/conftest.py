"""Fixtures for the tests of jobs/."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs import stages
from tests.jobs.toys import download, tokenize
from tests.jobs.world import World
from tests.s3 import s3_server

__all__ = ["s3_server"]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setitem(stages.LOADED, "download", download.STAGE)
    monkeypatch.setitem(stages.LOADED, "tokenize", tokenize.STAGE)
    monkeypatch.setenv("RAYLENS_HOME", str(tmp_path / "home"))
    world = World(tmp_path)
    yield world
    world.catalog.close()
