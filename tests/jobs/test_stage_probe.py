"""The probe stage on real components: a tiny model's documents with topics, random SAEs, workers, kills, stops, and refusals."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from actors.prober import Chunk, Prober, ProberSettings
from cluster.store import Store
from configs.artifact_ids import ArtifactRef
from configs.load import parse_config
from configs.probe import ProbeConfig
from configs.requirements import Requirement
from jobs.life.stage_context import JobContext, Stopped
from jobs.stages import probe
from sae.architectures import Export
from sae.calibration import calibrate
from sae.formats.artifact_files import ArtifactFilesLike, LocalFiles
from sae.formats.labelled_rows import read_labelled_rows
from sae.formats.probes import read_probes
from sae.formats.sae_folder import load_sae, write_sae
from sae.formats.tokens import Role, TokensReader
from sae.language_model import LanguageModel, load_tokenizer
from sae.probing.document_means import DocumentMeans
from sae.probing.documents import Labelled, choose_documents, columns_of, with_test_split
from sae.probing.figures import ProbingFigures
from sae.probing.row_sums import file_name
from sae.row_activations import calibration_batches
from tests.actors.extract_world import (
    HOOKS,
    MODEL,
    POLICY,
    REQUIREMENT,
    WIDTH,
    K,
    bytes_written,
    files_of,
    inline,
    make_saes,
    make_world,
    put_artifact,
    train_config,
)
from tests.actors.kill import one_killed
from tests.jobs.reported_progress import ReportedProgress
from tests.labelled_tokens import LENGTH, ids_of, labelled_texts, write_labelled

TOKENS, DOCUMENTS = ArtifactRef("tokens", "2" * 16), 220
SPURIOUS = {"column": "half", "values": ["early", "late"], "classes": ["kitchen", "harbour"]}
CONFIG: dict[str, Any] = {
    "tokens": str(TOKENS), "class_column": "topic", "k": [1, 8], "ablated": [4], "draws": 2, "lm_dtype": "fp32",
    "documents_per_class": 80, "min_documents": 20, "rows_per_chunk": 150, "test_fraction": 0.4,
}  # fmt: skip


@pytest.fixture(autouse=True)
def one_process(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Probers run in this process, but in tests that want a cluster."""
    if "ray_cluster" not in request.fixturenames:
        inline(monkeypatch)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, tiny_gpt2: Path) -> Store:
    root = tmp_path_factory.mktemp("world")
    store = make_world(root, tiny_gpt2)
    texts, columns = labelled_texts(DOCUMENTS)
    folder = write_labelled(root / "labelled", ids_of(texts, load_tokenizer(tiny_gpt2)), columns)
    put_artifact(store, TOKENS, folder, inputs={"model": str(MODEL)})
    return store


@pytest.fixture(scope="module")
def saes(store: Store, tmp_path_factory: pytest.TempPathFactory) -> list[ArtifactRef]:
    """Two random SAEs of two hooks."""
    return make_saes(store, train_config(None, HOOKS), None, tmp_path_factory.mktemp("saes"))


@pytest.fixture(scope="module")
def beside(store: Store, saes: list[ArtifactRef], tmp_path_factory: pytest.TempPathFactory) -> ArtifactRef:
    """Another SAE of the first one's hook."""
    folder = tmp_path_factory.mktemp("beside") / "sae"
    sae = load_sae(store.files(saes[0]).directory())
    tensors = {**sae.tensors, "W_dec": sae.W_dec.flip(0), "W_enc": sae.tensors["W_enc"].flip(1)}
    export = Export(tensors, {"architecture": "topk", "k": 2, "apply_b_dec_to_input": True})
    write_sae(folder, "topk", export, {"hook_name": HOOKS[0], "hf_hook_name": ""}, sae.calibration, {})
    ref, manifest = ArtifactRef("saes", "b" * 16), store.files(saes[0]).manifest
    put_artifact(store, ref, folder, config=manifest.config, inputs=manifest.inputs)
    return ref


def job_of(store: Store, saes: list[ArtifactRef], scratch: Path, config: dict[str, Any], **fields: Any) -> JobContext:
    scratch.mkdir()
    whole = ProbeConfig.model_validate({"sae": str(saes[0]), **CONFIG, **config})
    given = {"sae": saes, "tokens": [ArtifactRef(*whole.tokens.split("/"))]}  # type: ignore[union-attr]
    given |= {f"beside_{i}": [ArtifactRef(*ref.split("/"))] for i, ref in enumerate(whole.compare_with)}
    outputs = probe.outputs(whole, given, "")
    return JobContext(whole, outputs, store, scratch, given, **{"requirement": REQUIREMENT, **fields})


