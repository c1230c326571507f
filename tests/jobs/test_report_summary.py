"""`python -m jobs.report_summary`: from the pipeline's line to report.json, the table and the last line."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cluster.catalog import open_catalog
from cluster.store import Manifest, Store
from configs.artifact_ids import ArtifactRef, parse_ref
from configs.report import ReportConfig
from jobs.report_summary import main
from sae.formats.artifact_files import LocalFiles
from sae.report.build import build_report
from sae.report.sources import Artifacts
from tests.sae.report_artifacts import INPUTS, write_artifacts

REPORT = ArtifactRef("reports", "00000000000000ff")
FEATURES, EVALUATION = "features/0000000000000001", "evaluations/0000000000000002"
CONFIG = ReportConfig(features=FEATURES, evaluation=EVALUATION, pages=10)
STAGES = {
    INPUTS["model"]: ("download", {}),
    INPUTS["tokens"]: ("tokenize", {}),
    INPUTS["sae"]: ("train", {"model": INPUTS["model"], "tokens": INPUTS["tokens"]}),
    EVALUATION: ("evaluate", {"sae": INPUTS["sae"]}),
    FEATURES: ("extract", {"sae": INPUTS["sae"]}),
    str(REPORT): ("report", {"features": FEATURES, "evaluation": EVALUATION}),
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A RAYLENS_HOME in which a pipeline has just ended."""
    monkeypatch.setenv("RAYLENS_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("RAYLENS_STORE", raising=False)
    made = write_artifacts(tmp_path / "made")
    folders = dict(zip((FEATURES, EVALUATION, *(INPUTS[r] for r in ("sae", "tokens", "model"))), made[:5], strict=True))
    (tmp_path / "page").mkdir()
    build_report(Artifacts(*made), CONFIG, tmp_path / "page")
    folders[str(REPORT)] = LocalFiles(tmp_path / "page")
    store = Store.open()
    with open_catalog() as catalog:
        for name, (stage, inputs) in STAGES.items():
            publish(store, catalog, parse_ref(name), stage, inputs, folders[name])
    return tmp_path / "home"


def publish(store: Store, catalog: Any, ref: ArtifactRef, stage: str, inputs: dict[str, str], files: Any) -> None:
    stored = tuple(store.put(ref, 1, name, files.path(name), keep=True) for name in files.names)
    manifest = Manifest(kind=ref.kind, id=ref.id, stage=stage, stage_version=1, attempt=1, inputs=inputs, files=stored)
    job = catalog.submit(
        stage=stage,
        fingerprint=f"fp-{ref}",
        config={},
        requirement={},
        outputs=[str(ref)],
        inputs=inputs,
        created_by="me",
    )
    catalog.progress(job.job_id, 1, state="RUNNING")
    catalog.publish(job.job_id, 1, manifest.model_dump(mode="json"))
    store.commit(manifest)
    catalog.finish(job.job_id, 1, "SUCCEEDED")


def line(state: str = "SUCCEEDED", artifacts: list[str] | None = None) -> str:
    return (
        json.dumps({"job": "j1", "state": state, "artifacts": list(STAGES) if artifacts is None else artifacts}) + "\n"
    )


def test_report_json_is_completed_with_paths_and_seconds(home: Path) -> None:
    out = io.StringIO()
    assert main(io.StringIO(line()), out) == 0
    page = home / "reports" / REPORT.id / "report.html"
    assert out.getvalue().splitlines()[-1] == f"report: {page}"
    assert page.read_bytes() == Store.open().files(REPORT).path("report.html").read_bytes()
    body = json.loads(page.with_name("report.json").read_text())
    assert {"path", "ev", "l0", "alive", "ce_score_zero", "kl_score_zero"} <= body["sae"].keys()
    assert {"path", "count"} <= body["features"].keys()
    assert {"rows", "tokens", "excluded"} <= body["tokens"].keys()
    assert set(body["seconds"]) == {stage for stage, _ in STAGES.values()}
    assert all(seconds >= 0 for seconds in body["seconds"].values())
    for section, name in (("sae", "cfg.json"), ("features", "features.parquet"), ("evaluation", "metrics.json")):
        assert (Path(body[section]["path"]) / name).is_file()
    table = out.getvalue()
    assert "topk, 60 latents, k 3 at blocks.1.hook_resid_post of tiny <model>" in table
    assert "0.930 (zero ablation), 0.920 (mean ablation)" in table


def test_it_can_be_said_again(home: Path) -> None:
    first, second = io.StringIO(), io.StringIO()
    assert main(io.StringIO(line()), first) == main(io.StringIO(line()), second) == 0
    assert first.getvalue() == second.getvalue()
    assert sorted(path.name for path in (home / "reports" / REPORT.id).iterdir()) == ["report.html", "report.json"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (line("FAILED", []), "there is no report: job j1 ended FAILED"),
        (line("CANCELLED", []), "there is no report: job j1 ended CANCELLED"),
        (line(artifacts=["saes/00000000000000aa"]), "there is no report among what job j1 made: saes/"),
        (line(artifacts=["reports/00000000000000ee"]), "there is no finished artifact reports/00000000000000ee"),
        ("", "got nothing"),
        ("Traceback (most recent call last)", "got Traceback"),
    ],
)
def test_without_a_report_it_says_why(home: Path, capsys: pytest.CaptureFixture[str], given: str, said: str) -> None:
    out = io.StringIO()
    assert main(io.StringIO(given), out) == 1
    assert out.getvalue() == ""
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_the_command_needs_neither_torch_nor_ray(home: Path) -> None:
    code = (
        "import sys, jobs.report_summary; status = jobs.report_summary.main(); "
        "assert not {'torch', 'ray', 'transformers'} & set(sys.modules); sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=line(), capture_output=True, text=True, timeout=60, env=dict(os.environ)
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("report: /")
