"""Lengths of a part of training: a number of steps, or a share of all of them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field


def _share(value: Any) -> Any:
    """`5.0%` and `5%` are one value; what is neither a share nor a number of steps is refused."""
    if not isinstance(value, str):
        return value
    try:
        share = float(value.removesuffix("%")) if value.endswith("%") else -1.0
    except ValueError:
        share = -1.0
    if not 0 <= share <= 100:
        raise ValueError(f"{value!r} is no part of training: give a number of steps, or a share of them such as 5%")
    return f"{share:g}%"


Steps = Annotated[
    Annotated[int, Field(ge=0)] | Annotated[str, Field(pattern=r"^[0-9.e+-]+%$", examples=["5%"])],
    BeforeValidator(_share),
]


def steps_of(steps: Steps, total: int) -> float:
    """How many of `total` steps these are."""
    return float(steps.removesuffix("%")) / 100 * total if isinstance(steps, str) else float(steps)
