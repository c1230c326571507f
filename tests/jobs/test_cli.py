"""The command line before any work: usage, configs, what cannot be. One line on standard output, whatever happens."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from cluster.machines.paths import code_root
from configs.stages import STAGES
from jobs.__main__ import main
from tests.jobs.command import Toy


class Ran(NamedTuple):
    """What a command ended with."""

    status: int | str | None
    out: str
    err: str


class Command:
    """Runs commands in this process, in the repository's folder."""

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self._capture = capture

    def __call__(self, *arguments: str) -> Ran:
        try:
            status: int | str | None = main(list(arguments))
        except SystemExit as end:
            status = end.code
        return Ran(status, *self._capture.readouterr())


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Command]:
    monkeypatch.setenv("RAYLENS_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(code_root())
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield Command(capfd)
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    "arguments", [(), ("bogus", "--config", "x"), ("train",), ("train", "--config", "x", "--profile", "y")]
)
def test_a_wrong_command_line_ends_with_usage(jobs: Command, arguments: tuple[str, ...]) -> None:
    ran = jobs(*arguments)
    assert ran.status == 2
    assert ran.err.startswith("usage: python -m jobs")
    assert "error: " in ran.err


def test_help_names_every_stage(jobs: Command) -> None:
    ran = jobs("--help")
    assert ran.status == 0
    assert all(stage in ran.out for stage in STAGES)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("train", "--config", "nowhere.yaml"), "there is no config file"),
        (("download", "--config", "configs/presets/train.yaml"), "is a config of stage 'train', not of 'download'"),
        (("train", "--config", "configs/presets/train.yaml", "--set", "sase.0.k=3"), "unknown key sase"),
        (("train", "--config", "configs/presets/train.yaml", "--set", "saes.0.k=9999"), "k = 9999 is larger than"),
        (("train", "--config", "configs/presets/train.yaml", "--set", "saes"), "expected key.path=value"),
        (("stop", "train-000000"), "train-000000"),
    ],
)
def test_a_user_error_is_one_message(jobs: Command, arguments: tuple[str, ...], says: str) -> None:
    ran = jobs(*arguments)
    assert ran.status == 1
    assert says in ran.err
    assert ran.err.startswith("error: ")
    assert "Traceback" not in ran.err
    assert ran.err.count("error: ") == 1
    (line,) = ran.out.splitlines()
    assert json.loads(line) == {"job": json.loads(line)["job"], "state": "FAILED", "artifacts": []}


def test_a_missing_source_is_named_before_ray_starts(jobs: Command, tmp_path: Path) -> None:
    ran = jobs("tokenize", "--config", str(Toy(tmp_path).config), "--set", "dataset.source.path=/nowhere.txt")
    assert ran.status == 1
    assert ran.err.startswith("error: ")
    assert "/nowhere.txt" in ran.err
    assert "ray" not in ran.err.lower()


def test_the_command_as_a_process(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "jobs", "train", "--config", "nowhere.yaml"],
        cwd=code_root(), env={**os.environ, "RAYLENS_HOME": str(tmp_path)}, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert (ran.returncode, ran.stderr.count("\n"), ran.stdout.count("\n")) == (1, 1, 1)
