"""The schema that this program knows, and what is done with a database that has another, or none."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Column, Connection, MetaData, PrimaryKeyConstraint, String, Table, insert, inspect, select, text
from sqlalchemy.exc import DatabaseError

from cluster.records import artifact_index_tables, artifact_tables
from cluster.records.errors import RecordsError
from cluster.records.tables import Base, Counter

# The revisions in migrations/versions, the oldest first.
REVISIONS = ("0001", "0002", "0003")
HEAD = REVISIONS[-1]
METADATA = Base.metadata
COUNTERS = ("jobs", "artifacts", "events")
_MODULES = (artifact_tables, artifact_index_tables)  # imported so that METADATA has all tables
# Alembic's own table, as it makes it itself.
_VERSION = Table(
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)
# What the first revision had, by which one without a version is known.
_FIRST = {
    "jobs": {"id", "fingerprint", "attempt", "state", "last_event"},
    "attempts": {"job_id", "number", "process", "heartbeat"},
    "events": {"job_id", "number", "attempt", "kind"},
    "artifacts": {"kind", "id", "job_id", "summary"},
}


def is_current(connection: Connection) -> bool:
    """True if nothing is to be done. Cheap: every command asks."""
    try:
        return connection.execute(select(_VERSION.c.version_num)).scalars().all() == [HEAD]
    except DatabaseError:  # no such table, or worse: bring_up finds out
        return False


def bring_up(connection: Connection) -> None:
    """Makes the tables in an empty database, and takes an older one forward, in the connection's transaction.

    The caller sees to it that no other process does so at the same time. Raises RecordsError for a database of a newer
    program, or of another one.
    """
    tables = set(inspect(connection).get_table_names())
    found = connection.execute(select(_VERSION.c.version_num)).scalars().all() if _VERSION.name in tables else []
    if not found and "jobs" not in tables:
        _create(connection)
    elif not found:
        _check_first(connection, tables)
        _VERSION.create(connection, checkfirst=True)
        connection.execute(insert(_VERSION), {"version_num": REVISIONS[0]})
        _migrate(connection)
    elif len(found) > 1 or found[0] not in REVISIONS:
        raise RecordsError(
            f"its schema is revision {', '.join(found)}, and this RayLens knows revisions up to {HEAD}: it was made by "
            "a newer one. Use that one, or give this one another RAYLENS_HOME or RAYLENS_DATABASE_URL"
        )
    elif found[0] != HEAD:
        _migrate(connection)


def _create(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        for table in METADATA.tables.values():
            for index in table.indexes:
                if (where := index.info.get("postgresql_where")) is not None:
                    index.dialect_options["postgresql"]["where"] = text(where)
    METADATA.create_all(connection)
    _VERSION.create(connection, checkfirst=True)
    connection.execute(insert(_VERSION), {"version_num": HEAD})
    connection.execute(insert(Counter), [{"name": name, "value": 0} for name in COUNTERS])


def _check_first(connection: Connection, tables: set[str]) -> None:
    for table, columns in _FIRST.items():
        there = {str(column["name"]) for column in inspect(connection).get_columns(table)} if table in tables else set()
        if not columns <= there:
            raise RecordsError(
                f"it has a table `jobs` but {table} is not as RayLens makes it: it belongs to another program; "
                "name a database of RayLens' own"
            )


def _migrate(connection: Connection) -> None:
    from alembic import command  # half a second, so only where it is needed
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
