"""The catalog's schema: catalogs of earlier revisions move forward with their rows, newer and foreign ones are refused."""

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

from cluster.records import RecordsError, State, open_records, schema
from configs.identity import ArtifactRef
from tests.cluster.catalog import REPOSITORY, submit

CATALOGS = Path(__file__).parent / "catalogs"
MIGRATIONS = Path(schema.__file__).parent / "migrations"


@pytest.fixture
def engine(empty_url: str) -> Iterator[Engine]:
    """Of the empty database at `empty_url`, without any of RayLens."""
    engine = create_engine(empty_url.replace("postgresql://", "postgresql+psycopg://"), poolclass=NullPool)
    yield engine
    engine.dispose()


def load(engine: Engine, revision: str) -> None:
    """Makes a catalog as that revision made it."""
    script = (CATALOGS / f"{revision}.sql").read_text(encoding="utf-8")
    if engine.dialect.name == "postgresql":
        script = script.replace(" DOUBLE", " DOUBLE PRECISION")
    with engine.begin() as connection:
        for statement in script.split(";\n"):
            if statement.strip():
                connection.exec_driver_sql(statement.replace("%", "%%"))


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


@pytest.mark.parametrize("revision", schema.REVISIONS[:-1])
def test_a_catalog_made_now_equals_one_that_was_brought_here(empty_url: str, engine: Engine, revision: str) -> None:
    with open_records(empty_url):
        pass
    with engine.connect() as connection:
        made = described(connection)
        assert compare_metadata(MigrationContext.configure(connection), schema.METADATA) == []
    with engine.begin() as connection:
        for name in reversed(schema.METADATA.sorted_tables):
            name.drop(connection)
        connection.execute(text("DROP TABLE alembic_version"))
    load(engine, revision)
    with open_records(empty_url):
        pass
    with engine.connect() as connection:
        assert described(connection) == made


def test_every_revision_is_known() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    script = ScriptDirectory.from_config(config)
    assert tuple(r.revision for r in reversed(list(script.walk_revisions()))) == schema.REVISIONS
    assert sorted(path.stem for path in CATALOGS.glob("*.sql")) == list(schema.REVISIONS[:-1]), (
        "each revision but the last has a catalog of its own in tests/cluster/catalogs"
    )


def test_a_catalog_of_the_first_revision_moves_forward(empty_url: str, engine: Engine) -> None:
    load(engine, "0001")
    with open_records(empty_url) as records:
        jobs = records.jobs()
        assert [job.seq for job in jobs] == list(range(10, 0, -1))
        assert [job.id for job in reversed(jobs)] == [
            "download-0000000001", "download-0000000002", "tokenize-0000000003", "harvest-0000000004",
            "train-0000000005", "evaluate-0000000006", "extract-0000000007", "train-0000000008", "train-0000000009",
            "report-000000000a",
        ]  # fmt: skip
        stopped = records.job("train-0000000008")
        assert (stopped.state, stopped.attempt, stopped.code, stopped.done) == (State.CANCELLED, 2, "stopped", None)
        assert (stopped.resumable, stopped.config, stopped.created_by) == (True, {"stage": "train", "saes": []}, "ada")
        assert (stopped.project, stopped.tags, stopped.profile, stopped.environment) == ("default", [], "auto", {})
        assert (stopped.parent, stopped.name, stopped.blocked, stopped.tries, stopped.wait_s) == (None,) * 3 + (0, 600)
        first, second = records.attempts("train-0000000008")
        assert (first.state, first.message, first.pid, first.host) == (State.FAILED, "it doesn't fit", 4242, "head")
        assert (second.state, second.granted_at, second.driven) == (State.CANCELLED, None, True)
        assert [event.number for event in records.events("train-0000000008")] == list(range(1, 8))
        assert records.job("train-0000000009").rate == 0.5

        events = records.changes(0)
        assert [event.seq for event in events] == list(range(1, 47))
        numbers: dict[str, int] = {}
        for event in events:
            assert event.number == numbers.get(event.job_id, 0) + 1, "in the order of each job, whatever the clock said"
            numbers[event.job_id] = event.number

        artifacts = records.artifacts()
        assert [artifact.seq for artifact in artifacts] == list(range(7, 0, -1))
        assert {a.created_by for a in artifacts} == {"ada", "bob"}
        facts = {artifact.kind: artifact.facts for artifact in artifacts}
        assert facts == FACTS
        assert [a.kind for a in records.artifacts("saes", facts={"hook": "blocks.1.hook_resid_post", "k": 8})] == [
            "saes"
        ]
        with pytest.raises(RecordsError, match="saes/4444444444444444, train job train-0000000009 need it"):
            records.delete_artifact(ArtifactRef("tokens", "3333333333333333"))

        new = submit(records, "9" * 16)
        assert records.job(new.job_id).seq == 11
        assert records.changes(46)[0].seq == 47
        again = submit(records, "0" * 16)
        assert (again.created, again.state, again.job_id) == (False, State.SUCCEEDED, "extract-0000000007")


