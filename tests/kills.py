"""Kills of real processes, by pid and from outside, at a random moment of a stage; the product has no hook for it.

A case runs one stage undisturbed and once more with one kill, and compares every file of the artifacts. A run whose
kill hit nothing is a failure: it would prove nothing.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from cluster.store import Store
from configs.artifact_ids import ArtifactRef
from configs.extract import ExtractConfig
from configs.harvest import HarvestConfig
from configs.train import TrainConfig
from jobs.life.stage_context import JobContext
from jobs.stages import extract, harvest, train
from tests.artifacts import MODEL, TOKENS, hashes, make_job

INPUTS = {"model": [MODEL], "tokens": [TOKENS]}
TRAIN = {
    "model": str(MODEL), "tokens": str(TOKENS), "rows": 256, "batch_rows": 4, "lanes": 2, "block_steps": 4, "epochs": 3,
    "lm_dtype": "fp32", "autocast": "off", "policy": {"calibration_rows": 8},
    "runtime": {"checkpoint_blocks": 1, "checkpoint_seconds": 0},
    "saes": [
        {"hook": "blocks.1.hook_resid_post", "d_sae": 256, "k": 8, "dead_after_tokens": 2000},
        {"hook": "blocks.0.hook_mlp_out", "d_sae": 128, "k": 4, "architecture": "batchtopk"},
    ],
}  # fmt: skip
# One SAE of each kind, and of each option that a checkpoint must not lose.
_BOTH = {"hook": "blocks.1.hook_resid_post", "d_sae": 96, "dead_after_tokens": 400}
KINDS: list[dict[str, object]] = [
    *TRAIN["saes"],  # type: ignore[list-item]
    {**_BOTH, "architecture": "hierarchicaltopk", "k": 8, "gradient_clip": 0.5},
    {**_BOTH, "architecture": "matryoshka", "k": 4, "k_start": 12, "k_warmup": "40%"},
    {**_BOTH, "architecture": "standard", "l1": 0.5, "decoder_norm": "free", "resample_every": 4},
    {**_BOTH, "architecture": "gated", "l1": 0.5, "lr_decay": "50%", "lr_decay_shape": "cosine"},
    {**_BOTH, "architecture": "jumprelu", "target": 6.0},
    {**_BOTH, "architecture": "matchingpursuit", "k": 3, "train_rows": 24},
    {
        **_BOTH,
        "hook": "blocks.0.ln2.hook_normalized",
        "target_hook": "blocks.0.hook_mlp_out",
        "skip_connection": True,
        "k": 4,
    },
    {
        "hooks": ["blocks.0.hook_mlp_out", "blocks.1.hook_resid_post"],
        "d_sae": 96,
        "dead_after_tokens": 400,
        "architecture": "batchtopk",
        "k": 6,
    },
]

# One of each shape of state: sparse codes, alone and with a skip connection, nested dictionaries with a warm-up of k, and a
# penalty with latents that are resampled. That all of KINDS resume byte for byte: tests/actors/test_trainer.py.
SHAPES = [one for one in KINDS if one.get("architecture", "topk") in ("topk", "matryoshka", "standard")]


class Hit(NamedTuple):
    """One kill: the process' title, and how many units of work were finished before it."""

    title: str
    after: int


class Killer(threading.Thread):
    """Kills the first process whose title begins with `title`, once `finished()` has reached `after`."""

    def __init__(self, title: str, after: int, finished: Callable[[], int]) -> None:
        super().__init__(daemon=True)
        self.hit: Hit | None = None
        self._title, self._after, self._finished = title, after, finished
        self._end = threading.Event()

    def run(self) -> None:
        while not self._end.wait(0.01):
            if self._finished() < self._after:
                continue
            for process in psutil.Process().children(recursive=True):
                if _title(process).startswith(self._title):
                    os.kill(process.pid, signal.SIGKILL)
                    self.hit = Hit(self._title, self._finished())
                    return

    def end(self) -> Hit:
        """Waits for the thread; raises AssertionError if it hit nothing."""
        self._end.set()
        self.join()
        assert self.hit is not None, f"no {self._title} was killed: the run ended before {self._after} units of work"
        return self.hit


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline()).strip()
    except psutil.Error:
        return ""


