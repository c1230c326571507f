"""A real PostgreSQL server on loopback for tests: import the fixture `postgres` into a conftest.

It must not run as root, so root starts it as an unprivileged user. Its folder, socket and port are its own.
"""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cluster.machines.ports import free_ports

REQUIRE = "RAYLENS_REQUIRE_POSTGRES"  # "1": a machine without PostgreSQL fails the tests that would be skipped there
USER, PASSWORD = "raylens", "not-for-any-log"
START_S = 60
_USERS = ("postgres", "nobody")


class Postgres:
    """A server in a folder. A test may end it and start it again."""

    def __init__(self, port: int, folder: Path, durable: bool = False) -> None:
        self.port, self.folder, self.durable = port, folder, durable
        self._numbers = itertools.count(1)
        self._catalog: str | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, database: str) -> str:
        """Where a database is."""
        return f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """Makes an empty database; gives its URL."""
        name = f"catalog_{next(self._numbers)}"
        self._run(f"CREATE DATABASE {name} TEMPLATE template0 STRATEGY wal_log")
        return self.url(name)

    @contextmanager
    def catalog(self) -> Iterator[str]:
        """The URL of a database with no rows but those that a catalog is made with. Made once, then emptied each time:
        that takes a tenth of the time.
        """
        if self._catalog is None:
            from cluster.catalog import open_catalog

            self._catalog = self.new_database()
            open_catalog(self._catalog).close()
        yield self._catalog
        self._empty(self._catalog)

    def _empty(self, url: str) -> None:
        import psycopg

        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            names = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()").fetchall()
            tables = [name for (name,) in names if name not in ("counters", "alembic_version")]
            with connection.transaction():
                connection.execute("SET LOCAL session_replication_role = replica")  # in any order
                for name in tables:
                    connection.execute(f"DELETE FROM {name}".encode())
                connection.execute("UPDATE counters SET value = 0")

    def drop(self, url: str) -> None:
        """Removes a database and whoever is still connected to it."""
        self._run(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")

    def start(self) -> None:
        """Starts the server, or starts it again, and waits until it answers."""
        import psycopg

        with open(self.folder / "log", "ab") as log:
            command = [_program("postgres"), "-D", str(self.folder / "data"), *_options(self)]
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder, **_unprivileged())
        self._process = process
        deadline = time.monotonic() + START_S
        while True:
            try:
                psycopg.connect(self.url("postgres"), connect_timeout=2).close()
                return
            except psycopg.OperationalError as error:
                if process.poll() is not None or time.monotonic() > deadline:
                    said = (self.folder / "log").read_text(errors="replace")[-3000:]
                    raise RuntimeError(f"PostgreSQL did not start ({error}):\n{said}") from error
                time.sleep(0.05)

    def end(self) -> None:
        """Ends the server, if it runs, and waits for it; it closes its connections."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _run(self, statement: str) -> None:
        import psycopg

        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement.encode())


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A server for the session. Skips where there is none to start, unless RAYLENS_REQUIRE_POSTGRES=1."""
    if reason := why_not():
        if os.environ.get(REQUIRE) == "1":
            pytest.fail(f"{REQUIRE}=1, but {reason}")
        pytest.skip(reason)
    with running() as server:
        yield server


@contextmanager
def running(durable: bool = False) -> Iterator[Postgres]:
    """A server while the context lasts; `durable`: with the settings that a real one has."""
    # A socket's path must stay below 107 characters, so not under pytest's own temporary folder.
    folder = Path(tempfile.mkdtemp(prefix="rlpg", dir="/tmp"))
    server = Postgres(*free_ports(1), folder, durable)
    try:
        _make_cluster(server)
        server.start()
        yield server
    finally:
        server.end()
        shutil.rmtree(folder, ignore_errors=True)


def why_not() -> str | None:
    """Why no server can be started here; None if one can."""
    if _program("initdb") is None:
        return "there is no PostgreSQL on this machine: apt-get install postgresql"
    if os.geteuid() == 0 and not _user():
        return f"PostgreSQL may not run as root, and there is no user {' or '.join(_USERS)} to run it as"
    return None


def _make_cluster(server: Postgres) -> None:
    """initdb, with a password that the server asks for even on loopback."""
    if user := _user():
        shutil.chown(server.folder, user)
    password = server.folder / "password"
    password.write_text(PASSWORD)
    if user:
        shutil.chown(password, user)
    subprocess.run(
        [
            _program("initdb"), "-D", str(server.folder / "data"), "-U", USER, f"--pwfile={password}",
            "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync",
        ],
        check=True, capture_output=True, cwd=server.folder, **_unprivileged(),
    )  # fmt: skip


def _options(server: Postgres) -> list[str]:
    values: dict[str, Any] = {
        "port": server.port,
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": str(server.folder),
        "max_connections": 200,
    }
    if not server.durable:  # what a test has written need not survive the machine
        values |= dict.fromkeys(("fsync", "synchronous_commit", "full_page_writes"), "off")
    return [part for name, value in values.items() for part in ("-c", f"{name}={value}")]


def _program(name: str) -> str | None:
    """Debian keeps the server's programs off the path; the newest version is taken."""
    versions = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: float(path.parts[4]))
    return str(versions[-1]) if versions else shutil.which(name)


def _user() -> str | None:
    """Whom root runs the server as."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in _USERS if name in names), None)


def _unprivileged() -> dict[str, Any]:
    user = _user()
    if user is None:
        return {}
    return {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}
