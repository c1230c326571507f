"""Calibration: sinks found by norm wherever they are, counts that add up, results free of batch size and threads."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from configs.data_positions import DataPolicy
from sae.calibration import (
    NonFiniteActivations,
    calibrate,
    candidate_mask,
    count_excluded,
    data_mask,
    load_calibration,
    save_calibration,
)
from sae.formats.tokens import OTHER_SPEAKER, Role


def _sample(n: int = 12, length: int = 10, d: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    acts = torch.randn(n, length, d, generator=generator) * 2 + 1
    acts[:, 4] *= 50  # a sink in the middle of the row
    roles = torch.zeros(n, length, dtype=torch.uint8)
    roles[:, 0], roles[:, -1], roles[:, 3] = int(Role.BOS), int(Role.PAD), int(Role.SPECIAL)
    return acts, roles


def test_a_sink_is_found_by_its_norm_wherever_it_is() -> None:
    acts, roles = _sample()
    calibration = calibrate("h", [(acts, roles)], DataPolicy())
    mask = data_mask(roles, acts.norm(dim=-1), calibration, DataPolicy())
    assert not mask[:, [0, 3, 4, 9]].any()
    assert mask[:, [1, 2, 5, 6, 7, 8]].all()
    assert calibration.sinks == 12


def test_data_positions_come_to_zero_mean_and_unit_mean_square() -> None:
    acts, roles = _sample()
    calibration = calibrate("h", [(acts, roles)], DataPolicy())
    x = (acts[data_mask(roles, acts.norm(dim=-1), calibration, DataPolicy())] - calibration.mean) * calibration.scale
    assert abs(float(x.mean(0).abs().max())) < 1e-5
    assert abs(float(x.square().mean()) - 1) < 1e-5


@given(st.integers(1, 12))
def test_batches_do_not_matter(size: int) -> None:
    acts, roles = _sample()
    whole = calibrate("h", [(acts, roles)], DataPolicy())
    parts = calibrate("h", [(acts[i : i + size], roles[i : i + size]) for i in range(0, 12, size)], DataPolicy())
    assert torch.equal(whole.mean, parts.mean)
    assert whole._replace(mean=0) == parts._replace(mean=0)


@given(st.booleans(), st.booleans())
def test_excluded_and_data_add_up_to_all_positions(sinks: bool, special: bool) -> None:
    acts, roles = _sample()
    policy = DataPolicy(include_sinks=sinks, include_special=special)
    calibration = calibrate("h", [(acts, roles)], policy)
    norms = acts.norm(dim=-1)
    excluded = count_excluded(roles, norms, calibration, policy)
    assert sum(excluded.values()) + int(data_mask(roles, norms, calibration, policy).sum()) == roles.numel()
    assert (excluded["sink"] == 0) == sinks
    assert (excluded["special"] == 0) == special
    assert not candidate_mask(roles, policy)[:, [0, 9]].any()


def test_other_speakers_are_excluded_and_counted() -> None:
    acts, roles = _sample()
    roles[:, 5] = OTHER_SPEAKER
    policy = DataPolicy(speakers=("assistant",), include_special=True, include_sinks=True)
    calibration = calibrate("h", [(acts, roles)], policy)
    norms = acts.norm(dim=-1)
    excluded = count_excluded(roles, norms, calibration, policy)
    assert excluded["other_speaker"] == 12
    assert "other_speaker" not in count_excluded(roles, norms, calibration, DataPolicy())
    mask = data_mask(roles, norms, calibration, policy)
    assert not mask[:, 5].any() and calibration.positions == int(mask.sum())
    assert sum(excluded.values()) + int(mask.sum()) == roles.numel()


def test_nan_is_named_with_its_place() -> None:
    acts, roles = _sample()
    acts[5, 7, 2] = float("nan")
    with pytest.raises(NonFiniteActivations, match=r"at h, row 5, position 7"):
        calibrate("h", [(acts, roles)], DataPolicy())


def test_rows_without_data_are_refused() -> None:
    acts, roles = _sample()
    with pytest.raises(ValueError, match="no data positions in the 12 rows"):
        calibrate("h", [(acts, torch.full_like(roles, int(Role.PAD)))], DataPolicy())


def test_saved_and_loaded(tmp_path) -> None:
    acts, roles = _sample()
    calibration = calibrate("h", [(acts, roles)], DataPolicy())
    json_name, tensor_name = save_calibration(calibration, tmp_path)
    loaded = load_calibration(tmp_path / json_name, tmp_path / tensor_name)
    assert torch.equal(loaded.mean, calibration.mean)
    assert loaded._replace(mean=0) == calibration._replace(mean=0)
