"""The HTTP API under Ray Serve, on this machine's cores, its clients among them.

    python -m benchmarks.api [--seconds 30]

Lists over 10,000 jobs, 10,000 artifacts and 16,384 features with 20 clients, paced and saturated; previews; the time from
a driver's event to its followers; replicas killed under load.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import threading
import time
from typing import Any

from benchmarks.api_data import FEATURES, ROWS, SET, fill
from benchmarks.common import REPOSITORY, Figure, machine, write_results
from tests.serve_app.following import Follower, client, driven_job, killed, report
from tests.serve_app.sample_artifacts import MODEL
from tests.serve_app.schema_cases import warm
from tests.serve_app.served import Served, served, temporary_samples

LISTS = (
    "/v1/jobs?limit=50",
    "/v1/jobs?limit=50&stage=train",
    "/v1/jobs?limit=50&state=QUEUED",
    "/v1/jobs?limit=50&tag=t3",
    "/v1/saes?limit=50",
    f"/v1/features/{SET.id}/latents?limit=50",
    f"/v1/features/{SET.id}/latents?limit=50&sort=density&order=desc",
    f"/v1/features/{SET.id}/latents?limit=50&sort=max&order=desc&min_density=0.001&token=word7",
)
REPLICAS = 2
TEXT = "The area is 34,837 sq km, of which 1,000 are water; the river runs past the old mill. "


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30, help="of each measurement")
    given = parser.parse_args()
    host = machine()
    with temporary_samples() as samples, served(samples, REPLICAS) as site:
        fill(site.catalog, samples.store, samples)
        warm(site.url, site.token, samples)
        load(site, 5, 0, 4, LISTS)
        paced = load(site, given.seconds, 2, 20, LISTS)
        full = load(site, given.seconds, 0, 20, LISTS)
        previews = preview(site)
        late = events(site, given.seconds)
        kills = killed(site, LISTS[0], kills=3)
    figures = [
        _row("lists, 20 clients at 2 requests/s each, p95", p95(paced["took"]), 0.1, f"{len(paced['took'])} answers"),
        Figure("errors there", str(len(paced["wrong"])), "0", not paced["wrong"]),
        _row("lists, saturated by 20 clients, p95", p95(full["took"]), 0.3, f"{len(full['took']) / given.seconds:.0f} a second"),
        Figure("errors there", str(len(full["wrong"])), "0", not full["wrong"]),
        _row("tokenizing a text of 1,000 characters, warm, p95", p95(previews), 0.2, f"{len(previews)} answers"),
        _row("event from a driver to 20 connected clients, p95", p95(late), 1.0, f"{len(late)} events"),
        Figure("events lost or doubled over 3 kills and reconnects, 4 clients", str(kills.lost), "0", not kills.lost),
        Figure("requests without an answer, 4 clients under 3 kills", f"{len(kills.failures)} of {kills.answers}",
               "those in flight: at most 12", len(kills.failures) <= 12),
        _row("time until a killed replica is replaced, longest", max(kills.back_s), 10.0, ""),
    ]  # fmt: skip
    settings = {"seconds": given.seconds, "replicas": REPLICAS, "jobs": ROWS, "artifacts": ROWS, "features": FEATURES}
    took = {"paced": paced["took"], "saturated": full["took"], "preview": previews, "events": late}
    raw = {name: {f"p{p}": quantile(values, p) for p in (5, 25, 50, 75, 90, 95, 99)} for name, values in took.items()}
    wrong = {"paced": paced["wrong"][:20], "saturated": full["wrong"][:20]}
    write_results(
        "api",
        "The HTTP API under Ray Serve",
        figures,
        settings,
        {**raw, "wrong": wrong, "kills": kills._asdict()},
        host,
    )


def load(site: Served, seconds: float, rate: float, clients: int, paths: tuple[str, ...]) -> dict[str, Any]:
    """Answers of some clients, which run in a process of their own."""
    arguments = [site.url, site.token, str(seconds), str(rate), str(clients), *paths]
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks.api_load", *arguments],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def preview(site: Served, n: int = 200) -> list[float]:
    """Seconds of previews, one after the other."""
    body = {"model": str(MODEL), "text": (TEXT * 20)[:1000]}
    took = []
    with client(site) as http:
        for _ in range(n):
            began = time.monotonic()
            http.post("/v1/text/tokens", json=body).raise_for_status()
            took.append(time.monotonic() - began)
    return took


def events(site: Served, seconds: float) -> list[float]:
    """Seconds from writing an event to reading it, of 20 clients of one job."""
    job, attempt = driven_job(site, 1)
    followers = [Follower(site, f"/v1/jobs/{job}/events/stream?after=3") for _ in range(20)]
    stop = threading.Event()
    threading.Timer(seconds, stop.set).start()
    time.sleep(2)
    report(site.catalog, job, attempt, stop)
    time.sleep(2)
    site.catalog.finish(job, attempt, "CANCELLED")
    for follower in followers:
        follower.join(60)
    return [late for follower in followers for late in follower.late]


def p95(values: list[float]) -> float:
    """The 95th percentile."""
    return quantile(values, 95)


def quantile(values: list[float], percent: int) -> float:
    """A percentile."""
    return statistics.quantiles(values, n=100)[percent - 1]


def _row(what: str, value: float, most: float, more: str) -> Figure:
    unit = (lambda v: f"{v * 1000:.0f} ms") if most < 1 else (lambda v: f"{v:.2f} s")
    return Figure(what, f"{unit(value)}{f' ({more})' if more else ''}", f"<= {unit(most)}", value <= most)


if __name__ == "__main__":
    main()
