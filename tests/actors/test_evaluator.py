"""The evaluator as a Ray actor: what it stores, and what it says when the model misbehaves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import ray
import torch
from safetensors.torch import load_file, save_file

from actors.evaluator import Chunk, EvaluatorSettings, make_evaluator
from cluster.store import Store
from configs.identity import ArtifactRef
from sae.formats.sae_folder import load_sae
from sae.formats.tokens import TokensReader
from sae.language_model import LanguageModel
from sae.metrics.results_file import load_results, partial_name, save_results
from sae.metrics.rows import Batch, RowResults, evaluate_batch
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


def settings_of(sae: ArtifactRef, model: ArtifactRef = MODEL) -> EvaluatorSettings:
    return EvaluatorSettings(sae, OUTPUT, model, TOKENS, "train", POLICY, "fp32", 1)


def same(a: RowResults, b: RowResults) -> bool:
    arrays = [*zip(a.sums, b.sums, strict=True), (a.counts, b.counts)]
    if a.losses is not None and b.losses is not None:
        arrays += zip(a.losses, b.losses, strict=True)
    plain = (a.excluded, a.unscored, a.losses is None) == (b.excluded, b.unscored, b.losses is None)
    return plain and all(np.array_equal(x, y) and x.dtype == y.dtype for x, y in arrays)


@pytest.mark.parametrize("loss_rows", [0, 3])
def test_stores_what_the_library_measures(store: Store, ray_cluster: str, sae: ArtifactRef, loss_rows: int) -> None:
    actor = make_evaluator(store, settings_of(sae), REQUIREMENT)
    chunk = Chunk(8, 12, loss_rows)
    assert ray.get(actor.measure.remote(chunk), timeout=120) == 4
    ray.kill(actor)
    stored = load_results(Path(store.location(OUTPUT, store.parts(OUTPUT)[partial_name(8)][0].path)))
    before = torch.get_num_threads()
    torch.set_num_threads(REQUIREMENT.threads)
    lm, tokens = LanguageModel.load(store.files(MODEL).directory()), TokensReader(store.files(TOKENS), "train")
    here = load_sae(store.files(sae).directory())
    batch = Batch(8, tokens.read(8, 12), loss_rows)
    expected = evaluate_batch(lm, lm.hook(here.metadata["hook_name"]), here, batch, POLICY, "row")
    torch.set_num_threads(before)
    assert same(stored, expected)


def test_partials_come_back_as_they_went(tmp_path: Path, store: Store, sae: ArtifactRef) -> None:
    lm, tokens = LanguageModel.load(store.files(MODEL).directory()), TokensReader(store.files(TOKENS), "train")
    here = load_sae(store.files(sae).directory())
    for loss_rows in (0, 2):
        batch = Batch(0, tokens.read(0, 3), loss_rows)
        results = evaluate_batch(lm, lm.hook(here.metadata["hook_name"]), here, batch, POLICY, "row")
        save_results(results, tmp_path / "part")
        assert same(load_results(tmp_path / "part"), results)


def test_nan_activations_end_in_one_clear_message(
    store: Store, ray_cluster: str, sae: ArtifactRef, tmp_path: Path
) -> None:
    broken, folder = ArtifactRef("models", "b" * 16), tmp_path / "broken"
    folder.mkdir()
    for name in store.files(MODEL).names:
        (folder / name).write_bytes(store.files(MODEL).path(name).read_bytes())
    weights = load_file(folder / "model.safetensors")
    key = next(name for name in weights if name.endswith("h.1.mlp.c_proj.bias"))
    weights[key] = torch.full_like(weights[key], float("nan"))
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    put_artifact(store, broken, folder)
    actor = make_evaluator(store, settings_of(sae, broken), REQUIREMENT)
    with pytest.raises(
        ValueError, match=r"NaN or infinite activations at blocks\.1\.hook_resid_post, row 4, position 0"
    ):
        ray.get(actor.measure.remote(Chunk(4, 6, 0)), timeout=120)
    ray.kill(actor)
