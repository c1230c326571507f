"""Which cluster a command uses, what it starts with, and what nodes offer. Starts no Ray."""

from __future__ import annotations

import json
import os
import socket
import stat
from pathlib import Path

import pytest

from cluster.machines import ray_environment
from cluster.machines.capacity import local_gpus, node_of
from cluster.machines.discover import discover
from cluster.machines.doctor import checks
from cluster.machines.errors import ClusterError
from cluster.machines.node_records import HeadRecord, head_file
from cluster.machines.ports import asked_port, free_ports
from cluster.machines.processes import host_name
from cluster.machines.up import exports
from cluster.process_identity import process_identity
from cluster.store import Store
from configs.requirements import Capacity, Fit, Requirement, fit


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAYLENS_HOME", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return tmp_path


def _write_up(port: int, identity: str | None = None) -> HeadRecord:
    here = identity or process_identity(os.getpid())
    assert here is not None
    up = HeadRecord(f"127.0.0.1:{port}", "http://127.0.0.1:1", os.getpid(), "/tmp/x", None, host_name(), here)
    head_file().write_text(json.dumps(up._asdict()))
    return up


def test_a_command_without_a_cluster_has_one_of_its_own() -> None:
    assert discover().temporary


def test_the_cluster_that_up_started_is_found_while_it_lives() -> None:
    with socket.socket() as gcs:
        gcs.bind(("127.0.0.1", 0))
        gcs.listen()
        port = gcs.getsockname()[1]
        up = _write_up(port)
        assert discover().address == up.address
        _write_up(port, identity="another boot:1")  # another process with that pid
        assert discover().temporary
    _write_up(port)  # the process lives, but nothing answers
    assert discover().temporary


def test_ray_address_goes_before_up_and_must_be_joinable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert discover().address == "10.0.0.1:6379"
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:8265")
    with pytest.raises(ClusterError, match="ray job submit"):
        discover()
    monkeypatch.setenv("RAY_ADDRESS", "local")
    assert discover().temporary


def test_a_damaged_record_is_said() -> None:
    head_file().write_text("{")
    with pytest.raises(ClusterError, match="damaged"):
        discover()


def test_a_token_file_is_made_once_and_private(tmp_path: Path) -> None:
    token, environment = tmp_path / "token", {"RAY_AUTH_TOKEN": "old"}
    ray_environment.apply_token_file(environment, token)
    first = token.read_text()
    assert len(first) == 64
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert environment == {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    ray_environment.apply_token_file({}, token)
    assert token.read_text() == first


def test_what_the_user_set_stays() -> None:
    environment = {"RAY_AUTH_MODE": "disabled", "RAY_enable_autoscaler_v2": "0", "RAY_event_stats": "1"}
    ray_environment.apply(environment)
    ray_environment.apply_temporary(environment)
    ray_environment.apply_own_token(environment)
    assert environment["RAY_AUTH_MODE"] == "disabled"
    assert "RAY_AUTH_TOKEN" not in environment
    assert environment["RAY_enable_autoscaler_v2"] == "0"
    assert environment["RAY_USAGE_STATS_ENABLED"] == "0"
    assert environment["RAY_event_stats"] == "1"
    assert environment["RAY_prestart_worker_first_driver"] == "0"


def test_own_tokens_differ() -> None:
    one: dict[str, str] = {}
    two: dict[str, str] = {}
    ray_environment.apply_own_token(one)
    ray_environment.apply_own_token(two)
    assert one["RAY_AUTH_TOKEN"] != two["RAY_AUTH_TOKEN"]


def test_no_token_is_printed() -> None:
    up = HeadRecord("h:1", "http://h:2", 1, "/tmp/x", "/home/token", "h", "1:1")
    assert exports(up)["RAY_AUTH_TOKEN_PATH"] == "/home/token"


def test_a_resource_that_is_used_up_counts_zero() -> None:
    row = {"Resources": {"CPU": 2.0, "memory": 4.0e9, "node:1": 1.0}, "Labels": {"tier": "a"}}
    node = node_of(row, {"memory": 1.0e9})
    assert (node.cpus, node.free_cpus, node.gpus, node.free_memory) == (2.0, 0.0, 0.0, 1_000_000_000)
    assert fit(Requirement(cpus=1), Capacity((node,))).fit is Fit.LATER
    assert fit(Requirement(cpus=1, labels={"tier": "b"}), Capacity((node,))).fit is Fit.NEVER


def test_gpus_are_those_that_are_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    for visible, count in (("", 0), ("-1", 0), ("0,1", 2), ("GPU-abc", 1)):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert local_gpus() == count


def test_a_taken_port_is_not_chosen() -> None:
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        assert asked_port(0, taken.getsockname()[1], 4321, "--port") == 4321


def test_free_ports_differ() -> None:
    # One of two programs that are given one port fails to start; asked for one at a time, this many would repeat.
    ports = free_ports(500)
    assert len(set(ports)) == 500


def test_doctor_says_that_a_store_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    findings = dict(reversed(one) for one in checks(Store.open(str(tmp_path / "file" / "store")).check))
    assert any(text.startswith("store: ") and not fine for text, fine in findings.items())
    findings = dict(reversed(one) for one in checks(Store.open(str(tmp_path / "store")).check))
    assert findings[next(text for text in findings if text.startswith(f"store {tmp_path}/store: writable, "))]
    assert list((tmp_path / "store").iterdir()) == []
