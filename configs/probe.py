"""Config of the probe stage: what SAEs' latents say about labelled documents."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from configs.base import Config, Seed, StageConfig
from configs.dtypes import LmDtype
from configs.import_ import ImportConfig
from configs.inputs import IdOrConfig, SaeId, TokensId
from configs.tokenize import Split, TokenizeConfig
from configs.train import TrainConfig

ColumnName = Annotated[str, Field(min_length=1, max_length=300)]
Value = Annotated[str, Field(max_length=1000)]
Sizes = Annotated[tuple[Annotated[int, Field(ge=1, le=1024)], ...], Field(min_length=1, max_length=16)]


class SpuriousConfig(Config):
    """A second column that goes with the classes in biased documents: what spurious correlation removal (SCR) needs."""

    column: ColumnName = Field(description="Column of the spurious values, one of the tokens' `metadata_columns`.")
    values: tuple[Value, Value] = Field(
        description="Two of its values: in the biased training documents the first goes with the first class."
    )
    classes: tuple[Value, Value] = Field(description="The two values of `class_column` that are told apart.")

    @model_validator(mode="after")
    def _differ(self) -> SpuriousConfig:
        for name in ("values", "classes"):
            first, second = getattr(self, name)
            if first == second:
                raise ValueError(f"`{name}` names {first[:80]!r} twice: give two different ones")
        return self


class ProbeConfig(StageConfig):
    """Probes SAEs on labelled documents. Sparse probing, targeted probe perturbation and spurious correlation removal."""

    stage: Literal["probe"] = "probe"
    sae: Annotated[SaeId | TrainConfig | ImportConfig, IdOrConfig()] = Field(
        description="One SAE's id, the training config whose SAEs are all probed, or the config that imports one."
    )
    tokens: Annotated[TokensId | TokenizeConfig, IdOrConfig()] = Field(
        description="Labelled documents as tokens of the SAE's model, one document a row (`packing: off`), with the columns of "
        "labels in `metadata_columns`."
    )
    class_column: ColumnName = Field(description="Column of the classes, one of the tokens' `metadata_columns`.")
    classes: Annotated[tuple[Value, ...], Field(max_length=64)] = Field(
        (),
        description="Values of `class_column` to probe, each against all others. Empty: those with `min_documents`, the most "
        "frequent first.",
    )
    max_classes: int = Field(16, ge=1, le=64, description="Classes to probe at most, where `classes` names none.")
    min_documents: int = Field(64, ge=16, description="Documents that a class must have.")
    documents_per_class: int = Field(
        400, ge=16, le=100_000, description="Documents of a class to read at most: the first in the tokens' order."
    )
    spurious: SpuriousConfig | None = Field(
        None, description="A second column, for spurious correlation removal; null: it is not measured."
    )
    k: Sizes = Field((1, 2, 5, 20), description="Numbers of latents that a sparse probe reads.")
    ablated: Sizes = Field(
        (2, 5, 20, 50), description="Numbers of latents to ablate, for targeted probe perturbation and SCR."
    )
    compare_with: tuple[SaeId, ...] = Field(
        (),
        max_length=8,
        description="Further SAEs of the same hook and model whose figures stand beside those of `sae`, such as one with "
        "frozen weights.",
    )
    draws: int = Field(5, ge=1, le=20, description="Draws of random latents and of permuted labels in a control.")
    l2: float = Field(1.0, gt=0, description="Penalty of a probe's squared weights, on inputs of unit variance.")
    test_fraction: float = Field(
        0.3, ge=0.05, le=0.95, description="Share of the documents that test the probes, by a hash of their tokens."
    )
    seed: Seed = Field(0, description="Seed of the split of documents and of all draws.")
    split: Split = Field("train", description="Split of the tokens that is read.")
    batch_rows: int = Field(8, ge=1, description="Rows in one forward pass.")
    rows_per_chunk: int = Field(128, ge=1, description="Rows in one chunk: the unit of work and of resume.")
    lm_dtype: LmDtype = Field("auto", description="Element type of the language model; auto: fp32 on CPU, bf16 on GPU.")

    @model_validator(mode="after")
    def _once(self) -> ProbeConfig:
        for name in ("classes", "k", "ablated", "compare_with"):
            given = getattr(self, name)
            if len(set(given)) < len(given):
                raise ValueError(f"`{name}` names one twice: name each once")
        if self.sae in self.compare_with:
            raise ValueError("`compare_with` names `sae` itself: leave it out")
        if self.spurious is not None and self.spurious.column == self.class_column:
            raise ValueError(
                "`spurious.column` is `class_column`: name another column, with values that classes go with"
            )
        if self.documents_per_class < self.min_documents:
            raise ValueError(
                f"`documents_per_class` {self.documents_per_class} is less than `min_documents` {self.min_documents}: raise "
                "the first or lower the second"
            )
        return self
