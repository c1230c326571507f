"""Activations of rows of tokens: what training, the cache, calibration and extraction have in common."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from sae.formats.tokens import TokenRows, TokensReader
from sae.language_model import HookPoint, LanguageModel


def model_inputs(rows: TokenRows, tokens: TokensReader, device: torch.device) -> tuple[Tensor, Tensor | None]:
    """Token ids int64 [n, L] of rows of `tokens`, and the groups that attention stays inside, as LanguageModel takes them."""
    groups = rows.attention_groups(tokens.attention, tokens.padding_side)
    ids = torch.from_numpy(rows.input_ids).long().to(device)
    return ids, None if groups is None else torch.from_numpy(groups).to(device)


def activations_of_rows(
    model: LanguageModel, tokens: TokensReader, hooks: Iterable[HookPoint], start: int, stop: int
) -> tuple[dict[str, Tensor], Tensor]:
    """Activations float32 [n, L, d] by hook name, and roles uint8 [n, L], of rows [start, stop); on the model's device."""
    rows = tokens.read(start, stop)
    ids, document = model_inputs(rows, tokens, model.device)
    values = model.run_to(ids, list(hooks), document)
    return {name: value.float() for name, value in values.items()}, torch.from_numpy(rows.roles).to(model.device)


def calibration_batches(
    model: LanguageModel, tokens: TokensReader, hook: HookPoint, rows: int, batch_rows: int
) -> Iterable[tuple[Tensor, Tensor]]:
    """Batches for calibrate(): the first `rows` rows, `batch_rows` at a time."""
    for start in range(0, min(rows, tokens.n_rows), batch_rows):
        values, roles = activations_of_rows(model, tokens, [hook], start, min(start + batch_rows, rows, tokens.n_rows))
        yield values[hook.name], roles
