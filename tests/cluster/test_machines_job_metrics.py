"""Jobs as metrics: what is set, and what a scrape of the head of a running cluster has."""

from __future__ import annotations

import json
import time
import urllib.request
from collections import namedtuple
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from cluster.machines import job_metrics
from tests.running_cluster import RunningCluster

Row = namedtuple("Row", "id stage state unit done total rate")
Values = dict[tuple[str, ...], float]


@pytest.fixture
def values(monkeypatch: pytest.MonkeyPatch) -> Values:
    """Values of all metrics by name and values of tags, as Ray would report them."""
    found: Values = {}

    class Metric:
        def __init__(self, name: str, description: str, tag_keys: tuple[str, ...]) -> None:
            self.name, self.keys = name, tag_keys

        def _key(self, tags: dict[str, str]) -> tuple[str, ...]:
            assert set(tags) == set(self.keys), "Ray wants all tags"
            return (self.name, *(tags[key] for key in self.keys))

        def set(self, value: float, tags: dict[str, str]) -> None:
            found[self._key(tags)] = value

        def inc(self, value: float, tags: dict[str, str]) -> None:
            found[self._key(tags)] = found.get(self._key(tags), 0) + value

    monkeypatch.setattr(job_metrics.metrics, "Gauge", Metric)
    monkeypatch.setattr(job_metrics.metrics, "Counter", Metric)
    return found


def test_what_is_set(values: Values) -> None:
    jobs = job_metrics.JobMetrics()
    counting = Row("report-2", "report", "RUNNING", None, None, None, None)
    waiting = Row("train-3", "train", "WAITING", None, None, None, None)
    jobs.update([Row("train-1", "train", "RUNNING", "rows", 300, 1000, 12.5), counting, waiting])
    jobs.ended("train", "FAILED")
    jobs.ended("train", "LOST", 2)
    of_job = ("train-1", "train", "rows")
    assert values == {
        ("raylens_jobs", "train", "RUNNING"): 1,
        ("raylens_jobs", "train", "WAITING"): 1,
        ("raylens_jobs", "report", "RUNNING"): 1,
        ("raylens_job_units_done", *of_job): 300,
        ("raylens_job_units_total", *of_job): 1000,
        ("raylens_job_units_per_second", *of_job): 12.5,
        ("raylens_attempts", "train", "FAILED"): 1,
        ("raylens_attempts", "train", "LOST"): 2,
    }
    values.clear()
    jobs.update([])
    assert values == dict.fromkeys(
        [
            ("raylens_jobs", "train", "RUNNING"),
            ("raylens_jobs", "train", "WAITING"),
            ("raylens_jobs", "report", "RUNNING"),
        ],
        0,
    ), "counts fall to zero; what is not set again, Ray forgets"


def test_a_scrape_of_the_head_has_them(running_cluster: RunningCluster) -> None:
    source = running_cluster.home / "job_metrics.txt"
    source.write_text("one document\n")
    config = running_cluster.home / "job_metrics.yaml"
    config.write_text(json.dumps({"what": "dataset", "source": {"type": "local", "path": str(source)}}))
    ran = running_cluster.run("jobs", "download", "--config", str(config))
    assert ran.returncode == 0, ran.stderr
    head: dict[str, Any] = json.loads((running_cluster.home / "cluster.json").read_text())
    deadline = time.monotonic() + 120  # Ray reports every ten seconds
    while ("ray_raylens_attempts_total", "download", "SUCCEEDED") not in (found := _scrape(head["metrics_port"])):
        assert time.monotonic() < deadline, found
        time.sleep(1)


def _scrape(port: int) -> Values:
    """Our samples by name and values of our tags."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    names = ("job", "stage", "state", "unit", "outcome")
    return {
        (sample.name, *(sample.labels[name] for name in names if name in sample.labels)): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("ray_raylens_")
    }
