"""The tables of browsers that are signed in, and of the codes that sign one in. They hold hashes of secrets only."""

from __future__ import annotations

from sqlalchemy.orm import Mapped, mapped_column

from cluster.catalog.common_tables import Base


class SessionRow(Base):
    """A browser that is signed in, until `expires_at`. `token` is the id of the API token it used; None for a code."""

    __tablename__ = "browser_sessions"

    sha256: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    scopes: Mapped[list[str]]
    token: Mapped[str | None]
    created_at: Mapped[float]
    expires_at: Mapped[float] = mapped_column(index=True)


class SignInCode(Base):
    """A code that signs in one browser once, until `expires_at`."""

    __tablename__ = "sign_in_codes"

    sha256: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    scopes: Mapped[list[str]]
    expires_at: Mapped[float] = mapped_column(index=True)
