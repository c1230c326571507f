"""Bad surroundings: the catalog says what is wrong or waits; it never shows a password and never tells a wrong state."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cluster.catalog import Catalog, CatalogError, CatalogUnreachable, State, open_catalog
from cluster.catalog.job_transitions import job_of
from cluster.catalog.url_redaction import Secret
from tests.cluster.catalog_rows import REPOSITORY, submit
from tests.postgres import PASSWORD, Postgres

FULL = """
import os, resource, sys
from cluster.catalog import CatalogError, State, open_catalog
from tests.cluster.catalog_rows import submit
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
with open_catalog("sqlite:///" + sys.argv[1]) as catalog:
    job = submit(catalog)
    catalog.progress(job.job_id, 1, state="RUNNING")
    resource.setrlimit(resource.RLIMIT_FSIZE, (os.stat(sys.argv[1] + "-wal").st_size + 400_000, hard))
    said = 0
    try:
        for n in range(1000):
            assert catalog.progress(job.job_id, 1, done=n, message="x" * 5000)
            said += 1
    except CatalogError as error:
        print(error)
    try:
        catalog.finish(job.job_id, 1, "SUCCEEDED")
    except CatalogError as error:
        print(error)
    row = catalog.job(job.job_id)
    assert (row.state, row.done) == (State.RUNNING, said - 1), row
    assert len(catalog.events(job.job_id)) == 2 + said
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    catalog.finish(job.job_id, 1, "SUCCEEDED")
    assert [e.number for e in catalog.events(job.job_id)] == list(range(1, said + 4))
    assert [e.seq for e in catalog.changes(0)] == list(range(1, said + 4))
print(said)
"""
UNPRIVILEGED = """
import os, sys, tempfile
from cluster.catalog import open_catalog
with tempfile.TemporaryDirectory() as folder:
    open_catalog(f"sqlite:///{folder}/catalog.db").close()  # imports all that it will need
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
try:
    open_catalog()
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize("there", [True, False])
def test_a_home_that_cannot_be_written_is_named(tmp_path: Path, there: bool) -> None:
    home = tmp_path / "home"
    home.mkdir()
    if there:
        open_catalog(f"sqlite:///{home}/catalog.db").close()
        (home / "catalog.db").chmod(0o444)
    home.chmod(0o555)
    for parent in tmp_path.parents:  # pytest's folders are its user's alone
        if parent.stat().st_uid == os.getuid() and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o011)
    tmp_path.chmod(0o755)
    ran = subprocess.run(
        [sys.executable, "-c", UNPRIVILEGED], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=True,
        env={**os.environ, "RAYLENS_HOME": str(home)},
    )  # fmt: skip
    home.chmod(0o755)
    assert ran.stdout.startswith(f"CatalogError cannot open the catalog {home}/catalog.db: [Errno 1"), ran.stdout
    assert "ermi" in ran.stdout, "permission denied, or operation not permitted"


def test_a_disk_that_is_full_loses_nothing_that_was_recorded(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "catalog.db")], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    )
    assert ran.returncode == 0, ran.stdout
    while_it_ran, at_its_end, said = ran.stdout.splitlines()
    assert while_it_ran.startswith(f"the catalog sqlite:///{tmp_path}/catalog.db cannot be used: disk I/O error")
    assert while_it_ran == at_its_end
    assert int(said) > 1


