"""What clients call their requests, so that one that is sent twice gives one job."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import delete

from cluster.records.tables import RequestKey
from cluster.records.transactions import Transactions

KEPT_S = 86_400.0


class KeyRow(NamedTuple):
    """What a key was used for. `job_id` is None while the first request with it is at work."""

    request: str
    job_id: str | None


class Keys(Transactions):
    """take_key, note_key, drop_key. A key belongs to its owner, so that those of different clients are apart."""

    def take_key(self, owner: str, key: str, request: str, now: float) -> KeyRow | None:
        """Takes a key for a request (its hash); None if it was free. Keys older than a day are free again."""

        def take() -> KeyRow | None:
            with self._write() as session:
                session.execute(delete(RequestKey).where(RequestKey.created_at < now - KEPT_S))
                held = session.get(RequestKey, (owner, key))
                if held is not None:
                    return KeyRow(held.request, held.job_id)
                session.add(RequestKey(owner=owner, key=key, request=request, created_at=now))
                return None

        return self._settled(take)

    def note_key(self, owner: str, key: str, request: str, job_id: str, now: float) -> None:
        """Says what a request with a key came to; also if an equal one that failed has let the key go meanwhile."""

        def note() -> None:
            with self._write() as session:
                session.merge(RequestKey(owner=owner, key=key, request=request, job_id=job_id, created_at=now))

        self._settled(note)

    def drop_key(self, owner: str, key: str) -> None:
        """Lets go of a key whose request came to nothing."""
        with self._write() as session:
            mine = (RequestKey.owner == owner, RequestKey.key == key, RequestKey.job_id.is_(None))
            session.execute(delete(RequestKey).where(*mine))
