"""Cancels at random moments of a job's life: how long until it is CANCELLED, and is everything gone then?"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.chaos import Ledger
    from tests.plugs import Up

LIFE_S = 35.0  # from a job's submission to well into its training, which begins at about 15 s
EPOCHS = 30  # longer than that


def cancels(ledger: Ledger, given: argparse.Namespace) -> None:
    """`--cancels` of them; the seconds are those from the start of the command to the state, Python's own start too."""
    from tests.plugs import Up
    from tests.tiny_model import cached

    if all(f"cancel-{n}" in ledger for n in range(given.cancels)):
        return
    with tempfile.TemporaryDirectory(prefix="rx", dir="/tmp") as folder:
        up = Up(Path(folder), cached(Path(tempfile.gettempdir()) / "raylens-tests"))
        try:
            up.up()
            for number in range(given.cancels):
                if f"cancel-{number}" not in ledger:
                    _try(up, ledger, number)
        finally:
            up.down()
    took = sorted(found["seconds"] for found in ledger.tries().values())
    ledger.save(p50_s=statistics.median(took), p99_s=took[math.ceil(0.99 * len(took)) - 1], most_s=took[-1])


def _try(up: Up, ledger: Ledger, number: int) -> None:
    from tests.plugs import of_job, settled

    key = f"cancel-{number}"
    moment = random.Random(f"{ledger.seed}-{key}").uniform(0.0, LIFE_S)
    job = up.submit(up.config(key, seed=number + 100, epochs=EPOCHS))
    time.sleep(moment)
    before, blocks, began = up.catalog.job(job), up.blocks(job), time.monotonic()
    ran = up.run("jobs", "cancel", job)
    row = up.ended(job, 60)
    seconds = time.monotonic() - began
    faults = [f"process {p.pid} is left" for p in of_job(up, job)]
    if row.state != "CANCELLED":
        faults.append(f"it was {before.state} and ended {row.state}: {row.message}")
    if ran.returncode:
        faults.append(ran.stderr[-300:])
    time.sleep(1.0)
    if up.catalog.job(job).state != row.state:
        faults.append("its state was overwritten")
    if up.blocks(job) < blocks:
        faults.append("a checkpoint is gone")
    faults += settled(up, 60)
    ledger.write(
        key, good=not faults and seconds <= 10, at_s=round(moment, 1), was=str(before.state), checkpoint=blocks,
        seconds=round(seconds, 2), faults=faults,
    )  # fmt: skip
