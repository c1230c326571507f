"""The raylet of a node that a job runs on dies, not the head's: its workers start again on the node that is left."""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from configs.artifact_ids import parse_ref

if TYPE_CHECKING:
    from tests.chaos import Ledger
    from tests.plugs import Up


def nodes(ledger: Ledger, given: argparse.Namespace) -> None:
    """`--kills` of them, each on a cluster of a head with one CPU and two nodes with two; the job needs two."""
    from tests.plugs import Up, outcome
    from tests.tiny_model import cached

    expected: dict[str, dict[str, str]] = {}
    for number in range(given.kills):
        if f"node-{number}" in ledger:
            continue
        with tempfile.TemporaryDirectory(prefix="rn", dir="/tmp") as folder:
            up = Up(Path(folder), cached(Path(tempfile.gettempdir()) / "raylens-tests"), cpus=1)
            try:
                up.up()
                for name in ("one", "two"):
                    up.join(name, cpus=2)
                if not expected:
                    expected = outcome(up, up.submit(up.config("a"), "--set", "resources.cpus=2"))
                    for ref in expected:
                        up.store.delete(parse_ref(ref))
                _try(up, expected, ledger, number)
            finally:
                up.down()


def _try(up: Up, expected: dict[str, dict[str, str]], ledger: Ledger, number: int) -> None:
    from tests.plugs import kill, outcome

    job = up.submit(up.config("a"), "--set", "resources.cpus=2")
    goal = random.Random(f"{ledger.seed}-{number}").randint(1, 30)
    up.wait(job, lambda row: row.state == "RUNNING" and up.blocks(job) >= goal)
    before, began, faults = up.blocks(job), time.monotonic(), []
    (worker,) = up.find("ray::RayTrainWorker")
    kill(worker.parents()[0])  # its raylet
    try:
        up.wait(job, lambda row: not row.live or up.blocks(job) > before)
        if outcome(up, job) != expected:
            faults.append("other bytes")
    except AssertionError as error:
        faults.append(str(error)[:500])
    seconds = round(time.monotonic() - began, 1)
    ledger.write(f"node-{number}", good=not faults, after=before, faults=faults, seconds=seconds)
