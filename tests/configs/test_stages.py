"""The registry: a stage is one line in configs/stages.py, its config and its work. All else follows from these."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from configs.base import StageConfig
from configs.inputs import IdOrConfig
from configs.stages import ARTIFACT_KINDS, STAGES
from configs.validation_errors import nested_models
from jobs.stages import Stage, load_stage

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = ("configs", "sae", "cluster", "actors", "jobs", "serve_app")

# What a new stage with an artifact kind of its own takes.
LINE = '        StageEntry("count", ("counts",), no_effect=RESOURCES),\n'
CONFIG = '''"""Config of a stage that counts."""

from typing import Literal

from pydantic import Field

from configs.base import StageConfig
from configs.download import DownloadConfig


class CountConfig(StageConfig):
    """Counts to a number. It does nothing else."""

    stage: Literal["count"] = "count"
    dataset: DownloadConfig | None = Field(None, description="Not counted.")
    to: int = Field(3, ge=1, description="The last number.")
'''
WORK = '''"""count: writes the numbers up to one that the config names."""

from configs.base import StageConfig
from configs.count import CountConfig
from configs.artifact_ids import ArtifactRef
from jobs.life.stage_context import JobContext, Output
from jobs.stages import Inputs, Stage


def inputs(config: CountConfig) -> dict[str, StageConfig | str]:
    return {}


def outputs(config: CountConfig, inputs: Inputs, fingerprint: str) -> list[Output]:
    return [Output(ArtifactRef("counts", fingerprint), f"to {config.to}")]


def run(job: JobContext) -> None:
    path = job.scratch / "numbers.txt"
    path.write_text(" ".join(str(n + 1) for n in range(job.config.to)))
    ref = job.outputs[0].ref
    job.publish(job.outputs[0], [job.store.put(ref, job.attempt, path.name, path)], {"numbers": job.config.to})


STAGE = Stage(1, inputs, outputs, run)
'''
DERIVED = """
import json
from configs.artifact_ids import KINDS
from configs.load import parse_config
from configs.resource_profiles import load_profile
from serve_app.schemas.jobs import JobSummary
from serve_app.schemas.requests import JobRequest
from serve_app.routes.jobs import JobQuery
print(json.dumps({
    "kind": "counts" in KINDS,
    "profiles": [load_profile(name, False).stages["count"].cpus for name in ("local", "gpu")],
    "pipeline": parse_config("pipeline", {"stages": [{"stage": "count", "to": 2}]}).stages[0].to,
    "request": JobRequest.model_validate({"config": {"stage": "count", "to": 4}}).config.to,
    "schema": "CountConfig" in JobRequest.model_json_schema()["$defs"],
    "filter": "count" in json.dumps(JobQuery.model_json_schema()),
}))
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the product with the toy stage in it."""
    tree = tmp_path_factory.mktemp("tree")
    for folder in PRODUCT:
        shutil.copytree(ROOT / folder, tree / folder, ignore=shutil.ignore_patterns("__pycache__"))
    registry = tree / "configs" / "stages.py"
    text = registry.read_text()
    line = '        StageEntry("maintain"'
    assert text.count(line) == 1
    registry.write_text(text.replace(line, LINE + line))
    (tree / "configs" / "count.py").write_text(CONFIG)
    (tree / "jobs" / "stages" / "count.py").write_text(WORK)
    return tree


@pytest.fixture(scope="module")
def python(tree: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the tree's code."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(tree), "RAYLENS_HOME": str(tree / "home")}
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=tree,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )

    return run


def test_a_line_and_two_files_make_a_stage_that_runs(
    tree: Path, python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    (tree / "count.yaml").write_text("stage: count\nto: 5\n")
    assert "Counts to a number\n" in python("-m", "jobs", "--help").stdout
    ran = python("-m", "jobs", "count", "--config", "count.yaml", "--profile", "local", "--set", "to=4")
    answer = json.loads(ran.stdout)
    assert (answer["state"], len(answer["artifacts"])) == ("SUCCEEDED", 1)
    (numbers,) = (tree / "home").rglob("numbers.txt*")
    assert numbers.read_text() == "1 2 3 4"


def test_schemas_profiles_and_kinds_follow(python: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    found = json.loads(python("-c", DERIVED).stdout)
    assert found == {
        "kind": True, "profiles": [0, 0], "pipeline": 2, "request": 4, "schema": True, "filter": True,
    }  # fmt: skip


@pytest.mark.parametrize("name", STAGES)
def test_each_entry_has_a_config_a_title_and_work(name: str) -> None:
    entry = STAGES[name]
    assert issubclass(entry.config, StageConfig)
    assert entry.config.model_fields["stage"].default == name
    assert entry.title
    assert isinstance(load_stage(name), Stage)
    assert set(entry.reads_through) <= entry.config.model_fields.keys()


@pytest.mark.parametrize("name", STAGES)
def test_each_input_is_an_id_or_a_config(name: str) -> None:
    """Without the mark, a fault in an input is reported for both of its types."""
    for key, field in STAGES[name].config.model_fields.items():
        named = [one for one in get_args(field.annotation) if get_args(one)[:1] == (str,)]  # Annotated[str, ...]
        if named and any(nested_models(field.annotation)):
            assert any(isinstance(mark, IdOrConfig) for mark in field.metadata), key
    # And the test sees the inputs that there are.
    assert name != "harvest" or get_args(get_args(STAGES[name].config.model_fields["model"].annotation)[0])[0] is str


def test_each_artifact_kind_has_one_maker() -> None:
    assert len(set(ARTIFACT_KINDS)) == len(ARTIFACT_KINDS)
