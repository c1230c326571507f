"""Idempotency-Key: the same key and request give the same job, the same key with another request is refused."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Header

from cluster.records import Records
from configs.identity import canonical_json
from serve_app.errors import ApiError

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[\x21-\x7e]{1,255}$",
        description="Any text of your own, such as a UUID. Sending the request again with the same key gives the same "
        "job; with the same key and another body it is refused (409). Kept for a day.",
    ),
]


def submit_once(
    records: Records, owner: str, key: str | None, request: Any, submit: Callable[[], str]
) -> tuple[str, bool]:
    """The id of the job that the request came to, and whether an earlier request with the key had made it.

    `submit` asks for the job. It gives one job for equal requests, so that of many that come at once with one key
    each may ask, and a replica that dies between asking and noting leaves nothing undone. Raises ApiError (409).
    """
    if key is None:
        return submit(), False
    digest = hashlib.sha256(canonical_json(request).encode()).hexdigest()
    held = records.take_key(owner, key, digest, time.time())
    if held is not None and held.request != digest:
        raise ApiError(409, "idempotency_key_reused", "this Idempotency-Key came with another request before")
    if held is not None and held.job_id is not None:
        return held.job_id, True
    try:
        job_id = submit()
    except BaseException:
        records.drop_key(owner, key)
        raise
    records.note_key(owner, key, digest, job_id, time.time())
    return job_id, False
