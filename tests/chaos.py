"""`make chaos`: kills of every kind and cancels, counted. Seeded and resumable; the results are committed.

    python -m tests.chaos [--part workers|plugs|nodes|cancels] [--kills 10] [--cancels 50] [--seed 0]

Four parts, each with a file in benchmarks/results: `workers` (kill -9 of a harvester, a trainer, an extractor under their
stages), `plugs` (of the worker, driver, dispatcher, raylet and head under a job on a running cluster), `nodes` (of the raylet of
another node than the head's) and `cancels` (at random moments of a job's life).
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent.parent / "benchmarks" / "results"


class Ledger:
    """What was tried and came of it, written after each try; what stands for this commit and seed is not done again."""

    def __init__(self, part: str, seed: int, file: str | None = None) -> None:
        self._path = RESULTS / (file or ("chaos.json" if part == "workers" else f"chaos_{part}.json"))
        self.seed = seed
        commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
        held = json.loads(self._path.read_text()) if self._path.exists() else {}
        if (held.get("commit"), held.get("seed")) != (commit, seed):
            held = {"commit": commit, "seed": seed, "machine": platform.processor() or platform.machine(), "tries": {}}
        self._held: dict[str, Any] = held

    def __contains__(self, key: str) -> bool:
        return key in self._held["tries"]

    def write(self, key: str, **found: Any) -> None:
        """Adds one try; `found["good"]` says whether all was as it should be."""
        self._held["tries"][key] = found
        print(key, found, flush=True)
        self.save()

    def save(self, **more: Any) -> None:
        """Writes the file."""
        self._held.update(more)
        self._path.write_text(json.dumps(self._held, indent=2) + "\n")

    def tries(self) -> dict[str, dict[str, Any]]:
        """All that stands in it."""
        return dict(self._held["tries"])

    def bad(self) -> list[str]:
        """Tries that went wrong."""
        return [key for key, found in self._held["tries"].items() if not found["good"]]


def main() -> int:
    """Runs what the result files do not hold yet. Exit status 1 if anything went wrong."""
    from tests.chaos_cancels import cancels
    from tests.chaos_nodes import nodes
    from tests.chaos_plugs import plugs
    from tests.chaos_workers import workers

    parts: dict[str, Callable[[Ledger, argparse.Namespace], None]] = {
        "workers": workers, "plugs": plugs, "nodes": nodes, "cancels": cancels,
    }  # fmt: skip
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=parts, help="only this part")
    parser.add_argument("--kills", type=int, default=10, help="kills of each kind")
    parser.add_argument("--cancels", type=int, default=50, help="cancels")
    parser.add_argument("--seed", type=int, default=0, help="decides the moments")
    given = parser.parse_args()
    wrong = 0
    for part, run in parts.items():
        if given.part in (None, part):
            ledger = Ledger(part, given.seed)
            run(ledger, given)
            bad = ledger.bad()
            print(f"{part}: {len(ledger.tries()) - len(bad)} of {len(ledger.tries())} as it should be", *bad)
            wrong += len(bad)
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
