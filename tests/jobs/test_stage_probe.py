"""The probe stage on a tiny model's documents with topics and random SAEs: what its figures say, and what they depend on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from actors.prober import Chunk, Prober, ProberSettings
from cluster.store import Store
from configs.artifact_ids import ArtifactRef
from jobs.stages import probe
from sae.architectures import Export
from sae.calibration import calibrate
from sae.formats.probes import read_probes
from sae.formats.sae_folder import load_sae, write_sae
from sae.formats.tokens import Role, TokensReader
from sae.language_model import LanguageModel
from sae.probing.document_means import DocumentMeans
from sae.probing.figures import ProbingFigures
from sae.probing.row_sums import file_name
from sae.row_activations import calibration_batches
from tests.actors.extract_world import HOOKS, MODEL, POLICY, REQUIREMENT, WIDTH, K, put_artifact
from tests.jobs.probe_world import (
    DOCUMENTS,
    SPURIOUS,
    TOKENS,
    body_of,
    config_of,
    documents_of,
    job_of,
    one_process,
    saes,
    store,
    undisturbed,
)
from tests.labelled_tokens import LENGTH

__all__ = ["one_process", "saes", "store", "undisturbed"]


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
