"""The RAYLENS_* variables: read in one place, refused with their name, and documented from their definition."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from configs.settings import SettingsError, settings, variables_table

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in re.findall(r"RAYLENS_\w+", variables_table()):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAYLENS_HOME", str(tmp_path))
    return tmp_path


def test_defaults_lie_in_the_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYLENS_STORE", "")  # empty counts as not set
    found = settings()
    assert found.home == home
    assert (found.store_url, found.cache_folder, found.data_folders) == (
        str(home / "store"),
        home / "cache",
        (home / "data",),
    )
    assert (found.database_url, found.cpus, found.object_store_bytes) == (None, None, 512 << 20)


def test_what_is_set_is_taken(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "STORE": "s3://bucket/x",
        "CPUS": "3",
        "DATA_ROOTS": f"{home}/a:{home}/b:",
        "API_HOSTS": "one.example, two.example",
    }
    for name, value in given.items():
        monkeypatch.setenv(f"RAYLENS_{name}", value)
    found = settings()
    assert (found.store_url, found.cpus) == ("s3://bucket/x", 3)
    assert found.data_folders == (home / "a", home / "b")
    assert found.api_hosts == ("one.example", "two.example")


@pytest.mark.parametrize(("name", "value"), [("CPUS", "many"), ("CPUS", "0"), ("OBJECT_STORE_BYTES", "1")])
def test_what_cannot_be_is_refused_by_name(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"RAYLENS_{name}", value)
    with pytest.raises(SettingsError, match=f"^RAYLENS_{name}='{value}': ") as caught:
        settings()
    assert len(str(caught.value)) < 500


def test_the_documented_table_is_that_of_the_class() -> None:
    assert variables_table() in (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


def test_no_other_module_reads_the_variables() -> None:
    reads = re.compile(r"(environ(\.get)?[\[(]|getenv\()\s*[\"']RAYLENS_")
    writes = re.compile(r"environment\[\"RAYLENS_HOME\"\] = ")
    for folder in ("configs", "sae", "cluster", "actors", "jobs", "serve_app"):
        for path in (ROOT / folder).rglob("*.py"):
            for line in path.read_text(encoding="utf-8").splitlines():
                assert not reads.search(line) or writes.search(line), f"{path}: {line.strip()}"
