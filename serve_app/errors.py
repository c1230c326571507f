"""Errors as RFC 9457 problem details, each with a stable code for programs."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError, ResponseValidationError
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.routing import compile_path

from cluster.catalog import CatalogError, IllegalMove, InUse, NameTaken, NotFound
from serve_app.security.redaction import redact

log = logging.getLogger(__name__)
MEDIA_TYPE = "application/problem+json"
DETAIL_CHARACTERS = 500
REFERRERS = 100
_CODES = {400: "bad_request", 401: "not_authenticated", 403: "forbidden", 404: "not_found", 405: "method_not_allowed",
          409: "conflict", 413: "body_too_large", 415: "unsupported_media_type", 422: "invalid_request"}  # fmt: skip


class ApiError(Exception):
    """A request that is answered with a problem. `extra` are more members of it, `headers` more headers."""

    def __init__(
        self, status: int, code: str, detail: str, headers: Mapping[str, str] | None = None, **extra: Any
    ) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail, self.extra = status, code, detail, extra
        self.headers = dict(headers or {})

    def response(self) -> JSONResponse:
        """The answer."""
        return problem(self.status, self.code, self.detail, self.headers, **self.extra)


def not_found(what: str) -> ApiError:
    """404 for a thing that does not exist."""
    return ApiError(404, "not_found", f"there is no {what}")


def problem(
    status: int, code: str, detail: str, headers: Mapping[str, str] | None = None, **extra: Any
) -> JSONResponse:
    """A problem as an answer. Its detail has no paths of this machine, and at most 500 characters."""
    body = {
        "type": f"urn:raylens:problem:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": _shortened(redact(detail)),
        **extra,
    }
    return JSONResponse(body, status, dict(headers or {}), MEDIA_TYPE)


def to_api_error(error: Exception) -> ApiError | None:
    """The problem of an error that RayLens expects; None for any other error."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, InUse):
        return ApiError(409, "in_use", str(error), referrers=error.referrers[:REFERRERS])
    if isinstance(error, NameTaken):
        return ApiError(409, "name_taken", str(error), name_owner=error.holder)
    if isinstance(error, IllegalMove):
        return ApiError(409, "illegal_move", str(error))
    if isinstance(error, NotFound):
        return ApiError(404, "not_found", str(error))
    if isinstance(error, CatalogError | SQLAlchemyError):  # its message names the database and its user
        log.error("the catalog cannot be used", exc_info=error)
        detail = "the catalog does not answer; the server's log has the reason"
        return ApiError(503, "catalog_unavailable", detail, {"Retry-After": "5"})
    return _stage_error(error)


def _stage_error(error: Exception) -> ApiError | None:
    """Errors of configs, sources, the store and stages."""
    from cluster.store import CorruptFile, StoreError, StoreFull
    from jobs.life.outcome import code_of, failure_of
    from sae.labels.endpoint.errors import EndpointUnreachable
    from sae.sources import SourceUnreachable

    if isinstance(error, CorruptFile):
        return ApiError(500, "corrupt_file", str(error))
    if isinstance(error, StoreFull):
        return ApiError(507, "store_full", str(error))
    if isinstance(error, StoreError):
        return ApiError(503, "store_unavailable", str(error), {"Retry-After": "5"})
    failure = failure_of(error)
    if not failure.expected:
        return None
    if isinstance(error, SourceUnreachable | EndpointUnreachable):
        return ApiError(503, failure.code, failure.message, {"Retry-After": "30"})
    if isinstance(error, ValueError):
        return ApiError(422, code_of(type(error)) if type(error) is not ValueError else "invalid_request", str(error))
    return ApiError(503, failure.code, failure.message, {"Retry-After": "10"})


def _shortened(text: str) -> str:
    return text if len(text) <= DETAIL_CHARACTERS else text[: DETAIL_CHARACTERS - 1] + "…"


def install(app: FastAPI) -> None:
    """Registers the handlers."""
    app.add_exception_handler(ApiError, _ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)
    app.add_exception_handler(ValueError, _known)
    app.add_exception_handler(RuntimeError, _known)
    app.add_exception_handler(SQLAlchemyError, _known)


async def answer(request: Request, error: Exception) -> JSONResponse:
    """The problem of any error of a route, as the handlers give it."""
    if isinstance(error, RequestValidationError):
        return await _invalid(request, error)
    return await _known(request, error)


async def _ours(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ApiError)
    return error.response()


async def _known(request: Request, error: Exception) -> JSONResponse:
    found = None if isinstance(error, ResponseValidationError) else to_api_error(error)
    return await _unexpected(request, error) if found is None else found.response()


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    faults = [_fault(fault) for fault in error.errors()[:20]]
    if faults and faults[0]["code"] == "json_invalid":
        return problem(400, "malformed_json", f"the body is not JSON: {faults[0]['detail']}")
    detail = "; ".join(f"{fault['where']}: {fault['detail']}" for fault in faults[:5])
    return problem(422, "invalid_request", detail, errors=faults)


def _fault(fault: Mapping[str, Any]) -> dict[str, str]:
    where = ".".join(str(part) for part in fault["loc"] if not str(part).startswith("function-"))
    detail = str(fault["msg"]).removeprefix("Value error, ")
    if fault["type"] == "json_invalid":
        detail = str(fault.get("ctx", {}).get("error", detail))
    return {"where": _plain(where), "code": str(fault["type"]), "detail": _plain(redact(detail))}


def _plain(text: str) -> str:
    """A text that UTF-8 can encode: the text of a client can have half of a surrogate pair."""
    return text[:500].encode("utf-8", "replace").decode("utf-8")


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = _CODES.get(error.status_code, "error")
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = ", ".join(_allowed(request))
    return problem(error.status_code, code, str(error.detail), headers)


def _allowed(request: Request) -> list[str]:
    """All methods of the path; the router knows those of one route only."""
    found: set[str] = set()
    for path, operations in request.app.openapi()["paths"].items():
        if compile_path(path)[0].match(request.url.path):
            found |= {method.upper() for method in operations}
    return sorted(found or {"GET"})


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    log.error("unexpected error in %s %s", request.method, request.url.path, exc_info=error)
    return problem(500, "internal_error", "this is a fault of RayLens; the server's log has the details")
