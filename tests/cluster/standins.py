"""Processes in place of a head or a node, for tests of what is done with their records: no Ray, and started at once."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.machines.node_records import HeadRecord, NodeRecord, head_file, write_record
from cluster.machines.paths import raylens_home
from cluster.machines.processes import host_name, new_folder
from cluster.machines.ray_process import head_log, identity_of, start

_PARTS = ("gcs_server", "raylet")
_PROGRAM = "trap 'trap - TERM; kill 0' TERM; {} 600 & {} 600 & wait"


class StandIns:
    """Starts them as `up` and `join` do, with records in this home."""

    def __init__(self, folder: Path) -> None:
        self._parts = [folder / part for part in _PARTS]
        for part in self._parts:
            shutil.copy(shutil.which("sleep") or "/bin/sleep", part)
        self._gcs = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._gcs.getsockname()[1]}"
        self._folders: list[str] = []
        self._pids: list[int] = []

    def head(self, **different: Any) -> HeadRecord:
        """A head that answers at `address`."""
        process = self._process(head_log())
        up = HeadRecord(
            self.address, "http://127.0.0.1:1", temp_dir=self._folders[-1], token=None, machine=host_name(), **process
        )
        up = up._replace(**different)
        write_record(head_file(), up._asdict())
        return up

    def node(self, address: str) -> tuple[NodeRecord, Path]:
        """A node of the head at an address, and where its record is."""
        process = self._process(raylens_home() / "logs" / "node.log")
        joined = NodeRecord(address, 1, 0, {}, temp_dir=self._folders[-1], machine=host_name(), **process)
        path = raylens_home() / "joined" / f"{Path(joined.temp_dir).name}.json"
        write_record(path, joined._asdict())
        return joined, path

    def _process(self, log: Path) -> dict[str, Any]:
        self._folders.append(str(new_folder()))
        command = ["sh", "-c", _PROGRAM.format(*self._parts), "--temp-dir", self._folders[-1]]
        process = start(command, dict(os.environ), log)
        self._pids.append(process.pid)
        identity = identity_of(process)
        threading.Thread(target=process.wait, daemon=True).start()  # as init does, once the command has ended
        return {"pid": process.pid, "identity": identity}

    def close(self) -> None:
        """Ends what is left of them."""
        self._gcs.close()
        for pid in self._pids:
            try:
                os.killpg(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        for folder in self._folders:
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def stand_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIns]:
    """In a home of their own."""
    monkeypatch.setenv("RAYLENS_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    made = StandIns(tmp_path)
    yield made
    made.close()
