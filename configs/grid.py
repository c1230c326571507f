"""Sweeps: `grid` of a training config gives each entry of `saes` every combination of lists of settings."""

from __future__ import annotations

from itertools import product
from typing import Any

MAX_POINTS = 256


def expand_grid(raw: Any) -> Any:
    """A raw training config without its `grid`: `saes` has an entry for each combination. Raises ValueError for a bad grid."""
    if not isinstance(raw, dict) or not raw.get("grid"):
        return raw
    grid, saes = raw["grid"], raw.get("saes")
    if not isinstance(grid, dict) or not all(isinstance(v, list | tuple) and len(v) for v in grid.values()):
        raise ValueError(
            "grid is a mapping of settings of SAEs to lists of values, for example {k: [32, 64], lr: [1e-3, 3e-4]}"
        )
    if not isinstance(saes, list | tuple) or not all(isinstance(sae, dict) for sae in saes):
        raise ValueError("grid needs `saes`: mappings of settings, which each of its combinations is added to")
    twice = sorted({key for sae in saes for key in sae if key in grid})
    if twice:
        raise ValueError(f"{', '.join(twice)} stands both in grid and in an entry of saes: leave one out")
    points = [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]
    if len(points) * len(saes) > MAX_POINTS:
        raise ValueError(f"grid gives {len(points) * len(saes)} SAEs; at most {MAX_POINTS} are trained in one run")
    return {**raw, "grid": {}, "saes": [{**sae, **point} for sae in saes for point in points]}
