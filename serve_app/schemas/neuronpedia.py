"""Neuronpedia's shapes of features and activations, as its public client sends and reads them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from configs.steering import MAX_TEXT
from serve_app.schemas.common import HexId, RequestBody

Text = Annotated[str, Field(min_length=1, max_length=1000)]
_MODEL = Field(description="ID of `models/ID`.")
_SAE = Field(description="ID of `saes/ID`.")


class NpActivation(BaseModel):
    """An example of a feature."""

    modelId: str = Field(description="The model.")
    source: str = Field(description="The SAE.")
    layer: str = Field(description="The SAE, under Neuronpedia's other name.")
    index: str = Field(description="The latent.")
    tokens: list[str] = Field(description="Text of the tokens around the example, in order.")
    values: list[float] = Field(description="The feature's activation at each of them.")
    maxValue: float = Field(description="Its activation at the example's own position.")
    maxValueTokenIndex: int = Field(description="Where that is among the tokens.")
    binMin: float | None = Field(
        description="Lower edge of the interval that it was drawn from; null for a top example."
    )
    binMax: float | None = Field(description="Upper edge.")
    binContains: float | None = Field(description="Share of the feature's activations in the interval.")


class NpExplanation(BaseModel):
    """A label that a person gave."""

    modelId: str = Field(description="The model.")
    source: str = Field(description="The SAE.")
    index: str = Field(description="The latent.")
    description: str = Field(description="The label.")
    typeName: Literal["human"] = Field("human", description="Who gave it.")


class NpFeature(BaseModel):
    """One feature."""

    modelId: str = Field(description="The model.")
    layer: str = Field(description="The SAE.")
    index: str = Field(description="The latent.")
    frac_nonzero: float = Field(description="Share of data positions where it is active.")
    maxActApprox: float = Field(description="Largest activation.")
    pos_str: list[str] = Field(description="Tokens that it promotes.")
    pos_values: list[float] = Field(description="What it adds to their logits.")
    neg_str: list[str] = Field(description="Tokens that it suppresses.")
    neg_values: list[float] = Field(description="What it adds to their logits.")
    explanations: list[NpExplanation] = Field(description="Its label, if it has one.")
    activations: list[NpActivation] = Field(description="Its examples, the largest first.")


class NpFeatureName(RequestBody):
    """Which feature."""

    modelId: HexId = _MODEL
    layer: HexId = _SAE
    index: str = Field(pattern=r"^[0-9]{1,9}$", description="The latent.")


class NpActivationRequest(RequestBody):
    """A feature and a text."""

    feature: NpFeatureName = Field(description="The feature.")
    customText: Text = Field(description="The text, up to 1,000 characters.")


class NpActivationAnswer(BaseModel):
    """A feature's activation on each token of a text."""

    tokens: list[str] = Field(description="Text of the tokens.")
    values: list[float] = Field(description="The activation at each of them; 0 where the position is no data.")
    maxValue: float = Field(description="The largest of them.")
    maxValueTokenIndex: int = Field(description="Where it is.")


class NpTopKRequest(RequestBody):
    """A text whose tokens are looked at one by one."""

    modelId: HexId = _MODEL
    source: HexId = _SAE
    text: Text = Field(description="The text, up to 1,000 characters.")
    numResults: int = Field(5, ge=1, le=100, description="Features of each token, at most.")
    ignoreBos: bool = Field(True, description="Leave out BOS.")
    densityThreshold: float = Field(0.0, ge=-1, le=0, description="0 or below: features of any density.")


class NpTopFeature(BaseModel):
    """An active feature."""

    featureIndex: int = Field(description="The latent.")
    activationValue: float = Field(description="Its activation.")


class NpTopToken(BaseModel):
    """One token and its most active features."""

    position: int = Field(description="Position of the token.")
    token: str = Field(description="Its text.")
    topFeatures: list[NpTopFeature] = Field(description="The features, the largest activation first.")


