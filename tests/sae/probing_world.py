"""Documents with planted latents, as the files that a prober leaves: what each figure must be is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from configs.probe import ProbeConfig
from sae.calibration import Calibration
from sae.formats.sae_folder import Sae
from sae.probing.document_means import DocumentMeans
from sae.probing.documents import Labelled
from sae.probing.figures import ProbingFigures
from sae.probing.row_sums import RowCodes, RowSums, save_row_sums

SAE, TOKENS = f"saes/{'0' * 16}", f"tokens/{'0' * 16}"


def config_of(**fields: Any) -> ProbeConfig:
    return ProbeConfig.model_validate({"sae": SAE, "tokens": TOKENS, "class_column": "topic", **fields})


def sae_of(directions: np.ndarray[Any, Any], **config: Any) -> Sae:
    """An SAE with these decoder rows [d_sae, d]."""
    d = directions.shape[1]
    calibration = Calibration("hook", 1.0, 3.0, 1.0, torch.zeros(d), 1, 1, 0)
    body = {"architecture": "topk", "metadata": {"hook_name": "hook", "raylens": {"architecture": "topk"}}, **config}
    return Sae({"W_dec": torch.from_numpy(directions).float()}, body, calibration)


def labelled(label: np.ndarray[Any, Any], cell: np.ndarray[Any, Any] | None = None, classes: int = 2) -> Labelled:
    """Documents of one row each, every third of which tests."""
    n = len(label)
    cells = np.full(n, -1) if cell is None else cell
    names = tuple(f"class {i}" for i in range(classes))
    return Labelled(names, label, cells, np.arange(n) % 3 == 0, np.arange(n), np.arange(n))


def means_of(
    folder: Path, codes: np.ndarray[Any, Any], acts: np.ndarray[Any, Any], rows_per_file: int = 1000, positions: int = 4
) -> DocumentMeans:
    """From mean codes [D, d_sae] and mean activations [D, d] of documents with so many positions."""
    folder.mkdir()
    paths = []
    for start in range(0, len(codes), rows_per_file):
        part = codes[start : start + rows_per_file]
        row, latent = np.nonzero(part)
        offsets = np.searchsorted(row, np.arange(len(part) + 1))
        values = (part[row, latent] * positions).astype(np.float32)
        sums = acts[start : start + rows_per_file] * float(positions)
        own = RowSums(
            np.full(len(part), positions), sums, (RowCodes(offsets, latent.astype(np.int32), values),), {"pad": 1}
        )
        paths.append(folder / f"{start}")
        save_row_sums(own, paths[-1])
    return DocumentMeans(paths, np.arange(len(codes)), len(codes))


def figures_of(means: DocumentMeans, documents: Labelled, sae: Sae, **fields: Any) -> dict[str, Any]:
    return ProbingFigures(means, documents, [sae], [SAE], config_of(**fields)).body()


def control(figure: dict[str, Any], name: str) -> dict[str, Any]:
    return next(one for one in figure["controls"] if one["control"] == name)
