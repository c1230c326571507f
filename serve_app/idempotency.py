"""Idempotency-Key: the same key and request give the same job; the same key with another request is refused."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Header

from cluster.catalog import Catalog
from configs.artifact_ids import canonical_json
from serve_app.errors import ApiError

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[\x21-\x7e]{1,255}$",
        description="A text of your choice, such as a UUID. The same key and request give the same job; the same key with "
        "another request is refused (409). Keys are kept for a day.",
    ),
]


def submit_once(
    catalog: Catalog, owner: str, key: str | None, request: Any, submit: Callable[[], str]
) -> tuple[str, bool]:
    """The id of the request's job, and whether an earlier request with the key has submitted it.

    `submit` submits the job. It returns the same job for equal requests, so that concurrent requests with one key can
    all call it, and a replica can die before it stores the key. Raises ApiError (409).
    """
    if key is None:
        return submit(), False
    digest = hashlib.sha256(canonical_json(request).encode()).hexdigest()
    stored = catalog.take_key(owner, key, digest, time.time())
    if stored is not None and stored.request != digest:
        raise ApiError(
            409, "idempotency_key_reused", "this Idempotency-Key was used for another request: use a new one"
        )
    if stored is not None and stored.job_id is not None:
        return stored.job_id, True
    try:
        job_id = submit()
    except BaseException:
        catalog.drop_key(owner, key)
        raise
    catalog.note_key(owner, key, digest, job_id, time.time())
    return job_id, False
