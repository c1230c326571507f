"""Kills of workers under their stages: byte-equal artifacts."""

from __future__ import annotations

import argparse
import os
import random
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.chaos import Ledger

REPOSITORY = Path(__file__).resolve().parent.parent


def workers(ledger: Ledger, given: argparse.Namespace) -> None:
    """`--kills` of a harvester, a trainer and an extractor each."""
    import ray

    from tests.artifacts import tiny_store
    from tests.kills import moment, prepare, run_case, timed
    from tests.tiny_model import cached

    os.environ["PYTHONPATH"] = str(REPOSITORY)
    with tempfile.TemporaryDirectory(prefix="rc", dir="/tmp") as folder:
        ray.init(address="local", num_cpus=4, include_dashboard=False, _temp_dir=folder, log_to_driver=False)
        store = tiny_store(Path(folder), cached(Path(tempfile.gettempdir()) / "raylens-tests"), train_rows=256)
        for victim, case in prepare(store).items():
            keys = [key for n in range(given.kills) if (key := f"{victim}-{n}") not in ledger]
            undisturbed = run_case(case, store)[0] if keys else {}
            for key in keys:
                after = moment(case, random.Random(f"{ledger.seed}-{key}"))
                files, hit, seconds = timed(case, store, after)
                ledger.write(key, good=files == undisturbed, after=hit.after, seconds=round(seconds, 1))
        ray.shutdown()