def test_a_writer_that_stands_still_is_waited_for_but_not_for_ever(
    catalog_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.catalog.sqlite.BUSY_MS", 300)
    monkeypatch.setattr("cluster.catalog.postgres._SETTINGS", "SET lock_timeout = '300ms'")
    with open_catalog(catalog_url) as catalog, open_catalog(catalog_url) as other:
        job = submit(catalog)
        with other._write() as session:
            job_of(session, job.job_id)
            with pytest.raises(CatalogUnreachable, match=r"cannot be used: .*(locked|lock timeout)"):
                catalog.progress(job.job_id, 1, state="RUNNING")
        assert catalog.job(job.job_id).state == State.QUEUED
        assert catalog.progress(job.job_id, 1, state="RUNNING")


def test_a_process_that_was_stopped_in_a_transaction_gives_its_locks_back(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.catalog.postgres._SETTINGS", "SET idle_in_transaction_session_timeout = '300ms'")
    with postgres.catalog() as url, open_catalog(url) as catalog, open_catalog(url) as other:
        job = submit(catalog)
        held = other._write()
        job_of(held.__enter__(), job.job_id).done = 99
        assert catalog.progress(job.job_id, 1, done=1), "once the server has given the one that stands still up"
        with pytest.raises(CatalogError, match="cannot be used"):
            held.__exit__(None, None, None)
        assert catalog.job(job.job_id).done == 1


def test_a_server_that_starts_again_is_waited_for(postgres: Postgres) -> None:
    with postgres.catalog() as url, open_catalog(url) as catalog:
        job = submit(catalog)
        postgres.end()
        again = threading.Thread(target=lambda: (time.sleep(0.7), postgres.start()))
        again.start()
        assert catalog.progress(job.job_id, 1, state="RUNNING", message="meanwhile")
        again.join()
        assert [event.number for event in catalog.events(job.job_id)] == [1, 2]


def test_a_server_that_is_gone_is_told(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.catalog.transactions.PATIENCE_S", 0.3)
    with postgres.catalog() as url, open_catalog(url) as catalog:
        job = submit(catalog)
        postgres.end()
        try:
            for call in (lambda: catalog.progress(job.job_id, 1, state="RUNNING"), catalog.live):
                with pytest.raises(CatalogUnreachable, match=r"the catalog .* cannot be used: .*refused") as caught:
                    call()
                _assert_hidden(caught.value)
            with pytest.raises(CatalogError, match=r"cannot open the catalog .*refused") as caught:
                open_catalog(url)
            _assert_hidden(caught.value)
        finally:
            postgres.start()
        assert catalog.job(job.job_id).state == State.QUEUED


def test_what_a_server_refuses_is_told_without_the_password(postgres: Postgres) -> None:
    good = postgres.url("postgres")
    refused = {
        postgres.url("nosuch"): 'database "nosuch" does not exist',
        good.replace(PASSWORD, "wrong-password"): "password authentication failed",
        good.replace("127.0.0.1", "nosuch.invalid"): "nosuch.invalid",
        good.replace(f":{postgres.port}", ":1"): "refused",
        good.replace("@", "@@"): "cannot open",
        good + "?sslmode=nonsense": "sslmode",
        f"postgresql://127.0.0.1:{postgres.port}/postgres?user=raylens&password=wrong-password": "authentication",
    }
    for url, reason in refused.items():
        with pytest.raises(CatalogError, match=reason) as caught:
            open_catalog(url)
        _assert_hidden(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://raylens:{PASSWORD}",
        f"postgresql://raylens:{PASSWORD}@host:port/x",
        f"postgresql://raylens:a/{PASSWORD}@host/x",
        f"mysql://raylens:{PASSWORD}@host/x",
        f"mysql+{PASSWORD}://raylens:{PASSWORD}@host/x",
        f"nonsense:{PASSWORD}@host",
    ],
)
def test_an_url_that_names_no_catalog_is_told_without_the_password(url: str) -> None:
    with pytest.raises(CatalogError, match="catalog") as caught:
        open_catalog(url)
    _assert_hidden(caught.value)


def test_the_environment_names_the_catalog(catalog_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYLENS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RAYLENS_DATABASE_URL", catalog_url)
    with open_catalog() as catalog:
        submit(catalog)
        assert PASSWORD not in repr(catalog._engine)
    with open_catalog(catalog_url) as catalog:
        assert len(catalog.jobs()) == 1
    assert not (tmp_path / "home").exists()


@given(
    st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S"]), min_size=1).filter(lambda p: p.strip("*"))
)
@example("p@ss:w/rd?#")
def test_no_password_is_shown(password: str) -> None:
    for written in (quote(password, safe=""), password):
        shown = Secret(f"postgresql://ada:{written}@host:5432/db").hide(f"postgresql://ada:{written}@host:5432/db")
        assert f":{written}@" not in shown
        assert written not in shown.partition("@host")[0].partition("://ada:")[2]


def _assert_hidden(error: BaseException) -> None:
    told = "".join(traceback.format_exception(error))
    told = "\n".join(line for line in told.splitlines() if "test_catalog_trouble" not in line)
    assert PASSWORD not in told
    assert "wrong-password" not in told


def test_records_of_a_catalog_that_was_removed_say_so(tmp_path: Path) -> None:
    with open_catalog(f"sqlite:///{tmp_path}/catalog.db") as catalog:
        assert isinstance(catalog, Catalog)
        job = submit(catalog)
        catalog.close()
        for path in tmp_path.glob("catalog.db*"):
            path.unlink()
        with pytest.raises(CatalogError, match="cannot be used: no such table") as caught:
            catalog.job(job.job_id)
        assert not isinstance(caught.value, CatalogUnreachable), "it would be the same again"


def test_a_connection_that_a_server_ends_in_the_middle_may_be_made_again(postgres: Postgres) -> None:
    with postgres.catalog() as url, open_catalog(url) as catalog:
        job = submit(catalog)
        begun = catalog._write()
        job_of(begun.__enter__(), job.job_id).done = 99
        postgres.end()
        postgres.start()
        with pytest.raises(CatalogUnreachable):
            begun.__exit__(None, None, None)
        assert catalog.progress(job.job_id, 1, done=1)
