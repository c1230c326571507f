"""Which token comes next."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from configs.steering import Sampling


class Sampler:
    """Chooses tokens. All rows of a step share one random number: rows with equal distributions choose equal tokens."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._generator = torch.Generator().manual_seed(sampling.seed)

    def choose(self, logits: Tensor, answers: Sequence[Sequence[int]] = ()) -> list[int]:
        """A token of each row of logits [B, V]. `answers`: the tokens that each row's answer has, for the frequency penalty."""
        if self._sampling.frequency_penalty:
            counts = torch.zeros_like(logits)
            for row, ids in enumerate(answers):
                counts[row] = torch.bincount(torch.tensor(ids, dtype=torch.int64), minlength=logits.shape[1])
            logits = logits - self._sampling.frequency_penalty * counts
        if self._sampling.temperature == 0:
            return [int(token) for token in logits.argmax(dim=-1)]
        probabilities = (logits.double() / self._sampling.temperature).softmax(dim=-1)
        ordered, tokens = probabilities.sort(dim=-1, descending=True, stable=True)
        before = ordered.cumsum(-1) - ordered
        ordered = torch.where(before < self._sampling.top_p, ordered, 0.0)
        at = torch.rand((), generator=self._generator, dtype=torch.float64)
        reached = ordered.cumsum(-1) / ordered.sum(-1, keepdim=True) > at
        first = reached.to(torch.uint8).argmax(dim=-1)  # the first that is true
        return [int(row[i]) for row, i in zip(tokens, first.tolist(), strict=True)]
