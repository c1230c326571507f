"""Imported SAEs live like our own: evaluated, extracted, reported, exported; what does not fit leaves nothing behind."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from actors import exporter, importer
from actors.labeller import Labeller
from cluster.store import Store
from configs.artifact_ids import ArtifactRef
from configs.evaluate import EvaluateConfig
from configs.export import ExportConfig
from configs.extract import ExtractConfig
from configs.import_ import ImportConfig
from configs.label import LabelConfig
from configs.load import ConfigError, parse_config
from configs.report import ReportConfig
from jobs.__main__ import _parser
from jobs.format_commands import config_given, deliver
from jobs.life.stage_context import JobContext
from jobs.stages import evaluate, export, extract, import_, label
from sae.calibration import calibrate
from sae.exporters import NotExportable
from sae.formats.labels import LabelsReader
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
    inline,
    make_saes,
    make_world,
    train_config,
)

D, F, K = 48, 96, 5
INPUTS = {"model": [MODEL], "tokens": [TOKENS]}


@pytest.fixture(autouse=True)
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    inline(monkeypatch)
    monkeypatch.setattr(importer, "make_importer", lambda task, environment: importer.Importer(task))
    monkeypatch.setattr(exporter, "make_exporter", exporter.Exporter)
    monkeypatch.setattr("actors.labeller.make_labeller", Labeller)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, tiny_gpt2: Path) -> Store:
    return make_world(tmp_path_factory.mktemp("world"), tiny_gpt2)


def write_sparsify(folder: Path, hookpoint: str = "h.1", d: int = D) -> Path:
    """What sparsify saves, random."""
    own = folder / hookpoint
    own.mkdir(parents=True)
    generator = torch.Generator().manual_seed(4)
    W = torch.nn.functional.normalize(torch.randn(F, d, generator=generator), dim=1)
    tensors = {
        "encoder.weight": W.clone(),
        "encoder.bias": torch.zeros(F),
        "W_dec": W,
        "b_dec": 0.1 * torch.randn(d, generator=generator),
    }
    save_file(tensors, own / "sae.safetensors")
    (own / "cfg.json").write_text(json.dumps({"activation": "topk", "k": K, "d_in": d, "num_latents": F}))
    return folder


def import_config(folder: Path, **more: Any) -> ImportConfig:
    values = {
        "source": {"type": "local", "path": str(folder)},
        "format": "sparsify",
        "model": str(MODEL),
        "tokens": str(TOKENS),
    }
    policy = POLICY.model_dump()
    return ImportConfig.model_validate({**values, "policy": policy, "batch_rows": 4, "lm_dtype": "fp32", **more})


def import_job(store: Store, config: ImportConfig, scratch: Path) -> JobContext:
    scratch.mkdir()
    return JobContext(config, import_.outputs(config, INPUTS, ""), store, scratch, INPUTS, requirement=REQUIREMENT)


@pytest.fixture(scope="module")
def imported(store: Store, tmp_path_factory: pytest.TempPathFactory) -> ArtifactRef:
    """The SAE of sparsify, imported; used by most tests here."""
    root = tmp_path_factory.mktemp("imported")
    with pytest.MonkeyPatch.context() as patch:
        inline(patch)
        patch.setattr(importer, "make_importer", lambda task, environment: importer.Importer(task))
        job = import_job(store, import_config(write_sparsify(root / "run")), root / "job")
        import_.run(job)
        import_.run(job)  # there already
    return job.outputs[0].ref


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
    _check_neuronpedia(store, imported, job.outputs[0].ref, tmp_path)
    _check_neuronpedia_labels(store, imported, job.outputs[0].ref, tmp_path)


def _check_report(
    store: Store, sae: ArtifactRef, features: ArtifactRef, evaluation: ArtifactRef, tmp_path: Path
) -> None:
    artifacts = Artifacts(*(store.files(ref) for ref in (features, evaluation, sae, TOKENS, MODEL)))
    body = build_report(artifacts, ReportConfig(features=str(features), evaluation=str(evaluation)), tmp_path)
    assert (body["sae"]["architecture"], body["sae"]["k"]) == ("topk", K)
    assert "This SAE was imported: there is no record of its training." in (tmp_path / "report.html").read_text()


def export_job(store: Store, scratch: Path, sae: ArtifactRef, format: str, **more: Any) -> JobContext:
    scratch.mkdir()
    config = ExportConfig.model_validate({"sae": str(sae), "format": format, "lm_dtype": "fp32", **more})
    inputs = {"sae": [sae]} | {
        role: [ArtifactRef(role, more[role].partition("/")[2])] for role in ("features", "labels") if role in more
    }
    return JobContext(config, export.outputs(config, inputs, ""), store, scratch, inputs, requirement=REQUIREMENT)


def _check_neuronpedia(store: Store, sae: ArtifactRef, features: ArtifactRef, tmp_path: Path) -> None:
    import gzip

    job = export_job(store, tmp_path / "np", sae, "neuronpedia", features=str(features))
    export.run(job)
    files = store.files(job.outputs[0].ref)
    top = next(name for name in files.names if name.endswith("source.jsonl")).rpartition("/")[0]
    names = {name.removeprefix(f"{top}/") for name in files.names}
    heads = {f"{name}.jsonl" for name in ("release", "model", "sourceset", "source")}
    assert names == heads | {"features/batch-0.jsonl.gz", "activations/batch-0.jsonl.gz"}
    records = [
        json.loads(line)
        for line in gzip.decompress(files.path(f"{top}/features/batch-0.jsonl.gz").read_bytes()).splitlines()
    ]
    assert [record["index"] for record in records] == [str(n) for n in range(F)]
    shown = [
        json.loads(line)
        for line in gzip.decompress(files.path(f"{top}/activations/batch-0.jsonl.gz").read_bytes()).splitlines()
    ]
    highest = {record["index"]: record["maxActApprox"] for record in records}
    for one in shown:
        assert len(one["tokens"]) == len(one["values"])
        assert one["values"][one["maxValueTokenIndex"]] == one["maxValue"] <= highest[one["index"]] * (1 + 1e-6)
    assert {one["index"] for one in shown} == {index for index, value in highest.items() if value > 0}


def _lines(path: Path) -> list[dict[str, Any]]:
    import gzip

    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


def _check_neuronpedia_labels(store: Store, sae: ArtifactRef, features: ArtifactRef, tmp_path: Path) -> None:
    """Every label is an explanation, with the scores that the labels artifact has."""
    (tmp_path / "l").mkdir()
    config = LabelConfig(features=str(features), effect_examples=0)
    outputs = label.outputs(config, {"features": [features]}, "")
    label.run(JobContext(config, outputs, store, tmp_path / "l", {"features": [features]}, requirement=REQUIREMENT))
    reader = LabelsReader(store.files(outputs[0].ref))
    rows = [row for latent in range(F) for row in reader.labels(latent)]
    assert len(rows) > 3
    job = export_job(store, tmp_path / "npl", sae, "neuronpedia", features=str(features), labels=str(outputs[0].ref))
    export.run(job)
    plain = export_job(store, tmp_path / "npp", sae, "neuronpedia", features=str(features))
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


def test_command_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    shared = ["--format", "saelens", "--model", str(MODEL), "--tokens", str(TOKENS)]

    def config(*arguments: str) -> Any:
        return config_given(_parser().parse_args(list(arguments)))

    assert config("import", "--from", "run", *shared).source.path == str(tmp_path / "run")
    hub = config(
        "import",
        "--from",
        "google/gemma-scope-2b-pt-res@main/layer_20/width_16k",
        *shared[:1],
        "gemma_scope",
        *shared[2:],
    )
    assert (hub.source.repo, hub.source.revision, hub.part) == (
        "google/gemma-scope-2b-pt-res",
        "main",
        "layer_20/width_16k",
    )
    assert config("import", "--from", "run", *shared, "--set", "policy.sink_factor=5").policy.sink_factor == 5
    with pytest.raises(ConfigError, match="--tokens missing"):
        config("import", "--from", "run", *shared[:4])
    with pytest.raises(ConfigError, match="give --config or --format"):
        config("export", "--config", "x.yaml", "--format", "saelens")
    assert config("export", "--config", "x.yaml") is None
    with pytest.raises(SystemExit):
        config("export", "--sae", f"saes/{'1' * 16}", "--format", "saelens", "--to", "..")
    assert "is not an empty folder" in capsys.readouterr().err
