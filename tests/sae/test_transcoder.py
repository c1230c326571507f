"""Transcoders: what they learn, what is written of them, and how they are measured at their target hook."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from configs.architectures import TopKConfig
from configs.data_positions import DataPolicy
from configs.train import TrainConfig
from sae.architectures import Step
from sae.calibration import Calibration
from sae.formats.artifact_files import LocalFiles
from sae.formats.sae_folder import Sae, load_sae, write_sae
from sae.formats.tokens import TokensReader
from sae.language_model import LanguageModel
from sae.metrics.batch_evaluation import Batch, evaluate_batch
from sae.metrics.reconstruction import add_rows, explained_variance, l0
from sae.training.build import build_run
from sae.training.collectives import LocalCollective
from sae.training.loop import AfterBlock, train
from sae.training.sae_trainer import SaeTrainer
from tests.artifacts import write_tokens

HOOK, TARGET = "blocks.0.ln2.hook_normalized", "blocks.0.hook_mlp_out"
D, D_OUT, STEPS = 12, 9, 60
KINDS = {
    "topk": {"k": 4}, "batchtopk": {"k": 4}, "matryoshka": {"k": 4}, "standard": {"l1": 0.5}, "gated": {"l1": 0.5},
    "jumprelu": {"target": 4.0},
}  # fmt: skip
SAELENS = {"topk": "topk", "batchtopk": "jumprelu", "matryoshka": "jumprelu", "gated": "gated", "jumprelu": "jumprelu"}


def trainer(name: str, skip: bool) -> SaeTrainer:
    """A transcoder of a map from 12 to 9 dimensions; both have a mean and a scale."""
    sae = {"hook": HOOK, "target_hook": TARGET, "d_sae": 48, "lr": 0.01, "lr_warmup": 0, "architecture": name}
    ids = {"model": "models/" + "0" * 16, "tokens": "tokens/" + "0" * 16}
    (config,) = TrainConfig.model_validate({**ids, "saes": [{**sae, "skip_connection": skip, **KINDS[name]}]}).saes
    first = Calibration(HOOK, 1.0, 9.0, 0.7, torch.full((D,), 0.4), 1, 1, 0)
    return SaeTrainer(
        config, first, STEPS, others=[Calibration(TARGET, 1.0, 9.0, 1.6, torch.full((D_OUT,), -0.2), 1, 1, 0)]
    )


def batch(seed: int, n: int = 128) -> torch.Tensor:
    """Inputs and what a linear map and a ReLU make of them, side by side."""
    fixed = torch.Generator().manual_seed(1)
    linear, first, second = (torch.randn(*shape, generator=fixed) for shape in ((D, D_OUT), (D, 20), (20, D_OUT)))
    x = torch.randn(n, D, generator=torch.Generator().manual_seed(seed)) + 0.4
    return torch.cat([x, 0.2 * x @ linear + 0.05 * (x @ first - 3).relu() @ second], dim=1)


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("name", KINDS)
def test_what_is_written_computes_what_was_trained(name: str, skip: bool, tmp_path: Path) -> None:
    one = trainer(name, skip)
    for number in range(STEPS):
        one.step(batch(number))
    one.measure(batch(STEPS, 512))
    curve = one.curve()
    assert curve[-1].mse < 0.7 * curve[0].mse
    metadata = {"hook_name": HOOK, "hook_name_out": TARGET}
    files = write_sae(tmp_path, name, one.export(), metadata, one.calibration, {}, *one.others)
    assert set(files) == {path.name for path in tmp_path.iterdir()}
    sae = load_sae(tmp_path)
    assert (sae.is_transcoder, sae.target_hook, sae.config["d_in"], sae.config["d_out"]) == (True, TARGET, D, D_OUT)
    kind = "skip_transcoder" if skip else "transcoder"
    assert sae.config["architecture"] == (f"{SAELENS[name]}_{kind}" if name != "standard" else kind)
    assert sae.target_calibration.scale == 1.6

    whole = batch(STEPS, 512)
    x, y = whole[:, :D], whole[:, D:]
    error = float((sae.reconstruct(x) - y).double().square().sum()) * 1.6**2
    with torch.no_grad():
        scaled = torch.cat([x * 0.7, y * 1.6], dim=1)
        last = one.architecture.gradients(scaled, Step(STEPS, STEPS, torch.empty(0, dtype=torch.int64)))
    assert error == pytest.approx(float(last.squared_error), rel=0.15 if name in ("batchtopk", "matryoshka") else 1e-4)


def test_a_skip_connection_learns_what_is_linear() -> None:
    errors = []
    for skip in (False, True):
        one = trainer("topk", skip)
        for number in range(STEPS):
            one.step(batch(number))
        errors.append(one.curve()[-1].mse)
    assert errors[1] < 0.5 * errors[0]


def test_it_is_trained_on_a_language_model_and_measured_at_its_target(tiny_gpt2: Path, tmp_path: Path) -> None:
    (tmp_path / "tokens").mkdir()
    write_tokens(tmp_path / "tokens", tiny_gpt2, {"train": 24})
    sae = {"hook": HOOK, "target_hook": TARGET, "skip_connection": True, "d_sae": 96, "k": 8, "lr": 0.01}
    config = TrainConfig.model_validate(
        {
            "model": "models/" + "0" * 16, "tokens": "tokens/" + "0" * 16, "saes": [sae], "lm_dtype": "fp32",
            "autocast": "off", "epochs": 8, "batch_rows": 4, "block_steps": 6, "policy": {"calibration_rows": 8},
        }
    )  # fmt: skip
    files = LocalFiles(tmp_path / "tokens")
    run = build_run(config, [0], LocalFiles(tiny_gpt2), files, None, LocalCollective(), "cpu")
    assert run.hooks == ((HOOK, TARGET),)
    train(run, LocalCollective(), 0, lambda _: None, lambda _: AfterBlock(False, False), lambda _: None)
    one = run.trainers[0]
    metadata = {"hook_name": HOOK, "hook_name_out": TARGET}
    write_sae(tmp_path / "sae", "topk", one.export(), metadata, one.calibration, {}, *one.others)
    made = load_sae(tmp_path / "sae")

    lm, reader = LanguageModel.load(tiny_gpt2), TokensReader(files, "train")
    rows = reader.read(0, 8)
    found = evaluate_batch(lm, lm.hook(TARGET), made, Batch(0, rows, 4), DataPolicy(calibration_rows=8), "row")
    total = add_rows(found.sums)
    ids = torch.from_numpy(rows.input_ids).long()
    values = lm.run_to(ids, [lm.hook(HOOK), lm.hook(TARGET)])
    data = torch.from_numpy(rows.roles == 0)
    x, y = values[HOOK][data], values[TARGET][data]
    assert total.positions == len(x)
    expected = 1 - (made.reconstruct(x) - y).square().sum() / (y - y.mean(0)).square().sum()
    assert explained_variance(total) == pytest.approx(float(expected), abs=1e-5)
    assert float(expected) > 0.5
    assert l0(total) == pytest.approx(8, abs=1)
    assert found.losses is not None
    clean, own, zero, _ = found.losses.ce.sum(axis=0)
    assert clean < own < zero, "the reconstruction replaces what the MLP gives"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"target_hook": HOOK}, "target_hook = .* is `hook` itself"),
        ({"skip_connection": True}, "skip_connection is for transcoders: give a target_hook"),
    ],
)
def test_settings_that_make_no_transcoder_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TopKConfig.model_validate({"hook": HOOK, "d_sae": 48, "k": 4, **settings})


def test_an_sae_is_no_transcoder() -> None:
    calibration = Calibration(HOOK, 1.0, 9.0, 1.0, torch.zeros(2), 1, 1, 0)
    sae = Sae({"W_dec": torch.eye(2)}, {"architecture": "topk", "metadata": {"hook_name": HOOK}}, calibration)
    assert (sae.is_transcoder, sae.target_hook) == (False, HOOK)
