"""What clients call their requests, so that one that is sent twice gives one job."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import delete

from cluster.catalog.common_tables import IdempotencyKey
from cluster.catalog.transactions import Transactions

KEPT_S = 86_400.0


class KeyRow(NamedTuple):
    """What a key was used for. `job_id` is None while the first request with it is at work."""

    request: str
    job_id: str | None


class IdempotencyKeys(Transactions):
    """Takes, answers and drops keys. A key belongs to its owner, so that those of different clients are apart."""

    def take_key(self, owner: str, key: str, request: str, now: float) -> KeyRow | None:
        """Takes a key for a request (its hash); None if it was free. Keys older than a day are free again."""

        def take() -> KeyRow | None:
            with self._write() as session:
                session.execute(delete(IdempotencyKey).where(IdempotencyKey.created_at < now - KEPT_S))
                held = session.get(IdempotencyKey, (owner, key))
                if held is not None:
                    return KeyRow(held.request, held.job_id)
                session.add(IdempotencyKey(owner=owner, key=key, request=request, created_at=now))
                return None

        return self._settled(take)

    def note_key(self, owner: str, key: str, request: str, job_id: str, now: float) -> None:
        """Says what a request with a key came to; also if an equal one that failed has let the key go meanwhile."""

        def note() -> None:
            with self._write() as session:
                session.merge(IdempotencyKey(owner=owner, key=key, request=request, job_id=job_id, created_at=now))

        self._settled(note)

    def drop_key(self, owner: str, key: str) -> None:
        """Lets go of a key whose request came to nothing."""
        with self._write() as session:
            mine = (IdempotencyKey.owner == owner, IdempotencyKey.key == key, IdempotencyKey.job_id.is_(None))
            session.execute(delete(IdempotencyKey).where(*mine))
