"""Features of an SAE, their examples, and which of them are active on a text."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from configs.tokenize import Padding, Side, TokenizeConfig, Truncation
from serve_app.schemas.common import RequestBody, artifact_ref

WHOLE_TEXT = 1 << 20  # a row that takes any text of a request


class FeatureSummary(BaseModel):
    """One feature, as lists have it."""

    latent: int = Field(description="Number of the SAE's latent, from 0.", examples=[1207])
    count: int = Field(description="Data positions where it is active.")
    density: float = Field(description="`count` divided by the number of data positions.", examples=[0.0021])
    max: float = Field(description="Largest activation.", examples=[14.2])
    mean: float = Field(description="Mean of its activations where it is active.", examples=[3.1])
    promoted_tokens: list[str] | None = Field(
        description="Tokens whose logits its direction raises most; null without a logit lens.",
        examples=[[" km", " miles"]],
    )


class FeaturePage(BaseModel):
    """One page of features."""

    items: list[FeatureSummary] = Field(description="The features, in the requested order.")
    next: str | None = Field(description="Cursor of the next page; null on the last one.")
    total: int = Field(description="Features that match, on all pages.")


class Bin(BaseModel):
    """One bin of a histogram."""

    start: float = Field(description="Smallest activation of the bin.")
    stop: float = Field(description="End of the bin; activations of this size are in the next one.")
    count: int = Field(description="Activations in the bin.")


class Logit(BaseModel):
    """A token in the logit lens."""

    token: str = Field(description="The token.", examples=[" km"])
    logit: float = Field(description="What the feature's direction adds to its logit.")


class Neighbour(BaseModel):
    """Another feature of the SAE."""

    latent: int = Field(description="Number of its latent.")
    cosine: float = Field(description="Cosine of the two decoder directions.")


class Feature(BaseModel):
    """One feature: statistics, histogram, logit lens, neighbours. Its examples have a route of their own."""

    model_config = ConfigDict(extra="allow")

    latent: int = Field(description="Number of the SAE's latent, from 0.")
    sae: str = Field(description="The SAE.")
    hook: str = Field(description="Hook point of the SAE.")
    hook_shares: dict[str, float] | None = Field(
        None,
        description="Of a crosscoder: share of its decoder's norm at each hook, which tells the hooks that it makes.",
    )
    count: int = Field(description="Data positions where it is active.")
    density: float = Field(description="`count` divided by the number of data positions.")
    max: float = Field(description="Largest activation.")
    mean: float = Field(description="Mean of its activations where it is active.")
    quantiles: list[float] = Field(description="Quantiles of its activations, at `quantile_probabilities`; within 2%.")
    quantile_probabilities: list[float] = Field(description="Probabilities of the quantiles.")
    histogram: list[Bin] = Field(description="Histogram of its activations, in bins of growing width.")
    no_logit_lens: str | None = Field(description="Why there is no logit lens; null if there is one.")
    promoted: list[Logit] | None = Field(
        description="Tokens whose logits its direction raises most; null without a lens."
    )
    suppressed: list[Logit] | None = Field(description="Tokens whose logits it lowers most; null without a lens.")
    neighbours: list[Neighbour] = Field(description="Other features with the largest cosines.")


class Example(BaseModel):
    """A token position where a feature is active (or, of the kind `near`, silent), with the tokens around it."""

    kind: str = Field(description="`top`, `quantile` or `uniform`; `near` of near misses.", examples=["top"])
    part: int | None = Field(description="For `quantile`: the part of the activations, 0 is the weakest.")
    rank: int = Field(description="Rank among the examples of its kind and part, from 0.")
    row: int = Field(description="Row of the tokens.")
    position: int = Field(description="Position in the row.")
    activation: float = Field(description="The feature's activation there.")
    tokens: list[str] = Field(
        description="Text of the tokens around it, in order, without padding and what the model does not see from there."
    )
    activations: list[float] = Field(description="The feature's activation at each of them.")
    at: int = Field(description="Index of the example's position in `tokens`.")
    excluded: list[int] = Field(description="Indices of those `tokens` that are no data, such as BOS and separators.")


class NearMisses(BaseModel):
    """Positions with a token that the feature is active on elsewhere, where it is silent."""

    items: list[Example] = Field(description="Some of them, of the kind `near`.")
    tokens: list[str] = Field(description="The tokens at its examples, the most frequent first.")
    rows: int = Field(description="Rows that the language model ran.")
    positions: int = Field(description="Data positions in them with one of the tokens.")
    silent: int = Field(description="Those at which the feature is silent.")


class PreviewRequest(RequestBody):
    """A short text to tokenize by the rules of the tokenize stage."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"model": "models/67d5273bd9611bd1", "text": "The area is 34,837 sq km."}]}
    )

    model: artifact_ref("models")  # type: ignore[valid-type]
    text: str = Field(max_length=1000, description="At most 1,000 characters.")
    add_special_tokens: bool = Field(True, description="Add BOS as `bos` says, and the separator after the text.")
    return_attention_mask: bool = Field(True, description="Also give the attention mask.")
    bos: Literal["tokenizer", "always", "never"] = Field("tokenizer", description="As in a tokenize config.")
    separator: Literal["eos", "bos", "none"] = Field("eos", description="As in a tokenize config.")
    special_strings: Literal["text", "special"] = Field("text", description="As in a tokenize config.")
    context_length: int | None = Field(
        None, ge=8, le=8192, description="Most tokens in a row; if not given, the whole text is one row."
    )
    truncation: Truncation = Field("overflow", description="As in a tokenize config with `packing: off`.")
    truncation_side: Side = Field("right", description="As in a tokenize config.")
    stride: int = Field(0, ge=0, description="As in a tokenize config.")
    padding: Padding = Field("none", description="As in a tokenize config; `max_length` needs a `context_length`.")
    padding_side: Side = Field("right", description="As in a tokenize config.")

    @model_validator(mode="after")
    def _options_fit(self) -> Self:
        if self.context_length is None and self.padding == "max_length":
            raise ValueError("`padding: max_length` pads to `context_length`, which is not given")
        try:
            self.tokenize_config()
        except ValidationError as error:
            raise ValueError(error.errors()[0]["msg"].removeprefix("Value error, ")) from None
        return self

    def tokenize_config(self) -> TokenizeConfig:
        """The config whose rows are shown: one document a row."""
        given = self.model_dump(exclude={"text"}, exclude_unset=True) | {"padding": self.padding}
        given["context_length"] = self.context_length or WHOLE_TEXT
        return TokenizeConfig.model_validate({**given, "dataset": "datasets/" + "0" * 16, "packing": "off"})


