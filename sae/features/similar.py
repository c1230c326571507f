"""The features of another SAE whose directions are nearest to one, and how near a direction at random comes. Needs no torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from safetensors import safe_open

Float32 = npt.NDArray[np.float32]
_DRAWS = 500


class Similar(NamedTuple):
    """Latents and cosines, the largest first. `chance`: the largest cosine that 95% of random directions stay below."""

    latents: list[int]
    cosines: list[float]
    chance: float


def decoder_directions(folder: Path) -> Float32:
    """The decoder directions [d_sae, d] of an SAE folder, of length 1; a direction of length 0 stays 0.

    Raises ValueError for a crosscoder, whose directions are of several hooks side by side.
    """
    config = json.loads((folder / "cfg.json").read_text(encoding="utf-8"))
    if hooks := config["metadata"].get("hook_names"):
        raise ValueError(
            f"a crosscoder of {', '.join(hooks)} has no directions that those of another SAE are compared with"
        )
    with safe_open(str(folder / "sae_weights.safetensors"), framework="numpy") as tensors:
        directions = tensors.get_tensor("W_dec").astype(np.float32)
    lengths = np.linalg.norm(directions, axis=1, keepdims=True)
    found: Float32 = directions / np.where(lengths > 0, lengths, 1)
    return found


def similar(direction: Float32, others: Float32, count: int, seed: int = 0) -> Similar:
    """The `count` nearest of `others` [n, d] to `direction` [d], all of length 1. Raises ValueError where d differs.

    Random directions have the same length and no other structure; the nearest of all `others` to each is what chance reaches.
    """
    if len(direction) != others.shape[1]:
        raise ValueError(f"directions of {len(direction)} and of {others.shape[1]} dimensions cannot be compared")
    cosines = others @ direction
    order = np.lexsort((np.arange(len(cosines)), -cosines))[:count]
    drawn = np.random.default_rng(seed).normal(size=(_DRAWS, len(direction))).astype(np.float32)
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    best = (others @ drawn.T).max(0)
    return Similar(order.tolist(), cosines[order].tolist(), float(np.quantile(best, 0.95)))
