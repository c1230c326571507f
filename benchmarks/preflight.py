"""What `train --plan` predicts beside what five unlike runs take: seconds of the jobs, and memory of the largest worker.

    python -m benchmarks.preflight [--only NAME]

Each run is planned just before it is made, with the demo's model and tokens, its cache anew. Seconds are from the start of its
first job's attempt to the end of its last one's. Memory is the largest resident set of a worker process, sampled from /proc
twice a second.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks.common import REPOSITORY, Figure, Inputs, demo_inputs, machine, write_results
from cluster.catalog import open_catalog
from cluster.store import Store
from configs.settings import settings
from configs.train import TrainConfig
from jobs.life.planner import resolve_auto
from jobs.preflight import existing_cache

EVERY_S = 0.5
POLICY = {"calibration_rows": 16}
RUNS: dict[str, dict[str, Any]] = {
    "TopK, stream, block 7": {
        "rows": 240, "batch_rows": 8,
        "saes": [{"hook": "blocks.7.hook_resid_post", "architecture": "topk", "d_sae": 4608, "k": 32}],
    },
    "BatchTopK 9,216, stream, large steps, block 3": {
        "rows": 320, "batch_rows": 32, "block_steps": 4,
        "saes": [{"hook": "blocks.3.hook_mlp_out", "architecture": "batchtopk", "d_sae": 9216, "k": 64}],
    },
    "TopK from a cache, 4 epochs": {
        "rows": 160, "batch_rows": 16, "epochs": 4, "cache": {"dtype": "bf16"},
        "saes": [{"hook": "blocks.7.hook_resid_post", "architecture": "topk", "d_sae": 4608, "k": 32}],
    },
    "JumpReLU and standard on two hooks": {
        "rows": 160, "batch_rows": 8,
        "saes": [
            {"hook": "blocks.10.hook_resid_post", "architecture": "jumprelu", "d_sae": 2304},
            {"hook": "blocks.5.hook_attn_out", "architecture": "standard", "d_sae": 2304},
        ],
    },
    "four TopK SAEs, the first block": {
        "rows": 320, "batch_rows": 16,
        "saes": [
            {"hook": "blocks.0.hook_resid_post", "architecture": "topk", "d_sae": 4608, "k": 16 << n} for n in range(4)
        ],
    },
}  # fmt: skip


class LargestWorker:
    """Samples the largest resident set of Ray's workers with a marker in their environment, while entered."""

    def __init__(self, marker: str) -> None:
        self._marker, self._ended, self.peak = marker.encode(), threading.Event(), 0
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> LargestWorker:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._ended.wait(EVERY_S):
            for folder in Path("/proc").iterdir():
                if folder.name.isdigit():
                    self.peak = max(self.peak, self._resident(folder))

    def _resident(self, folder: Path) -> int:
        """The peak so far of a worker's resident set; 0 for other processes."""
        try:
            if not (folder / "cmdline").read_bytes().startswith(b"ray::"):
                return 0
            if self._marker not in (folder / "environ").read_bytes().split(b"\0"):
                return 0
            for line in (folder / "status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) << 10
        except OSError:
            pass
        return 0


def measure(name: str, inputs: Inputs, seed: int) -> dict[str, Any]:
    """Plans a run and makes it."""
    body = {
        "stage": "train",
        "model": str(inputs.model),
        "tokens": str(inputs.tokens),
        "policy": POLICY,
        "seed": seed,
        **RUNS[name],
    }
    if "cache" in body:
        body["cache"] = {**body["cache"], "rows_per_chunk": _unused_chunk(body, inputs.store)}
    command = [sys.executable, "-m", "jobs", "train", "--config", "-"]
    text = json.dumps(body)
    load = os.getloadavg()[0]
    asked = time.time()
    plan = json.loads(_run([*command, "--plan"], text))
    began = time.time()
    with LargestWorker(f"RAYLENS_HOME={os.environ['RAYLENS_HOME']}") as worker:
        _run(command, text)
    with open_catalog() as catalog:
        rows = [row for row in catalog.jobs(limit=10) if row.created_at >= began]
        attempts = [attempt for row in rows for attempt in catalog.attempts(row.id)]
    # The jobs run one after the other, and an attempt begins when its job is submitted.
    seconds = max(attempt.ended_at or 0 for attempt in attempts) - min(attempt.started_at for attempt in attempts)
    return {
        "predicted_s": plan["seconds"]["total"], "measured_s": seconds, "predicted_bytes": plan["memory_bytes"],
        "measured_bytes": worker.peak, "load_before": load, "load_after": os.getloadavg()[0],
        "plan_s": began - asked, "whole_command_s": time.time() - began, "predicted_parts_s": plan["seconds"],
    }  # fmt: skip


def _unused_chunk(body: dict[str, Any], store: Store) -> int:
    """Rows of a chunk that no cache of this run has yet, so that the cache is made."""
    for rows in count(64):
        config = TrainConfig.model_validate({**body, "cache": {**body["cache"], "rows_per_chunk": rows}})
        if existing_cache(resolve_auto(config, "cpu"), store) is None:
            return rows
    raise AssertionError("there are infinitely many")


def _run(command: list[str], text: str) -> str:
    ran = subprocess.run(command, input=text, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    if ran.returncode:
        sys.exit(f"error: `{' '.join(command[1:])}` failed; its message stands above")
    return ran.stdout


def _figure(what: str, predicted: float, measured: float, unit: str, within: float) -> Figure:
    error = predicted / measured - 1
    value = f"{predicted:,.0f} {unit} predicted, {measured:,.0f} {unit} measured ({error:+.0%})"
    return Figure(what, value, f"within {within:.0%}", abs(error) <= within)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=RUNS, action="append", help="this run alone, without writing results")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the shuffle: another one is another run")
    given = parser.parse_args()
    os.environ["RAYLENS_HOME"] = str(settings().home)  # by which the workers are found
    place, inputs = machine(), demo_inputs()
    raw, figures = {}, []
    for number, name in enumerate(given.only or RUNS):
        one = raw[name] = measure(name, inputs, given.seed + number)
        figures += [
            _figure(f"{name}: time", one["predicted_s"], one["measured_s"], "s", 0.2),
            _figure(
                f"{name}: memory of a worker",
                one["predicted_bytes"] / 2**20,
                one["measured_bytes"] / 2**20,
                "MiB",
                0.25,
            ),
        ]
        print(*(f"{figure.what}: {figure.value}" for figure in figures[-2:]), sep="\n", flush=True)
        if not given.only:  # after each: a run takes minutes
            write_results("preflight", "Preflight: predicted and measured", figures, {"policy": POLICY}, raw, place)


if __name__ == "__main__":
    main()
