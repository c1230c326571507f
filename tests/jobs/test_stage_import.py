"""Imported SAEs live like our own: evaluated, extracted, reported; what does not fit leaves nothing behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from cluster.store import Store
from configs.artifact_ids import ArtifactRef
from configs.evaluate import EvaluateConfig
from configs.extract import ExtractConfig
from configs.load import ConfigError, parse_config
from configs.report import ReportConfig
from jobs.life.stage_context import JobContext
from jobs.stages import evaluate, extract, import_
from sae.calibration import calibrate
from sae.formats.sae_folder import load_sae
from sae.formats.tokens import TokensReader
from sae.importers.tensors import SaeFormatError
from sae.language_model import LanguageModel
from sae.report.build import build_report
from sae.report.sources import Artifacts
from sae.row_activations import activations_of_rows, calibration_batches
from sae.sources import SourceError
from tests.actors.extract_world import (
    HOOKS,
    MODEL,
    POLICY,
    REQUIREMENT,
    ROWS,
    TOKENS,
    extract_job,
    make_saes,
    train_config,
)
from tests.jobs.import_world import (
    INPUTS,
    D,
    F,
    K,
    import_config,
    import_job,
    imported,
    one_process,
    store,
    write_sparsify,
)

__all__ = ["imported", "one_process", "store"]


def test_it_is_calibrated_and_named_like_our_own(store: Store, imported: ArtifactRef) -> None:
    """The same mask of data positions as for an SAE that is trained at this hook."""
    sae, manifest = load_sae(store.files(imported).directory()), store.files(imported).manifest
    assert (sae.architecture, sae.metadata["hook_name"], sae.metadata["hf_hook_name"]) == (
        "topk",
        HOOKS[0],
        "transformer.h.1",
    )
    assert manifest.summary["sae"] == {"hook": HOOKS[0], "architecture": "topk", "d_sae": F, "k": K}
    assert manifest.inputs == {"model": str(MODEL), "tokens": str(TOKENS)}
    lm, tokens = LanguageModel.load(store.files(MODEL).directory()), TokensReader(store.files(TOKENS), "train")
    expected = calibrate(
        HOOKS[0], calibration_batches(lm, tokens, lm.hook(HOOKS[0]), POLICY.calibration_rows, 4), POLICY
    )
    assert sae.calibration._replace(mean=None) == expected._replace(mean=None)  # type: ignore[arg-type]
    assert torch.equal(sae.calibration.mean, expected.mean)


def test_its_name_follows_from_content_and_not_from_its_folder(
    store: Store, imported: ArtifactRef, tmp_path: Path
) -> None:
    same = import_.outputs(import_config(write_sparsify(tmp_path / "elsewhere")), INPUTS, "")[0].ref
    other = import_.outputs(import_config(write_sparsify(tmp_path / "other"), hook=HOOKS[1]), INPUTS, "")[0].ref
    assert same == imported and other != imported


def test_it_is_evaluated_and_extracted(store: Store, imported: ArtifactRef, tmp_path: Path) -> None:
    config = EvaluateConfig.model_validate(
        {
            "sae": str(imported),
            "split": "train",
            "rows": 8,
            "loss_rows": 4,
            "batch_rows": 4,
            "rows_per_chunk": 8,
            "lm_dtype": "fp32",
        }
    )
    (tmp_path / "e").mkdir()
    outputs = evaluate.outputs(config, {"sae": [imported]}, "")
    evaluate.run(JobContext(config, outputs, store, tmp_path / "e", {"sae": [imported]}, requirement=REQUIREMENT))
    metrics = store.files(outputs[0].ref).manifest.summary
    sae = load_sae(store.files(imported).directory())
    lm, tokens = LanguageModel.load(store.files(MODEL).directory()), TokensReader(store.files(TOKENS), "train")
    values, roles = activations_of_rows(lm, tokens, [lm.hook(HOOKS[0])], 0, 8)
    data = values[HOOKS[0]][(roles == 0) & (values[HOOKS[0]].norm(dim=-1) <= sae.calibration.sink_threshold)]
    error = (sae.reconstruct(data) - data).double().square().sum()
    spread = (data.double() - data.double().mean(0)).square().sum()
    assert metrics["ev"] == pytest.approx(1 - float(error / spread), abs=1e-5)
    assert metrics["l0"] == pytest.approx(float((sae.encode(data) > 0).sum(1).float().mean()))
    job = extract_job(store, ExtractConfig(sae=str(imported), lm_dtype="fp32"), [imported], tmp_path / "x")
    extract.run(job)
    found = store.files(job.outputs[0].ref).manifest.summary
    assert (found["rows"], found["n_features"], found["sae"]) == (ROWS, F, str(imported))
    _check_report(store, imported, job.outputs[0].ref, outputs[0].ref, tmp_path)


def _check_report(
    store: Store, sae: ArtifactRef, features: ArtifactRef, evaluation: ArtifactRef, tmp_path: Path
) -> None:
    artifacts = Artifacts(*(store.files(ref) for ref in (features, evaluation, sae, TOKENS, MODEL)))
    body = build_report(artifacts, ReportConfig(features=str(features), evaluation=str(evaluation)), tmp_path)
    assert (body["sae"]["architecture"], body["sae"]["k"]) == ("topk", K)
    assert "This SAE was imported: there is no record of its training." in (tmp_path / "report.html").read_text()


BAD: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "hook": ({"hook": "blocks.9.hook_resid_post"}, ValueError, "no hook 'blocks.9.hook_resid_post'"),
    "width": (
        {"hook": "transformer.h.1.mlp.c_fc"},
        SaeFormatError,
        "reads activations of 48 dimensions, but .* has 192",
    ),
    "format": ({"format": "saelens"}, SourceError, "matches sae_weights.safetensors"),
    "part": ({"part": "h.7"}, SourceError, r"no file of .*run matches h\.7/cfg\.json"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_does_not_fit_leaves_nothing(store: Store, tmp_path: Path, name: str) -> None:
    more, error, message = BAD[name]
    folder = write_sparsify(tmp_path / "run")
    before = {str(path) for path in (Path(store.url.removeprefix("file://")) / "saes").rglob("*") if path.is_file()}
    with pytest.raises(error, match=message):
        import_.run(import_job(store, import_config(folder, **more), tmp_path / "job"))
    after = {str(path) for path in (Path(store.url.removeprefix("file://")) / "saes").rglob("*") if path.is_file()}
    assert before == after


def test_one_of_several_is_named(store: Store, tmp_path: Path) -> None:
    write_sparsify(tmp_path / "run", "h.0")
    write_sparsify(tmp_path / "run", "h.1")
    with pytest.raises(SourceError, match=r"has 2 SAEs: name one of them in `part`, of h.0, h.1"):
        import_.outputs(import_config(tmp_path / "run"), INPUTS, "")
    assert import_.outputs(import_config(tmp_path / "run", part="h.1"), INPUTS, "")


def test_files_that_changed_are_refused(store: Store, tmp_path: Path) -> None:
    job = import_job(store, import_config(write_sparsify(tmp_path / "run"), k=None, batch_rows=2), tmp_path / "job")
    (tmp_path / "run/h.1/cfg.json").write_text(json.dumps({"k": 3, "d_in": D, "num_latents": F}))
    with pytest.raises(SourceError, match="has changed since this job was made"):
        import_.run(job)


def test_a_control_of_an_imported_sae_is_refused_with_the_reason(
    store: Store, imported: ArtifactRef, tmp_path: Path
) -> None:
    whole = import_config(write_sparsify(tmp_path / "run")).model_dump(mode="json")
    with pytest.raises(ConfigError, match="how and on what it was trained is not known here"):
        parse_config("evaluate", {"sae": whole, "controls": ["decoder"]})
    other = make_saes(store, train_config(None), None, tmp_path / "saes")[0]
    config = EvaluateConfig.model_validate({"sae": str(imported), "compare_with": [str(other)], "split": "train"})
    inputs = {"sae": [imported], "compared_0": [other]}
    (tmp_path / "e").mkdir()
    job = JobContext(
        config, evaluate.outputs(config, inputs, ""), store, tmp_path / "e", inputs, requirement=REQUIREMENT
    )
    with pytest.raises(ValueError, match="was imported: how and on what it was trained is not known here"):
        evaluate.run(job)


def test_settings_that_do_nothing_are_refused() -> None:
    source = {
        "source": {"type": "local", "path": "/x"},
        "format": "sparsify",
        "model": str(MODEL),
        "tokens": str(TOKENS),
    }
    for more, message in (
        ({"k": 3}, "k belongs to format qwen_scope"),
        ({"activation_norm": 3.0}, "activation_norm belongs to format saelens"),
        ({"part": "../x"}, "without `..`"),
        ({"source": {"type": "local", "path": "/x", "files": ["*"]}}, "leave source.files out"),
        ({"format": "pickle"}, "'saelens', 'sparsify'"),
    ):
        with pytest.raises(ConfigError, match=message):
            parse_config("import", {**source, **more})
    sae = f"saes/{'1' * 16}"
    for values, message in (
        ({"format": "neuronpedia"}, "made of features: give `features`"),
        ({"format": "saelens", "rows": 3}, "rows has no effect on format saelens"),
        ({"format": "saelens", "features": f"features/{'1' * 16}"}, "features have no effect on format saelens"),
        ({"format": "saelens", "labels": f"labels/{'1' * 16}"}, "labels have no effect on format saelens"),
    ):
        with pytest.raises(ConfigError, match=message):
            parse_config("export", {"sae": sae, **values})
