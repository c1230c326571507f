"""Sweeps: `grid` of a training config gives every combination, and says what is wrong with itself."""

from __future__ import annotations

from typing import Any

import pytest

from configs.load import ConfigError, parse_config
from configs.train import TrainConfig

SAE = {"hook": "blocks.0.hook_mlp_out", "d_sae": 128}


def train(**settings: Any) -> TrainConfig:
    found = parse_config("train", {"model": "models/" + "0" * 16, "tokens": "tokens/" + "0" * 16, **settings})
    assert isinstance(found, TrainConfig)
    return found


def test_each_entry_is_trained_with_each_combination() -> None:
    saes = [SAE, {**SAE, "architecture": "batchtopk"}]
    swept = train(saes=saes, grid={"k": [8, 16], "seed": [0, 1, 2]})
    named = [(sae.architecture, sae.k, sae.seed) for sae in swept.saes]  # type: ignore[attr-defined]
    assert named == [(name, k, seed) for name in ("topk", "batchtopk") for k in (8, 16) for seed in (0, 1, 2)]
    listed = train(saes=[{**sae, "k": k, "seed": seed} for sae in saes for k in (8, 16) for seed in (0, 1, 2)])
    assert swept == listed, "a config that lists the same SAEs is the same run"
    assert TrainConfig.model_validate(swept.model_dump()) == swept


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"saes": [SAE], "grid": {"k": 8}}, r"grid is a mapping of settings of SAEs to lists"),
        ({"saes": [SAE], "grid": {"k": []}}, r"grid is a mapping of settings of SAEs to lists"),
        ({"saes": [{**SAE, "k": 4}], "grid": {"k": [8]}}, r"k stands both in grid and in an entry of saes"),
        ({"saes": [SAE], "grid": {"seed": list(range(300))}}, r"grid gives 300 SAEs; at most 256"),
        ({"saes": [SAE], "grid": {"l1": [1.0, 2.0]}}, r"unknown key saes.0.l1"),
        ({"grid": {"k": [8]}}, r"grid needs `saes`"),
    ],
)
def test_a_bad_grid_is_refused_with_the_reason(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        train(**settings)
    assert len(str(raised.value)) < 500
