"""Cancels at random moments of a job's life: how long until it is CANCELLED, and is everything gone then?"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.chaos import Ledger

LIFE_S = 20.0  # from a job's submission to well into its training


def cancels(ledger: Ledger, given: argparse.Namespace) -> None:
    """`--cancels` of them; `p99_s` is the seconds from the request to the state."""
    from tests.plugs import Up, of_job, settled
    from tests.tiny_model import cached

    if all(f"cancel-{n}" in ledger for n in range(given.cancels)):
        return
    with tempfile.TemporaryDirectory(prefix="rx", dir="/tmp") as folder:
        up = Up(Path(folder), cached(Path(tempfile.gettempdir()) / "raylens-tests"))
        try:
            up.up()
            for number in range(given.cancels):
                key = f"cancel-{number}"
                if key in ledger:
                    continue
                moment = random.Random(f"{ledger.seed}-{key}").uniform(0.0, LIFE_S)
                job = up.submit(up.config(key, seed=number + 100))
                time.sleep(moment)
                before = up.records.job(job)
                began = time.monotonic()
                ran = up.run("jobs", "cancel", job)
                asked = time.monotonic()
                row = up.ended(job, 60)
                seconds = time.monotonic() - asked
                faults = [] if row.state == "CANCELLED" else [f"it ended {row.state}: {row.message}"]
                faults += [f"process {p.pid} is left" for p in of_job(up, job)]
                if ran.returncode:
                    faults.append(ran.stderr[-300:])
                time.sleep(1.0)
                if up.records.job(job).state != row.state:
                    faults.append("its state was overwritten")
                faults += settled(up, 60)
                ledger.write(
                    key, good=not faults and seconds <= 10, at_s=round(moment, 1), was=str(before.state), done=before.done,
                    seconds=round(seconds, 2), command_s=round(asked - began, 2), faults=faults,
                )  # fmt: skip
        finally:
            up.down()
    took = sorted(found["seconds"] for found in ledger.tries().values())
    ledger.save(p50_s=statistics.median(took), p99_s=took[min(len(took) - 1, round(0.99 * len(took)))], most_s=took[-1])
