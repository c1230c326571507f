"""The rows that calibrate planted activations."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from configs.synthesize import SynthesizeConfig
from sae.formats.tokens import Role
from sae.planted.dictionary import Dictionary
from sae.planted.sampling import Active, Sampler
from sae.sparse import Codes, decode


def calibration_batches(config: SynthesizeConfig, dictionary: Dictionary) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches for calibrate(): the first rows of the first chunk, one batch [rows, row_samples, d]."""
    rows = min(config.calibration_rows, config.rows_per_chunk, config.rows)
    chunk_rows = min(config.rows_per_chunk, config.rows)
    active = Sampler(config, dictionary).chunk(0, chunk_rows * config.row_samples)
    samples = rows * config.row_samples
    kept = active.sample < samples
    codes = codes_of(Active(active.sample[kept], active.feature[kept], active.value[kept]), samples)
    x = decode(codes, torch.from_numpy(dictionary.directions)) + torch.from_numpy(dictionary.bias)
    yield x.reshape(rows, config.row_samples, -1), torch.full((rows, config.row_samples), int(Role.DATA))


def codes_of(active: Active, samples: int) -> Codes:
    """Features that fire at `samples` samples, as codes."""
    position = torch.from_numpy(active.sample)
    counts = torch.bincount(position, minlength=samples)
    return Codes(torch.from_numpy(active.feature), torch.from_numpy(active.value), position, counts.cumsum(0) - counts)
