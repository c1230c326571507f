"""Fixtures for the tests of jobs/."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs import stages
from tests.jobs.world import World


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setitem(stages.MODULES, "download", "tests.jobs.toys.download")
    monkeypatch.setitem(stages.MODULES, "tokenize", "tests.jobs.toys.tokenize")
    monkeypatch.setenv("RAYLENS_HOME", str(tmp_path / "home"))
    world = World(tmp_path)
    yield world
    world.records.close()
