"""Positions of packed rows whose attention stays inside documents."""

from __future__ import annotations

import torch
from torch import Tensor


def document_positions(document: Tensor) -> Tensor:
    """Position of each token in its own document, int64 [B, L]; a new document begins wherever the number changes.

    `document` is int64 [B, L]. A leading run of -1 (the row's BOS) belongs to the document after it, so that its
    tokens see the BOS. Any other -1 (padding) is a document of its own.
    """
    leading = (document == -1).long().cumprod(-1).bool()
    starts = torch.zeros_like(document, dtype=torch.bool)
    starts[:, 1:] = (document[:, 1:] != document[:, :-1]) & ~leading[:, :-1]
    column = torch.arange(document.shape[1], device=document.device).expand_as(document)
    begun = torch.where(starts, column, torch.zeros_like(column)).cummax(-1).values
    return column - begun
