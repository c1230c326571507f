"""Features of an SAE, their examples, and where they fire on a text."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from serve_app.schemas.common import RequestBody, artifact_ref


class FeatureSummary(BaseModel):
    """One feature, as lists have it."""

    feature: int = Field(description="Its number: the latent of the SAE.", examples=[1207])
    count: int = Field(description="Data positions where it is active.")
    density: float = Field(description="The same over all data positions.", examples=[0.0021])
    max: float = Field(description="Largest activation.", examples=[14.2])
    mean: float = Field(description="Mean of its activations where it is active.", examples=[3.1])
    promoted_tokens: list[str] = Field(
        description="Tokens whose logits its direction raises most.", examples=[[" km", " miles"]]
    )


class FeaturePage(BaseModel):
    """One page of features."""

    items: list[FeatureSummary] = Field(description="The features, in the order that was asked for.")
    next: str | None = Field(description="Cursor of the next page; null on the last one.")
    total: int = Field(description="Features that match, on all pages.")


class Bin(BaseModel):
    """One bin of a histogram."""

    start: float = Field(description="Activations from here")
    stop: float = Field(description="to below here.")
    count: int = Field(description="How many there are.")


class Logit(BaseModel):
    """A token in the logit lens."""

    token: str = Field(description="The token.", examples=[" km"])
    logit: float = Field(description="What the feature's direction adds to its logit.")


class Neighbour(BaseModel):
    """Another feature of the SAE."""

    feature: int = Field(description="Its number.")
    cosine: float = Field(description="Cosine of both directions.")


class Feature(BaseModel):
    """One feature with everything that was extracted but its examples."""

    model_config = ConfigDict(extra="allow")

    feature: int = Field(description="Its number: the latent of the SAE.")
    sae: str = Field(description="The SAE.")
    hook: str = Field(description="Where the SAE reads.")
    count: int = Field(description="Data positions where it is active.")
    density: float = Field(description="The same over all data positions.")
    max: float = Field(description="Largest activation.")
    mean: float = Field(description="Mean of its activations where it is active.")
    quantiles: list[float] = Field(description="Of its activations, at `quantile_probabilities`; within 2%.")
    quantile_probabilities: list[float] = Field(description="Where the quantiles are.")
    histogram: list[Bin] = Field(description="Its activations, in bins that grow with them.")
    promoted: list[Logit] = Field(description="Tokens whose logits its direction raises most.")
    suppressed: list[Logit] = Field(description="Tokens whose logits it lowers most.")
    neighbours: list[Neighbour] = Field(description="Other features, by cosine of the directions.")


class Example(BaseModel):
    """A place in the tokens where a feature is active, with what stands around it."""

    kind: str = Field(description="`top`, `quantile` or `uniform`.", examples=["top"])
    part: int | None = Field(description="For `quantile`: which part of the activations, 0 the weakest.")
    rank: int = Field(description="Its place among those of its kind and part, from 0.")
    row: int = Field(description="Row of the tokens.")
    position: int = Field(description="Position in the row.")
    activation: float = Field(description="The feature's activation there.")
    tokens: list[str] = Field(description="Text of the tokens around it, in order.")
    activations: list[float] = Field(description="The feature's activation at each of them.")
    at: int = Field(description="Which of them the example is.")


class PreviewRequest(RequestBody):
    """A text to tokenize, as the tokenize stage would."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"model": "models/67d5273bd9611bd1", "text": "The area is 34,837 sq km."}]}
    )

    model: artifact_ref("models")  # type: ignore[valid-type]
    text: str = Field(max_length=1000, description="At most 1,000 characters.")
    add_special_tokens: bool = Field(True, description="Put in BOS as `bos` says, and the separator after the text.")
    return_attention_mask: bool = Field(True, description="Also give the attention mask.")
    bos: Literal["tokenizer", "always", "never"] = Field("tokenizer", description="As in a tokenization.")
    separator: Literal["eos", "bos", "none"] = Field("eos", description="As in a tokenization.")


class PreviewToken(BaseModel):
    """One token."""

    id: int = Field(description="Its id.")
    text: str = Field(description="What it stands for.", examples=[" area"])
    special: bool = Field(description="Whether it is a special token.")
    role: str = Field(description="`data`, `bos`, `special` or `separator`: only data is ever trained on.")
    position: int = Field(description="Its place in the row, from 0.")
    start: int | None = Field(description="First character of the text that it covers.")
    stop: int | None = Field(description="The character after the last one.")


class Preview(BaseModel):
    """What a text becomes."""

    tokens: list[PreviewToken] = Field(description="The tokens, in order.")
    attention_mask: list[int] | None = Field(
        description="1 for each token, as nothing is padded; null if not asked for."
    )
    counts: dict[str, int] = Field(
        description="Tokens in all, special ones, regular ones, and characters.",
        examples=[{"tokens": 11, "special": 1, "regular": 10, "characters": 25}],
    )


class ActivationsRequest(RequestBody):
    """A text to run through a language model and an SAE: which features fire here?"""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"sae": "saes/67d5273bd9611bd1", "text": "The area is 34,837 sq km.", "top": 10}]
        }
    )

    sae: artifact_ref("saes")  # type: ignore[valid-type]
    text: str = Field(min_length=1, max_length=1000, description="At most 1,000 characters.")
    top: int = Field(10, ge=1, le=100, description="Features to give, for each token and for the whole text.")
    features: tuple[int, ...] = Field(
        (), max_length=100, description="Give the activations of these at every token, whether among the top or not."
    )

    @field_validator("features")
    @classmethod
    def _numbers(cls, features: tuple[int, ...]) -> tuple[int, ...]:
        if any(f < 0 for f in features):
            raise ValueError("features are numbered from 0")
        return features


class Active(BaseModel):
    """An active feature."""

    feature: int = Field(description="Its number.")
    activation: float = Field(description="Its activation.")


class TokenActivations(BaseModel):
    """One token and what fires there."""

    id: int = Field(description="Id of the token.")
    text: str = Field(description="What it stands for.")
    position: int = Field(description="Its place, from 0.")
    role: str = Field(description="`data`, `bos` or `special`.")
    left_out: str | None = Field(description="Why it is no data to this SAE (`bos`, `special`, `sink`); null if it is.")
    active: int = Field(description="Features that are active here.")
    top: list[Active] = Field(description="The largest, the largest first.")


class TopFeature(BaseModel):
    """A feature that fires somewhere in the text."""

    feature: int = Field(description="Its number.")
    max: float = Field(description="Its largest activation in the text.")
    at: int = Field(description="Position of that.")
    tokens: int = Field(description="Tokens at which it is active.")


class TextActivations(BaseModel):
    """Which features fire on a text."""

    sae: str = Field(description="The SAE.")
    model: str = Field(description="The language model.")
    hook: str = Field(description="Where the SAE reads.")
    tokens: list[TokenActivations] = Field(description="The tokens, in order.")
    top: list[TopFeature] = Field(description="Over the whole text, data positions only, the largest first.")
    features: dict[str, list[float]] = Field(description="For each feature that was asked for: one value a token.")
