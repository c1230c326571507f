"""The end of forward passes in which a hook has another value at one position only, for many such changes of the same rows.

A change at one position leaves all before it as it was, so what the model predicts there needs one more token, not one more
row: the changed token is appended to its row, attends to what came before its position and to itself, and is seen by
nobody. Whether that gives what whole passes give is tried on the rows at hand; where it does not (recurrent blocks,
attention that counts positions by index), each change costs a pass over its row.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from sae.language_model.document_positions import document_positions
from sae.language_model.hooks import HookPoint
from sae.language_model.model import LanguageModel
from sae.language_model.norms import close
from sae.language_model.resumed_forward import ResumedForward

_APPENDS: WeakKeyDictionary[LanguageModel, dict[tuple[str, int], bool]] = WeakKeyDictionary()
_ROWS = 16  # changes in one pass over whole rows
_APPENDED = 128  # changed tokens that are appended to a row at most


class SinglePositions:
    """Rows `input_ids` int64 [B, L] whose value at `hook` is changed at single positions; `document` as in LanguageModel.run_to.

    `activations` is the hook's value [B, L, d], in the model's dtype. Raises ModelError.
    """

    def __init__(self, lm: LanguageModel, input_ids: Tensor, hook: HookPoint, document: Tensor | None = None) -> None:
        self._lm, self._ids, self._hook, self._document = lm, input_ids.to(lm.device), hook, document
        self._pass = ResumedForward(lm, self._ids, hook, document)
        self.activations = self._pass.activations

    @torch.no_grad()
    def final_states(self, row: Tensor, position: Tensor, value: Tensor) -> Tensor:
        """Inputs of the output matrix [n, d_model] at positions int64 [n] of rows int64 [n].

        For each, `value` [n, d] is at the hook at that position, and all else is as it was. What is compared should come
        from one call: rounding differs between calls.
        """
        return self._appended(row, position, value) if self._appends() else self._by_rows(row, position, value)

    def _appends(self) -> bool:
        """Whether appended tokens end as in whole passes, tried for each model, hook and length of rows."""
        known = _APPENDS.setdefault(self._lm, {})
        key = (self._hook.name, self._ids.shape[1])
        if key not in known:
            length = self._ids.shape[1]
            position = torch.tensor(sorted({length // 3, length // 2, length - 1}), device=self._ids.device)
            row = torch.zeros_like(position)
            value = self.activations[row, position]
            scale = torch.linspace(0.5, 1.5, value.shape[-1], dtype=value.dtype, device=value.device)
            wanted = self._by_rows(row, position, value * scale)
            if not bool(torch.isfinite(wanted).all()):
                return False  # nothing can be seen in such values; whoever reads them says so
            known[key] = self._agrees(row, position, value * scale, wanted)
        return known[key]

    def _agrees(self, row: Tensor, position: Tensor, value: Tensor, wanted: Tensor) -> bool:
        try:
            return _alike(self._appended(row, position, value), wanted)
        except (torch.OutOfMemoryError, MemoryError):
            raise
        except Exception:  # noqa: BLE001 (a model that takes no mask or positions fails in its own code)
            return False

    def _by_rows(self, row: Tensor, position: Tensor, value: Tensor) -> Tensor:
        found = []
        for rows, positions, values in zip(*(torch.split(x, _ROWS) for x in (row, position, value)), strict=True):
            document = None if self._document is None else self._document[rows]
            repeated = ResumedForward(self._lm, self._ids[rows], self._hook, document)
            at = torch.arange(len(rows), device=rows.device)
            states = repeated.activations.clone()
            states[at, positions] = values.to(states.dtype)
            keep = torch.zeros(states.shape[:2], dtype=torch.bool, device=states.device)
            keep[at, positions] = True
            found.append(repeated.final_states(states, keep))
        return torch.cat(found)

    def _appended(self, row: Tensor, position: Tensor, value: Tensor) -> Tensor:
        slot = _number_within(row)
        made: Tensor | None = None
        for first in range(0, int(slot.max()) + 1, _APPENDED):
            now = ((slot >= first) & (slot < first + _APPENDED)).nonzero()[:, 0]
            states = self._append(row[now], position[now], value[now], slot[now] - first)
            made = states.new_zeros((len(row), states.shape[-1])) if made is None else made
            made[now] = states
        assert made is not None
        return made

    def _append(self, row: Tensor, position: Tensor, value: Tensor, slot: Tensor) -> Tensor:
        """One pass over the rows that have changes, each with as many further tokens as the row with most of them."""
        used, at = torch.unique(row, return_inverse=True)
        length, more = self._ids.shape[1], int(slot.max()) + 1
        source = torch.zeros(
            (len(used), more), dtype=torch.int64, device=row.device
        )  # a token without a use: the first
        source[at, slot] = position

        def extend(x: Tensor) -> Tensor:
            index = source if x.dim() == 2 else source[..., None].expand(-1, -1, x.shape[-1])
            return torch.cat([x[used], x[used].gather(1, index)], 1)

        values = extend(self.activations)
        values[at, length + slot] = value.to(values.dtype)
        column = torch.arange(length, device=row.device).expand(len(self._ids), -1)
        positions = column if self._document is None else document_positions(self._document.to(row.device))
        inputs: dict[str, Any] = {
            "input_ids": extend(self._ids),
            "position_ids": extend(positions),
            "attention_mask": _mask(source, (column - positions)[used])[:, None],
            "use_cache": False,
        }
        entry = self._pass.entry
        states = self._pass.end(inputs, values, None if entry is None else extend(entry), self._pass.outputs)
        return states[at, length + slot]


def _alike(made: Tensor, wanted: Tensor) -> bool:
    """Equal up to rounding; through all blocks that of half precision is some hundredths of the states (measured: 0.02)."""
    if wanted.dtype == torch.float32:
        return close(made, wanted)
    error = (made.float() - wanted.float()).pow(2).mean().sqrt()
    return bool(error <= 0.05 * wanted.float().pow(2).mean().sqrt())


def _number_within(group: Tensor) -> Tensor:
    """How many of the same group come before each [n]."""
    order = group.argsort(stable=True)
    ordered = group[order]
    first = torch.ones_like(ordered, dtype=torch.bool)
    first[1:] = ordered[1:] != ordered[:-1]
    index = torch.arange(len(group), device=group.device)
    start = torch.where(first, index, 0).cummax(0).values
    number = torch.empty_like(group)
    number[order] = index - start
    return number


def _mask(source: Tensor, document: Tensor) -> Tensor:
    """Which key each query may see, bool [B, L + M, L + M], by `document` [B, L]; a copy sees what its `source` [B, M] sees."""
    batch, length = document.shape
    more = source.shape[1]
    column = torch.arange(length, device=source.device)
    mask = torch.zeros((batch, length + more, length + more), dtype=torch.bool, device=source.device)
    mask[:, :length, :length] = (column[None] <= column[:, None]) & (document[:, :, None] == document[:, None, :])
    own = document.gather(1, source)
    mask[:, length:, :length] = (column < source[..., None]) & (document[:, None, :] == own[..., None])
    mask[:, length:, length:] = torch.eye(more, dtype=torch.bool, device=source.device)
    return mask
