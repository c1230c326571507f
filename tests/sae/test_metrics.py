"""Metrics of whole SAEs on a real language model: closed forms, masks, counts, and errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from configs.data_positions import DataPolicy
from sae.calibration import Calibration, NonFiniteActivations
from sae.formats.sae_folder import Sae
from sae.formats.tokens import Role, TokenRows
from sae.language_model import HookPoint, LanguageModel
from sae.language_model.resumed_forward import logits_of
from sae.metrics.batch_evaluation import Batch, RowResults, evaluate_batch, evaluate_saes, join
from sae.metrics.chunk_results import load_results, save_results
from sae.metrics.summary import NothingToMeasure, summarise

HOOK = "blocks.1.hook_resid_post"
POLICY = DataPolicy()
N, L = 6, 16


@pytest.fixture(scope="module")
def lm(tiny_gpt2: Path) -> LanguageModel:
    return LanguageModel.load(tiny_gpt2)


@pytest.fixture(scope="module")
def rows() -> TokenRows:
    """BOS, two documents with a separator and one special token, and padding on the last rows."""
    ids = np.random.default_rng(0).integers(1, 600, (N, L)).astype(np.int32)
    roles = np.zeros((N, L), np.uint8)
    document = np.zeros((N, L), np.int64)
    roles[:, 0], document[:, 0] = Role.BOS, -1
    roles[:, 7] = Role.SEPARATOR
    document[:, 8:] = 1
    roles[2, 11] = Role.SPECIAL
    roles[4:, 12:], document[4:, 12:] = Role.PAD, -1
    return TokenRows(ids, roles, document, np.zeros_like(roles))


@pytest.fixture(scope="module")
def activations(lm: LanguageModel, rows: TokenRows) -> torch.Tensor:
    return lm.run_to(torch.from_numpy(rows.input_ids.astype(np.int64)), [lm.hook(HOOK)])[HOOK]


@pytest.fixture(scope="module")
def calibration(activations: torch.Tensor, rows: TokenRows) -> Calibration:
    """The threshold lies just below one data position's norm, so that exactly one position is a sink."""
    data = torch.from_numpy(rows.roles) == int(Role.DATA)
    norms = activations.norm(dim=-1)[data].sort().values
    threshold = float(norms[-2] + norms[-1]) / 2
    kept = activations[data & (activations.norm(dim=-1) <= threshold)]
    return Calibration(HOOK, float(norms.median()), threshold, 1.0, kept.double().mean(0).float(), N, len(kept), 1)


def make(calibration: Calibration, W_dec: torch.Tensor, W_enc: torch.Tensor, b_dec: torch.Tensor) -> Sae:
    zeros = torch.zeros(W_enc.shape[1])
    tensors = {"W_enc": W_enc, "b_enc": zeros, "W_dec": W_dec, "b_dec": b_dec, "threshold": zeros}
    config = {"architecture": "jumprelu", "metadata": {"hook_name": HOOK, "raylens": {"architecture": "batchtopk"}}}
    return Sae(tensors, config, calibration)


def identity(calibration: Calibration) -> Sae:
    """x = relu(x) - relu(-x): an SAE that gives back what it gets, with d latents active."""
    d = len(calibration.mean)
    both = torch.cat([torch.eye(d), -torch.eye(d)])
    return make(calibration, both, both.T.contiguous(), torch.zeros(d))


def constant(calibration: Calibration, value: torch.Tensor) -> Sae:
    """Gives `value` whatever it gets; no latent is ever active."""
    d = len(value)
    return make(calibration, torch.zeros(4, d), torch.zeros(d, 4), value)


def measure(
    lm: LanguageModel,
    sae: Sae,
    rows: TokenRows,
    loss_rows: int = N,
    size: int = N,
    attention: str = "row",
    padding_side: str = "right",
) -> list[RowResults]:
    """Results of batches of `size` rows."""
    hook: HookPoint = lm.hook(HOOK)
    batches = [
        Batch(s, TokenRows(*(column[s : s + size] for column in rows)), max(0, min(size, loss_rows - s)))
        for s in range(0, N, size)
    ]
    return [evaluate_batch(lm, hook, sae, b, POLICY, attention, padding_side) for b in batches]  # type: ignore[arg-type]


def test_artifact_ids(lm: LanguageModel, rows: TokenRows, calibration: Calibration) -> None:
    metrics = summarise(measure(lm, identity(calibration), rows)).metrics
    assert metrics["ev"] == 1.0
    assert metrics["l0"] == len(calibration.mean)
    assert metrics["ce_sae"] == metrics["ce_clean"]
    assert metrics["kl_sae"] == 0
    assert [metrics[f"{kind}_score_{a}"] for kind in ("ce", "kl") for a in ("zero", "mean")] == [1, 1, 1, 1]
    assert metrics["kl_zero"] > 0
    assert metrics["kl_mean"] > 0


