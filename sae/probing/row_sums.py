"""Sums over the data positions of each row: of the hook's activations and of the SAEs' codes. Kept as a file a chunk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save_file

from configs.data_positions import DataPolicy
from sae.calibration import check_finite, count_excluded, data_mask
from sae.formats.sae_folder import Sae
from sae.formats.tokens import TokenRows, TokensReader
from sae.language_model import LanguageModel
from sae.row_activations import model_inputs
from sae.sparse import Codes


class RowCodes(NamedTuple):
    """Sums of the codes of n rows: those of row i are `[offsets[i], offsets[i+1])` of latent int32 and sum float32."""

    offsets: NDArray[np.int64]
    latent: NDArray[np.int32]
    sum: NDArray[np.float32]


class RowSums(NamedTuple):
    """Of n rows: data positions int64 [n], sums of activations float64 [n, d], of each SAE's codes, and what is no data."""

    positions: NDArray[np.int64]
    acts: NDArray[np.float64]
    codes: tuple[RowCodes, ...]
    excluded: dict[str, int]


@torch.inference_mode()
def sum_rows(
    lm: LanguageModel, tokens: TokensReader, saes: Sequence[Sae], numbers: Sequence[int], policy: DataPolicy
) -> RowSums:
    """Sums of the rows with these numbers, in one forward pass. The SAEs read the same hooks.

    Of a crosscoder's hooks the activations lie side by side; a position that one of them leaves out is a sink. Raises
    NonFiniteActivations naming hook, row and position.
    """
    parts = [tokens.read(number, number + 1) for number in numbers]
    rows = TokenRows(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
    ids, document = model_inputs(rows, tokens, lm.device)
    hooks = [lm.hook(name) for name in saes[0].hooks]
    values = lm.run_to(ids, hooks, document)
    roles = torch.from_numpy(rows.roles).to(lm.device)
    masks, acts = [], []
    for hook, calibration in zip(hooks, saes[0].calibrations, strict=False):
        own = values[hook.name].float()
        norms = own.norm(dim=-1)
        check_finite(norms, hook.name, numbers[0])
        masks.append(data_mask(roles, norms, calibration, policy))
        acts.append(own)
        if len(masks) == 1:
            excluded = count_excluded(roles, norms, calibration, policy)
    mask = torch.stack(masks).all(dim=0)
    excluded["sink"] += int((masks[0] & ~mask).sum())
    data = torch.cat(acts, dim=-1)[mask]
    positions = mask.sum(dim=1).cpu()
    sums = [part.double().sum(dim=0).cpu() for part in torch.split(data, positions.tolist())]
    row = mask.nonzero()[:, 0].cpu().numpy()
    codes = tuple(_row_codes(sae.encode_sparse(data), row, len(numbers), sae.d_sae) for sae in saes)
    return RowSums(positions.numpy(), torch.stack(sums).numpy(), codes, excluded)


def _row_codes(codes: Codes, row: NDArray[np.int64], rows: int, d_sae: int) -> RowCodes:
    """Sums by row and latent, each in the order of positions."""
    key = row[codes.position.cpu().numpy()] * d_sae + codes.latent.cpu().numpy()
    found, inverse = np.unique(key, return_inverse=True)
    sums = np.bincount(inverse, codes.value.double().cpu().numpy(), len(found))
    offsets = np.searchsorted(found, np.arange(rows + 1) * d_sae)
    return RowCodes(offsets.astype(np.int64), (found % d_sae).astype(np.int32), sums.astype(np.float32))


def join_rows(parts: Sequence[RowSums]) -> RowSums:
    """The sums of consecutive rows as those of one batch."""
    excluded = {name: sum(part.excluded[name] for part in parts) for name in parts[0].excluded}
    return RowSums(
        np.concatenate([part.positions for part in parts]),
        np.concatenate([part.acts for part in parts]),
        tuple(_join_codes(codes) for codes in zip(*(part.codes for part in parts), strict=True)),
        excluded,
    )


def _join_codes(parts: Sequence[RowCodes]) -> RowCodes:
    counts = np.concatenate([np.diff(part.offsets) for part in parts])
    return RowCodes(
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        np.concatenate([part.latent for part in parts]),
        np.concatenate([part.sum for part in parts]),
    )


def file_name(chunk: int) -> str:
    """Logical name of the file of a chunk."""
    return f"rows-{chunk:06d}.safetensors"


def save_row_sums(sums: RowSums, path: Path) -> None:
    """Writes the sums of a chunk."""
    arrays = {"positions": sums.positions, "acts": sums.acts}
    for number, codes in enumerate(sums.codes):
        arrays |= {f"{number}.{name}": value for name, value in codes._asdict().items()}
    # safetensors keeps bytes in memory order, so every array must be contiguous.
    tensors = {name: np.ascontiguousarray(value) for name, value in arrays.items()}
    save_file(tensors, path, {"excluded": json.dumps(sums.excluded, sort_keys=True)})


def load_totals(path: Path) -> tuple[NDArray[np.int64], NDArray[np.float64], dict[str, int]]:
    """Positions [n] and sums of activations [n, d] of a chunk, and the positions that are no data by reason."""
    with safe_open(path, framework="numpy") as file:
        excluded: dict[str, int] = json.loads(file.metadata()["excluded"])
        return file.get_tensor("positions"), file.get_tensor("acts"), excluded


def load_codes(path: Path, sae: int) -> RowCodes:
    """The codes of a chunk, of one SAE by its number."""
    with safe_open(path, framework="numpy") as file:
        return RowCodes(*(file.get_tensor(f"{sae}.{name}") for name in RowCodes._fields))
