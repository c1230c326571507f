"""Responses in the OpenAPI document."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from serve_app.errors import MEDIA_TYPE

_MEANING: dict[int | str, tuple[str, str, str]] = {
    401: ("No valid token.", "not_authenticated", "a token is needed: `Authorization: Bearer TOKEN`"),
    403: ("The token lacks the scope.", "insufficient_scope", "this token lacks the scope `write`"),
    404: ("There is no such thing.", "not_found", "there is no artifact saes/67d5273bd9611bd1"),
    409: ("A conflict; `code` says which.", "name_taken", "the name 'demo' in project 'default' ..."),
    416: ("The file ends before the part that Range names.", "range_not_satisfiable", "the file has 1234 bytes"),
    422: (
        "The request is not valid; `detail` and `errors` say why.",
        "invalid_request",
        "body.saes.0.k: Input should be ...",
    ),
    503: (
        "Not available now: try again after `Retry-After` seconds.",
        "catalog_unavailable",
        "the catalog does not answer: ...",
    ),
    507: ("The store, or the disk of uploads, is full.", "store_full", "cannot store ...: no space is left"),
    "4XX": (
        "Other faults of a request: malformed (400), too large (413, 414), another host (421) or origin (403).",
        "malformed_json",
        "the body is not JSON: Expecting value",
    ),
}
Responses = dict[int | str, dict[str, Any]]


def problems(*statuses: int | str, **described: str) -> Responses:
    """The problems of a route beside those of every route. `s409="..."` describes one for this route."""
    found: Responses = {status: _problem(status) for status in statuses}
    for name, description in described.items():
        status = int(name.removeprefix("s"))
        found[status] = _problem(status, description)
    return found


def _problem(status: int | str, description: str | None = None) -> dict[str, Any]:
    meaning, code, detail = _MEANING[status]
    number = status if isinstance(status, int) else 400
    example = {
        "type": f"urn:raylens:problem:{code}",
        "title": HTTPStatus(number).phrase,
        "status": number,
        "code": code,
        "detail": detail,
    }
    schema = {"$ref": "#/components/schemas/Problem"}
    found: dict[str, Any] = {
        "description": description or meaning,
        "content": {MEDIA_TYPE: {"schema": schema, "example": example}},
    }
    if status == 503:
        after = {"description": "Seconds to wait before a retry.", "schema": {"type": "integer"}}
        found["headers"] = {"Retry-After": after}
    return found


COMMON_PROBLEMS: Responses = problems(401, 403, 422, 503, "4XX")
LOCATION = {
    "Location": {"description": "Path of the job.", "schema": {"type": "string"}},
    "Idempotent-Replayed": {
        "description": "`true` if an earlier request with this Idempotency-Key has submitted the job.",
        "schema": {"type": "string"},
    },
}
FOLLOW = {"description": "The job. Follow it at `Location`.", "headers": {"Location": LOCATION["Location"]}}
ACCEPTED: Responses = {
    202: {
        "description": "The job: a new one, or the one of an equal request. Follow it at `Location`.",
        "headers": LOCATION,
    },
    **problems(
        507,
        s409="It can never run on this cluster (`cannot_fit`: see `requirement`, `capacity`, `largest_workers`), the name "
        "is taken, or the Idempotency-Key came with another request.",
        s422="The config, its source or an input is not valid; `code` and `detail` say why.",
        s503="The catalog, the store or the hub does not answer now.",
    ),
}
