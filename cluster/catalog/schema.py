"""The schema that this program knows, and what is done with a database that has another, or none."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Column, Connection, MetaData, PrimaryKeyConstraint, String, Table, insert, inspect, select, text
from sqlalchemy.exc import DatabaseError

from cluster.catalog import artifact_tables, job_tables, list_tables, session_tables
from cluster.catalog.common_tables import Base, Counter
from cluster.catalog.errors import CatalogError

# The revisions in migrations/versions, the oldest first.
REVISIONS = ("0001", "0002", "0003")
HEAD = REVISIONS[-1]
METADATA = Base.metadata
COUNTERS = ("jobs", "artifacts", "events")
_MODULES = (artifact_tables, job_tables, list_tables, session_tables)  # imported so that METADATA has all tables
# Alembic's own table, as it makes it itself.
_VERSION = Table(
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)


def is_current(connection: Connection) -> bool:
    """True if nothing is to be done. Cheap: every command asks."""
    try:
        return connection.execute(select(_VERSION.c.version_num)).scalars().all() == [HEAD]
    except DatabaseError:  # no such table, or worse: bring_up finds out
        return False


def bring_up(connection: Connection) -> None:
    """Makes the tables in an empty database, and takes an older one forward, in the connection's transaction.

    The caller sees to it that no other process does so at the same time. Raises CatalogError for a database of a newer
    program, or of another one.
    """
    tables = set(inspect(connection).get_table_names())
    found = connection.execute(select(_VERSION.c.version_num)).scalars().all() if _VERSION.name in tables else []
    if not found:
        if taken := sorted(tables & set(METADATA.tables)):
            raise CatalogError(
                f"it has a table `{taken[0]}` and no version of RayLens' schema: it belongs to another program; name a "
                "database of RayLens' own"
            )
        _create(connection)
    elif len(found) > 1 or found[0] not in REVISIONS:
        raise CatalogError(
            f"its schema is revision {', '.join(found)}, and this RayLens knows revisions up to {HEAD}: it was made by "
            "a newer one. Use that one, or give this one another RAYLENS_HOME or RAYLENS_DATABASE_URL"
        )
    elif found[0] != HEAD:
        migrate(connection)


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


def migrate(connection: Connection) -> None:
    """Runs the revisions that the database does not have yet, in the connection's transaction."""
    from alembic import command  # half a second, so only where it is needed
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