def body_of(
    store: Store, saes: list[ArtifactRef], scratch: Path, config: dict[str, Any], **fields: Any
) -> dict[str, Any]:
    """What probes.json says after a run from nothing; the artifact is taken away again."""
    job = job_of(store, saes, scratch, config, **fields)
    probe.run(job)
    body = read_probes(store.files(job.outputs[0].ref))
    store.delete(job.outputs[0].ref)
    return body


@pytest.fixture(scope="module")
def undisturbed(store: Store, saes: list[ArtifactRef], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of the first SAE, by one worker that nothing befell."""
    job = job_of(store, saes[:1], tmp_path_factory.mktemp("undisturbed") / "job", {})
    with pytest.MonkeyPatch.context() as patch:
        inline(patch)
        probe.run(job)
        probe.run(job)  # finished: nothing to do
    found = files_of(store, job.outputs[0].ref)
    store.delete(job.outputs[0].ref)
    return found


# -- what it says ------------------------------------------------------------------------------------------------------


def test_topics_of_the_tiny_models_documents(
    store: Store, saes: list[ArtifactRef], beside: ArtifactRef, tmp_path: Path
) -> None:
    """End to end: positions add up, the model knows topics, and each figure has its controls and an interval."""
    job = job_of(store, saes[:1], tmp_path / "job", {"compare_with": [str(beside)], "spurious": SPURIOUS})
    probe.run(job)
    files = store.files(job.outputs[0].ref)
    body, summary = read_probes(files), files.manifest.summary
    left = {p.name for p in Path(store.location(job.outputs[0].ref)).rglob("*") if p.is_file()}
    store.delete(job.outputs[0].ref)
    assert left == {"probes.json", "manifest.json"}
    assert files.manifest.inputs == {"sae": str(saes[0]), "tokens": str(TOKENS), "beside": str(beside)}
    documents = documents_of(store, job.config)
    assert body["documents"]["positions"] + sum(body["excluded"].values()) == len(documents.row) * LENGTH
    assert body["documents"]["train"] + body["documents"]["test"] == len(documents.label)
    assert len(documents.row) > len(documents.label), "some documents are longer than a row"
    assert {one["class"] for one in body["classes"]} == {"kitchen", "harbour", "school", "weather"}
    assert body["whole_hook"]["value"] > 0.9
    for row in (*body["sparse_probing"], *(row for one in body["classes"] for row in one["sparse_probing"])):
        names = [one["control"] for one in row["controls"]]
        assert names == ["random latents", "dimensions of the hook", "permuted labels", str(beside)]
        for shown in (row["sae"], *row["controls"], *(one["difference"] for one in row["controls"])):
            assert shown["low"] <= shown["value"] <= shown["high"]
    last = body["sparse_probing"][-1]
    assert last["k"] == 8 and last["sae"]["value"] > 0.7
    assert next(one for one in last["controls"] if one["control"] == "permuted labels")["difference"]["low"] > 0
    (row,) = body["perturbation"]["rows"]
    for name in ("tpp", "intended", "unintended"):
        assert [one["control"] for one in row[name]["controls"]] == ["random latents", str(beside)]
    assert row["tpp"]["sae"]["value"] == pytest.approx(
        row["intended"]["sae"]["value"] - row["unintended"]["sae"]["value"]
    )
    assert body["spurious"]["oracle"]["value"] > 0.8
    assert summary["accuracy"] == last["sae"]["value"] and summary["tpp"] == row["tpp"]["sae"]["value"]
    assert (summary["sae"], summary["tokens"], summary["classes"]) == (str(saes[0]), str(TOKENS), 4)


@pytest.fixture(scope="module")
def sums(store: Store, saes: list[ArtifactRef], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sums of all rows that CONFIG reads, as a prober stores them."""
    output, path = ArtifactRef("probes", "9" * 16), tmp_path_factory.mktemp("sums") / "rows"
    config = config_of(saes)
    prober = Prober(store, ProberSettings(saes[0], (), output, MODEL, TOKENS, POLICY, config, 1), REQUIREMENT)
    prober.measure(Chunk(0, tuple(documents_of(store, config).row.tolist())))
    shutil.copy(store.part_files(output).path(file_name(0)), path)
    store.delete(output)
    return path


def test_sums_are_those_of_the_model_and_the_sae(store: Store, saes: list[ArtifactRef], sums: Path) -> None:
    """A document's mean, computed here from a pass over each of its rows alone."""
    documents = documents_of(store, config_of(saes))
    means = DocumentMeans([sums], documents.document, len(documents.label))
    lm, sae = LanguageModel.load(store.files(MODEL).directory()), load_sae(store.files(saes[0]).directory())
    tokens, hook = TokensReader(store.files(TOKENS), "train"), lm.hook(HOOKS[0])
    own = int(np.bincount(documents.document).argmax())
    acts = []
    for row in documents.row[documents.document == own].tolist():
        read = tokens.read(row, row + 1)
        found = lm.run_to(torch.from_numpy(read.input_ids).long(), [hook])[hook.name][0]
        data = torch.from_numpy(read.roles[0] == Role.DATA) & (found.norm(dim=1) <= sae.calibration.sink_threshold)
        acts.append(found[data])
    assert len(acts) > 1, "of several rows"
    together = torch.cat(acts)
    assert means.positions[own] == len(together)
    torch.testing.assert_close(torch.from_numpy(means.acts[own]).float(), together.mean(dim=0), atol=1e-5, rtol=1e-4)
    codes = torch.from_numpy(means.codes(0, np.arange(WIDTH), WIDTH)[own]).float()
    torch.testing.assert_close(codes, sae.encode(together).mean(dim=0), atol=1e-5, rtol=1e-4)


def config_of(saes: list[ArtifactRef], **changed: Any) -> ProbeConfig:
    return ProbeConfig.model_validate({"sae": str(saes[0]), **CONFIG, **changed})


def documents_of(store: Store, config: ProbeConfig) -> Labelled:
    return split_documents(store.files(TOKENS), config)


def split_documents(files: ArtifactFilesLike, config: ProbeConfig) -> Labelled:
    rows = read_labelled_rows(files, config.split, columns_of(config))
    return with_test_split(choose_documents(rows, config), rows, TokensReader(files, config.split), config)


def test_a_crosscoder_is_probed_at_all_its_hooks(
    store: Store, saes: list[ArtifactRef], undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    ref = _crosscoder(store, saes, tmp_path / "crosscoder")
    body = body_of(store, [ref], tmp_path / "job", {"k": [8]})
    one_hook = body_of(store, saes[:1], tmp_path / "one", {"k": [8]})
    assert body["documents"]["positions"] == one_hook["documents"]["positions"], (
        "no position is a sink at one hook alone here"
    )
    assert body["sparse_probing"][0]["sae"]["value"] > 0.6
    assert "rows" in body["perturbation"]


def _crosscoder(store: Store, saes: list[ArtifactRef], folder: Path) -> ArtifactRef:
    lm, reader = LanguageModel.load(store.files(MODEL).directory()), TokensReader(store.files(TOKENS), "train")
    calibrations = [calibrate(name, calibration_batches(lm, reader, lm.hook(name), 8, 4), POLICY) for name in HOOKS]
    directions = torch.randn(WIDTH, 2 * lm.d_model, generator=torch.Generator().manual_seed(3))
    directions /= directions.norm(dim=1, keepdim=True)
    mean = torch.cat([one.mean for one in calibrations])
    tensors = {"W_enc": directions.T, "b_enc": torch.zeros(WIDTH), "W_dec": directions, "b_dec": mean}
    export = Export(tensors, {"architecture": "topk", "k": K, "apply_b_dec_to_input": True})
    metadata = {"hook_name": "+".join(HOOKS), "hook_names": list(HOOKS), "hf_hook_name": ""}
    write_sae(folder, "topk", export, metadata, calibrations[0], {}, calibrations[1])
    manifest = store.files(saes[0]).manifest
    ref = ArtifactRef("saes", "c" * 16)
    put_artifact(store, ref, folder, config=manifest.config, inputs=manifest.inputs)
    return ref


# -- how it works ------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("ray_cluster")
def test_two_workers_of_which_one_is_killed_give_the_bytes_of_one(
    store: Store, saes: list[ArtifactRef], undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    job = job_of(store, saes[:1], tmp_path / "job", {}, requirement=Requirement(workers=2, cpus=1, threads=1))
    with one_killed(store, job.outputs[0].ref, "Prober"):
        probe.run(job)
    found = files_of(store, job.outputs[0].ref)
    store.delete(job.outputs[0].ref)
    assert found == undisturbed


def test_a_stopped_job_keeps_its_chunks_and_resumes(
    store: Store, saes: list[ArtifactRef], undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    job = job_of(store, saes[:1], tmp_path / "job", {})
    ref = job.outputs[0].ref
    job.stop = lambda: len(store.parts(ref)) >= 2
    with pytest.raises(Stopped, match="kept"):
        probe.run(job)
    assert len(store.parts(ref)) == 2 and store.manifest(ref) is None
    progress = ReportedProgress()
    again = job_of(store, saes[:1], tmp_path / "again", {}, attempt=2, progress=progress)
    probe.run(again)
    found = files_of(store, ref)
    store.delete(ref)
    assert found == undisturbed
    assert progress.reported[0] == 300 and progress.reported == sorted(progress.reported)


def test_batches_and_chunks_change_no_figure(
    store: Store, saes: list[ArtifactRef], undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    body = body_of(store, saes[:1], tmp_path / "job", {"batch_rows": 3, "rows_per_chunk": 71})
    assert body == json.loads(undisturbed["probes.json"])


def test_bytes_are_predicted_before_the_start(
    store: Store, saes: list[ArtifactRef], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_of(store, saes[:1], tmp_path / "job", {})
    written = bytes_written(monkeypatch)
    probe.run(job)
    store.delete(job.outputs[0].ref)
    assert 1 < probe.store_bytes(job.config, job.inputs, store) / sum(written) < 4


def test_each_sae_of_a_run_is_an_artifact_of_its_own(store: Store, saes: list[ArtifactRef], tmp_path: Path) -> None:
    run = train_config(None, HOOKS).model_dump()
    outputs = job_of(store, saes, tmp_path / "job", {"sae": run}).outputs
    alone = [job_of(store, [sae], tmp_path / sae.id, {"sae": str(sae)}).outputs[0] for sae in saes]
    assert outputs == alone


@pytest.mark.parametrize(
    "changed",
    [{"k": [1, 3]}, {"ablated": [2]}, {"draws": 3}, {"l2": 30.0}, {"seed": 1}, {"spurious": SPURIOUS}],
    ids=lambda changed: next(iter(changed)),
)
def test_each_option_of_the_figures_changes_them(
    store: Store, saes: list[ArtifactRef], sums: Path, undisturbed: dict[str, bytes], changed: dict[str, Any]
) -> None:
    documents = documents_of(store, config_of(saes))
    read = documents_of(store, config_of(saes, **changed))._replace(test=documents.test)
    assert np.array_equal(read.row, documents.row)
    means = DocumentMeans([sums], read.document, len(read.label))
    sae = load_sae(store.files(saes[0]).directory())
    found = ProbingFigures(means, read, [sae], [str(saes[0])], config_of(saes, **changed)).body()
    before = json.loads(undisturbed["probes.json"])
    parts = [name for name in found if found[name] != before[name]]
    assert set(parts) <= {"sparse_probing", "classes", "perturbation", "whole_hook", "spurious"}
    assert parts


@pytest.mark.parametrize(
    "changed",
    [
        {"seed": 1}, {"test_fraction": 0.5}, {"documents_per_class": 25}, {"max_classes": 3},
        {"classes": ["school", "weather"]}, {"class_column": "half"}, {"min_documents": 52},
        {"spurious": SPURIOUS, "documents_per_class": 40},
    ],
    ids=lambda changed: next(iter(changed)),
)  # fmt: skip
def test_each_option_of_the_documents_changes_them(
    store: Store, saes: list[ArtifactRef], changed: dict[str, Any]
) -> None:
    before, found = (documents_of(store, config_of(saes, **one)) for one in ({}, changed))
    same = [np.array_equal(a, b) for a, b in zip(before, found, strict=True)]
    assert not all(same)
    assert len(found.label) + found.unread == DOCUMENTS


# -- what it refuses ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"class_column": "colour"}, r"no column 'colour': they have 'topic', 'half'\. Tokenize with `metadata_columns"),
        ({"split": "test"}, "no tokens of split 'test'; there are train"),
        ({"classes": ["kitchen", "garden"]}, "0 documents with 'garden', and min_documents is 20"),
        ({"min_documents": 300, "documents_per_class": 300}, "no value of column 'topic' has min_documents"),
        ({"class_column": "half", "classes": ["early"], "test_fraction": 0.95, "documents_per_class": 40},
         r"class 'early' has \d training and \d+ test documents"),
        ({"spurious": {**SPURIOUS, "values": ["early", "never"]}}, "topic 'kitchen' with half 'never' has 0 training and 0 test"),
        ({"spurious": {**SPURIOUS, "column": "day"}}, "no column 'day'"),
    ],
)  # fmt: skip
def test_labels_that_cannot_be_probed(
    store: Store, saes: list[ArtifactRef], tmp_path: Path, config: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message) as error:
        probe.run(job_of(store, saes[:1], tmp_path / "job", config))
    assert len(str(error.value)) < 500


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        (["topic"], {"packing": "best_fit"}, r"packed \(`packing: best_fit`\).*`packing: off`"),
        ([], {}, "no column 'topic': they keep no columns"),
        (["one"], {}, "column 'one' has only 'same': .* two are needed"),
        (["none"], {}, "column 'none' has no value at all"),
        (["equal"], {}, "where equal texts count on one side"),
    ],
    ids=["packed", "no columns", "one class", "no values", "equal texts"],
)
def test_tokens_that_cannot_be_probed(
    store: Store, saes: list[ArtifactRef], tmp_path: Path, columns: list[str], options: dict[str, Any], message: str
) -> None:
    n = 200
    values: dict[str, list[str | None]] = {
        "topic": ["a", "b"] * 100, "one": ["same"] * n, "none": [None] * n, "equal": ["a", "b"] * 100,
    }  # fmt: skip
    ids = [[5, 6, 7 + i % 2] for i in range(n)] if columns == ["equal"] else [[5, 6, 7 + i] for i in range(n)]
    folder = write_labelled(tmp_path / "tokens", ids, {name: values[name] for name in columns}, **options)
    config = ProbeConfig.model_validate({"sae": str(saes[0]), **CONFIG, "class_column": (columns or ["topic"])[0]})
    with pytest.raises(ValueError, match=message) as error:
        split_documents(LocalFiles(folder), config)
    assert len(str(error.value)) < 500


def test_saes_that_do_not_belong_together(store: Store, saes: list[ArtifactRef], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="same hook and model") as error:
        probe.run(job_of(store, saes[:1], tmp_path / "job", {"compare_with": [str(saes[1])]}))
    assert HOOKS[1] in str(error.value) and len(str(error.value)) < 500
    other = ArtifactRef("tokens", "7" * 16)
    put_artifact(store, other, Path(store.files(TOKENS).directory()), inputs={"model": f"models/{'8' * 16}"})
    with pytest.raises(ValueError, match=r"were made for models/8+, and .* tokenize the documents for that model"):
        probe.run(job_of(store, saes[:1], tmp_path / "other", {"tokens": str(other)}))


@pytest.mark.parametrize(
    ("metadata", "inputs", "message"),
    [
        ({"hook_name_out": "blocks.1.hook_mlp_out"}, {"model": str(MODEL)}, "is a transcoder"),
        ({}, {"activations": f"activations/{'0' * 16}"}, "planted activations: there is no text"),
    ],
    ids=["transcoder", "planted"],
)
def test_saes_without_a_hook_to_probe(
    store: Store,
    saes: list[ArtifactRef],
    tmp_path: Path,
    metadata: dict[str, str],
    inputs: dict[str, str],
    message: str,
) -> None:
    folder = tmp_path / "sae"
    shutil.copytree(store.files(saes[0]).directory(), folder)
    cfg = json.loads((folder / "cfg.json").read_text())
    (folder / "cfg.json").chmod(0o644)
    (folder / "cfg.json").write_text(json.dumps({**cfg, "metadata": {**cfg["metadata"], **metadata}}))
    ref = ArtifactRef("saes", ("d" if metadata else "e") * 16)
    put_artifact(store, ref, folder, config=store.files(saes[0]).manifest.config, inputs=inputs)
    with pytest.raises(ValueError, match=message):
        probe.run(job_of(store, [ref], tmp_path / "job", {}))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"k": [2, 2]}, "`k` names one twice"),
        ({"k": []}, "at least 1 item"),
        ({"compare_with": [f"saes/{'0' * 16}"]}, "names `sae` itself"),
        ({"spurious": {**SPURIOUS, "column": "topic"}}, "`spurious.column` is `class_column`"),
        ({"spurious": {**SPURIOUS, "values": ["x", "x"]}}, "names 'x' twice"),
        ({"documents_per_class": 40}, "`documents_per_class` 40 is less than `min_documents` 64"),
        ({"split": "dev"}, "'train', 'validation' or 'test'"),
    ],
)
def test_settings_that_have_no_meaning(config: dict[str, Any], message: str) -> None:
    body = {"sae": f"saes/{'0' * 16}", "tokens": str(TOKENS), "class_column": "topic"}
    with pytest.raises((ValidationError, ValueError), match=message):
        parse_config("probe", {**body, **config})
