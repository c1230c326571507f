"""What one label task reads: its artifacts, each opened when it is first wanted and once."""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from actors.worker_setup import refuse_emulated
from cluster.store import ArtifactFiles, Store
from configs.artifact_ids import ArtifactRef
from configs.data_positions import DataPolicy
from configs.label_endpoint import LabelEndpoint
from configs.requirements import Requirement
from sae.formats.activations import ActivationsReader
from sae.formats.features import FeaturesReader
from sae.formats.sae_folder import Sae, load_sae
from sae.formats.tokens import TokensReader
from sae.labels.label_features import Directions, LabelSettings
from sae.language_model import LanguageModel
from sae.language_model.loading import load_tokenizer
from sae.report.sources import TOKENIZER
from sae.report.token_text import TokenText
from sae.steering.run import Steerable


class LabelTask(NamedTuple):
    """One features artifact and the labels to make. `cache`: activations to read instead of running the model.

    `dtype`, `pass_rows` and `policy` are those of the SAE's training; `science` is the label config's, without the features.
    """

    features: ArtifactRef
    output: ArtifactRef
    inputs: dict[str, ArtifactRef]
    cache: ArtifactRef | None
    split: str
    rows: int
    policy: DataPolicy
    lm_dtype: str
    dtype: str
    pass_rows: int
    settings: LabelSettings
    coactive: int
    science: dict[str, Any]
    endpoint: LabelEndpoint | None = None

    @property
    def passes(self) -> int:
        """How often the rows are gone through."""
        return 2 if self.settings.effect_examples else 1


class LabelSource:
    """The artifacts of a task on a worker that has `requirement`."""

    def __init__(self, store: Store, task: LabelTask, requirement: Requirement) -> None:
        self.store, self.task, self._requirement = store, task, requirement

    @cached_property
    def sae(self) -> Sae:
        """On the worker's device."""
        return load_sae(self.files("sae").directory(), self._requirement.device)

    @cached_property
    def lm(self) -> LanguageModel:
        """The language model, on the worker's device."""
        refuse_emulated(self._requirement, self.task.lm_dtype)
        return LanguageModel.load(self.files("model").directory(), self.task.lm_dtype, self._requirement.device)

    @cached_property
    def tokens(self) -> TokensReader:
        """The rows."""
        return TokensReader(self.files("tokens"), self.task.split, self.task.policy.speakers)

    @cached_property
    def tokenizer(self) -> Any:
        """The model's, as transformers loads it."""
        return load_tokenizer(self.files("model").directory())

    @cached_property
    def token_text(self) -> TokenText:
        """Texts of token ids."""
        return TokenText(self.files("model").path(TOKENIZER).read_text(encoding="utf-8"))

    @cached_property
    def promoted(self) -> npt.NDArray[np.int64]:
        """Ids of the tokens that each feature promotes [F, k]; k = 0 without a logit lens."""
        rows = self._features(("promoted",))[0]
        return np.array([row or [] for row in rows], np.int64).reshape(len(rows), -1)

    def files(self, role: str) -> ArtifactFiles:
        """Those of an input."""
        return self.store.files(self.task.inputs[role])

    def caches(self) -> dict[str, ActivationsReader] | None:
        """Activations of each hook of the SAE that are read instead of running the model; None: run it."""
        if self.task.cache is None:
            return None
        files = self.store.files(self.task.cache)
        return {hook: ActivationsReader(files, hook) for hook in self.sae.hooks}

    def directions(self) -> Directions:
        """Promoted tokens and neighbours of every feature."""
        promoted, neighbours, cosines = self._features(("promoted_tokens", "neighbours", "neighbour_cosines"))
        return Directions([tokens or [] for tokens in promoted], neighbours, cosines)

    def steerable(self) -> Steerable:
        """The model with the SAE, to generate text with."""
        bos = str(self.files("tokens").manifest.config.get("bos", "tokenizer"))
        return Steerable(self.lm, self.tokenizer, self.token_text, {str(self.task.inputs["sae"]): self.sae}, {}, bos)

    def _features(self, columns: tuple[str, ...]) -> list[list[Any]]:
        table = FeaturesReader(self.store.files(self.task.features)).features(columns)
        return [table[name].to_pylist() for name in columns]
