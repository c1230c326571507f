"""Lists of jobs: every filter and every pair of them gives what a look at all jobs gives, page by page."""

from __future__ import annotations

import random
from itertools import combinations
from typing import Any, get_args

import pytest

from cluster.catalog import Catalog, JobRow, State
from cluster.catalog.job_queries import JobSort
from cluster.catalog.list_order import Order, Placed
from tests.cluster.catalog_rows import submit

FILTERS: list[dict[str, Any]] = [
    {"stage": "train"},
    {"states": ["FAILED", "LOST"]},
    {"states": []},
    {"project": "p"},
    {"tag": "x"},
    {"tag": "all"},
    {"tag": "none"},
    {"created_by": "eve"},
    {"name": "n7"},
    {"before": 15},
]


def matches(job: JobRow, filters: dict[str, Any]) -> bool:
    tests = {
        "states": lambda states: job.state in states,
        "tag": lambda tag: tag in job.tags,
        "before": lambda seq: job.seq < seq,
    }
    return all(tests[name](value) if name in tests else getattr(job, name) == value for name, value in filters.items())


@pytest.mark.parametrize("many", [0, 20_000], ids=["common tags", "rare tags"])
def test_lists_are_what_they_say(catalog: Catalog, monkeypatch: pytest.MonkeyPatch, many: int) -> None:
    monkeypatch.setattr("cluster.catalog.job_queries.MANY", many)
    rng = random.Random(0)
    for n in range(24):
        job = submit(
            catalog, f"{n:016x}", stage=rng.choice(["train", "tokenize"]), project=rng.choice(["default", "p"]),
            created_by=rng.choice(["ada", "eve"]), tags=["all", *rng.sample("xyz", 1)], name=f"n{n}",
        )  # fmt: skip
        if (state := rng.choice([None, State.FAILED, State.LOST, State.CANCELLED])) is not None:
            catalog.finish(job.job_id, 1, state)
    everything = catalog.jobs(limit=1000)
    assert [job.seq for job in everything] == list(range(24, 0, -1))
    asked = [{}, *FILTERS, *(a | b for a, b in combinations(FILTERS, 2) if not set(a) & set(b))]
    found = 0
    for filters in asked:
        wanted = [job.seq for job in everything if matches(job, filters)]
        assert [job.seq for job in catalog.jobs(**filters)] == wanted, filters
        assert [job.seq for job in catalog.jobs(**filters, limit=3)] == wanted[:3], filters
        found += bool(wanted)
    assert found > len(asked) / 2
    pages = [catalog.jobs(tag="all", limit=7)]
    while pages[-1]:
        pages.append(catalog.jobs(tag="all", limit=7, before=pages[-1][-1].seq))
    assert [job.seq for page in pages for job in page] == list(range(24, 0, -1))


@pytest.mark.parametrize("descending", [True, False], ids=["desc", "asc"])
@pytest.mark.parametrize("by", get_args(JobSort))
def test_sorted_lists_are_paged_without_gaps(catalog: Catalog, by: str, descending: bool) -> None:
    rng = random.Random(1)
    for n in range(12):
        stage, by_whom = rng.choice(["train", "tokenize"]), rng.choice(["ada", "eve", "Zoë"])
        job = submit(catalog, f"{n:016x}", stage=stage, created_by=by_whom, tags=["x"] if n % 3 else [])
        if (state := rng.choice([None, State.FAILED, State.CANCELLED])) is not None:
            catalog.finish(job.job_id, 1, state)
    everything = catalog.jobs()
    for filters in ({}, {"tag": "x"}, {"stage": "train", "states": ["QUEUED", "FAILED"]}):
        wanted = [job for job in everything if matches(job, filters)]
        by_value: Any = (lambda job: job.seq) if by == "created" else (lambda job: str(getattr(job, by)).encode())
        wanted.sort(key=by_value, reverse=descending)  # stable: ties have the newest first, as `everything` has
        found: list[Placed[JobRow]] = []
        while page := catalog.sorted_jobs(
            Order(by, descending), after=found[-1].place if found else None, limit=3, **filters
        ):
            found += page
        assert [one.row.seq for one in found] == [job.seq for job in wanted], filters
