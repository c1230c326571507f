"""Workers of the extract stage: an actor that sketches chunks of rows, and one that merges the sketches."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import ray
import torch

from actors.pool import worker_options
from actors.worker_setup import set_up, temporary_folder
from cluster.store import Store, StoredFile
from configs.data_policy import DataPolicy
from configs.identity import ArtifactRef
from configs.requirements import Requirement
from sae.features.encode_rows import Collector, rows_from_cache, rows_from_model
from sae.features.sampling import Quota
from sae.features.sketch import Sketch, Space
from sae.features.sketch_file import load_sketch, partial_name, save_sketch
from sae.features.write_features import finish
from sae.formats.activations import ActivationsReader
from sae.formats.sae_folder import Sae, load_sae
from sae.formats.tokens import TokensReader
from sae.language_model import LanguageModel, load_tokenizer


class Target(NamedTuple):
    """One SAE and the artifact of its features. `cache`: activations to read instead of running the model."""

    sae: ArtifactRef
    output: ArtifactRef
    cache: ArtifactRef | None


class ExtractorSettings(NamedTuple):
    """What extractors work on. `science` is the extract config's, without the SAE; `lm_dtype` is already decided.

    `dtype` (fp32, bf16 or fp16) is that of the activations that the SAEs were trained on, `pass_rows` the rows of one
    forward pass that made them: with both the same, cache and model give the same activations.
    """

    model: ArtifactRef
    tokens: ArtifactRef
    split: str
    rows: int
    policy: DataPolicy
    lm_dtype: str
    dtype: str
    pass_rows: int
    science: dict[str, Any]
    targets: tuple[Target, ...]
    attempt: int


class Chunk(NamedTuple):
    """Rows [start, stop) of the split, for the targets at these indices."""

    number: int
    start: int
    stop: int
    targets: tuple[int, ...]


class Merged(NamedTuple):
    """The files of a finished features artifact, and what its features.json says."""

    files: list[StoredFile]
    info: dict[str, Any]


class Extractor:
    """An actor that sketches one chunk a call.

    Holds the tokens and the SAEs, and the language model unless every SAE has a cache.
    """

    def __init__(self, store: Store, settings: ExtractorSettings, requirement: Requirement) -> None:
        self.store, self.settings, self.requirement = store, settings, requirement
        self.loaded = False

    def _load(self) -> None:
        # Not in __init__: what that raises looks as if the worker had died, and would be tried again.
        set_up(self.requirement)
        store, settings = self.store, self.settings
        self.tokens = TokensReader(store.files(settings.tokens), settings.split)
        self.saes = [_load_sae(store, target, self.requirement.device) for target in settings.targets]
        self.caches = {
            index: ActivationsReader(store.files(target.cache), self.saes[index].metadata["hook_name"])
            for index, target in enumerate(settings.targets)
            if target.cache is not None
        }
        self.lm: LanguageModel | None = None
        if len(self.caches) < len(settings.targets):
            folder = store.files(settings.model).directory()
            self.lm = LanguageModel.load(folder, settings.lm_dtype, self.requirement.device)
        self.loaded = True

    def extract(self, chunk: Chunk) -> int:
        """Stores a partial of each of the chunk's targets; returns the rows done. The model runs once for all."""
        if not self.loaded:
            self._load()
        targets = self.settings.targets
        collectors = {
            i: Collector(self.saes[i], *_sizes(self.settings, self.saes[i], self.tokens), self.settings.dtype)
            for i in chunk.targets
        }
        read = self.settings.pass_rows
        # Whole forward passes, so that what is encoded together is the same from the cache and from the model.
        step = read * max(1, round(self.settings.science["batch_rows"] / read))
        with torch.inference_mode():
            for start in range(chunk.start, chunk.stop, step):
                self._batch(collectors, start, min(start + step, chunk.stop))
        with temporary_folder() as folder:
            for i, collector in collectors.items():
                path = Path(folder, f"{i}")
                save_sketch(collector.finish(), path)
                self.store.put(targets[i].output, self.settings.attempt, partial_name(chunk.number), path, part=True)
        return chunk.stop - chunk.start

    def _batch(self, collectors: dict[int, Collector], start: int, stop: int) -> None:
        policy = self.settings.policy
        streamed: dict[str, list[int]] = {}
        for i, collector in collectors.items():
            calibration = self.saes[i].calibration
            if i in self.caches:
                collector.add(rows_from_cache(self.caches[i], self.tokens, calibration, policy, start, stop))
            else:
                streamed.setdefault(self.saes[i].metadata["hook_name"], []).append(i)
        if self.lm is not None and streamed:
            calibrations = {hook: self.saes[which[0]].calibration for hook, which in streamed.items()}
            read = self.settings.pass_rows
            for hook, rows in rows_from_model(self.lm, self.tokens, calibrations, policy, start, stop, read).items():
                for i in streamed[hook]:
                    collectors[i].add(rows)


def make_extractor(store: Store, settings: ExtractorSettings, requirement: Requirement) -> Any:
    """Starts an extractor actor."""
    return ray.remote(Extractor).options(**worker_options(requirement)).remote(store, settings, requirement)


class Merger:
    """An actor that merges the partials of one target a call."""

    def __init__(self, store: Store, settings: ExtractorSettings, chunks: int, requirement: Requirement) -> None:
        self.store, self.settings, self.chunks, self.requirement = store, settings, chunks, requirement

    def merge(self, index: int) -> Merged:
        """Merges the partials of the target at this index into its artifact's files."""
        set_up(self.requirement)
        store, settings = self.store, self.settings
        target = settings.targets[index]
        sae = _load_sae(store, target, self.requirement.device)
        model = store.files(settings.model).directory()
        sizes = _sizes(settings, sae, TokensReader(store.files(settings.tokens), settings.split))
        inputs = {"sae": str(target.sae), "model": str(settings.model), "tokens": str(settings.tokens)}
        with temporary_folder() as temporary:
            folder = Path(temporary)
            info = finish(
                folder,
                _sketches(store, target.output, self.chunks),
                *sizes,
                sae,
                LanguageModel.load(model, "fp32"),
                load_tokenizer(model),
                settings.science,
                settings.split,
                inputs,
            )
            names = sorted(path.name for path in folder.iterdir())
            files = [store.put(target.output, settings.attempt, name, folder / name) for name in names]
        return Merged(files, info.model_dump(mode="json"))


def make_merger(store: Store, settings: ExtractorSettings, chunks: int, requirement: Requirement) -> Any:
    """Starts a merger actor."""
    return ray.remote(Merger).options(**worker_options(requirement)).remote(store, settings, chunks, requirement)


def _sketches(store: Store, output: ArtifactRef, chunks: int) -> Iterator[Sketch]:
    """The partials in chunk order, checked against the hashes that were noted when they were stored."""
    files = store.part_files(output)
    for chunk in range(chunks):
        yield load_sketch(files.path(partial_name(chunk)))


def _load_sae(store: Store, target: Target, device: str) -> Sae:
    return load_sae(store.files(target.sae).directory(), device)


def _sizes(settings: ExtractorSettings, sae: Sae, tokens: TokensReader) -> tuple[Space, Quota]:
    """The space of the sketch and the quotas of examples."""
    space = Space(sae.d_sae, settings.rows, tokens.context_length)
    space.check()
    science = settings.science
    quota = Quota(science["top_examples"], science["quantile_examples"], science["uniform_examples"], science["seed"])
    return space, quota
