"""The whole pipeline, tiny, as commands: once with a local store and once with the store on a real S3 server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.machines.paths import code_root
from cluster.store import Store
from configs.identity import parse_ref
from tests.artifacts import hashes
from tests.s3 import S3Server
from tests.tiny_model import documents


def _write_configs(folder: Path, model: Path) -> Path:
    (folder / "texts").mkdir()
    for i, text in enumerate(documents(300, seed=3)):
        (folder / "texts" / f"{i:03d}.txt").write_text(text)
    local = {"type": "local"}
    dataset = {
        "stage": "download",
        "what": "dataset",
        "source": {**local, "path": "texts"},
        "dataset": {"heldout_fraction": 0.3},
    }
    configs: dict[str, dict[str, Any]] = {
        "data": dataset,
        "model": {"stage": "download", "what": "model", "source": {**local, "path": str(model)}},
        "tokens": {"stage": "tokenize", "dataset": "data.yaml", "model": "model.yaml", "context_length": 32, "separator": "none"},
        "train": {
            "stage": "train", "model": "model.yaml", "tokens": "tokens.yaml", "batch_rows": 4, "epochs": 2, "rows": 64,
            "policy": {"calibration_rows": 8}, "cache": {"dtype": "fp32", "rows_per_chunk": 16},
            "saes": [{"hook": "blocks.1.hook_resid_post", "d_sae": 96, "k": 8}],
        },
        "evaluate": {"stage": "evaluate", "sae": "train.yaml", "rows": 8, "loss_rows": 4},
        "extract": {"stage": "extract", "sae": "train.yaml"},
        "report": {"stage": "report", "features": "extract.yaml", "evaluation": "evaluate.yaml", "pages": 5},
        "pipeline": {"stage": "pipeline", "stages": ["data.yaml", "model.yaml", "tokens.yaml", "train.yaml", "report.yaml"]},
    }  # fmt: skip
    for name, body in configs.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(body))
    return folder / "pipeline.yaml"


def _run(pipeline: Path, home: Path, more: dict[str, str]) -> tuple[dict[str, Any], str]:
    environment = {k: v for k, v in os.environ.items() if k not in ("RAYLENS_STORE", "RAY_ADDRESS")}
    environment |= {"RAYLENS_HOME": str(home), "PYTHONPATH": str(code_root()), "RAYLENS_CPUS": "2", **more}
    command = [sys.executable, "-m", "jobs", "pipeline", "--config", str(pipeline)]
    ran = subprocess.run(command, env=environment, cwd=pipeline.parent, capture_output=True, text=True, timeout=280)
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert ran.stdout.count("\n") == 1
    summary = subprocess.run(
        [sys.executable, "-m", "jobs.report_summary"],
        input=ran.stdout,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    answer: dict[str, Any] = json.loads(ran.stdout)
    return answer, summary.stdout


@pytest.mark.timeout(600)
def test_a_store_on_s3_gets_the_bytes_of_a_local_one(
    s3_server: S3Server,
    tiny_gpt2: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pipeline = _write_configs(tmp_path, tiny_gpt2)
    local, said = _run(pipeline, tmp_path / "local", {})
    bucket = s3_server.make_bucket("pipeline")
    remote, remote_said = _run(pipeline, tmp_path / "remote", {**s3_server.env, "RAYLENS_STORE": f"{bucket}/raylens"})

    assert remote["artifacts"] == local["artifacts"]
    for name, value in s3_server.env.items():
        monkeypatch.setenv(name, value)
    here, there = (
        Store.open(str(tmp_path / "local" / "store")),
        Store.open(f"{bucket}/raylens", str(tmp_path / "cache")),
    )
    for text in local["artifacts"]:
        ref = parse_ref(text)
        assert hashes(here, ref) == hashes(there, ref), text
        assert all(there.files(ref).path(name).stat().st_size for name in there.files(ref).names)
    for text in (said, remote_said):
        page = Path(text.splitlines()[-1].removeprefix("report: "))
        assert page.is_file()
        report = json.loads(page.with_name("report.json").read_text())
        assert report["features"]["count"] == 96
        assert {"path", "ev", "l0", "alive", "ce_score_zero", "kl_score_zero"} <= set(report["sae"])
        assert {"rows", "tokens", "excluded"} <= set(report["tokens"])
        assert {"download", "tokenize", "harvest", "train", "evaluate", "extract", "report"} <= set(report["seconds"])
