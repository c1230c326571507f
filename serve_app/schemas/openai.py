"""Requests of OpenAI's completion routes, with `interventions` beside their own fields."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from configs.base import Seed
from configs.steering import MAX_TEXT, Intervention, SteeringRequest, Turn
from serve_app.schemas.common import RequestBody

Stop = Annotated[str, Field(min_length=1, max_length=200)]


class StreamOptions(RequestBody):
    """Options of a stream."""

    include_usage: bool = Field(False, description="End the stream with a chunk that has `usage`.")


class OpenAiRequest(RequestBody):
    """What both routes take. Fields of OpenAI's that are not here are refused, not ignored."""

    model: str = Field(
        pattern=r"^(models|saes)/[0-9a-f]{16}$",
        description="`models/ID`; or `saes/ID`, for the model that the SAE was trained on.",
    )
    max_tokens: int | None = Field(
        None, ge=1, le=512, description="Largest number of tokens in the answer; 48 if not given."
    )
    temperature: float = Field(1.0, ge=0, le=10, description="0: always the most probable token.")
    top_p: float = Field(
        1.0, gt=0, le=1, description="Only the most probable tokens that have this probability together."
    )
    frequency_penalty: float = Field(
        0.0, ge=-2, le=2, description="What a token's logit loses for each time that the answer has it already."
    )
    seed: Seed | None = Field(None, description="Seed of sampling; 0 if not given: answers repeat.")
    stop: Stop | Annotated[list[Stop], Field(max_length=8)] | None = Field(
        None, description="The answer ends before any of these texts."
    )
    n: Literal[1] = Field(1, description="Answers: one.")
    stream: bool = Field(False, description="Answer with Server-Sent Events.")
    stream_options: StreamOptions | None = Field(None, description="Only with `stream`.")
    user: str | None = Field(None, max_length=200, description="OpenAI's name of its caller; nothing depends on it.")
    interventions: tuple[Intervention, ...] = Field(
        (), max_length=50, description="Changes of features, all made together."
    )
    dose: float = Field(1.0, ge=-1000, le=1000, description="By how much the change is multiplied.")
    kl_budget: float | None = Field(
        None, gt=0, le=100, description="Choose the dose by its mean KL per token, in nats."
    )

    def steering(self, **prompt: Any) -> SteeringRequest:
        """The same as a request to steer."""
        stop = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return SteeringRequest(
            **prompt,
            max_tokens=self.max_tokens or 48,
            temperature=self.temperature,
            top_p=self.top_p,
            frequency_penalty=self.frequency_penalty,
            seed=self.seed or 0,
            stop=tuple(stop),
            interventions=self.interventions,
            doses=(self.dose,),
            kl_budget=self.kl_budget,
        )


class CompletionRequest(OpenAiRequest):
    """A text to go on with."""

    prompt: (
        Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]
        | Annotated[list[str], Field(min_length=1, max_length=1)]
    ) = Field(description="The text.")
    echo: Literal[False] = Field(False, description="The prompt is not repeated.")

    def request(self) -> SteeringRequest:
        """The same as a request to steer."""
        return self.steering(text=self.prompt if isinstance(self.prompt, str) else self.prompt[0])


class TextPart(RequestBody):
    """A part of a message."""

    type: Literal["text"] = Field(description="The kind of part: text alone.")
    text: str = Field(max_length=MAX_TEXT, description="The text.")


class ChatTurn(RequestBody):
    """A message."""

    role: Literal["system", "user", "assistant"] = Field(description="Who says it.")
    content: Annotated[str, Field(max_length=MAX_TEXT)] | list[TextPart] = Field(description="What is said.")

    def turn(self) -> Turn:
        """The message with one text."""
        content = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return Turn(role=self.role, content=content)


class ChatRequest(OpenAiRequest):
    """A chat to answer."""

    messages: list[ChatTurn] = Field(min_length=1, max_length=100, description="The chat so far.")
    max_completion_tokens: int | None = Field(None, ge=1, le=512, description="Another name of `max_tokens`.")

    def request(self) -> SteeringRequest:
        """The same as a request to steer."""
        renamed = self.model_copy(update={"max_tokens": self.max_completion_tokens or self.max_tokens})
        return renamed.steering(messages=tuple(one.turn() for one in self.messages))
