"""Codes of rows of tokens at data positions, a batch of rows after the other, for formats that hold them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from configs.data_positions import DataPolicy
from sae.calibration import data_mask
from sae.formats.sae_folder import Sae
from sae.formats.tokens import TokensReader
from sae.language_model import LanguageModel
from sae.row_activations import activations_of_rows


class RowCodes(NamedTuple):
    """Active latents of some rows: `location` int64 [m, 3] (row, position, latent), in that order; `value` float32 [m]."""

    location: npt.NDArray[np.int64]
    value: npt.NDArray[np.float32]


class TokenCodes:
    """Runs the language model over the first `rows` rows, `batch_rows` in a forward pass; only data positions have codes."""

    def __init__(
        self,
        model: LanguageModel,
        sae: Sae,
        tokens: TokensReader,
        policy: DataPolicy,
        rows: int,
        batch_rows: int,
        on_rows: Callable[[int], None] = lambda rows: None,
    ) -> None:
        self._model, self._sae, self._policy = model, sae, policy
        self.tokens, self.rows, self._batch_rows, self._on_rows = tokens, min(rows, tokens.n_rows), batch_rows, on_rows

    def ids(self) -> npt.NDArray[np.int64]:
        """Token ids [rows, L]."""
        return self.tokens.read(0, self.rows).input_ids.astype(np.int64)

    @torch.inference_mode()
    def batches(self) -> Iterator[RowCodes]:
        """The codes of all rows, in order."""
        hook = self._model.hook(self._sae.metadata["hook_name"])
        for start in range(0, self.rows, self._batch_rows):
            stop = min(start + self._batch_rows, self.rows)
            values, roles = activations_of_rows(self._model, self.tokens, [hook], start, stop)
            x = values[hook.name]
            mask = data_mask(roles, x.norm(dim=-1), self._sae.calibration, self._policy)
            row, position = mask.nonzero(as_tuple=True)
            codes = self._sae.encode_sparse(x[mask])
            location = torch.stack([row[codes.position] + start, position[codes.position], codes.latent], dim=1)
            yield RowCodes(location.cpu().numpy(), codes.value.float().cpu().numpy())
            self._on_rows(stop)
