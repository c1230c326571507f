"""Jobs on a cluster that `up` started: how soon they say what, what waiting costs, a hundred equal requests at once.

    python -m benchmarks.jobs [--waiting 100]

On a tiny language model in a folder of its own; nothing of yours is touched.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil

from benchmarks.common import Figure, machine, write_results
from configs.load import load_config
from jobs.life.submit import submit
from tests.plugs import Up
from tests.tiny_model import cached


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--waiting", type=int, default=100, help="how many jobs wait at once")
    given = parser.parse_args()
    place = machine()
    with tempfile.TemporaryDirectory(prefix="rb", dir="/tmp") as folder:
        up = Up(Path(folder), cached(Path(tempfile.gettempdir()) / "raylens-tests"))
        try:
            up.up()
            raw = {"never": _never(up), "waiting": _waiting(up, given.waiting), "equal": _equal(up)}
        finally:
            up.down()
    waiting, equal = raw["waiting"], raw["equal"]
    mb = waiting["pss_mb"]
    left = max(waiting["left_s"])
    figures = [
        Figure(
            "a job that can never run says so after", f"{max(raw['never']):.1f} s", "<= 30 s", max(raw["never"]) <= 30
        ),
        Figure(f"{given.waiting} waiting jobs, memory of all processes", f"{mb:+.0f} MB", "< 200 MB", mb < 200),
        Figure("processes of waiting jobs", f"{waiting['processes']:+d}", "0", waiting["processes"] <= 0),
        Figure(
            "a waiting job leaves WAITING after the release, median", f"{statistics.median(waiting['left_s']):.1f} s"
        ),
        Figure("the same, longest", f"{left:.1f} s", "<= 5 s", left <= 5),
        Figure("100 equal requests at once: jobs", str(equal["jobs"]), "1", equal["jobs"] == 1),
        Figure("the same: equal answers", str(equal["answers"]), "100", equal["answers"] == 100),
        Figure("the same: artifacts", str(equal["artifacts"]), "1 for each SAE (2)", equal["artifacts"] == 2),
    ]
    write_results("jobs", "Jobs on a running cluster", figures, {"waiting": given.waiting}, raw, place)


def _never(up: Up) -> list[float]:
    """Seconds from the command's start to its end, which says need and offer."""
    seconds = []
    for asks in (["resources.cpus=50"], ["resources.memory=900000000000"], ["resources.labels.zone=moon"]):
        began = time.monotonic()
        ran = up.run("jobs", "train", "--config", up.config("never"), "--set", *asks)
        seconds.append(time.monotonic() - began)
        assert ran.returncode == 1 and "it can never run here: it needs" in ran.stderr, ran.stderr
    return seconds


def _waiting(up: Up, count: int) -> dict[str, Any]:
    """Memory and processes with and without `count` waiting jobs, and how fast two of them start when a place is free."""
    holder = up.submit(up.config("holder", epochs=40), "--set", "resources.cpus=4")
    up.wait(holder, lambda row: (row.done or 0) > 0)
    time.sleep(5)
    before, processes = _pss(up), len(up.processes())
    configs = [load_config("train", up.config("w", seed=1000 + n, resources={"cpus": 4})) for n in range(count)]
    rows = [submit(up.catalog, up.store, config, created_by="bench", profile="local").job_id for config in configs]
    for job in rows:
        up.wait(job, lambda row: row.state == "WAITING")
    time.sleep(5)
    after, more = _pss(up), len(up.processes())
    left = []
    for _ in range(3):  # whoever holds all CPUs goes; the first in the line starts
        first = next(job for job in rows if up.catalog.job(job).state == "WAITING")
        up.run("jobs", "cancel", holder)
        at = up.ended(holder).updated_at
        up.wait(first, lambda row: up.catalog.attempts(row.id)[-1].granted_at is not None)
        left.append((up.catalog.attempts(first)[-1].granted_at or 0.0) - at)
        holder = first
        rows.remove(first)
    for job in [holder, *rows]:
        if up.catalog.job(job).live:
            up.catalog.request_cancel(job)
    up.ended(holder)
    return {"pss_mb": after - before, "processes": more - processes, "left_s": left}


def _equal(up: Up) -> dict[str, int]:
    config = load_config("train", up.config("equal", epochs=1, seed=5))

    def ask(_: int) -> tuple[str, tuple[str, ...]]:
        found = submit(up.catalog, up.store, config, created_by="bench", profile="local")
        return found.job_id, tuple(found.artifacts)

    with ThreadPoolExecutor(100) as threads:
        answers = list(threads.map(ask, range(100)))
    row = up.ended(answers[0][0])
    assert row.state == "SUCCEEDED", row
    jobs = [job for job in up.catalog.jobs(stage="train", limit=1000) if job.fingerprint == row.fingerprint]
    made = [ref for ref in up.store.list("saes") if str(ref) in row.outputs]
    return {"jobs": len(jobs), "answers": answers.count(answers[0]), "artifacts": len(made)}


def _pss(up: Up) -> float:
    """Megabytes of all processes of the cluster together; shared pages count once."""
    total = 0
    for process in up.processes():
        try:
            total += process.memory_full_info().pss
        except psutil.Error:
            continue
    return total / 1e6


if __name__ == "__main__":
    main()
