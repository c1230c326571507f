"""Runs `python -m jobs` with the toy stages, as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from cluster.catalog import Catalog, open_catalog
from cluster.machines.paths import code_root


class Ran(NamedTuple):
    """A finished command: exit status, its answer, its standard error."""

    status: int
    answer: dict[str, Any]
    said: str


class Toy:
    """A home with one source file and a tokenize config on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        (folder / "text.txt").write_text("hello\n")
        source = {"type": "local", "path": "text.txt"}
        self.config = folder / "tokenize.yaml"
        config: dict[str, Any] = {"stage": "tokenize", "context_length": 8}
        for role, what in (("dataset", "dataset"), ("model", "model")):
            config[role] = {"stage": "download", "what": what, "source": source}
        self.config.write_text(json.dumps(config))

    def start(
        self, *sets: str, config: Path | None = None, stage: str = "tokenize", **more: str
    ) -> subprocess.Popen[str]:
        """Starts the command in another folder than the checkout."""
        arguments = [stage, "--config", str(config or self.config)]
        arguments += [part for text in sets for part in ("--set", text)]
        arguments += [part for name, value in more.items() for part in (f"--{name}", value)]
        environment = {k: v for k, v in os.environ.items() if k not in ("RAYLENS_STORE", "RAY_ADDRESS")}
        environment |= {"RAYLENS_HOME": str(self.home), "PYTHONPATH": str(code_root()), "RAYLENS_CPUS": "2"}
        return subprocess.Popen(
            [sys.executable, "-m", "tests.jobs.toys", *arguments],
            env=environment,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *sets: str, config: Path | None = None, stage: str = "tokenize", **more: str) -> Ran:
        """Starts the command and waits for its end."""
        return ended(self.start(*sets, config=config, stage=stage, **more))

    def hold(self, block: int) -> None:
        """Lets blocks below this number be made, and no more until `release`."""
        (self.folder / "hold.new").write_text(str(block))
        (self.folder / "hold.new").rename(self.folder / "hold")

    def release(self) -> None:
        """Lets all blocks be made."""
        (self.folder / "hold").unlink()

    def catalog(self) -> Catalog:
        """The catalog of this home."""
        return open_catalog(f"sqlite:///{self.home}/catalog.db")

    def wait_for(self, stage: str, done: int, seconds: float = 120) -> str:
        """Waits until a running job of the stage has done so much; gives its id."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if (self.home / "catalog.db").exists():
                with self.catalog() as catalog:
                    rows = [row for row in catalog.jobs(stage=stage, states=["RUNNING"]) if (row.done or 0) >= done]
                if rows:
                    return rows[0].id
            time.sleep(0.2)
        raise TimeoutError(f"no {stage} job came to {done} within {seconds} s")


def says(process: subprocess.Popen[str], text: str) -> None:
    """Reads a command's standard error up to a line that holds the text."""
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        seen.append(line)
        if text in line:
            return
    raise AssertionError(f"it never said {text!r}: {seen}")


def ended(process: subprocess.Popen[str], seconds: float = 180) -> Ran:
    """Waits for a command; its standard output must be one line of JSON."""
    answer, said = process.communicate(timeout=seconds)
    assert answer.count("\n") == 1, f"standard output: {answer!r}; standard error: {said}"
    return Ran(process.returncode, json.loads(answer), said)
