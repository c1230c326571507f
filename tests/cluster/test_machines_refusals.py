"""What `python -m cluster` refuses before anything starts, and records that it must not trust."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cluster.__main__ import main
from cluster.machines.processes import host_name


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    home = tmp_path / "head"
    home.mkdir()
    monkeypatch.setenv("RAYLENS_HOME", str(home))
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    before = signal.getsignal(signal.SIGTERM)  # main() takes it over
    yield home
    signal.signal(signal.SIGTERM, before)


def _own_address() -> list[str]:
    found = (
        a.address for nic in psutil.net_if_addrs().values() for a in nic if a.family == 2 and a.address[:4] != "127."
    )
    return [address for address in found][:1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["up", "--host", "no.such.host.invalid"], "no such host"),
        (["up", "--host", "198.51.100.7"], "is not an address of this machine"),
        (["up", "--host", "0.0.0.0"], "give the one address"),
        (["up", "--port", "80"], "a port is a number from 1024"),
        (["join", "127.0.0.1:9"], "no head answers at 127.0.0.1:9: start one there"),
        (["join", "somewhere"], "give HOST:PORT"),
        (["join", "127.0.0.1:9", "--labels", "zone"], "expected KEY=VALUE"),
        (["join", "127.0.0.1:9", "--labels", "zone=a b"], "a value has at most 63"),
        (["join", "127.0.0.1:9", "--num-cpus", "-1"], "a node cannot have -1 CPUs"),
    ],
)
def test_what_cannot_be_started(
    home: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(arguments) == 1
    assert message in capsys.readouterr().err
    assert not (home / "cluster.json").exists()


@pytest.mark.parametrize("address", _own_address())
def test_others_are_not_let_in_without_a_token(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert main(["up", "--host", address]) == 1
    assert "without a token: unset RAY_AUTH_MODE" in capsys.readouterr().err
    assert not (home / "cluster.json").exists()


@pytest.mark.parametrize("command", ["up", "down"])
def test_the_cluster_of_another_machine_is_left_alone(
    home: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    """A home on a shared disk: the cluster is neither ended nor replaced from here."""
    _write(home, "elsewhere", "/tmp/raylens-up-elsewhere", address="192.0.2.1:6379")
    assert main([command]) == 1
    assert "started on elsewhere" in capsys.readouterr().err
    assert (home / "cluster.json").exists()


def test_a_stale_record_is_no_obstacle_and_its_folder_is_not_trusted(
    home: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A reused pid, a head of before a restart of the machine, and a record that names a folder of somebody else."""
    precious = tmp_path / "precious"
    precious.mkdir()
    _write(home, host_name(), str(precious))
    assert main(["down"]) == 0
    assert capsys.readouterr().out == "no cluster was up\n"
    assert precious.is_dir()
    assert not (home / "cluster.json").exists()


def _write(home: Path, machine: str, temp_dir: str, address: str = "127.0.0.1:9") -> None:
    record = {
        "address": address,
        "dashboard": "http://127.0.0.1:9",
        "pid": os.getpid(),
        "temp_dir": temp_dir,
        "token": None,
        "machine": machine,
        "identity": "another boot:1",
    }
    (home / "cluster.json").write_text(json.dumps(record))
