"""The catalog with 100,000 jobs: how long lists, the dispatcher's questions and a driver's calls take.

    python -m benchmarks.catalog [--jobs 100000] [--rounds 30]

On SQLite, and on PostgreSQL if one can be started here (Debian's package). Each call is the public one of Catalog.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from sqlalchemy import insert, text, update

from benchmarks.common import Figure, machine, write_results
from cluster.catalog import LIVE, Catalog, open_catalog
from cluster.catalog.common_tables import Counter
from cluster.catalog.job_tables import AttemptRow, JobRow, JobTag
from tests.postgres import running, why_not

STAGES = ("download", "tokenize", "harvest", "train", "evaluate", "extract", "report", "pipeline")
LIVE_JOBS = 100
LIST_MS = 50.0
# Common and rare values of every filter, pairs that meet never, and a page in the middle.
LISTS: dict[str, dict[str, Any]] = {
    "no filter": {},
    "stage": {"stage": "train"},
    "state, common": {"states": ["SUCCEEDED"]},
    "state, 1 in 100": {"states": ["LOST"]},
    "live": {"states": sorted(LIVE)},
    "project, 1 in 100": {"project": "small"},
    "created_by, 1 in 100": {"created_by": "eve"},
    "created_by, nobody": {"created_by": "nobody"},
    "name": {"name": "run 500"},
    "tag of all": {"tag": "all"},
    "tag of 1 in 1,000": {"tag": "rare"},
    "tag of none": {"tag": "none"},
    "tag of the oldest 15 in 100": {"tag": "older"},
    "tag of the oldest 15 in 100, project of 80": {"tag": "older", "project": "default"},
    "tag of the oldest 30 in 100, project of 80": {"tag": "old", "project": "default"},
    "tag of all, created_by nobody": {"tag": "all", "created_by": "nobody"},
    "tag of all, state 1 in 100, created_by 1 in 100": {"tag": "all", "states": ["LOST"], "created_by": "eve"},
    "stage and state that never meet": {"stage": "report", "states": ["CANCELLED"]},
    "all filters": {
        "stage": "train", "states": ["FAILED"], "project": "default", "created_by": "ada", "tag": "all",
    },
    "stage, second half": {"stage": "train", "before": 50_000},
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=30)
    given = parser.parse_args()
    place, figures, raw = machine(), [], {}
    for name, catalog in _catalogs():
        with catalog as url:
            measured = _measure(url, given.jobs, given.rounds)
        raw[name] = measured
        figures += _figures(name, measured, given.jobs)
    settings = {"jobs": given.jobs, "live": LIVE_JOBS, "rounds": given.rounds, "lists": len(LISTS)}
    write_results("catalog", f"The catalog with {given.jobs:,} jobs", figures, settings, raw, place)


@contextmanager
def _sqlite() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="raylens-bench-") as folder:
        yield f"sqlite:///{folder}/catalog.db"


@contextmanager
def _postgres() -> Iterator[str]:
    with running(durable=True) as server:
        yield server.new_database()


def _catalogs() -> Iterator[tuple[str, Any]]:
    yield "SQLite", _sqlite()
    if reason := why_not():
        print(f"not on PostgreSQL: {reason}", file=sys.stderr)
    else:
        yield "PostgreSQL", _postgres()


def _measure(url: str, jobs: int, rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each call, by its name."""
    with open_catalog(url) as catalog:
        _fill(catalog, jobs)
    seconds: dict[str, list[float]] = {}
    times = seconds.setdefault("open", [])
    for _ in range(rounds):
        with _timed(times), open_catalog(url) as opened:
            opened.job("job-1")
    with open_catalog(url) as catalog:
        for name, filters in LISTS.items():
            seconds[f"list: {name}"] = _times(lambda filters=filters: catalog.jobs(limit=50, **filters), rounds)
        seconds["live()"] = _times(catalog.live, rounds)
        seconds["changes(after)"] = _times(lambda: catalog.changes(0, limit=100), rounds)
        seconds |= _drive(catalog, rounds)
        seconds["100 equal submissions at once"] = [_at_once(catalog)]
    return {name: [1000 * value for value in values] for name, values in seconds.items()}


def _drive(catalog: Catalog, rounds: int) -> dict[str, list[float]]:
    """What one driver calls again and again, and what a submitter does."""
    number = iter(range(10**6))
    new = _times(lambda: _submit(catalog, f"new {next(number)}"), rounds)
    job = _submit(catalog, "driven")
    catalog.progress(job, 1, state="RUNNING")
    return {
        "submit, new": new,
        "submit, attached": _times(lambda: _submit(catalog, "driven"), rounds),
        "progress": _times(lambda: catalog.progress(job, 1, done=next(number), total=10**6, rate=1.0), rounds),
        "progress with a message": _times(lambda: catalog.progress(job, 1, message="one line"), rounds),
        "cancel_requested": _times(lambda: catalog.cancel_requested(job, 1), rounds),
    }


def _submit(catalog: Catalog, fingerprint: str) -> str:
    request = {"config": {"k": 32}, "requirement": {"cpus": 1}, "outputs": [], "inputs": {}, "created_by": "ada"}
    return catalog.submit(stage="train", fingerprint=fingerprint, **request).job_id


