"""Hooks of pytest (tests/conftest.py imports them): which tests share a worker, and the longest groups first.

The tests of one file run on one worker, as those that share the running cluster do. Groups start in the order of their
recorded durations, so that no long one is left for the end. `--record-durations` writes tests/durations.json anew.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import pytest

DURATIONS = Path(__file__).parent / "durations.json"
SHARED = ("running_cluster",)  # fixtures whose users form one group
_seconds: dict[str, float] = defaultdict(float)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--record-durations", action="store_true", help=f"write {DURATIONS.name}: seconds by group")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    known: dict[str, float] = json.loads(DURATIONS.read_text()) if DURATIONS.exists() else {}
    groups = {item: _group(item) for item in items}
    for item, group in groups.items():
        item.add_marker(pytest.mark.xdist_group(group))
    # New groups come first: they may be long.
    items.sort(key=lambda item: (-known.get(groups[item], float("inf")), groups[item]))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _, _, group = report.nodeid.partition("@")
    _seconds[group or report.nodeid.partition("::")[0]] += report.duration


def pytest_sessionfinish(session: pytest.Session) -> None:
    if session.config.getoption("--record-durations") and not hasattr(session.config, "workerinput"):
        longest_first = sorted(_seconds.items(), key=lambda item: -item[1])
        DURATIONS.write_text(json.dumps({name: round(s, 1) for name, s in longest_first}, indent=0) + "\n")


def _group(item: pytest.Item) -> str:
    fixtures = getattr(item, "fixturenames", ())
    return next((name for name in SHARED if name in fixtures), item.nodeid.partition("::")[0])
