"""Places of all features on a plane, near each other where their decoder directions are: UMAP from two principal components.

Coordinates have no meaning but nearness; of two dimensions, the nearest neighbours in many can be kept only in part.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from fastumap import umap_project
from scipy.linalg import eigh

Float32 = npt.NDArray[np.float32]
_LEAST = 16  # features that UMAP is for; fewer keep their principal components
_SPREAD = 3.0  # standard deviation of the coordinates that UMAP begins with
_DIGITS = 4  # of these, so that the order of sums in a product does not reach the result


def feature_map(directions: Float32, neighbours: npt.NDArray[np.int64], cosines: Float32, seed: int) -> Float32:
    """Coordinates float32 [F, 2] of directions [F, d] of length 1, whose nearest `neighbours` [F, n] have these `cosines` [F, n].

    A function of its arguments alone.
    """
    began = principal_components(directions)
    if len(directions) < _LEAST or neighbours.shape[1] < 2:
        return began.astype(np.float32)
    placed = umap_project(
        began.astype(np.float32),
        n_neighbors=neighbours.shape[1],
        precomputed_knn=(neighbours, np.clip(1 - cosines.astype(np.float64), 0, None)),
        init=began,
        random_state=seed,
    )
    return np.asarray(placed, np.float32)


def principal_components(directions: Float32) -> npt.NDArray[np.float64]:
    """The first two [F, 2], both scaled to the same spread; 0 where there are none."""
    centred = directions.astype(np.float64) - directions.mean(0, dtype=np.float64)
    found, d = np.zeros((len(directions), 2)), directions.shape[1]
    count = min(2, d)
    _, axes = eigh(centred.T @ centred, subset_by_index=[d - count, d - 1])
    axes = axes[:, ::-1] * np.sign(axes[np.abs(axes).argmax(0), range(count)])[::-1]
    found[:, :count] = centred @ axes
    spread = found.std(0)
    return np.round(found / np.where(spread > 0, spread, 1) * _SPREAD, _DIGITS) + 0.0
