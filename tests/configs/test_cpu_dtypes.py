"""Half precisions of a CPU: read from the kernel, and chosen where a command is made."""

from __future__ import annotations

from pathlib import Path

import pytest

from configs.cpu_dtypes import bf16_options, cpu_dtypes
from configs.load import load_config

PIPELINE = Path(__file__).resolve().parents[2] / "configs" / "presets" / "pipeline.yaml"


@pytest.mark.parametrize(
    ("cpuinfo", "dtypes"),
    [
        ("model name\t: AMD EPYC\nflags\t\t: fpu avx avx2 fma\n", {"fp32"}),
        ("flags\t\t: avx2 avx512f avx512_bf16\n", {"fp32", "bf16"}),
        ("flags\t\t: avx512f amx_bf16 avx512_fp16\n", {"fp32", "bf16", "fp16"}),
        ("Features\t: fp asimd bf16 i8mm\n", {"fp32", "bf16"}),
        ("no such lines\n", {"fp32"}),
    ],
)
def test_the_flags_of_a_cpu(tmp_path: Path, cpuinfo: str, dtypes: set[str]) -> None:
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    assert cpu_dtypes(tmp_path / "cpuinfo") == dtypes
    assert cpu_dtypes(tmp_path / "absent") == {"fp32"}


def test_the_demo_takes_bf16_in_every_stage_that_runs_the_model() -> None:
    assert bf16_options(frozenset({"fp32"})) == []
    options = bf16_options(frozenset({"fp32", "bf16"}))
    config = load_config("pipeline", PIPELINE, [word for word in options if word != "--set"])
    stages = {stage.stage: stage for stage in config.stages}
    assert [stages[name].lm_dtype for name in ("harvest", "train", "evaluate", "extract")] == ["bf16"] * 4
    assert stages["train"].autocast == "bf16"
    assert stages["train"].harvest() == stages["harvest"]
    assert stages["evaluate"].sae == stages["train"]
