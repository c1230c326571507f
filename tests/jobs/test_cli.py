"""The command line before any work: usage, configs, what cannot be. One line on standard output, whatever happens."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.machines.paths import code_root
from configs.stages import STAGES
from tests.jobs.command import Toy


def _jobs(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    import os

    environment = {**os.environ, "RAYLENS_HOME": str(home)}
    return subprocess.run(
        [sys.executable, "-m", "jobs", *arguments],
        cwd=code_root(),
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    "arguments", [(), ("bogus", "--config", "x"), ("train",), ("train", "--config", "x", "--profile", "y")]
)
def test_a_wrong_command_line_ends_with_usage(arguments: tuple[str, ...], tmp_path: Path) -> None:
    ran = _jobs(*arguments, home=tmp_path)
    assert ran.returncode == 2
    assert ran.stderr.startswith("usage: python -m jobs")
    assert "error: " in ran.stderr


def test_help_names_every_stage(tmp_path: Path) -> None:
    ran = _jobs("--help", home=tmp_path)
    assert ran.returncode == 0
    assert all(stage in ran.stdout for stage in STAGES)


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
def test_a_user_error_is_one_message(arguments: tuple[str, ...], says: str, tmp_path: Path) -> None:
    ran = _jobs(*arguments, home=tmp_path)
    assert ran.returncode == 1
    assert says in ran.stderr
    assert ran.stderr.startswith("error: ")
    assert "Traceback" not in ran.stderr
    assert ran.stderr.count("error: ") == 1
    (line,) = ran.stdout.splitlines()
    assert json.loads(line) == {"job": json.loads(line)["job"], "state": "FAILED", "artifacts": []}


def test_a_missing_source_is_named_before_ray_starts(tmp_path: Path) -> None:
    ran = Toy(tmp_path).run("dataset.source.path=/nowhere.txt")
    assert ran.status == 1
    assert ran.said == "error: there is no file /nowhere.txt\n"