class Case(NamedTuple):
    """A stage that can be run again and again on one store."""

    stage: Any
    config: Any
    inputs: dict[str, list[ArtifactRef]]
    fp: str
    victim: str
    units: Callable[[Store, JobContext], int]
    total: int


def harvest_case() -> Case:
    """256 chunks of 4 rows at two hooks; a harvester dies."""
    config = HarvestConfig(
        model=str(MODEL), tokens=str(TOKENS), hooks=("blocks.0.hook_mlp_out", "blocks.1.hook_resid_post"), rows=256,
        batch_rows=2, rows_per_chunk=4, lm_dtype="fp32", policy={"calibration_rows": 8},
    )  # fmt: skip
    return Case(harvest, config, INPUTS, "a" * 16, "ray::Harvester", parts, 120)


def train_case() -> Case:
    """48 blocks with a checkpoint after each; the training worker dies."""
    return Case(train, TrainConfig.model_validate(TRAIN), INPUTS, "b" * 16, "ray::RayTrainWorker", _checkpoints, 40)


def extract_case(sae: ArtifactRef) -> Case:
    """64 chunks of 4 rows in 4 sketches through the model; an extractor dies."""
    config = ExtractConfig(sae=str(sae), rows=256, rows_per_chunk=4, lm_dtype="fp32")
    return Case(extract, config, {"sae": [sae]}, "c" * 16, "ray::Extractor", parts, 3)


def parts(store: Store, job: JobContext) -> int:
    return sum(len(store.parts(output.ref)) for output in job.outputs)


def _checkpoints(store: Store, job: JobContext) -> int:
    manifests = [store.manifest(ref) for ref in store.list("checkpoints", job.fingerprint[:8])]
    return max((m.summary["block"] for m in manifests if m is not None), default=0)


def run_case(case: Case, store: Store, after: int | None = None) -> tuple[dict[str, dict[str, str]], Hit | None]:
    """Runs the stage from nothing, with a kill `after` so many finished units, if given. Returns all files' hashes."""
    job = make_job(case.stage, case.config, store, case.inputs, case.fp)
    for output in job.outputs:
        store.delete(output.ref)
    killer = None
    if after is not None:
        killer = Killer(case.victim, after, lambda: case.units(store, job))
        killer.start()
    try:
        case.stage.run(job)
    finally:
        hit = killer.end() if killer else None
    return {str(output.ref): hashes(store, output.ref) for output in job.outputs}, hit


def moment(case: Case, rng: random.Random) -> int:
    """A random moment: how many units are finished before the kill."""
    return rng.randrange(1, case.total)


def prepare(store: Store) -> dict[str, Case]:
    """All cases, by what they kill; trains the SAE that extraction needs."""
    wanted = {"harvester": harvest_case(), "trainer": train_case()}
    run_case(wanted["trainer"], store)
    trained = make_job(train, wanted["trainer"].config, store, INPUTS, "b" * 16).outputs[0].ref
    keep = ArtifactRef("saes", "f" * 16)
    _copy(store, trained, keep)
    return {**wanted, "extractor": extract_case(keep)}


def _copy(store: Store, source: ArtifactRef, target: ArtifactRef) -> None:
    files = store.files(source)
    copies = tuple(store.put(target, 1, name, Path(files.path(name)), keep=True) for name in files.names)
    store.commit(files.manifest.model_copy(update={"id": target.id, "files": copies, "attempt": 1}))


def timed(case: Case, store: Store, after: int) -> tuple[dict[str, dict[str, str]], Hit, float]:
    """run_case with a kill, and its seconds."""
    start = time.monotonic()
    files, hit = run_case(case, store, after)
    assert hit is not None
    return files, hit, time.monotonic() - start
