"""What steering does to a language model: changes of SAE features while it runs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from configs.base import Config, Seed
from configs.inputs import SaeId

Op = Literal["add", "clamp", "scale", "ablate", "project", "project_and_cap"]
Unit = Literal["raw", "max", "norm"]
MAX_TEXT = 20_000  # characters of a prompt
_WITHOUT_UNIT = ("scale", "ablate")


class Condition(Config):
    """A feature that must be active for a change to be made at a position."""

    sae: SaeId = Field(description="SAE whose feature is looked at, at the hook of the change or an earlier one.")
    latent: int = Field(ge=0, description="The feature: its number in the SAE.")
    above: float = Field(0.0, ge=0, description="The change is made where the activation is above this.")


class Intervention(Config):
    """One change of one feature. What the SAE does not explain of the activations stays as it is.

    `add` adds `value` times the decoder direction; `clamp` sets the feature's activation to `value`; `scale` multiplies it by
    `value`; `ablate` sets it to 0; `project` sets the activations' component along the decoder direction to `value` times that
    direction; `project_and_cap` lowers that component's length to `value` where it is larger.
    """

    sae: SaeId = Field(description="SAE that has the feature.")
    latent: int = Field(ge=0, description="The feature: its number in the SAE.")
    op: Op = Field("add", description="What is done: add, clamp, scale, ablate, project or project_and_cap.")
    value: float | None = Field(None, ge=-1e6, le=1e6, description="The strength, in `unit`; a factor for `scale`.")
    unit: Unit = Field(
        "raw",
        description="Unit of `value`. raw: that of activations. max: the feature's largest activation in its extraction. "
        "norm: the length of the activations at the position.",
    )
    where: Literal["prompt", "answer", "both"] = Field("both", description="Which tokens are changed.")
    from_position: int = Field(0, ge=0, description="The first position that is changed.")
    special_tokens: bool = Field(
        False, description="Change special tokens of the prompt, too: at BOS many models keep what attention rests on."
    )
    when: Condition | None = Field(None, description="Change only positions where this feature is active.")

    @model_validator(mode="after")
    def _strength(self) -> Intervention:
        if self.op == "ablate" and self.value is not None:
            raise ValueError("ablate has no value: it sets the activation to 0; use clamp for another")
        if self.op != "ablate" and self.value is None:
            raise ValueError(f"{self.op} needs a value")
        if self.op in _WITHOUT_UNIT and self.unit != "raw":
            raise ValueError(f"{self.op} has no unit: leave `unit` out")
        return self


class Turn(Config):
    """One message of a chat."""

    role: Literal["system", "user", "assistant"] = Field(description="Who says it.")
    content: str = Field(max_length=MAX_TEXT, description="What is said.")


class Sampling(Config):
    """How tokens are chosen, and when an answer ends."""

    max_tokens: int = Field(48, ge=1, le=512, description="Largest number of tokens in the answer.")
    temperature: float = Field(0.0, ge=0, le=10, description="0: always the most probable token.")
    top_p: float = Field(
        1.0, gt=0, le=1, description="Only the most probable tokens that have this probability together."
    )
    frequency_penalty: float = Field(
        0.0, ge=-2, le=2, description="What a token's logit loses for each time that the answer has it already."
    )
    seed: Seed = Field(0, description="Seed of sampling: the same seed gives the same text.")
    stop: tuple[Annotated[str, Field(min_length=1, max_length=200)], ...] = Field(
        (), max_length=8, description="The answer ends before any of these texts."
    )


class SteeringRequest(Sampling):
    """A prompt, the changes to make, and how strong."""

    text: str | None = Field(None, min_length=1, max_length=MAX_TEXT, description="The prompt; or give `messages`.")
    messages: tuple[Turn, ...] | None = Field(
        None,
        min_length=1,
        max_length=100,
        description="A chat, as the model's chat template writes it; or give `text`.",
    )
    interventions: tuple[Intervention, ...] = Field((), max_length=50, description="The changes, all made together.")
    doses: tuple[Annotated[float, Field(ge=-1000, le=1000)], ...] = Field(
        (1.0,), min_length=1, max_length=16,
        description="One steered answer for each: so many times the change. Several of them are a dose-response curve.",
    )  # fmt: skip
    kl_budget: float | None = Field(
        None, gt=0, le=100,
        description="Choose the dose whose mean KL(steered || unsteered) on the unsteered answer is this, in nats per token.",
    )  # fmt: skip

    @model_validator(mode="after")
    def _one_prompt(self) -> SteeringRequest:
        if (self.text is None) == (self.messages is None):
            raise ValueError("give either `text` or `messages`")
        if self.kl_budget is not None and self.doses != (1.0,):
            raise ValueError("`kl_budget` chooses the dose: leave `doses` out")
        if self.kl_budget is not None and not self.interventions:
            raise ValueError("`kl_budget` is for interventions, and there are none")
        return self

    def sae_ids(self) -> list[str]:
        """The SAEs that are read, each once, in order."""
        conditions = [one.when.sae for one in self.interventions if one.when is not None]
        return list(dict.fromkeys([*(one.sae for one in self.interventions), *conditions]))