class NpTopKAnswer(BaseModel):
    """All tokens of a text."""

    results: list[NpTopToken] = Field(description="The tokens, in order.")


class NpSteerFeature(RequestBody):
    """A feature to steer with."""

    modelId: HexId = _MODEL
    layer: HexId = _SAE
    index: Annotated[int, Field(ge=0, le=999_999_999)] | Annotated[str, Field(pattern=r"^[0-9]{1,9}$")] = Field(
        description="The latent."
    )
    strength: float = Field(ge=-10_000, le=10_000, description="How strong, in activations of the feature.")


class NpSteering(RequestBody):
    """Features to steer the model with, and how."""

    modelId: HexId = _MODEL
    features: list[NpSteerFeature] = Field(min_length=1, max_length=50, description="The features, all at once.")
    temperature: float = Field(0.5, ge=0, le=10, description="0: always the most probable token.")
    n_tokens: int = Field(32, ge=1, le=512, description="Largest number of new tokens.")
    freq_penalty: float = Field(
        2.0, ge=-2, le=2, description="What a token's logit loses for each time that the new text has it already."
    )
    seed: int = Field(16, ge=-100_000_000, le=100_000_000, description="Seed of sampling.")
    strength_multiplier: float = Field(4.0, ge=0, le=100, description="Every strength is multiplied by this.")
    steer_method: Literal["SIMPLE_ADDITIVE", "ORTHOGONAL_DECOMP"] = Field(
        "SIMPLE_ADDITIVE",
        description="Add the directions; or set the activations' component along each of them.",
    )
    stream: Literal[False] = Field(False, description="The answer comes whole; `/v1/text/steer` streams.")


class NpSteerRequest(NpSteering):
    """A prompt, and features to steer the model with."""

    prompt: str = Field(min_length=1, max_length=MAX_TEXT, description="The text to go on with.")


class NpChatMessage(RequestBody):
    """One message of a chat."""

    role: Literal["system", "user", "assistant", "model"] = Field(
        description="Who says it; `model` is another name for `assistant`."
    )
    content: str = Field(max_length=MAX_TEXT, description="What is said.")


NpChat = Annotated[list[NpChatMessage], Field(min_length=1, max_length=100)]


class NpSteerChatRequest(NpSteering):
    """Two chats that the model answers, the one without the change and the other with it. They may be equal."""

    defaultChatMessages: NpChat = Field(description="The chat that is answered without the change.")
    steeredChatMessages: NpChat = Field(description="The chat that is answered with the change.")
    steer_special_tokens: bool = Field(True, description="Change special tokens of the chat, too.")


class NpSteerAnswer(BaseModel):
    """The text without the change and with it, each behind the prompt."""

    DEFAULT: str = Field(description="Prompt and answer without the change.")
    STEERED: str = Field(description="Prompt and answer with it.")
    id: None = Field(None, description="Nothing is kept.")
    shareUrl: None = Field(None, description="Nothing is kept.")
    limit: None = Field(None, description="There is no limit to such requests.")


class NpTurn(BaseModel):
    """One message of an answered chat."""

    role: str = Field(description="Who says it.")
    content: str = Field(description="What is said.")


class NpSteeredChat(BaseModel):
    """A chat with the model's answer."""

    raw: str = Field(description="The chat as the model's template writes it, and the answer.")
    chatTemplate: list[NpTurn] = Field(description="The messages; the last one is the answer.")
    logprobs: None = Field(None, description="Log probabilities are not given.")


class NpSteerChatAnswer(BaseModel):
    """The chats with their answers, without the change and with it."""

    DEFAULT: NpSteeredChat = Field(description="Answered without the change.")
    STEERED: NpSteeredChat = Field(description="Answered with it.")
    id: None = Field(None, description="Nothing is kept.")
    shareUrl: None = Field(None, description="Nothing is kept.")
    limit: None = Field(None, description="There is no limit to such requests.")