@pytest.mark.parametrize("attention", ["row", "document"])
def test_metrics_do_not_depend_on_the_side_of_the_padding(
    lm: LanguageModel, rows: TokenRows, calibration: Calibration, attention: str
) -> None:
    moved = TokenRows(*(np.concatenate([c[:4], np.roll(c[4:], 4, axis=1)]) for c in rows))
    assert (moved.roles[4:, :4] == Role.PAD).all()
    g, d = torch.Generator().manual_seed(0), len(calibration.mean)
    sae = make(calibration, torch.randn(64, d, generator=g) * 0.1, torch.randn(d, 64, generator=g), calibration.mean)
    right = summarise(measure(lm, sae, rows, attention=attention)).metrics
    left = summarise(measure(lm, sae, moved, attention=attention, padding_side="left")).metrics
    assert left["excluded"] == right["excluded"]
    assert left["tokens"] == right["tokens"]
    for name in ("ev", "l0", "ce_clean", "ce_sae", "kl_sae", "kl_mean"):
        assert left[name] == pytest.approx(right[name], rel=1e-4), name


def test_saes_measured_together_are_measured_as_each_alone(
    lm: LanguageModel, rows: TokenRows, calibration: Calibration
) -> None:
    g, d = torch.Generator().manual_seed(0), len(calibration.mean)
    some = make(calibration, torch.randn(64, d, generator=g) * 0.1, torch.randn(d, 64, generator=g), calibration.mean)
    saes = [identity(calibration), some, constant(calibration, torch.zeros(d))]
    batch = Batch(0, rows, N)
    together = evaluate_saes(lm, lm.hook(HOOK), saes, batch, POLICY, "row")
    for one, found in zip(saes, together, strict=True):
        (alone,) = measure(lm, one, rows)
        assert summarise([found]).metrics == summarise([alone]).metrics
        for field in ("pieces", "loss_pieces"):
            assert all(np.array_equal(a, b) for a, b in zip(getattr(found, field), getattr(alone, field), strict=True))


def test_zero_sae(lm: LanguageModel, rows: TokenRows, calibration: Calibration) -> None:
    sae = constant(calibration, torch.zeros_like(calibration.mean))
    summary = summarise(measure(lm, sae, rows))
    metrics = summary.metrics
    assert metrics["ce_score_zero"] == metrics["kl_score_zero"] == 0
    assert metrics["ev"] < 0
    assert (metrics["l0"], metrics["alive"], metrics["alive_share"]) == (0, 0, 0)
    assert summary.counts.tolist() == [0, 0, 0, 0]


def test_mean_predictor(lm: LanguageModel, rows: TokenRows, calibration: Calibration) -> None:
    """The calibration mean is here the mean of exactly the measured positions."""
    metrics = summarise(measure(lm, constant(calibration, calibration.mean), rows)).metrics
    assert abs(metrics["ev"]) < 1e-9
    assert metrics["ce_score_mean"] == metrics["kl_score_mean"] == 0


def test_ev_against_all_data_at_once(
    lm: LanguageModel, rows: TokenRows, activations: torch.Tensor, calibration: Calibration
) -> None:
    g = torch.Generator().manual_seed(0)
    d = len(calibration.mean)
    sae = make(calibration, torch.randn(64, d, generator=g) * 0.1, torch.randn(d, 64, generator=g), calibration.mean)
    summary = summarise(measure(lm, sae, rows, size=2))
    mask = (torch.from_numpy(rows.roles) == int(Role.DATA)) & (activations.norm(dim=-1) <= calibration.sink_threshold)
    x = activations[mask]
    latents = sae.encode(x)
    error = (x - sae.decode(latents)).double().square().sum()
    variance = (x.double() - x.double().mean(0)).square().sum()
    assert summary.metrics["ev"] == pytest.approx(float(1 - error / variance), rel=1e-5)
    assert summary.metrics["l0"] == pytest.approx(float((latents > 0).sum(1).double().mean()))
    assert summary.counts.tolist() == (latents > 0).sum(0).tolist()
    assert summary.metrics["alive"] == int((latents > 0).any(0).sum())
    assert summary.metrics["tokens"] == int(mask.sum())


def test_excluded_positions_are_counted_by_reason(lm: LanguageModel, rows: TokenRows, calibration: Calibration) -> None:
    metrics = summarise(measure(lm, identity(calibration), rows, loss_rows=4)).metrics
    assert metrics["excluded"] == {
        "bos": 6, "boundary": 0, "separator": 6, "special": 1, "repeated": 0, "pad": 8, "sink": 1,
    }  # fmt: skip
    assert metrics["tokens"] + sum(metrics["excluded"].values()) == N * L == metrics["rows"] * L
    loss = metrics["loss"]
    assert loss["rows"] == 4
    # Of the 4 rows: BOS and separators, the special token and perhaps the sink are no data; the rest is data.
    data = [int(r.sums.positions[:4].sum()) for r in measure(lm, identity(calibration), rows, loss_rows=4)]
    assert loss["tokens"] + sum(loss["unscored"].values()) == data[0]