FACTS = {
    "models": {
        "architecture": "gpt2", "d_model": 64, "layers": 2, "vocab_size": 512, "parameters": 123456,
        "context_length": 128, "dtype": "float32",
    },
    "datasets": {
        "documents": 12, "text_bytes": 3456,
        "splits": {"train": {"documents": 11, "text_bytes": 3000}, "test": {"documents": 1, "text_bytes": 456}},
    },
    "tokens": {
        "dataset": "datasets/2222222222222222", "model": "models/1111111111111111", "context_length": 32, "rows": 40,
        "tokens": 1200, "data_tokens": 1100, "documents": 12, "splits": {"train": {"rows": 36}, "test": {"rows": 4}},
    },
    "activations": {
        "model": "models/1111111111111111", "tokens": "tokens/3333333333333333", "hook": "blocks.1.hook_resid_post",
        "hooks": ["blocks.1.hook_resid_post"], "dtype": "bf16", "split": "train", "rows": 36,
    },
    "saes": {
        "model": "models/1111111111111111", "tokens": "tokens/3333333333333333", "hook": "blocks.1.hook_resid_post",
        "architecture": "topk", "d_sae": 256, "k": 8, "evaluation": "evaluations/5555555555555555", "ev": 0.71,
        "l0": 8.0, "alive": 201,
    },
    "evaluations": {
        "sae": "saes/4444444444444444", "split": "test", "rows": 4, "tokens": 110, "ev": 0.71, "l0": 8.0, "alive": 201,
        "ce_score": 0.9, "kl_score": 0.8,
    },
    "features": {
        "sae": "saes/4444444444444444", "hook": "blocks.1.hook_resid_post", "split": "train", "rows": 36,
        "data_positions": 1100, "count": 256, "alive": 199, "l0": 8.0,
    },
}  # fmt: skip


def test_a_catalog_of_the_second_revision_keeps_the_keys_of_its_api(empty_url: str, engine: Engine) -> None:
    load(engine, "0002")
    with open_records(empty_url) as records:
        assert records.take_key("token", "key", "e" * 64, 1.0) == ("f" * 64, "train-0000000005")
        assert [job.tags for job in records.jobs(limit=1)] == [["a", "b"]]


@pytest.mark.parametrize("revision", schema.REVISIONS[:-1])
def test_a_catalog_of_each_revision_keeps_its_rows(empty_url: str, engine: Engine, revision: str) -> None:
    load(engine, revision)
    count = {name: text(f"SELECT count(*) FROM {name}") for name in ("jobs", "attempts", "events", "artifacts")}
    with engine.connect() as connection:
        before = {name: connection.execute(query).scalar() for name, query in count.items()}
    with open_records(empty_url):
        pass
    with engine.connect() as connection:
        assert {name: connection.execute(query).scalar() for name, query in count.items()} == before
        assert before["events"]
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all() == [schema.HEAD]


def test_processes_that_open_an_old_catalog_at_once_move_it_once(empty_url: str, engine: Engine) -> None:
    load(engine, "0001")
    program = "import sys; from cluster.records import open_records; print(len(open_records(sys.argv[1]).jobs()))"
    opening = [
        subprocess.Popen([sys.executable, "-c", program, empty_url], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    assert [process.communicate()[0] for process in opening] == ["10\n"] * 4


def test_a_move_that_fails_leaves_the_catalog_as_it_was(
    empty_url: str, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(engine, "0001")
    with engine.connect() as connection:
        before = described(connection)

    def fail(bind: Connection) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("cluster.records.migrations.r0002_rows.fill", fail)
        with pytest.raises(RecordsError, match=r"cannot open the catalog .*No space left on device"):
            open_records(empty_url)
    with engine.connect() as connection:
        assert described(connection) == before
    with open_records(empty_url) as records:
        assert len(records.jobs()) == 10


def test_a_newer_catalog_is_refused(empty_url: str, engine: Engine) -> None:
    with open_records(empty_url) as records:
        submit(records)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0999'"))
    with pytest.raises(RecordsError, match=r"cannot open the catalog .*revision 0999.*made by a newer one"):
        open_records(empty_url)


def test_the_tables_of_another_program_are_left_alone(empty_url: str, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE jobs (id INTEGER)"))
    with pytest.raises(RecordsError, match=r"cannot open the catalog .*belongs to another program"):
        open_records(empty_url)
    with engine.connect() as connection:
        assert inspect(connection).get_table_names() == ["jobs"]


def test_opening_a_catalog_that_is_up_to_date_imports_no_alembic(catalog_url: str) -> None:
    with open_records(catalog_url):
        pass
    program = (
        "import sys; from cluster.records import open_records; open_records(sys.argv[1]).close(); print(*sys.modules)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, catalog_url], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=True
    )
    assert "cluster.records.schema" in ran.stdout.split()
    assert "alembic" not in ran.stdout.split()
