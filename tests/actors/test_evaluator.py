"""The evaluator: what it stores, and what it says when the model misbehaves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from actors.evaluator import Chunk, Evaluator, EvaluatorSettings
from cluster.store import Store
from configs.artifact_ids import ArtifactRef
from sae.formats.sae_folder import load_sae
from sae.formats.tokens import TokensReader
from sae.language_model import LanguageModel
from sae.metrics.batch_evaluation import Batch, RowResults, evaluate_batch, join
from sae.metrics.chunk_results import load_results, results_name
from tests.actors.extract_world import (
    MODEL,
    POLICY,
    REQUIREMENT,
    TOKENS,
    make_saes,
    make_world,
    put_artifact,
    train_config,
)

OUTPUT = ArtifactRef("evaluations", "e" * 16)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, tiny_gpt2: Path) -> Store:
    return make_world(tmp_path_factory.mktemp("world"), tiny_gpt2)


@pytest.fixture(scope="module")
def sae(store: Store, tmp_path_factory: pytest.TempPathFactory) -> ArtifactRef:
    return make_saes(store, train_config(None), None, tmp_path_factory.mktemp("sae"))[0]


def settings_of(sae: ArtifactRef, model: ArtifactRef = MODEL, loss_rows: int = 0) -> EvaluatorSettings:
    return EvaluatorSettings(sae, OUTPUT, model, TOKENS, "train", POLICY, "fp32", 3, loss_rows, 1)


def same(a: RowResults, b: RowResults) -> bool:
    arrays = [*zip(a.sums, b.sums, strict=True), (a.counts, b.counts)]
    if a.losses is not None and b.losses is not None:
        arrays += zip(a.losses, b.losses, strict=True)
    plain = (a.excluded, a.unscored, a.losses is None) == (b.excluded, b.unscored, b.losses is None)
    return plain and all(np.array_equal(x, y) and x.dtype == y.dtype for x, y in arrays)


@pytest.mark.parametrize("loss_rows", [0, 10, 12])
def test_stores_what_the_library_measures(store: Store, sae: ArtifactRef, loss_rows: int) -> None:
    before = torch.get_num_threads()
    assert Evaluator(store, settings_of(sae, loss_rows=loss_rows), REQUIREMENT).measure(Chunk(8, 12)) == 4
    lm, tokens = LanguageModel.load(store.files(MODEL).directory()), TokensReader(store.files(TOKENS), "train")
    here = load_sae(store.files(sae).directory())
    hook = lm.hook(here.metadata["hook_name"])
    batches = [Batch(8, tokens.read(8, 11), min(3, max(0, loss_rows - 8)))]
    batches.append(Batch(11, tokens.read(11, 12), max(0, loss_rows - 11)))
    expected = join([evaluate_batch(lm, hook, here, batch, POLICY, "row") for batch in batches])
    torch.set_num_threads(before)
    stored = load_results(store.part_files(OUTPUT).path(results_name(8)))[0]
    assert same(stored, expected)
    assert (stored.losses is None) == (loss_rows == 0)
    store.delete(OUTPUT)


def test_nan_activations_end_in_one_clear_message(store: Store, sae: ArtifactRef, tmp_path: Path) -> None:
    broken, folder = ArtifactRef("models", "b" * 16), tmp_path / "broken"
    folder.mkdir()
    for name in store.files(MODEL).names:
        (folder / name).write_bytes(store.files(MODEL).path(name).read_bytes())
    weights = load_file(folder / "model.safetensors")
    key = next(name for name in weights if name.endswith("h.1.mlp.c_proj.bias"))
    weights[key] = torch.full_like(weights[key], float("nan"))
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    put_artifact(store, broken, folder)
    evaluator = Evaluator(store, settings_of(sae, broken), REQUIREMENT)
    with pytest.raises(
        ValueError, match=r"NaN or infinite activations at blocks\.1\.hook_resid_post, row 4, position 0"
    ):
        evaluator.measure(Chunk(4, 6))
