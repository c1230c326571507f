"""Config of the label stage: what each feature means, as predictions with scores."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from configs.base import Seed, StageConfig
from configs.extract import ExtractConfig
from configs.inputs import FeaturesId, IdOrConfig
from configs.label_endpoint import LabelEndpoint


class LabelConfig(StageConfig):
    """Labels every feature and scores the labels. They are made from half of the documents and scored on the others."""

    stage: Literal["label"] = "label"
    features: Annotated[FeaturesId | ExtractConfig, IdOrConfig()] = Field(
        description="Extracted features, or the config that extracts them."
    )
    positions: int = Field(
        262_144,
        ge=256,
        description="Token positions at most, in whole rows from the start of those that were extracted; memory grows by them.",
    )
    examples: int = Field(
        64, ge=8, description="Examples of each kind (active, near miss, random) and feature in either half, at most."
    )
    strength: float = Field(
        0.25,
        ge=0,
        le=1,
        description="Share of a feature's largest activation from which it counts as active; weaker: neither active nor silent.",
    )
    min_cosine: float = Field(
        0.5, ge=0, le=1, description="Cosine of decoder directions from which a feature inherits its neighbour's label."
    )
    effect_examples: int = Field(
        4,
        ge=0,
        description="Active positions of each feature at which it is ablated and amplified; 0: effects are not measured.",
    )
    steering_prompt: str | None = Field(
        None,
        min_length=1,
        max_length=2000,
        description="Prompt of one example of steering, with a labelled feature that promotes what it reads; none: no example.",
    )
    coactive: int = Field(
        20,
        ge=1,
        le=200,
        description="Other features to list for each, at most: those most often active together with it.",
    )
    endpoint: LabelEndpoint | None = Field(
        None, description="A model server that also labels some features in words; null: nothing leaves the machine."
    )
    seed: Seed = Field(0, description="Seed of the split of documents, the drawn examples and the permuted labels.")
