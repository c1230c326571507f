"""The report stage: what names a report, and a run in a Ray task."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cluster.store import Manifest, Store
from configs.artifact_ids import ArtifactRef, parse_ref
from configs.report import ReportConfig
from configs.requirements import Requirement
from jobs.life.stage_context import JobContext
from jobs.stages import report
from sae.formats.artifact_files import LocalFiles
from sae.formats.probes import write_probes
from tests.sae.probing_world import spurious_world
from tests.sae.report_artifacts import INPUTS, write_artifacts
from tests.sae.test_report_probes import RECORD

FEATURES, EVALUATION = ArtifactRef("features", "0" * 15 + "1"), ArtifactRef("evaluations", "0" * 15 + "2")
PROBES = ArtifactRef("probes", "0" * 15 + "3")
CONFIG = ReportConfig(features=str(FEATURES), evaluation=str(EVALUATION), pages=10)
GIVEN = {"features": [FEATURES], "evaluation": [EVALUATION]}


def test_a_report_is_named_by_what_it_shows() -> None:
    (made,) = report.outputs(CONFIG, GIVEN, "fp")
    assert report.outputs(CONFIG, GIVEN, "other") == [made]
    for update in ({"pages": 11}, {"seed": 1}, {"context_tokens": 8}):
        assert report.outputs(CONFIG.model_copy(update=update), GIVEN, "fp") != [made]
    other = {**GIVEN, "evaluation": [ArtifactRef("evaluations", "0" * 15 + "3")]}
    assert report.outputs(CONFIG, other, "fp") != [made]


def test_each_sae_of_a_run_gets_a_report() -> None:
    two = {
        "features": [FEATURES, ArtifactRef("features", "0" * 15 + "4")],
        "evaluation": [EVALUATION, ArtifactRef("evaluations", "0" * 15 + "5")],
    }
    assert len({output.ref for output in report.outputs(CONFIG, two, "fp")}) == 2
    with pytest.raises(ValueError, match="2 of features, 1 of evaluation"):
        report.outputs(CONFIG, {**two, "evaluation": [EVALUATION]}, "fp")


def test_labels_and_probes_are_inputs_of_a_report_that_names_them() -> None:
    plain = report.outputs(CONFIG, GIVEN, "fp")
    for role in ("labels", "probes"):
        ref = ArtifactRef(role, "0" * 15 + "6")
        config = CONFIG.model_copy(update={role: str(ref)})
        assert report.inputs(config) == {**report.inputs(CONFIG), role: str(ref)}
        assert report.outputs(config, {**GIVEN, role: [ref]}, "fp") != plain


def test_a_run_publishes_both_files(ray_cluster: str, tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "store"))
    refs = [FEATURES, EVALUATION, *(parse_ref(INPUTS[role]) for role in ("sae", "tokens", "model"))]
    (tmp_path / "probes").mkdir()
    write_probes(tmp_path / "probes", {**RECORD, **spurious_world(tmp_path)})
    made = [*write_artifacts(tmp_path / "made")[:5], LocalFiles(tmp_path / "probes")]
    for ref, files in zip([*refs, PROBES], made, strict=True):
        stored = tuple(store.put(ref, 1, name, files.path(name)) for name in files.names)
        store.commit(Manifest(kind=ref.kind, id=ref.id, stage="test", stage_version=1, attempt=1, files=stored))
    config, given = CONFIG.model_copy(update={"probes": str(PROBES)}), {**GIVEN, "probes": [PROBES]}
    outputs = report.outputs(config, given, "fp")
    job = JobContext(config, outputs, store, tmp_path, given, requirement=Requirement(cpus=1, threads=1))
    report.run(job)
    files = store.files(outputs[0].ref)
    assert sorted(files.names) == ["report.html", "report.json"]
    assert files.manifest.bytes < report.STAGE.store_bytes(config, given, store) < 20e6
    assert files.manifest.summary == json.loads(files.path("report.json").read_text())
    assert files.manifest.inputs["probes"] == str(PROBES) and files.manifest.summary["probes"]["class_column"]
    report.run(job)  # nothing is missing: nothing is made
