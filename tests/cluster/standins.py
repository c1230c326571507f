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

from cluster.machines.discover import Up, up_file
from cluster.machines.join import Joined
from cluster.machines.paths import raylens_home
from cluster.machines.processes import machine, new_folder
from cluster.machines.ray_process import head_log, mark_of, start, write_record

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

    def head(self, **different: Any) -> Up:
        """A head that answers at `address`."""
        process = self._process(head_log())
        up = Up(
            self.address, "http://127.0.0.1:1", temp_dir=self._folders[-1], token=None, machine=machine(), **process
        )
        up = up._replace(**different)
        write_record(up_file(), up._asdict())
        return up

    def node(self, address: str) -> tuple[Joined, Path]:
        """A node of the head at an address, and where its record is."""
        process = self._process(raylens_home() / "logs" / "node.log")
        joined = Joined(address, 1, 0, {}, temp_dir=self._folders[-1], machine=machine(), **process)
        path = raylens_home() / "joined" / f"{Path(joined.temp_dir).name}.json"
        write_record(path, joined._asdict())
        return joined, path

    def _process(self, log: Path) -> dict[str, Any]:
        self._folders.append(str(new_folder()))
        command = ["sh", "-c", _PROGRAM.format(*self._parts), "--temp-dir", self._folders[-1]]
        process = start(command, dict(os.environ), log)
        self._pids.append(process.pid)
        mark = mark_of(process)
        threading.Thread(target=process.wait, daemon=True).start()  # as init does, once the command has ended
        return {"pid": process.pid, "mark": mark}

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
