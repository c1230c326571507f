"""Cursors of pages: opaque to clients, a few plain values here."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from serve_app.errors import ApiError

MAX_LIMIT = 200
INT64 = 2**63 - 1
Cursor = Annotated[
    str | None,
    Field(pattern=r"^[A-Za-z0-9_-]{1,300}$", description="`next` of the page before. Leave it out for the first page."),
]
Limit = Annotated[int, Field(ge=1, le=MAX_LIMIT, description="Largest number of items on a page.")]


class StrictQuery(BaseModel):
    """Query parameters of one route. An unknown one is an error."""

    model_config = ConfigDict(extra="forbid")


class Paged(StrictQuery):
    """Query parameters of a list."""

    limit: Limit = 50
    cursor: Cursor = None


def encode(*values: Any) -> str:
    """The cursor of some plain values."""
    return base64.urlsafe_b64encode(json.dumps(values, separators=(",", ":")).encode()).decode().rstrip("=")


def decode(cursor: str, *kinds: type | tuple[type, ...]) -> list[Any]:
    """The values of a cursor, of these kinds. Raises ApiError (422) for one that is not of this list."""
    try:
        values = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        values = None
    if not isinstance(values, list) or len(values) != len(kinds) or not all(map(_is, values, kinds)):
        raise ApiError(
            422, "invalid_cursor", "this cursor is not one of this list: send `next` of its last page, or none"
        )
    return values


def _is(value: Any, kind: type | tuple[type, ...]) -> bool:
    # No cursor of ours has a number beyond 64 bits; a bool is an int to Python.
    large = isinstance(value, int) and abs(value) > INT64
    return isinstance(value, kind) and not isinstance(value, bool) and not large


def evenly_spaced(n: int, most: int) -> list[int]:
    """At most `most` (two or more) of the places of `n` rows, evenly over all, the last one among them."""
    return [round(i * (n - 1) / (most - 1)) for i in range(most)] if n > most else list(range(n))
