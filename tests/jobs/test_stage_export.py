"""Exports of an imported SAE and of trained ones: weights, caches of latents, and Neuronpedia's bundle with its labels."""

from __future__ import annotations

import argparse
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from cluster.store import Store
from configs.artifact_ids import ArtifactRef
from configs.export import ExportConfig
from configs.extract import ExtractConfig
from configs.label import LabelConfig
from jobs.format_commands import deliver
from jobs.life.stage_context import JobContext
from jobs.stages import export, extract, label
from sae.exporters import NotExportable
from sae.formats.labels import LabelsReader
from sae.formats.sae_folder import load_sae
from sae.formats.tokens import TokensReader
from sae.language_model import LanguageModel
from sae.row_activations import activations_of_rows
from tests.actors.extract_world import HOOKS, MODEL, REQUIREMENT, TOKENS, extract_job, inline, make_saes, train_config
from tests.jobs.import_world import F, imported, one_process, store, write_sparsify

__all__ = ["imported", "one_process", "store"]


def export_job(store: Store, scratch: Path, sae: ArtifactRef, format: str, **more: Any) -> JobContext:
    scratch.mkdir()
    config = ExportConfig.model_validate({"sae": str(sae), "format": format, "lm_dtype": "fp32", **more})
    inputs = {"sae": [sae]} | {
        role: [ArtifactRef(role, more[role].partition("/")[2])] for role in ("features", "labels") if role in more
    }
    return JobContext(config, export.outputs(config, inputs, ""), store, scratch, inputs, requirement=REQUIREMENT)


@pytest.fixture(scope="module")
def features(store: Store, imported: ArtifactRef, tmp_path_factory: pytest.TempPathFactory) -> ArtifactRef:
    """What the imported SAE's features respond to."""
    root = tmp_path_factory.mktemp("features")
    with pytest.MonkeyPatch.context() as patch:
        inline(patch)
        job = extract_job(store, ExtractConfig(sae=str(imported), lm_dtype="fp32"), [imported], root / "job")
        extract.run(job)
    return job.outputs[0].ref


def test_the_bundle_of_neuronpedia_has_features_and_examples(
    store: Store, imported: ArtifactRef, features: ArtifactRef, tmp_path: Path
) -> None:
    job = export_job(store, tmp_path / "np", imported, "neuronpedia", features=str(features))
    export.run(job)
    files = store.files(job.outputs[0].ref)
    top = next(name for name in files.names if name.endswith("source.jsonl")).rpartition("/")[0]
    names = {name.removeprefix(f"{top}/") for name in files.names}
    heads = {f"{name}.jsonl" for name in ("release", "model", "sourceset", "source")}
    assert names == heads | {"features/batch-0.jsonl.gz", "activations/batch-0.jsonl.gz"}
    records = _lines(files.path(f"{top}/features/batch-0.jsonl.gz"))
    assert [record["index"] for record in records] == [str(n) for n in range(F)]
    shown = _lines(files.path(f"{top}/activations/batch-0.jsonl.gz"))
    highest = {record["index"]: record["maxActApprox"] for record in records}
    for one in shown:
        assert len(one["tokens"]) == len(one["values"])
        assert one["values"][one["maxValueTokenIndex"]] == one["maxValue"] <= highest[one["index"]] * (1 + 1e-6)
    assert {one["index"] for one in shown} == {index for index, value in highest.items() if value > 0}


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


def test_every_label_is_an_explanation_in_the_bundle_of_neuronpedia(
    store: Store, imported: ArtifactRef, features: ArtifactRef, tmp_path: Path
) -> None:
    """With the scores that the labels artifact has."""
    (tmp_path / "l").mkdir()
    config = LabelConfig(features=str(features), effect_examples=0)
    outputs = label.outputs(config, {"features": [features]}, "")
    label.run(JobContext(config, outputs, store, tmp_path / "l", {"features": [features]}, requirement=REQUIREMENT))
    reader = LabelsReader(store.files(outputs[0].ref))
    rows = [row for latent in range(F) for row in reader.labels(latent)]
    assert len(rows) > 3
    job = export_job(
        store, tmp_path / "npl", imported, "neuronpedia", features=str(features), labels=str(outputs[0].ref)
    )
    export.run(job)
    plain = export_job(store, tmp_path / "npp", imported, "neuronpedia", features=str(features))
    assert job.outputs[0].ref != plain.outputs[0].ref
    files = store.files(job.outputs[0].ref)
    top = next(name for name in files.names if name.endswith("source.jsonl")).rpartition("/")[0]
    explained = _lines(files.path(f"{top}/explanations/batch-0.jsonl.gz"))
    assert [(one["index"], one["description"]) for one in explained] == [
        (str(row["feature"]), row["label"]) for row in rows
    ]
    model, source = top.split("/")
    assert {(one["modelId"], one["layer"]) for one in explained} == {(model, source)}
    assert len({one["id"] for one in explained}) == len(rows)
    assert [one["typeName"] for one in explained] == [f"raylens_{row['method']}" for row in rows]
    scored = _lines(files.path(f"{top}/explanation-scores/batch-0.jsonl.gz"))
    again = [one for record in scored for one in record["explanations"]]
    assert [{name: one[name] for name in one if name != "scores"} for one in again] == explained
    for one, row in zip(again, rows, strict=True):
        values = {score["explanationScoreTypeName"]: score for score in one["scores"]}
        accuracy = values.pop("raylens_balanced_accuracy")
        details = json.loads(accuracy["jsonDetails"])
        assert (accuracy["value"], details["low"], details["permuted"]) == (
            row["score"], row["score_low"], row["permuted_score"],
        )  # fmt: skip
        assert {score["explanationId"] for score in one["scores"]} == {one["id"]}
        assert (row["auc"] is None) == (values == {})
        if values:
            meaning = values["raylens_auc_by_meaning"]
            assert meaning["value"] == row["auc"]
            assert json.loads(meaning["jsonDetails"])["difference"] == row["auc_difference"]
    with pytest.raises(ValueError, match=r"holds the labels of .*: give those of this SAE"):
        export._check_same_sae(store, outputs[0].ref, ArtifactRef("saes", "9" * 16))


