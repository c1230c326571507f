"""Browsers that are signed in. Their rows are in the catalog, so that a session outlives replicas and the head."""

from __future__ import annotations

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from cluster.catalog.session_tables import SessionRow, SignInCode
from cluster.catalog.transactions import Transactions


class Sessions(Transactions):
    """Adds, finds and ends sessions. Secrets come as SHA-256. Rows that have expired are removed as new ones come."""

    def add_sign_in_code(self, sha256: str, name: str, scopes: list[str], now: float, expires_at: float) -> None:
        """Adds a code that signs in one browser, with these scopes, as `name`."""

        def add() -> None:
            with self._write() as session:
                session.execute(delete(SignInCode).where(SignInCode.expires_at <= now))
                session.add(SignInCode(sha256=sha256, name=name, scopes=scopes, expires_at=expires_at))

        self._settled(add)

    def use_sign_in_code(self, code: str, sha256: str, now: float, expires_at: float) -> SessionRow | None:
        """Uses up a code and adds the session of `sha256`; None if the code is unknown, used or has expired."""

        def use() -> SessionRow | None:
            with self._write() as session:
                found = session.scalars(
                    select(SignInCode).where(SignInCode.sha256 == code, SignInCode.expires_at > now).with_for_update()
                ).one_or_none()
                if found is None:
                    return None
                session.delete(found)
                return _added(session, sha256, found.name, found.scopes, None, now, expires_at)

        return self._settled(use)

    def add_session(
        self, sha256: str, name: str, scopes: list[str], token: str, now: float, expires_at: float
    ) -> SessionRow:
        """Adds the session of a browser that has shown the API token with the id `token`."""

        def add() -> SessionRow:
            with self._write() as session:
                return _added(session, sha256, name, scopes, token, now, expires_at)

        return self._settled(add)

    def session(self, sha256: str, now: float) -> SessionRow | None:
        """The session of a secret; None if there is none, or it has expired."""
        with self._read() as session:
            return session.scalars(
                select(SessionRow).where(SessionRow.sha256 == sha256, SessionRow.expires_at > now)
            ).one_or_none()

    def end_session(self, sha256: str) -> None:
        """Ends a session, if there is one."""

        def end() -> None:
            with self._write() as session:
                session.execute(delete(SessionRow).where(SessionRow.sha256 == sha256))

        self._settled(end)


def _added(
    session: Session, sha256: str, name: str, scopes: list[str], token: str | None, now: float, expires_at: float
) -> SessionRow:
    session.execute(delete(SessionRow).where(SessionRow.expires_at <= now))
    row = SessionRow(sha256=sha256, name=name, scopes=scopes, token=token, created_at=now, expires_at=expires_at)
    session.add(row)
    return row
