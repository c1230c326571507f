"""The loop on a real model: stream and cache, interrupted or not, several SAEs or one, give equal bytes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from configs.train import TrainConfig
from sae.formats.activations import HOOKS_JSON, INFO_JSON, chunk_name, write_chunk
from sae.formats.artifact_files import LocalFiles
from sae.training.build import TrainingRun, build_run
from sae.training.collectives import LocalCollective
from sae.training.loop import AfterBlock, train
from tests.artifacts import LENGTH, write_tokens

ROWS = 32
HOOKS = ("blocks.0.hook_mlp_out", "blocks.1.hook_resid_post")


def _config(**settings: object) -> TrainConfig:
    saes = [
        {"hook": HOOKS[1], "d_sae": 96, "k": 8},
        {"hook": HOOKS[0], "d_sae": 64, "k": 4, "architecture": "batchtopk", "dead_after_tokens": 200},
        {"hook": HOOKS[1], "d_sae": 48, "k": 4, "seed": 5},
    ]
    base = {
        "model": "models/" + "0" * 16, "tokens": "tokens/" + "0" * 16, "saes": saes, "lm_dtype": "fp32", "rows": ROWS,
        "autocast": "off", "epochs": 2, "batch_rows": 4, "lanes": 2, "block_steps": 3, "policy": {"calibration_rows": 8},
    }  # fmt: skip
    return TrainConfig.model_validate({**base, **settings})


@pytest.fixture(scope="module")
def tokens(tiny_gpt2: Path, tmp_path_factory: pytest.TempPathFactory) -> LocalFiles:
    folder = tmp_path_factory.mktemp("tokens")
    write_tokens(folder, tiny_gpt2, {"train": ROWS + 3})
    return LocalFiles(folder)


def _build(model: Path, tokens: LocalFiles, numbers: list[int], cache: LocalFiles | None = None) -> TrainingRun:
    return build_run(_config(), numbers, LocalFiles(model), tokens, cache, LocalCollective(), "cpu")


def _go(run: TrainingRun, first: int = 0, stop: int | None = None) -> tuple[bool, int]:
    saved = [0]
    finished = train(
        run, LocalCollective(), first,
        lambda step: None, lambda block: AfterBlock(False, block == stop), lambda block: saved.append(block),
    )  # fmt: skip
    return finished, saved[-1]


def _equal(a: TrainingRun, b: TrainingRun, numbers: list[int]) -> None:
    for i in numbers:
        for (name, left), right in zip(a.trainers[i].state().items(), b.trainers[i].state().values(), strict=True):
            assert torch.equal(left, right), (i, name)


def test_an_interrupted_run_ends_with_equal_bytes(tiny_gpt2: Path, tokens: LocalFiles) -> None:
    whole, first, second = (_build(tiny_gpt2, tokens, [0, 1, 2]) for _ in range(3))
    assert _go(whole) == (True, 0)
    assert _go(first, stop=3) == (False, 3)
    for i, trainer in second.trainers.items():
        trainer.load_state({k: v.clone() for k, v in first.trainers[i].state().items()})
    assert _go(second, first=3)[0]
    _equal(whole, second, [0, 1, 2])
    assert [int(point.step) for point in whole.trainers[0].curve()] == list(range(16))


def test_an_sae_does_not_depend_on_the_others_of_its_run(tiny_gpt2: Path, tokens: LocalFiles) -> None:
    together, alone = _build(tiny_gpt2, tokens, [0, 1, 2]), _build(tiny_gpt2, tokens, [1])
    _go(together)
    _go(alone)
    _equal(together, alone, [1])


def test_stream_and_fp32_cache_give_equal_bytes(tiny_gpt2: Path, tokens: LocalFiles, tmp_path: Path) -> None:
    import json

    from sae.calibration import data_mask, save_calibration
    from sae.row_activations import activations_of_rows

    stream = _build(tiny_gpt2, tokens, [0, 1, 2])
    model, reader, policy = stream.source._model, stream.source._tokens, _config().policy
    for hook in HOOKS:
        (tmp_path / hook).mkdir()
        save_calibration(stream.source._calibrations[hook], tmp_path / hook)
    for chunk in range(4):
        start = chunk * 8
        for hook in HOOKS:
            parts = [
                activations_of_rows(model, reader, [model.hook(hook)], i, i + 2) for i in range(start, start + 8, 2)
            ]
            acts, roles = torch.cat([p[0][hook] for p in parts]), torch.cat([p[1] for p in parts])
            mask = data_mask(roles, acts.norm(dim=-1), stream.source._calibrations[hook], policy)
            write_chunk(tmp_path / chunk_name(hook, chunk), acts, mask, start, "fp32")
    info = {"rows": ROWS, "rows_per_chunk": 8, "context_length": LENGTH}
    (tmp_path / INFO_JSON).write_text(json.dumps(info))
    (tmp_path / HOOKS_JSON).write_text(json.dumps({"names": {}, "module_paths": {h: h for h in HOOKS}}))

    cached = _build(tiny_gpt2, tokens, [0, 1, 2], LocalFiles(tmp_path))
    _go(stream)
    _go(cached)
    _equal(stream, cached, [0, 1, 2])


def test_only_data_positions_reach_the_saes(tiny_gpt2: Path, tokens: LocalFiles) -> None:
    run = _build(tiny_gpt2, tokens, [0])
    _go(run)
    seen = sum(point.tokens for point in run.trainers[0].curve())
    slots = run.plan.total_steps * run.plan.batch_rows * LENGTH
    assert 0 < seen <= slots * (LENGTH - 1) / LENGTH  # BOS never counts