def test_export_gives_the_weights_back(store: Store, imported: ArtifactRef, tmp_path: Path) -> None:
    job = export_job(store, tmp_path / "job", imported, "sparsify")
    export.run(job)
    ref = job.outputs[0].ref
    assert (ref.kind, store.files(ref).names) == ("exports", ["h.1/cfg.json", "h.1/sae.safetensors"])
    before, to = load_file(write_sparsify(tmp_path / "again") / "h.1/sae.safetensors"), tmp_path / "to"
    deliver(argparse.Namespace(to=str(to)), [str(ref)], store)
    after = load_file(to / "h.1/sae.safetensors")
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)


def test_cache_of_latents_holds_every_activation(store: Store, imported: ArtifactRef, tmp_path: Path) -> None:
    job = export_job(store, tmp_path / "job", imported, "delphi", rows=6, batch_rows=4)
    export.run(job)
    files, sae = store.files(job.outputs[0].ref), load_sae(store.files(imported).directory())
    lm, tokens = LanguageModel.load(store.files(MODEL).directory()), TokensReader(store.files(TOKENS), "train")
    values, roles = activations_of_rows(lm, tokens, [lm.hook(HOOKS[0])], 0, 6)
    x = values[HOOKS[0]]
    mask = (roles == 0) & (x.norm(dim=-1) <= sae.calibration.sink_threshold)
    dense = torch.zeros(*x.shape[:2], F)
    dense[mask] = sae.encode(x[mask])
    found = torch.zeros_like(dense)
    for name in files.names:
        if name.endswith(".safetensors"):
            first = int(Path(name).stem.partition("_")[0])
            part = load_file(files.path(name))
            at = part["locations"].to(torch.int64)
            found[at[:, 0], at[:, 1], at[:, 2] + first] = part["activations"].float()
            assert torch.equal(part["tokens"], torch.from_numpy(tokens.read(0, 6).input_ids).long())
    torch.testing.assert_close(found, dense, rtol=1e-3, atol=1e-4)  # fp16


def test_formats_refuse_what_they_cannot_hold(store: Store, tmp_path: Path) -> None:
    trained = make_saes(store, train_config(None), None, tmp_path / "saes")[0]
    for number, format in enumerate(("saelens", "sparsify", "dictionary_learning")):
        job = export_job(store, tmp_path / f"{number}", trained, format)
        export.run(job)
        assert store.manifest(job.outputs[0].ref) is not None
    cfg = json.loads(store.files(trained).path("cfg.json").read_text())
    cfg["architecture"], cfg["metadata"]["raylens"]["architecture"] = "jumprelu", "batchtopk"
    from sae.exporters import ExportSource, write_export
    from sae.formats.sae_folder import Sae

    one = load_sae(store.files(trained).directory())
    several = {**one.tensors, "threshold": torch.arange(F).float()}
    source = ExportSource(Sae(several, cfg, one.calibration), "saes/1")
    with pytest.raises(NotExportable, match="sparsify has TopK SAEs alone, and this one is batchtopk"):
        write_export("sparsify", source, tmp_path)
    with pytest.raises(NotExportable, match="one threshold for all latents"):
        write_export("dictionary_learning", source, tmp_path)
    cfg["normalize_activations"] = "layer_norm"
    with pytest.raises(NotExportable, match=r"normalises each activation \(layer_norm\)"):
        write_export("dictionary_learning", ExportSource(Sae(several, cfg, one.calibration), "saes/1"), tmp_path)
