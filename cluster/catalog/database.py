"""Opens the catalog: SQLite in WAL mode by default, or PostgreSQL by its URL; as new as this program, or refused."""

from __future__ import annotations

import sqlite3

from sqlalchemy import Engine
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from cluster.catalog.errors import CatalogError
from cluster.catalog.postgres import open_postgres
from cluster.catalog.sqlite import open_sqlite
from cluster.catalog.url_redaction import Secret
from configs.settings import settings

_DRIVERS = {
    "postgresql": "postgresql+psycopg",
    "postgres": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
    "sqlite": "sqlite",
    "sqlite+pysqlite": "sqlite",
}
_RIGHT = "give sqlite:////FOLDER/catalog.db or postgresql://USER:PASSWORD@HOST:PORT/DATABASE"


def open_engine(url: str | None) -> Engine:
    """An engine whose tables are there, as this program knows them. Raises CatalogError, which shows no password.

    Default: RAYLENS_DATABASE_URL, and without it the file $RAYLENS_HOME/catalog.db.
    """
    home = settings().home
    url = url or settings().database_url
    secret = Secret(url or "")
    where = _parsed(url) if url else URL.create("sqlite", database=str(home / "catalog.db"))
    try:
        return open_sqlite(where, home) if where.get_backend_name() == "sqlite" else open_postgres(where)
    except (CatalogError, SQLAlchemyError, sqlite3.Error, OSError) as error:
        shown = secret.hide(url) if url else home / "catalog.db"
        reason = str(getattr(error, "orig", None) or error)
        raise CatalogError(f"cannot open the catalog {shown}: {secret.hide(reason)}") from None


def _parsed(url: str) -> URL:
    """Of a URL that cannot be read nothing is shown but what it begins with: who knows where its password is."""
    scheme, separator, rest = url.partition("://")
    backend = scheme.partition("+")[0]
    try:
        if scheme not in _DRIVERS or not separator:
            raise ArgumentError
        return make_url(f"{_DRIVERS[scheme]}://{rest}")
    except (ArgumentError, NoSuchModuleError, ValueError):
        shown = f"{backend}://..." if separator and backend.isalnum() else "the URL that was given"
        raise CatalogError(f"{shown} does not name a catalog: {_RIGHT}") from None