class PreviewToken(BaseModel):
    """One token."""

    id: int = Field(description="Its id.")
    text: str = Field(description="Its text.", examples=[" area"])
    special: bool = Field(description="Whether it is a special token.")
    role: str = Field(
        description="`data`, `bos`, `special`, `separator`, `pad`, `boundary` (BOS, EOS or PAD inside the text) or "
        "`repeated` (from the row before): only data is ever trained on."
    )
    row: int = Field(description="Number of its row, from 0.")
    position: int = Field(description="Position in the row, from 0.")
    start: int | None = Field(description="First character that it covers; null for a token that is not in the text.")
    stop: int | None = Field(description="The character after its last one.")


class Preview(BaseModel):
    """The tokens of a text."""

    tokens: list[PreviewToken] = Field(description="The tokens, in order.")
    attention_mask: list[int] | None = Field(
        description="For each token 1, or 0 if it is padding; null if not requested."
    )
    counts: dict[str, int] = Field(
        description="Rows, all tokens, special tokens, regular tokens, and characters.",
        examples=[{"rows": 1, "tokens": 11, "special": 1, "regular": 10, "characters": 25}],
    )


class ActivationsRequest(RequestBody):
    """A short text to run through a language model and an SAE."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"sae": "saes/67d5273bd9611bd1", "text": "The area is 34,837 sq km.", "top": 10}]
        }
    )

    sae: artifact_ref("saes")  # type: ignore[valid-type]
    text: str = Field(min_length=1, max_length=1000, description="At most 1,000 characters.")
    top: int = Field(10, ge=1, le=100, description="Features to return, for each token and for the whole text.")
    latents: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        (), max_length=100, description="Latents whose activations to return at every token, active or not."
    )


class Active(BaseModel):
    """An active feature."""

    latent: int = Field(description="Number of its latent.")
    activation: float = Field(description="Its activation.")


class TokenActivations(BaseModel):
    """One token and the features that are active on it."""

    id: int = Field(description="Id of the token.")
    text: str = Field(description="Text of the token.")
    position: int = Field(description="Position, from 0.")
    role: str = Field(description="`data`, `bos` or `special`.")
    excluded: str | None = Field(
        description="Why this SAE excludes it (`bos`, `special`, `sink`); null for a data position."
    )
    active: int = Field(description="Number of features that are active here.")
    top: list[Active] = Field(description="The features with the largest activations, the largest first.")


class TopFeature(BaseModel):
    """A feature that is active somewhere in the text."""

    latent: int = Field(description="Number of its latent.")
    max: float = Field(description="Largest activation in the text.")
    at: int = Field(description="Position of the largest activation.")
    tokens: int = Field(description="Number of tokens on which it is active.")


class TextActivations(BaseModel):
    """The features that are active on a text."""

    sae: str = Field(description="The SAE.")
    model: str = Field(description="The language model.")
    hook: str = Field(description="Hook point of the SAE.")
    tokens: list[TokenActivations] = Field(description="The tokens, in order.")
    top: list[TopFeature] = Field(
        description="Features over the data positions of the whole text, the largest activation first."
    )
    latents: dict[str, list[float]] = Field(description="For each requested latent: its activation at each token.")


Text = Annotated[str, Field(min_length=1, max_length=1000)]


class ContrastRequest(RequestBody):
    """Two groups of short texts."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "sae": "saes/67d5273bd9611bd1",
                    "a": ["The area is 34,837 sq km.", "It borders two seas."],
                    "b": ["The president is elected.", "Parliament has two chambers."],
                }
            ]
        }
    )

    sae: artifact_ref("saes")  # type: ignore[valid-type]
    a: tuple[Text, ...] = Field(min_length=2, max_length=100, description="The first group: 2 to 100 texts.")
    b: tuple[Text, ...] = Field(min_length=2, max_length=100, description="The second group.")
    top: int = Field(20, ge=1, le=100, description="Features to return.")
    seed: int = Field(0, ge=0, lt=1 << 32, description="Seed of the interval and of chance.")


class Contrasted(BaseModel):
    """A feature that tells the groups apart."""

    latent: int = Field(description="Number of its latent.")
    effect: float = Field(
        description="Probability that a text of `b` activates it more than a text of `a`; ties count half."
    )
    low: float = Field(description="Lower end of a 95% interval of the effect.")
    high: float = Field(description="Upper end.")
    mean_a: float = Field(description="Mean over the texts of `a` of the largest activation.")
    mean_b: float = Field(description="The same of `b`.")
    active_a: int = Field(description="Texts of `a` in which it is active.")
    active_b: int = Field(description="The same of `b`.")


class ContrastAnswer(BaseModel):
    """The features that tell two groups of texts apart, the largest difference first."""

    sae: str = Field(description="The SAE.")
    chance: float = Field(
        description="In 95% of random divisions of the same texts, no feature's effect is as far from 0.5 as this."
    )
    features: list[Contrasted] = Field(description="The features; those within `chance` of 0.5 show nothing.")