def _at_once(catalog: Catalog) -> float:
    """Seconds until a hundred threads that submit one request have their answers. Raises if they are not all one job."""
    start = threading.Barrier(101)

    def ask(_: int) -> str:
        start.wait()
        return _submit(catalog, "of a hundred")

    with ThreadPoolExecutor(100) as threads:
        answers = [threads.submit(ask, n) for n in range(100)]
        start.wait()
        began = time.perf_counter()
        made = {answer.result() for answer in answers}
        took = time.perf_counter() - began
    if len(made) != 1:
        raise AssertionError(f"100 equal submissions made {len(made)} jobs")
    return took


def _fill(catalog: Catalog, jobs: int) -> None:
    """Rows as a long-used catalog has them; each config is as large as a real training's."""
    rng = random.Random(0)
    sae = {"architecture": "topk", "d_sae": 9216, "k": 32, "lr": 0.001, "seed": 0, "hook": "blocks.7.hook_resid_post"}
    config = {"stage": "train", "saes": [sae] * 4, "tokens": {"dataset": {"source": {"path": "x" * 400}}}}
    with catalog._engine.begin() as connection:
        for start in range(0, jobs, 5000):
            rows = [_row(rng, seq, jobs, config) for seq in range(start + 1, min(start + 5000, jobs) + 1)]
            connection.execute(insert(JobRow), rows)
            attempt = [{"job_id": row["id"], "number": 1, "state": row["state"], "started_at": 0.0} for row in rows]
            connection.execute(insert(AttemptRow), attempt)
            tags = [{"tag": tag, "seq": row["seq"], "job_id": row["id"]} for row in rows for tag in row["tags"]]
            connection.execute(insert(JobTag), tags)
        connection.execute(update(Counter).where(Counter.name == "jobs").values(value=jobs))
    if catalog._engine.dialect.name == "postgresql":  # what its autovacuum does within a minute
        with catalog._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE"))


def _row(rng: random.Random, seq: int, jobs: int, config: dict[str, Any]) -> dict[str, Any]:
    states = ("SUCCEEDED", "FAILED", "CANCELLED", "LOST")
    stage = STAGES[seq % len(STAGES)]
    tags = {"all": True, "rare": seq % 1000 == 0, "old": seq <= 0.3 * jobs, "older": seq <= 0.15 * jobs}
    state = "QUEUED" if seq > jobs - LIVE_JOBS else rng.choices(states, (85, 10, 4, 1))[0]
    return {
        "id": f"job-{seq}", "seq": seq, "stage": stage, "fingerprint": f"{seq:016x}", "config": config,
        "requirement": {"cpus": 1}, "outputs": ["saes/0123456789abcdef"], "inputs": {"tokens": "tokens/0123456789abcdef"},
        "created_by": rng.choices(("ada", "bob", "eve"), (90, 9, 1))[0], "created_at": 1e9 + seq, "updated_at": 1e9 + seq,
        "attempt": 1, "state": "FAILED" if (stage, state) == ("report", "CANCELLED") else state,
        "retryable": False, "resumable": False, "last_event": 0,
        "project": rng.choices(("default", "large", "small"), (80, 19, 1))[0],
        "name": f"run {seq}" if seq % 10 == 0 else None, "tags": [tag for tag, has in tags.items() if has],
        "notes": "", "profile": "auto", "environment": {}, "wait_s": 600.0, "clock_ahead": 0.0, "retries": 0,
        "durable_by_phase": {},
    }  # fmt: skip


def _times(do: Callable[[], Any], rounds: int) -> list[float]:
    """Seconds of each round after the first, in which statements are compiled."""
    do()
    times: list[float] = []
    for _ in range(rounds):
        with _timed(times):
            do()
    return times


@contextmanager
def _timed(times: list[float]) -> Iterator[None]:
    began = time.perf_counter()
    yield
    times.append(time.perf_counter() - began)


def _figures(database: str, measured: dict[str, list[float]], jobs: int) -> list[Figure]:
    lists = {name: values for name, values in measured.items() if name.startswith("list: ")}
    slowest = max(lists, key=lambda name: _p95(lists[name]))
    figures = [
        Figure(
            f"{database}: the newest 50 of {jobs:,}, slowest of {len(lists)} lists (p95; {slowest[6:]})",
            f"{_p95(lists[slowest]):.1f} ms", f"<= {LIST_MS:.0f} ms", _p95(lists[slowest]) <= LIST_MS,
        )
    ]  # fmt: skip
    for name, values in measured.items():
        if name in lists:
            figures.append(Figure(f"{database}: {name} (median)", f"{statistics.median(values):.1f} ms"))
        else:
            figures.append(
                Figure(f"{database}: {name} (median, p95)", f"{statistics.median(values):.1f}, {_p95(values):.1f} ms")
            )
    return figures


def _p95(values: list[float]) -> float:
    return sorted(values)[max(0, math.ceil(0.95 * len(values)) - 1)]


if __name__ == "__main__":
    main()
