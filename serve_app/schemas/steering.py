"""Steering: requests, answers with what was measured, and the events of a stream."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.config import JsonDict

from configs.steering import Intervention, SteeringRequest
from serve_app.schemas.common import check_storable

EXAMPLE: JsonDict = {
    "text": "The capital of France is",
    "interventions": [{"sae": "saes/0123456789abcdef", "latent": 1207, "op": "add", "value": 1.0, "unit": "max"}],
    "max_tokens": 32,
}


class SteerBody(SteeringRequest):
    """A prompt and the changes to make."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    interventions: tuple[Intervention, ...] = Field(
        min_length=1, max_length=50, description="The changes, all made together."
    )
    stream: bool = Field(False, description="Answer with Server-Sent Events, token by token.")

    @model_validator(mode="before")
    @classmethod
    def _storable(cls, value: Any) -> Any:
        check_storable(value)
        return value


class SteeredAnswer(BaseModel):
    """One answer."""

    dose: float = Field(description="By how much the change was multiplied; 0 is the answer without it.")
    text: str = Field(description="The answer, without special tokens.")
    tokens: list[str] = Field(description="Its tokens, in order.")
    ids: list[int] = Field(description="Their ids.")
    ended: bool = Field(description="Whether it ended by itself, not by `max_tokens`.")
    perplexity: float | None = Field(
        description="Of its tokens, by the model without the change; null without any token."
    )
    repetition: float = Field(description="Share of its groups of three tokens that came before in it.")
    kl: float | None = Field(
        description="Mean of KL(steered || unsteered) over its tokens, in nats: how far the change moves the distribution "
        "that each token is chosen from; null without any token."
    )
    change: float = Field(description="Mean of |change| / |activation| over the changed positions.")
    positions: int = Field(description="Positions that were changed, of prompt and answer.")
    problem: str | None = Field(
        description="Why the answer breaks off: with this dose the model's output was not finite. Figures are of what is before."
    )

    @classmethod
    def of(cls, answer: dict[str, Any]) -> Self:
        """From what the language model's replica says."""
        return cls.model_validate(answer)


class Budget(BaseModel):
    """The dose that was chosen for a budget of KL."""

    dose: float = Field(description="The dose.")
    kl: float | None = Field(description="Mean KL per token that it costs on the unsteered answer, in nats.")


class SteeringAnswer(BaseModel):
    """The answer without the change, which is the control, and with each dose of it."""

    model: str = Field(description="The language model.")
    prompt: list[str] = Field(description="Tokens of the prompt.")
    unsteered: SteeredAnswer = Field(description="The answer without the change.")
    steered: list[SteeredAnswer] = Field(description="The answer with each dose, in the order of the request.")
    budget: Budget | None = Field(description="What `kl_budget` chose; null without it.")
