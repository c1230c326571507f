"""Idempotency-Key: the same key and request give the same job, the same key with another request is refused."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Header
from sqlalchemy import Engine, delete, insert, select, update
from sqlalchemy.exc import DBAPIError, IntegrityError

from configs.identity import canonical_json
from serve_app.errors import ApiError
from serve_app.tables import IDEMPOTENCY, METADATA

KEPT_S = 86_400.0
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[\x21-\x7e]{1,255}$",
        description="Any text of your own, such as a UUID. Sending the request again with the same key gives the same "
        "job; with the same key and another body it is refused (409). Kept for a day.",
    ),
]


class Keys:
    """The keys that were used with this catalog."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._reader = engine.execution_options(reading=True)
        try:
            METADATA.create_all(engine)
        except DBAPIError:  # another replica has just made the table
            METADATA.create_all(engine)

    def once(self, owner: str, key: str | None, request: Any, submit: Callable[[], str]) -> tuple[str, bool]:
        """The id of the job that the request came to, and whether an earlier request with the key had made it.

        `submit` asks for the job. It gives one job for equal requests, so that of many that come at once with one key
        each may ask, and a replica that dies between asking and noting leaves nothing undone. Raises ApiError (409).
        """
        if key is None:
            return submit(), False
        digest = hashlib.sha256(canonical_json(request).encode()).hexdigest()
        job_id = self._take(owner, key, digest)
        if job_id is not None:
            return job_id, True
        try:
            job_id = submit()
        except BaseException:
            self._forget(owner, key)
            raise
        self._note(owner, key, digest, job_id)
        return job_id, False

    def _take(self, owner: str, key: str, digest: str) -> str | None:
        now = time.time()
        mine = {"owner": owner, "key": key, "request": digest, "created_at": now}
        found = self._find(owner, key)
        if found is None or found[2] < now - KEPT_S:
            try:
                with self._engine.begin() as connection:
                    connection.execute(delete(IDEMPOTENCY).where(IDEMPOTENCY.c.created_at < now - KEPT_S))
                    connection.execute(insert(IDEMPOTENCY).values(mine))
                return None
            except IntegrityError:  # another request has just brought it
                found = self._find(owner, key)
        if found is not None and found[0] != digest:
            raise ApiError(409, "idempotency_key_reused", "this Idempotency-Key came with another request before")
        return None if found is None else found[1]

    def _find(self, owner: str, key: str) -> tuple[str, str | None, float] | None:
        table = IDEMPOTENCY.c
        query = select(table.request, table.job_id, table.created_at).where(table.owner == owner, table.key == key)
        with self._reader.connect() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else (row[0], row[1], row[2])

    def _note(self, owner: str, key: str, digest: str, job_id: str) -> None:
        where = (IDEMPOTENCY.c.owner == owner, IDEMPOTENCY.c.key == key)
        with self._engine.begin() as connection:
            noted = connection.execute(update(IDEMPOTENCY).where(*where).values(request=digest, job_id=job_id))
            if not noted.rowcount:  # an equal request that failed has just taken the key away
                values = {"owner": owner, "key": key, "request": digest, "job_id": job_id, "created_at": time.time()}
                connection.execute(insert(IDEMPOTENCY).values(values))

    def _forget(self, owner: str, key: str) -> None:
        table = IDEMPOTENCY.c
        with self._engine.begin() as connection:
            connection.execute(
                delete(IDEMPOTENCY).where(table.owner == owner, table.key == key, table.job_id.is_(None))
            )
