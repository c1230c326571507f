"""Reconstructions from nested sets of active latents, all of which count: what HierarchicalTopK and Matryoshka share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from sae.architectures import Pass, Step
from sae.architectures.shallow_base import AnyConfig, ShallowSae, added, squares
from sae.sparse import Codes, backward


class Groups(NamedTuple):
    """Active latents in L groups: the set of level l is the groups 0 to l.

    `number` int64 [m]: position * L + group of each entry, which never falls. `starts` int64 [n L]: the first entry of each.
    """

    number: Tensor
    starts: Tensor


class NestedSae(ShallowSae[AnyConfig]):
    """The loss is the mean of the levels' errors. Subclasses give `levels` and `groups` beside what ShallowSae wants."""

    def levels(self) -> Sequence[int]:
        """What each level ends at; the last one ends with everything."""
        raise NotImplementedError

    def groups(self, codes: Codes) -> Groups:
        """The groups of the entries."""
        raise NotImplementedError

    def gradients(self, x: Tensor, step: Step) -> Pass:
        """See Architecture."""
        weights = self.weights()
        centred = x - weights.b_dec
        pre = self.pre_activations(centred, weights)
        codes = self.choose(pre)
        groups = self.groups(codes)
        errors = self._errors(codes, groups, centred, weights.W_dec)
        squared_error = squares(errors[-1])
        extra, aux = self.auxiliary(pre, centred, errors[-1].clone(), weights.W_dec, step.dead)
        # A latent of group l adds to the reconstructions of level l and all after it: it gets the sum of their errors.
        for level in range(len(errors) - 2, -1, -1):
            errors[level] += errors[level + 1]
        grad = errors.mul_(2 / errors.numel())
        by_level = groups.number % len(errors) * len(x) + codes.position
        found = backward(codes, centred, grad.view(-1, x.shape[1]), weights.W_dec, by_level)
        return Pass(codes, self.parameter_gradients(added(found, extra), grad[0].sum(0), weights), squared_error, aux)

    def _errors(self, codes: Codes, groups: Groups, centred: Tensor, W_dec: Tensor) -> Tensor:
        """The reconstructions of all levels minus x: [L, n, d]."""
        n, d = centred.shape
        count = len(self.levels())
        if len(codes.latent) == 0:
            return -centred.expand(count, n, d).contiguous()
        parts = embedding_bag(codes.latent, W_dec, groups.starts, per_sample_weights=codes.value, mode="sum")
        errors = torch.empty(count, n, d, dtype=centred.dtype, device=centred.device)
        before = -centred
        for level, part in enumerate(parts.view(n, count, d).unbind(1)):
            before = torch.add(before, part, out=errors[level])
        return errors
