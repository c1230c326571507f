"""Workers of the extract stage: an actor that sketches chunks of rows, and one that merges the sketches."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import ray
import torch

from actors.pool import worker_options
from actors.progress_channel import ProgressChannel
from actors.worker_setup import refuse_emulated, set_up, temporary_folder
from cluster.store import Store, StoredFile
from configs.artifact_ids import ArtifactRef
from configs.data_positions import DataPolicy
from configs.requirements import Requirement
from sae.calibration import Calibration
from sae.features.row_sketcher import RowSketcher, rows_from_cache, rows_from_model, side_by_side
from sae.features.sampling import Quota
from sae.features.sketch import Space
from sae.features.sketch_file import ChunkRange, covered, save_sketch
from sae.features.write_features import write_artifact
from sae.formats.activations import ActivationsReader
from sae.formats.sae_folder import Sae, load_sae
from sae.formats.tokens import TokensReader
from sae.language_model import LanguageModel


class Target(NamedTuple):
    """One SAE and the artifact of its features. `cache`: activations to read instead of running the model."""

    sae: ArtifactRef
    output: ArtifactRef
    cache: ArtifactRef | None

    @property
    def source(self) -> str:
        """Where its activations come from."""
        return "cache" if self.cache else "model"


class ExtractorSettings(NamedTuple):
    """What extractors work on. `science` is the extract config's, without the SAE; `lm_dtype` is already decided.

    `dtype` (fp32, bf16 or fp16) is that of the activations that the SAEs were trained on, `pass_rows` the rows of one
    forward pass that made them: with both the same, cache and model give the same activations.
    """

    model: ArtifactRef
    tokens: ArtifactRef
    split: str
    rows: int
    context_length: int
    policy: DataPolicy
    lm_dtype: str
    dtype: str
    pass_rows: int
    batch_rows: int
    rows_per_chunk: int
    quota: Quota
    science: dict[str, Any]
    targets: tuple[Target, ...]
    attempt: int

    @property
    def chunks(self) -> int:
        """How many chunks the rows make."""
        return -(-self.rows // self.rows_per_chunk)

    def rows_of(self, chunks: ChunkRange) -> int:
        """Rows in a range of chunks."""
        size = self.rows_per_chunk
        return min(chunks.stop * size, self.rows) - min(chunks.first * size, self.rows)


class ExtractTask(NamedTuple):
    """Chunks of rows to sketch together, for the targets at these indices."""

    chunks: ChunkRange
    targets: tuple[int, ...]


class Merged(NamedTuple):
    """The files of a finished features artifact, and what its features.json says."""

    files: list[StoredFile]
    info: dict[str, Any]


class Extractor:
    """An actor that sketches a range of chunks a call.

    Holds the tokens and the SAEs, and the language model unless every SAE has a cache.
    """

    def __init__(
        self,
        store: Store,
        settings: ExtractorSettings,
        requirement: Requirement,
        channel: ProgressChannel | None = None,
    ) -> None:
        self.store, self.settings, self.requirement, self.channel = store, settings, requirement, channel
        self.loaded = False

    def _load(self) -> None:
        # Not in __init__: what that raises looks as if the worker had died, and would be tried again.
        set_up(self.requirement)
        store, settings = self.store, self.settings
        self.tokens = TokensReader(store.files(settings.tokens), settings.split, settings.policy.speakers)
        self.saes = [_load_sae(store, target, self.requirement.device) for target in settings.targets]
        self.caches = {
            index: [ActivationsReader(store.files(target.cache), hook) for hook in self.saes[index].hooks]
            for index, target in enumerate(settings.targets)
            if target.cache is not None
        }
        self.lm: LanguageModel | None = None
        if len(self.caches) < len(settings.targets):
            refuse_emulated(self.requirement, settings.lm_dtype)
            folder = store.files(settings.model).directory()
            self.lm = LanguageModel.load(folder, settings.lm_dtype, self.requirement.device)
        self.loaded = True

    def extract(self, task: ExtractTask) -> ChunkRange:
        """Stores one sketch of the task's chunks for each of its targets. The model runs once for all.

        Returns the chunks done: not all of them if a stop was requested meanwhile.
        """
        if not self.loaded:
            self._load()
        settings, channel = self.settings, self.channel
        sketchers = {
            i: RowSketcher(self.saes[i], _space(settings, self.saes[i]), settings.quota, settings.dtype)
            for i in task.targets
        }
        done = task.chunks._replace(stop=task.chunks.first)
        for number in range(*task.chunks):
            self._chunk(sketchers, number)
            done = done._replace(stop=number + 1)
            if channel is not None:
                channel.report(f"{done.first}", settings.rows_of(done))
                if channel.stop_requested():
                    break
        with temporary_folder() as folder:
            for i, sketcher in sketchers.items():
                path = Path(folder, f"{i}")
                save_sketch(sketcher.finish(), _space(settings, self.saes[i]), path)
                self.store.put(settings.targets[i].output, settings.attempt, done.file_name, path, part=True)
        return done

    def _chunk(self, sketchers: dict[int, RowSketcher], number: int) -> None:
        size, read = self.settings.rows_per_chunk, self.settings.pass_rows
        # Whole forward passes, so that what is encoded together is the same from the cache and from the model.
        step = read * max(1, round(self.settings.batch_rows / read))
        end = min((number + 1) * size, self.settings.rows)
        with torch.inference_mode():
            for start in range(number * size, end, step):
                self._batch(sketchers, start, min(start + step, end))

    def _batch(self, sketchers: dict[int, RowSketcher], start: int, stop: int) -> None:
        policy = self.settings.policy
        length = self.tokens.context_length
        calibrations: dict[str, Calibration] = {}
        for i, sketcher in sketchers.items():
            own = dict(zip(self.saes[i].hooks, self.saes[i].calibrations, strict=False))
            if i in self.caches:
                caches = zip(self.caches[i], own.values(), strict=True)
                hooks = [rows_from_cache(one, self.tokens, c, policy, start, stop) for one, c in caches]
                sketcher.add(side_by_side(hooks, length))
            else:
                calibrations |= own
        if self.lm is not None and calibrations:
            read = self.settings.pass_rows
            rows = rows_from_model(self.lm, self.tokens, calibrations, policy, start, stop, read)
            for i in sketchers.keys() - self.caches.keys():
                sketchers[i].add(side_by_side([rows[hook] for hook in self.saes[i].hooks], length))


def make_extractor(
    store: Store, settings: ExtractorSettings, requirement: Requirement, channel: ProgressChannel | None = None
) -> Any:
    """Starts an extractor actor, which reports the rows done of each task to `channel` under its first chunk."""
    return ray.remote(Extractor).options(**worker_options(requirement)).remote(store, settings, requirement, channel)


class Merger:
    """An actor that merges the sketches of one target a call. It needs no GPU and reads one tensor of the model."""

    def __init__(self, store: Store, settings: ExtractorSettings, requirement: Requirement) -> None:
        self.store, self.settings, self.requirement = store, settings, requirement

    def merge(self, index: int) -> Merged:
        """Merges the sketches of the target at this index into its artifact's files."""
        set_up(self.requirement)
        store, settings = self.store, self.settings
        target = settings.targets[index]
        sae = _load_sae(store, target, "cpu")
        sketches = store.part_files(target.output)
        inputs = {"sae": str(target.sae), "model": str(settings.model), "tokens": str(settings.tokens)}
        with temporary_folder() as temporary:
            folder = Path(temporary)
            info = write_artifact(
                folder,
                [sketches.path(chunks.file_name) for chunks in covered(sketches.names)],
                _space(settings, sae),
                settings.quota,
                sae,
                store.files(settings.model).directory(),
                settings.science,
                settings.split,
                inputs,
            )
            names = sorted(path.name for path in folder.iterdir())
            files = [store.put(target.output, settings.attempt, name, folder / name) for name in names]
        return Merged(files, info.model_dump(mode="json"))


def make_merger(store: Store, settings: ExtractorSettings, requirement: Requirement) -> Any:
    """Starts a merger actor, on CPUs alone."""
    requirement = requirement.model_copy(update={"gpus": 0, "device": "cpu"})
    return ray.remote(Merger).options(**worker_options(requirement)).remote(store, settings, requirement)


def _load_sae(store: Store, target: Target, device: str) -> Sae:
    return load_sae(store.files(target.sae).directory(), device)


def _space(settings: ExtractorSettings, sae: Sae) -> Space:
    space = Space(sae.d_sae, settings.rows, settings.context_length)
    space.check()
    return space
