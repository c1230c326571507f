"""Reconstructions from nested sets of active latents, all of which count: what HierarchicalTopK and Matryoshka share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sae.architectures import Pass, Step
from sae.architectures.shallow_base import AnyConfig, ShallowSae, added, squares
from sae.sparse import Codes, backward, sum_rows


class Groups(NamedTuple):
    """Active latents in L groups: the set of level l is the groups 0 to l.

    `number` int64 [m]: position * L + group of each entry, which never falls. `starts` int64 [n L]: the first entry of each.
    """

    number: Tensor
    starts: Tensor


class NestedSae(ShallowSae[AnyConfig]):
    """The loss is a weighted mean of the levels' errors. Subclasses give `levels` and `groups` beside what ShallowSae wants."""

    def levels(self) -> Sequence[int]:
        """What each level ends at; the last one ends with everything."""
        raise NotImplementedError

    def level_weights(self) -> Sequence[float]:
        """The weight of each level's error; they are divided by their sum."""
        return [1.0] * len(self.levels())

    def groups(self, codes: Codes) -> Groups:
        """The groups of the entries."""
        raise NotImplementedError

    def gradients(self, x: Tensor, step: Step) -> Pass:
        """See Architecture."""
        weights = self.weights()
        sides = self.sides(x, weights)
        pre = self.pre_activations(sides.input, weights)
        codes = self.choose(pre, step)
        groups = self.groups(codes)
        errors = self._errors(codes, groups, sides.target, weights.W_dec)
        squared_error = squares(errors[-1])
        extra, aux = self.auxiliary(pre, sides.input, errors[-1], weights.W_dec, step.dead)
        # A latent of group l adds to the reconstructions of level l and all after it: it gets the sum of their slopes.
        factors = [2 * own / (errors[0].numel() * sum(self.level_weights())) for own in self.level_weights()]
        slopes = errors  # in place
        slopes[-1] *= factors[-1]
        for level in range(len(slopes) - 2, -1, -1):
            torch.add(slopes[level + 1], errors[level], alpha=factors[level], out=slopes[level])
        by_level = groups.number % len(errors) * len(x) + codes.position
        found = backward(codes, sides.input, slopes.view(-1, self.d_out), weights.W_dec, by_level)
        gradients = self.parameter_gradients(added(found, extra), slopes[0], sides.input, weights)
        return Pass(codes, gradients, squared_error, aux, slopes[0])

    def _errors(self, codes: Codes, groups: Groups, target: Tensor, W_dec: Tensor) -> Tensor:
        """The reconstructions of all levels minus the target: [L, n, d]."""
        n, d = target.shape
        count = len(self.levels())
        if len(codes.latent) == 0:
            return -target.expand(count, n, d).contiguous()
        parts = sum_rows(W_dec, codes.latent, codes.value, groups.starts)
        errors = torch.empty(count, n, d, dtype=target.dtype, device=target.device)
        before = -target
        for level, part in enumerate(parts.view(n, count, d).unbind(1)):
            before = torch.add(before, part, out=errors[level])
        return errors
