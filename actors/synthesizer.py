"""The synthesizer: makes a planted dictionary, and samples of it a chunk at a time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import ray

from actors.pool import worker_options
from actors.worker_setup import set_up, temporary_folder
from cluster.store import Store
from configs.artifact_ids import ArtifactRef
from configs.data_positions import DataPolicy
from configs.requirements import Requirement
from configs.synthesize import PLANTED_HOOK, SynthesizeConfig
from sae.calibration import calibrate, save_calibration
from sae.formats.activations import HOOKS_JSON
from sae.formats.planted import DICTIONARY, Part, planted_chunk_name, write_planted_chunk
from sae.planted.calibration import calibration_batches
from sae.planted.dictionary import load_dictionary, make_dictionary, save_dictionary
from sae.planted.sampling import Sampler


class SynthesizeTask(NamedTuple):
    """What every synthesizer of a job gets."""

    config: SynthesizeConfig
    output: ArtifactRef
    store: Store
    attempt: int
    requirement: Requirement


class SampleChunk(NamedTuple):
    """A chunk of samples to train on, or of held-out ones. Its random numbers are those of `stream`."""

    part: Part
    number: int
    rows: int
    stream: int


class Synthesizer:
    """Makes the dictionary, or reads the one that is stored."""

    def __init__(self, task: SynthesizeTask) -> None:
        self._task = task
        self._sampler: Sampler | None = None

    def dictionary(self, _: None) -> None:
        """Stores the dictionary, and the calibration of its samples, as parts."""
        task = self._task
        set_up(task.requirement)
        dictionary = make_dictionary(task.config)
        batches = calibration_batches(task.config, dictionary)
        calibration = calibrate(PLANTED_HOOK, batches, DataPolicy(include_sinks=True))
        with temporary_folder() as name:
            folder = Path(name)
            for file in save_calibration(calibration, folder):
                self._put(f"{PLANTED_HOOK}/{file}", folder / file, {})
            hooks = {"names": {PLANTED_HOOK: PLANTED_HOOK}, "module_paths": {PLANTED_HOOK: ""}}
            (folder / HOOKS_JSON).write_text(json.dumps(hooks, indent=2, sort_keys=True) + "\n")
            self._put(HOOKS_JSON, folder / HOOKS_JSON, {})
            save_dictionary(dictionary, folder / DICTIONARY)
            self._put(DICTIONARY, folder / DICTIONARY, {})  # the last: where it is, all are

    def chunk(self, chunk: SampleChunk) -> int:
        """Stores a chunk as a part; returns its rows."""
        task = self._task
        if self._sampler is None:
            set_up(task.requirement)
            path = task.store.part_files(task.output).path(DICTIONARY)
            self._sampler = Sampler(task.config, load_dictionary(path))
        samples = chunk.rows * task.config.row_samples
        active = self._sampler.chunk(chunk.stream, samples)
        with temporary_folder() as folder:
            path = Path(folder) / "chunk.safetensors"
            write_planted_chunk(path, active, samples)
            self._put(planted_chunk_name(chunk.part, chunk.number), path, {"active": len(active.sample)})
        return chunk.rows

    def _put(self, name: str, path: Path, extra: dict[str, Any]) -> None:
        task = self._task
        task.store.put(task.output, task.attempt, name, path, extra=extra, part=True)


def make_synthesizer(task: SynthesizeTask) -> Any:
    """Starts a synthesizer actor of the size that the job was granted."""
    return ray.remote(Synthesizer).options(**worker_options(task.requirement)).remote(task)
