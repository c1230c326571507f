"""Cursors: opaque to clients, a few plain values to us."""

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
    Field(
        pattern=r"^[A-Za-z0-9_-]{1,300}$",
        description="Where the page begins: `next` of the page before. Leave it out for the first page.",
    ),
]
Limit = Annotated[int, Field(ge=1, le=MAX_LIMIT, description="Items on a page, at most.")]


class Query(BaseModel):
    """Query parameters of one route. An unknown one is an error: it would be accepted and ignored."""

    model_config = ConfigDict(extra="forbid")


class Paged(Query):
    """Query parameters of a list."""

    limit: Limit = 50
    cursor: Cursor = None


def encode(*values: Any) -> str:
    """The cursor that stands for some plain values."""
    return base64.urlsafe_b64encode(json.dumps(values, separators=(",", ":")).encode()).decode().rstrip("=")


def decode(cursor: str, *kinds: type | tuple[type, ...]) -> list[Any]:
    """The values of a cursor, of these kinds. Raises ApiError (422) for one that this list never gave."""
    try:
        values = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        values = None
    if not isinstance(values, list) or len(values) != len(kinds) or not all(map(_is, values, kinds)):
        raise ApiError(422, "invalid_cursor", "this list never gave that cursor: leave it out to begin anew")
    return values


def _is(value: Any, kind: type | tuple[type, ...]) -> bool:
    # A number that no database can hold was never ours; a bool is an int to Python.
    large = isinstance(value, int) and abs(value) > INT64
    return isinstance(value, kind) and not isinstance(value, bool) and not large
