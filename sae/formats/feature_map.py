"""`map.safetensors` of the labels artifact: `coordinates` float32 [features, 2] of `sae.features.map`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file

from sae.formats.artifact_files import ArtifactFilesLike

MAP = "map.safetensors"


def write_map(folder: Path, coordinates: npt.NDArray[np.float32]) -> str:
    """Writes the file and returns its name."""
    save_file({"coordinates": np.ascontiguousarray(coordinates)}, folder / MAP)
    return MAP


def read_map(files: ArtifactFilesLike) -> npt.NDArray[np.float32]:
    """Coordinates [features, 2]."""
    found: npt.NDArray[np.float32] = load_file(files.path(MAP))["coordinates"]
    return found
