"""Answers of a model server, taken apart strictly: one JSON object of known form and bounded length, or InvalidAnswer."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

LONGEST_LABEL = 300  # characters
LONGEST_ANSWER = 20_000
_FENCED = re.compile(r"\A```(?:json)?\s*\n(.*)\n```\Z", re.DOTALL)


class InvalidAnswer(ValueError):
    """An answer that is not what was asked for. The message says what was expected; it quotes nothing."""


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


_A = TypeVar("_A", bound=_Answer)


class Explanation(_Answer):
    """A label in words, or that none was found. With `obscure` a label beside it counts for nothing."""

    label: Annotated[str, Field(max_length=LONGEST_LABEL)] | None = None
    obscure: bool = False

    @model_validator(mode="after")
    def _one_of_both(self) -> Explanation:
        if not self.obscure and not (self.label or "").strip():
            raise ValueError("either a label or obscure: true")
        if self.label is not None and self.label and not self.label.isprintable():
            raise ValueError("a label is one line of printable characters")
        return self


class Judgement(_Answer):
    """Numbers of the examples that the judge takes for active."""

    active: list[int] = Field(max_length=1000)


def parse_explanation(text: str) -> Explanation:
    """Raises InvalidAnswer."""
    return _parse(
        Explanation, text, f'{{"label": "..."}} of at most {LONGEST_LABEL} characters, or {{"obscure": true}}'
    )


def parse_judgement(text: str, numbers: Collection[int]) -> frozenset[int]:
    """Which of `numbers` are said to be active. Raises InvalidAnswer, also for other numbers or one that is there twice."""
    expected = '{"active": [...]} with numbers of the examples, each once'
    found = _parse(Judgement, text, expected).active
    if not set(found) <= set(numbers) or len(set(found)) < len(found):
        raise InvalidAnswer(f"expected one JSON object, {expected}")
    return frozenset(found)


_PROPERTIES: dict[type[BaseModel], dict[str, Any]] = {
    Explanation: {"label": {"type": "string"}, "obscure": {"type": "boolean"}},
    Judgement: {"active": {"type": "array", "items": {"type": "integer"}}},
}


def schema(answer: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of an answer as OpenAI's `response_format` takes it: its strict form has all properties required."""
    properties = _PROPERTIES[answer]
    form = {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
    return {"name": answer.__name__.lower(), "strict": True, "schema": form}


def _parse(model: type[_A], text: str, expected: str) -> _A:
    if len(text) > LONGEST_ANSWER:
        raise InvalidAnswer(f"expected one JSON object, {expected}; the answer has {len(text)} characters")
    text = text.strip()
    fenced = _FENCED.match(text)
    try:
        return model.model_validate_json(fenced[1] if fenced else text)
    except ValidationError:
        raise InvalidAnswer(f"expected one JSON object, {expected}") from None
