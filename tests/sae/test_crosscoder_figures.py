"""Figures of a crosscoder that was trained on a tiny model: at its hooks, with all of them replaced, and its codes on text."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from sae.features.row_sketcher import HookRows, rows_from_model, side_by_side
from sae.features.text_activations import activations_on_text
from sae.features.write_features import describe_directions
from sae.formats.sae_folder import Sae
from sae.metrics.batch_evaluation import Batch, RowResults, join
from sae.metrics.chunk_results import load_results, save_results
from sae.metrics.crosscoder_evaluation import evaluate_crosscoders
from sae.metrics.summary import summarise
from tests.sae.crosscoder_world import HOOKS, POLICY, World, world

__all__ = ["world"]


def measure(world: World, start: int, stop: int, loss_rows: int) -> RowResults:
    batch = Batch(start, world.tokens.read(start, stop), loss_rows)
    return evaluate_crosscoders(world.lm, [world.sae], batch, POLICY, "row")[0]


def test_its_figures_are_those_of_all_hooks_and_of_each(world: World, tmp_path: Path) -> None:
    parts = [measure(world, 0, 3, 3), measure(world, 3, 8, 1)]
    save_results([join(parts)], tmp_path / "part")
    (stored,) = load_results(tmp_path / "part")
    whole = summarise([measure(world, 0, 8, 4)]).metrics
    assert summarise([stored]).metrics == whole, "whatever the batches"

    rows = world.tokens.read(0, 8)
    data = torch.from_numpy(rows.roles == 0)
    xs = [x[data].double() for x in world.activations(rows)]
    made = world.sae.reconstruct(torch.cat(xs, dim=1).float()).double().split(world.sae.widths, 1)
    errors = [(y - x).square().sum() for x, y in zip(xs, made, strict=True)]
    variances = [(x - x.mean(0)).square().sum() for x in xs]
    each = [1 - float(e / v) for e, v in zip(errors, variances, strict=True)]
    assert whole["ev_of_hooks"] == pytest.approx(each, abs=1e-6)
    weights = [own.scale**2 for own in world.sae.calibrations]
    share = sum(w * e for w, e in zip(weights, errors, strict=True)) / sum(
        w * v for w, v in zip(weights, variances, strict=True)
    )
    assert whole["ev"] == pytest.approx(1 - float(share), abs=1e-6)
    assert whole["ev"] > 0.3
    assert whole["l0"] == pytest.approx(8, abs=0.5)


def test_a_control_beside_it_changes_none_of_its_figures(world: World) -> None:
    mixed = {**world.sae.tensors, "W_dec": world.sae.W_dec.flip(0)}
    control = Sae(mixed, world.sae.config, world.sae.calibrations[0], {}, world.sae.calibrations[1:])
    batch = Batch(0, world.tokens.read(0, 4), 2)
    both = evaluate_crosscoders(world.lm, [world.sae, control], batch, POLICY, "row")
    own, other = (summarise([one]).metrics for one in both)
    assert own == summarise([measure(world, 0, 4, 2)]).metrics
    assert other["ev"] < own["ev"] and other["ce_score_zero"] < own["ce_score_zero"]


def test_losses_are_those_of_passes_with_all_hooks_replaced(world: World) -> None:
    losses = measure(world, 0, 4, 4).losses
    assert losses is not None
    rows = world.tokens.read(0, 4)
    ids, data = torch.from_numpy(rows.input_ids).long(), torch.from_numpy(rows.roles == 0)
    xs = world.activations(rows)
    made = world.sae.reconstruct(torch.cat([x[data] for x in xs], dim=1)).split(world.sae.widths, 1)
    scored = data.clone()
    scored[:, -1] = False
    targets = torch.roll(ids, -1, dims=1)[scored]

    def loss(parts: list[Tensor] | None, replaced: list[int]) -> float:
        taps = []
        for i in replaced:
            value = xs[i].clone()
            value[data] = parts[i] if parts is not None else 0.0
            tap = world.lm._tap(world.lm.hook(HOOKS[i]), ids.shape)
            taps.append(tap.replace(lambda _, value=value: value))
        logits = world.lm.logits(ids)
        for tap in taps:
            tap.remove()
        return float(torch.nn.functional.cross_entropy(logits[scored].double(), targets, reduction="sum"))

    all_hooks = [0, 1, 2]
    clean, own, zero, _ = losses.ce.sum(axis=0)
    assert clean == pytest.approx(loss(None, []), rel=1e-5)
    assert own == pytest.approx(loss(list(made), all_hooks), rel=1e-5)
    assert zero == pytest.approx(loss(None, all_hooks), rel=1e-5)
    assert own == pytest.approx(loss(list(made), [2]), rel=1e-5), "the residual stream at the last hook decides"
    assert clean < own < zero


def test_replacing_hooks_that_are_added_to_the_stream_replaces_each(world: World) -> None:
    """Of two MLP outputs both count, whichever comes first in the config."""
    found = []
    for order in ([0, 1], [1, 0]):
        blocks = list(torch.arange(world.lm.d_model * 3).split(world.lm.d_model))
        at = torch.cat([blocks[i] for i in order])
        tensors = {name: world.sae.tensors[name] for name in ("b_enc", "W_enc", "W_dec", "b_dec")}
        tensors |= {"W_enc": tensors["W_enc"][at], "W_dec": tensors["W_dec"][:, at], "b_dec": tensors["b_dec"][at]}
        names = [HOOKS[i] for i in order]
        config = {**world.sae.config, "metadata": {"hook_name": " + ".join(names), "hook_names": names}}
        first, other = (world.sae.calibrations[i] for i in order)
        batch = Batch(0, world.tokens.read(0, 4), 4)
        two = Sae(tensors, config, first, {}, [other])
        found.append(evaluate_crosscoders(world.lm, [two], batch, POLICY, "row")[0].losses)
    assert found[0] is not None and found[1] is not None
    assert found[0].ce.sum(axis=0) == pytest.approx(found[1].ce.sum(axis=0), rel=1e-4)
    assert found[0].ce[:, 1].sum() > found[0].ce[:, 0].sum()


def test_its_codes_are_the_same_in_extraction_and_on_a_text(world: World) -> None:
    calibrations = dict(zip(world.sae.hooks, world.sae.calibrations, strict=True))
    found = rows_from_model(world.lm, world.tokens, calibrations, POLICY, 0, 2, 2)
    length = world.tokens.context_length
    joined = side_by_side([found[hook] for hook in HOOKS], length)
    rows = world.tokens.read(0, 2)
    torch.testing.assert_close(joined.acts, torch.cat([x[rows.roles == 0] for x in world.activations(rows)], dim=1))
    codes = world.sae.encode(joined.acts)
    on_text = activations_on_text(
        world.lm, world.sae, rows.input_ids[0].tolist(), rows.roles[0].tolist(), POLICY, "fp32", 3, [5]
    )
    expected = torch.zeros(length)
    first = joined.row == 0
    expected[joined.position[first]] = codes[first, 5]
    torch.testing.assert_close(torch.tensor(on_text.wanted[5]), expected, atol=1e-4, rtol=1e-4)

    directions, why = describe_directions(world.sae, world.model, 3, 2)
    assert why is None and directions.hook_norms is not None
    assert directions.hook_norms.shape == (96, 3)
    torch.testing.assert_close(directions.hook_norms.square().sum(1), torch.ones(96))
    assert describe_directions(world.alone, world.model, 3, 2)[0].hook_norms is None


def test_positions_count_that_are_data_at_each_hook() -> None:
    def at(*positions: int) -> HookRows:
        place = torch.tensor(positions)
        return HookRows(place[:, None].float(), place // 4, place % 4, {"bos": 1, "sink": 7 - len(positions)})

    joined = side_by_side([at(0, 1, 2, 5, 7), at(1, 2, 3, 7)], 4)
    assert joined.acts.tolist() == [[1, 1], [2, 2], [7, 7]]
    assert (joined.row * 4 + joined.position).tolist() == [1, 2, 7]
    assert joined.excluded == {"bos": 1, "sink": 4}
