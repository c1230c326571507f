"""Cursors of pages: opaque to clients, a few plain values here."""

from __future__ import annotations

import base64
import binascii
import json
from types import NoneType
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from cluster.catalog.list_order import Order, Place
from serve_app.errors import ApiError

MAX_LIMIT = 200
INT64 = 2**63 - 1
Cursor = Annotated[
    str | None,
    Field(
        pattern=r"^[A-Za-z0-9_-]{1,1200}$", description="`next` of the page before. Leave it out for the first page."
    ),
]
Limit = Annotated[int, Field(ge=1, le=MAX_LIMIT, description="Largest number of items on a page.")]


class StrictQuery(BaseModel):
    """Query parameters of one route. An unknown one is an error."""

    model_config = ConfigDict(extra="forbid")


class Paged(StrictQuery):
    """Query parameters of a list."""

    limit: Limit = 50
    cursor: Cursor = None


Direction = Annotated[
    Literal["asc", "desc"],
    Field(description="`desc`: the newest, the largest or the last in the alphabet first; `asc`: the other way round."),
]


def encode(*values: Any) -> str:
    """The cursor of some plain values."""
    text = json.dumps(values, separators=(",", ":"), ensure_ascii=False)
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode(cursor: str, *kinds: type | tuple[type, ...]) -> list[Any]:
    """The values of a cursor, of these kinds. Raises ApiError (422) for one that is not of this list."""
    try:
        values = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        values = None
    if not isinstance(values, list) or len(values) != len(kinds) or not all(map(_is, values, kinds)):
        raise _not_of_this_list()
    return values


def encode_place(order: Order, place: Place) -> str:
    """The cursor of a sorted list: its order, and where the page ended."""
    return encode(order.by, _word(order), place.value, place.seq)


def decode_place(cursor: str | None, order: Order, type: Literal["text", "number"]) -> Place | None:
    """Where the page before ended; None without a cursor. `type`: of the values that the list is sorted by.

    Raises ApiError (422) for a cursor of another list or order.
    """
    if cursor is None:
        return None
    value_kinds = (str, NoneType) if type == "text" else (int, float, NoneType)
    by, word, value, seq = decode(cursor, str, str, value_kinds, int)
    # JSON may hold NaN and numbers that no database has.
    if (by, word) != (order.by, _word(order)) or (isinstance(value, int | float) and not abs(value) < 2**63):
        raise _not_of_this_list()
    return Place(value, seq)


def _word(order: Order) -> str:
    return "desc" if order.descending else "asc"


def _not_of_this_list() -> ApiError:
    return ApiError(422, "invalid_cursor", "this cursor is not one of this list: send `next` of its last page, or none")


def _is(value: Any, kind: type | tuple[type, ...]) -> bool:
    # No cursor of ours has a number beyond 64 bits, or text that no database can hold; a bool is an int to Python.
    if isinstance(value, int) and abs(value) > INT64:
        return False
    if isinstance(value, str) and ("\0" in value or any("\ud800" <= c <= "\udfff" for c in value)):
        return False
    return isinstance(value, kind) and not isinstance(value, bool)


def evenly_spaced(n: int, most: int) -> list[int]:
    """At most `most` (two or more) of the places of `n` rows, evenly over all, the last one among them."""
    return [round(i * (n - 1) / (most - 1)) for i in range(most)] if n > most else list(range(n))
