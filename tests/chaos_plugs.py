"""Plugs pulled from a training job on a running cluster: all of them, in a random order, at random moments, job after job."""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from configs.artifact_ids import parse_ref

if TYPE_CHECKING:
    from tests.chaos import Ledger
    from tests.plugs import Up


EPOCHS = 12  # 192 blocks: the job must outlast all of its kills


def plugs(ledger: Ledger, given: argparse.Namespace) -> None:
    """`--kills` jobs, of each of which every plug is pulled once."""
    from tests.plugs import Up, outcome, settled
    from tests.tiny_model import cached

    rounds = [n for n in range(given.kills) if f"round-{n}" not in ledger]
    if not rounds:
        return
    with tempfile.TemporaryDirectory(prefix="rp", dir="/tmp") as folder:
        up = Up(Path(folder), cached(Path(tempfile.gettempdir()) / "raylens-tests"))
        try:
            up.up()
            config = up.config("a", epochs=EPOCHS)
            expected = outcome(up, up.submit(config))
            assert not settled(up, 60)
            up.shared_at_rest = psutil.virtual_memory().shared
            for number in rounds:
                _round(up, config, expected, ledger, number)
        finally:
            up.down()


def _round(up: Up, config: str, expected: dict[str, dict[str, str]], ledger: Ledger, number: int) -> None:
    from tests.plugs import PLUGS, outcome, pull, settled

    rng = random.Random(f"{ledger.seed}-{number}")
    for ref in expected:
        up.store.delete(parse_ref(ref))
    job = up.submit(config)
    order = list(PLUGS)
    rng.shuffle(order)
    pulled: dict[str, int] = {}
    faults: list[str] = []
    began = time.monotonic()
    try:
        for plug in order:
            goal = up.blocks(job) + rng.randint(1, 6)
            row = up.wait(
                job, lambda row, goal=goal: not row.live or (row.state == "RUNNING" and up.blocks(job) >= goal)
            )  # type: ignore[misc]
            if not row.live:
                break  # what is left is not counted
            time.sleep(rng.random())
            if not up.catalog.job(job).live:
                break
            pull(up, job, plug)
            pulled[plug] = goal
        files = outcome(up, job)
        if files != expected:
            faults.append("other bytes")
        faults += settled(up, 60)
    except AssertionError as error:
        faults.append(str(error)[:500])
    seconds = round(time.monotonic() - began, 1)
    ledger.write(f"round-{number}", good=not faults, pulled=pulled, faults=faults, seconds=seconds)
