"""The model server that labels are asked of: any that speaks OpenAI's chat completions."""

from __future__ import annotations

from math import ceil
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from configs.base import Config

PROMPTS = 1  # version of the texts in sae/labels/endpoint/prompts.py: part of the identity of labels
_PER_FEATURE = 5  # judgements: on explain examples, then detection and fuzzing, each with the label and a permuted one


def _base_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        wrong = parts.scheme not in ("http", "https") or not parts.hostname or (parts.port or 1) < 1
    except ValueError:
        wrong = True
    if wrong or any(ord(c) <= 32 or ord(c) == 127 for c in url):
        raise ValueError("expected the base URL of a model server, such as http://127.0.0.1:8080/v1")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise ValueError(
            "a base URL has no user, password, query or fragment; the key is that of RAYLENS_LABEL_KEY or of the file label_key"
        )
    return url.rstrip("/")


class TokenPrices(Config):
    """What a model server charges, in any currency, for a million tokens."""

    prompt: float = Field(0.0, ge=0, description="Price of a million tokens that the model reads.")
    completion: float = Field(0.0, ge=0, description="Price of a million tokens that it writes.")


class EndpointRuntime(Config):
    """How the server is asked, and how much at most. What was answered is kept when a bound ends the job."""

    concurrency: int = Field(4, ge=1, le=256, description="Requests at once.")
    timeout_s: float = Field(120.0, gt=0, le=3600, description="Seconds that one answer may take.")
    attempts: int = Field(
        6, ge=1, le=20, description="Attempts of one request: busy servers and cut connections are waited for."
    )
    max_requests: int = Field(2000, ge=1, description="Requests in all, repeated ones and resumed jobs included.")
    max_tokens: int = Field(
        2_000_000, ge=1, description="Tokens in all, read and written. A request that could exceed it is not made."
    )
    prices: TokenPrices = Field(default_factory=TokenPrices, description="For the cost in the artifact's record.")


class LabelEndpoint(Config):
    """A model server that labels some features in words, and judges these labels on other text."""

    url: Annotated[str, Field(max_length=500), AfterValidator(_base_url)] = Field(
        description="Base URL, with the version: `/chat/completions` and `/models` are behind it."
    )
    model: str = Field(min_length=1, max_length=200, description="The model's name on that server.")
    latents: Annotated[int, Field(ge=2)] | Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=2)] = (
        Field(
            50,
            description="How many features, drawn by the seed among those active in both halves of the text; or a list of "
            "latents. Two at least: the label of another feature is the control.",
        )
    )
    window: int = Field(16, ge=1, le=256, description="Tokens on either side of an example's own.")
    shown: int = Field(
        16,
        ge=2,
        le=100,
        description="Active examples that a label is made from: half the strongest, half of all strengths.",
    )
    shown_near: int = Field(4, ge=0, le=100, description="Near misses that it is made from.")
    judged: int = Field(
        20, ge=4, le=500, description="Active examples that a label is judged on, and as many silent ones."
    )
    batch: int = Field(10, ge=1, le=100, description="Examples that one request judges.")
    answer_tokens: int = Field(300, ge=16, le=8192, description="Tokens of one answer, at most.")
    temperature: float | None = Field(0.0, ge=0, le=2, description="Sampling temperature; null: the server's own.")
    token_limit: Literal["max_tokens", "max_completion_tokens"] = Field(
        "max_tokens", description="The name by which the server takes `answer_tokens`."
    )
    response_format: Literal["text", "json_object", "json_schema"] = Field(
        "text",
        description="What the server is told about the form of answers, beside the prompt. Not all take JSON here.",
    )
    runtime: EndpointRuntime = Field(default_factory=EndpointRuntime, description="What does not change the question.")

    @property
    def features(self) -> int:
        """How many features are labelled at most."""
        return self.latents if isinstance(self.latents, int) else len(self.latents)

    @property
    def planned_requests(self) -> int:
        """Requests at most, if each is answered at once."""
        return self.features * (1 + _PER_FEATURE * ceil(2 * self.judged / self.batch))

    @model_validator(mode="after")
    def _within_bounds(self) -> LabelEndpoint:
        if not isinstance(self.latents, int) and len(set(self.latents)) < len(self.latents):
            raise ValueError("a latent is twice in `latents`")
        if self.planned_requests > self.runtime.max_requests:
            raise ValueError(
                f"{self.features} features take up to {self.planned_requests} requests, and runtime.max_requests is "
                f"{self.runtime.max_requests}: raise it, or lower latents or judged"
            )
        return self
