"""Plans and identities."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.machines.paths import code_root
from configs.load import load_config
from configs.stages import STAGES
from jobs import stages
from jobs.life.planner import Planner, resolve_auto
from tests.jobs.command import Toy
from tests.jobs.toys import download, tokenize


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toy:
    monkeypatch.setitem(stages.LOADED, "download", download.STAGE)
    monkeypatch.setitem(stages.LOADED, "tokenize", tokenize.STAGE)
    return Toy(tmp_path)


def test_inputs_come_first_and_once(toy: Toy) -> None:
    (toy.folder / "pipeline.yaml").write_text(
        json.dumps({"stage": "pipeline", "stages": ["tokenize.yaml", "tokenize.yaml"]})
    )
    steps = Planner().plan(load_config("pipeline", toy.folder / "pipeline.yaml"))
    assert [step.stage for step in steps] == ["download", "download", "tokenize", "pipeline"]
    assert steps[2].inputs == {"dataset": [steps[0].outputs[0].ref], "model": [steps[1].outputs[0].ref]}


def test_an_input_counts_by_its_id_however_it_is_named(toy: Toy) -> None:
    nested = Planner().step(load_config("tokenize", toy.config))
    ids = [f"{role}={refs[0]}" for role, refs in nested.inputs.items()]
    by_id = Planner().step(load_config("tokenize", toy.config, ids))
    assert by_id.fingerprint == nested.fingerprint
    assert by_id.outputs == nested.outputs
    assert set(by_id.given) == {refs[0] for refs in nested.inputs.values()}
    assert nested.given == ()


@pytest.mark.parametrize(
    ("override", "same"),
    [
        ("resources.workers=2", True),
        ("dataset.resources.threads=3", True),
        ("context_length=9", False),
        ("seed=1", False),
    ],
)
def test_only_science_enters_an_identity(toy: Toy, override: str, same: bool) -> None:
    plain = Planner().step(load_config("tokenize", toy.config))
    changed = Planner().step(load_config("tokenize", toy.config, [override]))
    assert (changed.fingerprint == plain.fingerprint) is same


def test_a_source_counts_by_what_it_holds(toy: Toy) -> None:
    def job() -> tuple[str, str]:
        steps = Planner().plan(load_config("tokenize", toy.config))
        return steps[0].fingerprint, steps[-1].fingerprint

    before = job()
    moved = toy.folder / "elsewhere.txt"
    moved.write_bytes((toy.folder / "text.txt").read_bytes())
    config = load_config("tokenize", toy.config, [f"dataset.source.path={moved}"])
    assert Planner().plan(config)[0].fingerprint == before[0]
    (toy.folder / "text.txt").write_text("other\n")
    assert not set(before) & set(job())


def test_auto_is_settled_at_every_depth_before_identity() -> None:
    config = load_config("report", code_root() / "configs/presets/report.yaml")
    for device, lm_dtype, autocast in (("cpu", "fp32", "off"), ("cuda", "bf16", "bf16")):
        settled = resolve_auto(config, device)
        assert '"auto"' not in settled.model_dump_json()
        train = settled.features.sae  # type: ignore[attr-defined]
        assert (train.lm_dtype, train.autocast, settled.evaluation.lm_dtype) == (lm_dtype, autocast, lm_dtype)  # type: ignore[attr-defined]
        assert resolve_auto(settled, "cuda") == settled


def test_no_stage_module_brings_torch_or_ray_when_it_is_imported() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(code_root())!r}); import jobs.__main__, jobs.life.follow, jobs.life.session\n"
        f"from jobs.stages import load_stage\n"
        f"for stage in {list(STAGES)}:\n"
        f"    assert load_stage(stage).version >= 1\n"
        f"heavy = {{'torch', 'ray', 'transformers', 'pyarrow'}} & set(sys.modules); assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
