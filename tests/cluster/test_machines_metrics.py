"""Jobs as Prometheus metrics: an actor of a real cluster sets them, and what a scrape of the node says is right."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from cluster.machines.paths import code_root
from tests.cluster.nodes import environment_of

# The test tells the actor what to say through standard input, one update a line.
_CLUSTER = """
import json, sys
import ray
from collections import namedtuple
Row = namedtuple("Row", "id stage state unit done total rate")

class Holder:
    def __init__(self):
        from cluster.machines.metrics import JobMetrics
        self.metrics = JobMetrics()
    def update(self, rows):
        self.metrics.update([Row(*row) for row in rows])
    def ended(self, *arguments):
        self.metrics.ended(*arguments)

ray.init(address="local", num_cpus=1, include_dashboard=False, _temp_dir=sys.argv[1])
holder = ray.remote(Holder).options(num_cpus=0).remote()
print(ray.nodes()[0]["MetricsExportPort"], flush=True)
rows = []
import threading
def say():
    while True:
        ray.get(holder.update.remote(rows))
        stop.wait(0.5)
stop = threading.Event()
threading.Thread(target=say, daemon=True).start()
for line in sys.stdin:
    what, *given = json.loads(line)
    if what == "ended":
        ray.get(holder.ended.remote(*given))
    else:
        rows = given
ray.shutdown()
"""
Samples = dict[tuple[str, ...], float]


def _scrape(port: int) -> Samples:
    """Our samples by (name, values of our tags)."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    names = ("job", "stage", "state", "unit", "outcome")
    return {
        (sample.name, *(sample.labels[name] for name in names if name in sample.labels)): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("ray_raylens_")
    }


def _wait(port: int, holds: Callable[[Samples], bool], seconds: float = 40) -> Samples:
    deadline = time.monotonic() + seconds
    while not holds(found := _scrape(port)):
        assert time.monotonic() < deadline, found
        time.sleep(0.5)
    return found


def test_what_a_scrape_says_of_jobs(tmp_path: Path) -> None:
    environment = environment_of(tmp_path, RAY_AUTH_MODE="disabled", RAY_metrics_report_interval_ms="1000")
    environment["PYTHONPATH"] = str(code_root())
    with tempfile.TemporaryDirectory(prefix="rl", dir="/tmp", ignore_cleanup_errors=True) as folder:
        process = subprocess.Popen(
            [sys.executable, "-c", _CLUSTER, folder],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            _check(process)
        finally:
            process.communicate(timeout=60)  # closes its input: it ends its cluster


def _check(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None and process.stdout is not None

    def tell(*what: object) -> None:
        assert process.stdin is not None
        process.stdin.write(json.dumps(what) + "\n")
        process.stdin.flush()

    port = int(process.stdout.readline())
    train = ["train-1", "train", "RUNNING", "rows", 300, 1000, 12.5]
    counting = ["report-2", "report", "RUNNING", None, None, None, None]
    tell("rows", train, counting, ["train-3", "train", "WAITING", None, None, None, None])
    tell("ended", "train", "FAILED")
    tell("ended", "train", "LOST", 2)
    at = ("train-1", "train", "rows")
    found = _wait(port, lambda all_: ("ray_raylens_job_units_done", *at) in all_)
    found = _wait(port, lambda all_: ("ray_raylens_attempts_total", "train", "LOST") in all_)
    assert found == {
        ("ray_raylens_jobs", "train", "RUNNING"): 1,
        ("ray_raylens_jobs", "train", "WAITING"): 1,
        ("ray_raylens_jobs", "report", "RUNNING"): 1,
        ("ray_raylens_job_units_done", *at): 300,
        ("ray_raylens_job_units_total", *at): 1000,
        ("ray_raylens_job_units_per_second", *at): 12.5,
        ("ray_raylens_attempts_total", "train", "FAILED"): 1,
        ("ray_raylens_attempts_total", "train", "LOST"): 2,
    }
    tell("rows", [*train[:4], 600, 1000, 20.0])
    _wait(port, lambda all_: all_.get(("ray_raylens_job_units_done", *at)) == 600)
    tell("rows")
    gone = _wait(port, lambda all_: not any(name == "ray_raylens_job_units_done" for name, *_ in all_))
    assert gone[("ray_raylens_jobs", "train", "RUNNING")] == 0
    assert gone[("ray_raylens_attempts_total", "train", "LOST")] == 2
    assert not any("train-1" in key for key in gone)
