"""The catalog's schema: its tables are those of its revisions; newer and foreign databases are refused."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, NullPool, create_engine, inspect, text

from cluster.catalog import CatalogError, open_catalog, schema
from configs.artifact_ids import ArtifactRef
from tests.cluster.catalog_rows import REPOSITORY, submit

MIGRATIONS = Path(schema.__file__).parent / "migrations"


@pytest.fixture
def engine(empty_url: str) -> Iterator[Engine]:
    """Of the empty database at `empty_url`, without any of RayLens."""
    engine = create_engine(empty_url.replace("postgresql://", "postgresql+psycopg://"), poolclass=NullPool)
    yield engine
    engine.dispose()


def described(connection: Connection) -> dict[str, Any]:
    """All that the database says of its tables, whatever order they were made in."""
    seen = inspect(connection)
    tables = {}
    for name in seen.get_table_names():
        foreign = [
            (tuple(key["constrained_columns"]), key["referred_table"], tuple(key["referred_columns"]),
             key["options"].get("ondelete"))
            for key in seen.get_foreign_keys(name)
        ]  # fmt: skip
        indices = {
            index["name"]: (index["column_names"], bool(index["unique"]), str(_where(index)))
            for index in seen.get_indexes(name)
        }
        tables[name] = {
            "columns": {c["name"]: (str(c["type"]), c["nullable"], c["default"]) for c in seen.get_columns(name)},
            "key": seen.get_pk_constraint(name)["constrained_columns"],
            "foreign": sorted(foreign),
            "indices": indices,
            "checks": sorted(str(check["name"]) for check in seen.get_check_constraints(name)),
        }
    return tables


def _where(index: Any) -> Any:
    options = index.get("dialect_options", {})
    return options.get("sqlite_where", options.get("postgresql_where"))


def test_a_catalog_made_now_equals_one_that_its_revisions_make(empty_url: str, engine: Engine) -> None:
    with open_catalog(empty_url):
        pass
    with engine.connect() as connection:
        made = described(connection)
        assert compare_metadata(MigrationContext.configure(connection), schema.METADATA) == []
        counters = connection.execute(text("SELECT name, value FROM counters ORDER BY name")).all()
    with engine.begin() as connection:
        for name in reversed(schema.METADATA.sorted_tables):
            name.drop(connection)
        connection.execute(text("DROP TABLE alembic_version"))
        schema.migrate(connection)
    with engine.connect() as connection:
        assert described(connection) == made
        assert connection.execute(text("SELECT name, value FROM counters ORDER BY name")).all() == counters
    with open_catalog(empty_url) as catalog:
        assert catalog.job(submit(catalog).job_id).seq == 1


def test_every_revision_is_known() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    script = ScriptDirectory.from_config(config)
    assert tuple(r.revision for r in reversed(list(script.walk_revisions()))) == schema.REVISIONS


def test_an_older_catalog_moves_forward_once_or_stays_as_it_was(
    empty_url: str, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_catalog(empty_url) as catalog:
        submit(catalog)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    moves = []

    def fail(connection: Connection) -> None:
        connection.execute(text("DELETE FROM jobs"))
        raise OSError(28, "No space left on device")

    def move(connection: Connection) -> None:
        moves.append(connection.execute(text(f"UPDATE alembic_version SET version_num = '{schema.HEAD}'")).rowcount)

    monkeypatch.setattr(schema, "migrate", fail)
    with pytest.raises(CatalogError, match=r"cannot open the catalog .*No space left on device"):
        open_catalog(empty_url)
    monkeypatch.setattr(schema, "migrate", move)
    for _ in range(2):
        with open_catalog(empty_url) as catalog:
            assert len(catalog.jobs()) == 1
    assert moves == [1]


def test_what_people_wrote_before_begins_its_history(empty_url: str, engine: Engine) -> None:
    with open_catalog(empty_url):
        pass
    with engine.begin() as connection:
        for table in ("listed_features", "feature_lists", "annotation_versions"):
            connection.execute(text(f"DROP TABLE {table}"))
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
        for latent, label in ((3, "rivers"), (4, "")):
            values = f"'saes/{'0' * 16}', {latent}, true, '{label}', '', 'ada', 7.0"
            columns = "sae, latent, starred, label, notes, updated_by, updated_at"
            connection.execute(text(f"INSERT INTO feature_annotations ({columns}) VALUES ({values})"))
    with open_catalog(empty_url) as catalog:
        sae = ArtifactRef("saes", "0" * 16)
        (first,) = catalog.annotation_versions(sae, 3)
        assert (first.version, first.label, first.written_by, first.written_at) == (1, "rivers", "ada", 7.0)
        assert catalog.annotation_versions(sae, 4) == [], "a star alone is no text"
        assert catalog.feature_lists() == []


def test_a_newer_catalog_is_refused(empty_url: str, engine: Engine) -> None:
    with open_catalog(empty_url) as catalog:
        submit(catalog)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0999'"))
    with pytest.raises(CatalogError, match=r"cannot open the catalog .*revision 0999.*made by a newer one"):
        open_catalog(empty_url)


def test_the_tables_of_another_program_are_left_alone(empty_url: str, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE jobs (id INTEGER)"))
    with pytest.raises(CatalogError, match=r"cannot open the catalog .*belongs to another program"):
        open_catalog(empty_url)
    with engine.connect() as connection:
        assert inspect(connection).get_table_names() == ["jobs"]


def test_opening_a_catalog_that_is_up_to_date_imports_no_alembic(catalog_url: str) -> None:
    with open_catalog(catalog_url):
        pass
    program = (
        "import sys; from cluster.catalog import open_catalog; open_catalog(sys.argv[1]).close(); print(*sys.modules)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, catalog_url], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=True
    )
    assert "cluster.catalog.schema" in ran.stdout.split()
    assert "alembic" not in ran.stdout.split()