def test_ablation_spares_what_is_not_data(
    lm: LanguageModel, rows: TokenRows, activations: torch.Tensor, calibration: Calibration
) -> None:
    """CE with zero ablation is that of a pass in which only data positions are zero."""
    mask = (torch.from_numpy(rows.roles) == int(Role.DATA)) & (activations.norm(dim=-1) <= calibration.sink_threshold)
    ids = torch.from_numpy(rows.input_ids.astype(np.int64))
    logits = lm.logits(ids, replace=(lm.hook(HOOK), lambda x: torch.where(mask[..., None], 0.0, x)))
    scored = mask[:, :-1] & mask[:, 1:]
    loss = torch.nn.functional.cross_entropy(logits[:, :-1][scored].double(), ids[:, 1:][scored])
    metrics = summarise(measure(lm, identity(calibration), rows)).metrics
    assert metrics["ce_zero"] == pytest.approx(float(loss), rel=1e-6)
    assert metrics["loss"]["tokens"] == int(scored.sum())


def test_attention_inside_documents(lm: LanguageModel, rows: TokenRows, calibration: Calibration) -> None:
    """A document scores the same whatever stands in front of it."""
    other = rows.input_ids.copy()
    other[:, 1:8] = other[::-1, 1:8]
    changed = rows._replace(input_ids=other)
    only_second = [
        [part.losses.ce[:, 0] for part in measure(lm, identity(calibration), r, attention="document") if part.losses]
        for r in (
            rows._replace(roles=np.where(np.arange(L) < 8, Role.SPECIAL, rows.roles).astype(np.uint8)),
            changed._replace(roles=np.where(np.arange(L) < 8, Role.SPECIAL, rows.roles).astype(np.uint8)),
        )
    ]
    np.testing.assert_allclose(only_second[0], only_second[1], rtol=1e-5)


def test_batches_of_any_size_agree(lm: LanguageModel, rows: TokenRows, calibration: Calibration) -> None:
    """To the rounding of the language model, whose batch is part of the config; the sums themselves are exact."""
    sae = identity(calibration)
    found = [summarise(measure(lm, sae, rows, loss_rows=5, size=size)).metrics for size in (1, 2, 3, 6)]
    for metrics in found[1:]:
        assert metrics["excluded"] == found[0]["excluded"]
        assert metrics["loss"] == found[0]["loss"]
        for key in ("ev", "l0", "ce_clean", "ce_zero", "ce_mean", "kl_zero", "kl_score_mean"):
            assert metrics[key] == pytest.approx(found[0][key], rel=1e-5), key


def test_joined_batches_are_as_one(
    lm: LanguageModel, rows: TokenRows, calibration: Calibration, tmp_path: Path
) -> None:
    parts = measure(lm, identity(calibration), rows, loss_rows=3, size=2)
    joined = join(parts)
    apart, together = summarise(parts), summarise([join(parts[:2]), parts[2]])
    assert apart.metrics == together.metrics == summarise([joined]).metrics
    assert apart.counts.tobytes() == together.counts.tobytes()
    save_results([joined], tmp_path / "results")
    assert summarise(load_results(tmp_path / "results")).metrics == apart.metrics


def test_losses_in_half_precision_come_from_float32_logits(
    tiny_gpt2: Path, rows: TokenRows, calibration: Calibration
) -> None:
    """The same states through a float64 product: nothing of the output matrix' own rounding is left."""
    lm = LanguageModel.load(tiny_gpt2, "bf16")
    states = torch.randn(40, lm.d_model, generator=torch.Generator().manual_seed(0)).bfloat16()
    weight = lm._model.get_output_embeddings().weight
    logits = logits_of(lm, states)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits.double(), states.double() @ weight.double().T, rtol=1e-5, atol=1e-5)
    assert lm.logits(torch.zeros(1, 2, dtype=torch.int64)).dtype == torch.bfloat16


def test_no_loss_rows_gives_no_scores(lm: LanguageModel, rows: TokenRows, calibration: Calibration) -> None:
    metrics = summarise(measure(lm, identity(calibration), rows, loss_rows=0)).metrics
    assert metrics["ev"] == 1.0
    assert metrics["ce_score_zero"] is None
    assert metrics["ce_clean"] is None


def test_nan_activations_are_named(lm: LanguageModel, rows: TokenRows, calibration: Calibration) -> None:
    hook = lm.hook(HOOK)
    module = lm._model.get_submodule(hook.module_path)

    def poison(module: torch.nn.Module, args: object, output: object) -> object:
        hidden = output[0] if isinstance(output, tuple) else output
        assert isinstance(hidden, torch.Tensor)
        hidden[1, 5, 3] = float("nan")
        return output

    handle = module.register_forward_hook(poison)
    try:
        with pytest.raises(NonFiniteActivations, match=r"blocks\.1\.hook_resid_post, row 101, position 5"):
            evaluate_batch(lm, hook, identity(calibration), Batch(100, rows, 0), POLICY, "row")
    finally:
        handle.remove()


def test_nothing_measured_is_an_error() -> None:
    with pytest.raises(NothingToMeasure):
        summarise([])


def test_no_data_is_an_error_that_says_why(lm: LanguageModel, rows: TokenRows, calibration: Calibration) -> None:
    padded = rows._replace(roles=np.full_like(rows.roles, Role.PAD))
    with pytest.raises(NothingToMeasure, match="'pad': 96"):
        summarise(measure(lm, identity(calibration), padded))
