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


def spurious_world(tmp_path: Path, size: float = 3.0) -> dict[str, Any]:
    """All figures: latents 0 and 2 write the class, by lengths that vary; 1 and 3 a value, always by `size`; others elsewhere."""
    random = np.random.default_rng(7)
    n, width = 600, 40
    cell = np.arange(n) // 3 % 4
    is_first, is_a = cell < 2, cell % 2 == 0
    codes = np.abs(random.normal(size=(n, width))) * (random.random((n, width)) < 0.5)
    length = random.uniform(0.2, 1.8, n)
    codes[:, 0], codes[:, 2] = is_first * length, ~is_first * length
    codes[:, 1], codes[:, 3] = is_a, ~is_a
    directions = np.zeros((width, 6))
    directions[0, 0], directions[2, 0], directions[1, 1], directions[3, 1] = 1, -1, size, -size
    directions[np.arange(4, width), 2 + np.arange(4, width) % 4] = 1
    means = means_of(tmp_path / "means", codes, codes @ directions)
    spurious = {"column": "place", "values": ["a", "b"], "classes": ["class 0", "class 1"]}
    documents = labelled(np.where(is_first, 0, 1), cell)
    return figures_of(means, documents, sae_of(directions), spurious=spurious, k=[1], ablated=[2, 4], draws=3)


def control(figure: dict[str, Any], name: str) -> dict[str, Any]:
    return next(one for one in figure["controls"] if one["control"] == name)
