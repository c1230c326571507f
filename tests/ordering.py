"""Hooks of pytest (tests/conftest.py imports them): which tests share a worker, and the longest groups first.

The tests of one file run on one worker, as all files do whose tests share a cluster. Groups start in the order of
their recorded durations, so that no long one is left for the end. `--record-durations` writes tests/durations.json anew.
(`--dist loadgroup` of pytest-xdist 3.8 would do the same, but has no effect under pytest 9.2.)
"""

from __future__ import annotations

import gc
import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

ROOT = Path(__file__).resolve().parent.parent
DURATIONS = ROOT / "tests" / "durations.json"
SHARED = ("running_cluster", "ray_cluster")  # fixtures; the files whose tests use one form one group
_seconds: dict[str, float] = defaultdict(float)
_ends: dict[str, Callable[[], None]] = {}


class _Groups(LoadScopeScheduling):
    def _split_scope(self, nodeid: str) -> str:
        return _group(nodeid.partition("::")[0])


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--record-durations", action="store_true", help=f"write {DURATIONS.name}: seconds by group")


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> _Groups:
    return _Groups(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Objects that collection makes stay: the garbage collector does not walk through them, now or later."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    known: dict[str, float] = json.loads(DURATIONS.read_text()) if DURATIONS.exists() else {}
    groups = {item: _group(item.nodeid.partition("::")[0]) for item in items}
    # New groups come first: they may be long.
    items.sort(key=lambda item: (-known.get(groups[item], float("inf")), groups[item]))


def at_end_of_group(group: str, end: Callable[[], None]) -> None:
    """Has `end` called after the last test of a group, which may be long before the session's end."""
    _ends[group] = end


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    group = _group(item.nodeid.partition("::")[0])
    if (nextitem is None or _group(nextitem.nodeid.partition("::")[0]) != group) and group in _ends:
        _ends.pop(group)()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _seconds[_group(report.nodeid.partition("::")[0])] += report.duration


def pytest_sessionfinish(session: pytest.Session) -> None:
    if session.config.getoption("--record-durations") and not hasattr(session.config, "workerinput"):
        longest_first = sorted(_seconds.items(), key=lambda item: -item[1])
        DURATIONS.write_text(json.dumps({name: round(s, 1) for name, s in longest_first}, indent=0) + "\n")


@cache
def _group(file: str) -> str:
    path = ROOT / file
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    # As an argument of a test or a fixture, or in usefixtures().
    return next((name for name in SHARED if f"{name}:" in text or f'("{name}")' in text), file)
