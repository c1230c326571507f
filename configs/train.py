"""Config of the train stage: several SAEs in one run over one pass of the language model."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from configs.architectures import AnySae
from configs.base import Config, Seed, StageConfig
from configs.data_positions import DataPolicy
from configs.download import DownloadConfig
from configs.dtypes import CacheDtype, LmDtype
from configs.grid import expand_grid
from configs.harvest import HarvestConfig
from configs.inputs import ActivationsId, IdOrConfig, ModelId, TokensId
from configs.synthesize import PLANTED_HOOK, SynthesizeConfig
from configs.tokenize import TokenizeConfig


class CacheConfig(Config):
    """Train from stored activations: a harvest job writes them once, any number of runs and epochs read them."""

    dtype: CacheDtype = Field("bf16", description="Element type of the stored activations.")
    hooks: tuple[str, ...] = Field(
        (), description="Hooks to harvest beyond those of this run's SAEs, to share one cache."
    )
    batch_rows: int | None = Field(
        None, ge=1, description="Rows in one forward pass; if not given, the rows of a lane's step, as when streaming."
    )
    rows_per_chunk: int = Field(128, ge=1, description="Rows in one chunk of the cache.")


class EarlyStopConfig(Config):
    """Ends the training of an SAE whose held-out error no longer falls. Its learning rate does not decay first."""

    rows: int = Field(64, ge=1, description="Last rows of those that there are: held out, a multiple of batch_rows.")
    every_blocks: int = Field(4, ge=1, description="Blocks between two looks at the held-out error.")
    patience: int = Field(3, ge=1, description="Looks in a row without a gain after which an SAE is finished.")
    min_gain: float = Field(1e-3, ge=0, lt=1, description="Share of the least error so far that a gain must be.")


class TrainRuntime(Config):
    """What never changes the result."""

    checkpoint_blocks: int = Field(4, ge=1, description="Blocks between checkpoints.")
    checkpoint_seconds: float = Field(
        60.0, ge=0, description="At least this many seconds between checkpoints, so that small runs write few."
    )


class TrainConfig(StageConfig):
    """Trains one or several SAEs on one pass of the language model.

    Step t is the rows [t * batch_rows, (t + 1) * batch_rows), cut into `lanes`; every SAE sees the whole batch.
    """

    stage: Literal["train"] = "train"
    model: Annotated[ModelId | DownloadConfig, IdOrConfig()] | None = Field(None, description="The language model.")
    tokens: Annotated[TokensId | TokenizeConfig, IdOrConfig()] | None = Field(
        None, description="The tokens to run it on."
    )
    activations: Annotated[ActivationsId | SynthesizeConfig, IdOrConfig()] | None = Field(
        None,
        description="Planted activations to train on, in place of a model and tokens. The hook of the SAEs is `planted` then.",
    )
    saes: tuple[AnySae, ...] = Field(min_length=1, description="The SAEs to train, each with its own settings.")
    grid: dict[str, tuple[Any, ...]] = Field(
        default={},
        description="Sweep: lists of settings of SAEs. Each entry of `saes` is trained with every combination, such as that of "
        "{k: [32, 64], seed: [0, 1]}. The config that is kept has these SAEs in `saes`.",
    )
    split: str = Field("train", description="Split of the tokens.")
    rows: int | None = Field(None, ge=1, description="Rows from the start of the split; all if not given.")
    epochs: int = Field(1, ge=1, description="Passes over these rows.")
    batch_rows: int = Field(8, ge=1, description="Rows in one training step.")
    lanes: int = Field(2, ge=1, description="Equal parts of a step that workers share out; at most this many workers.")
    block_steps: int = Field(16, ge=1, description="Steps whose positions are shuffled together within each lane.")
    early_stop: EarlyStopConfig | None = Field(
        None, description="Ends an SAE's training early by its error on held-out rows; null trains on all rows."
    )
    seed: Seed = Field(0, description="Seed of the shuffle.")
    policy: DataPolicy = Field(default_factory=DataPolicy, description="Which positions are data.")
    lm_dtype: LmDtype = Field("auto", description="Element type of the language model; auto: fp32 on CPU, bf16 on GPU.")
    autocast: Literal["auto", "off", "bf16"] = Field(
        "auto", description="Matrix products of the SAE in bf16; auto: off on CPU, bf16 on GPU. Weights stay fp32."
    )
    cache: CacheConfig | None = Field(None, description="Train from stored activations; null streams them.")
    runtime: TrainRuntime = Field(default_factory=TrainRuntime, description="What never changes the result.")

    @model_validator(mode="before")
    @classmethod
    def _expand_grid(cls, raw: Any) -> Any:
        return expand_grid(raw)

    @model_validator(mode="after")
    def _one_source(self) -> TrainConfig:
        if self.activations is None:
            missing = [name for name in ("model", "tokens") if getattr(self, name) is None]
            if missing:
                raise ValueError(f"{' and '.join(missing)} missing: give model and tokens, or activations without them")
            return self
        policy = DataPolicy()
        unused = {"model": None, "tokens": None, "cache": None, "split": "train", "policy": policy}
        given = [name for name, value in unused.items() if getattr(self, name) != value]
        if given:
            raise ValueError(f"{', '.join(given)} has no effect on a run that reads `activations`: leave it out")
        hooks = [hook for hook in self.hooks() if hook != PLANTED_HOOK]
        if hooks:
            raise ValueError(f"there is no hook {hooks[0]} in planted activations: the hook is {PLANTED_HOOK!r}")
        return self

    @model_validator(mode="after")
    def _consistent(self) -> TrainConfig:
        if self.batch_rows % self.lanes:
            raise ValueError(f"batch_rows = {self.batch_rows} is not a multiple of lanes = {self.lanes}")
        if len(set(self.saes)) != len(self.saes):
            raise ValueError("two entries of `saes` are equal: give them different seeds or settings, or remove one")
        if self.rows is not None and self.rows < self.batch_rows:
            raise ValueError(f"rows = {self.rows} is less than one step of batch_rows = {self.batch_rows}")
        if self.early_stop is not None and self.early_stop.rows % self.batch_rows:
            raise ValueError(
                f"early_stop.rows = {self.early_stop.rows} is not a multiple of batch_rows = {self.batch_rows}"
            )
        for sae in self.saes:
            if sae.train_rows is not None and sae.train_rows % self.batch_rows:
                raise ValueError(f"train_rows = {sae.train_rows} is not a multiple of batch_rows = {self.batch_rows}")
        return self

    @property
    def lane_rows(self) -> int:
        """Rows of one lane in one step: also the batch of the language model, so that a cache holds equal values."""
        return self.batch_rows // self.lanes

    def hooks(self) -> tuple[str, ...]:
        """Hooks of this run's SAEs, sorted."""
        return tuple(sorted({hook for sae in self.saes for hook in sae.all_hooks()}))

    def reads(self) -> dict[str, Any]:
        """What the loop is fed with, as far as it shapes the weights: the activations' dtype and their batches."""
        harvest = self.harvest()
        if harvest is None:
            return {"dtype": "fp32", "batch_rows": self.lane_rows}
        return {"dtype": harvest.dtype, "batch_rows": harvest.batch_rows}

    def harvest(self) -> HarvestConfig | None:
        """The harvest that writes this run's cache; None when it streams."""
        if self.cache is None or self.model is None or self.tokens is None:
            return None
        return HarvestConfig(
            model=self.model,
            tokens=self.tokens,
            hooks=(*self.hooks(), *self.cache.hooks),
            split=self.split,
            rows=self.rows,
            policy=self.policy,
            dtype=self.cache.dtype,
            lm_dtype=self.lm_dtype,
            batch_rows=self.cache.batch_rows or self.lane_rows,
            rows_per_chunk=self.cache.rows_per_chunk,
        )
