"""Changes of features during a forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

from configs.steering import Intervention
from sae.language_model import LanguageModel
from sae.sparse import Codes
from sae.steering.operations import OPERATIONS, Site
from sae.steering.plan import SteeringPlan


class Scope(NamedTuple):
    """The tokens of one forward pass: positions [L] in the text, which of them are special [L], and where the answer begins.

    `dose` [B]: by how much the change of each row is multiplied; 0 leaves the row as it is, bit for bit.
    """

    positions: Tensor
    special: Tensor
    answer_from: int
    dose: Tensor


class Changes:
    """What was changed so far, by row [B]: how many positions, and the sum over them of |change| / |activation|."""

    def __init__(self, rows: int) -> None:
        self.positions = torch.zeros(rows, dtype=torch.int64)
        self.relative = torch.zeros(rows, dtype=torch.float64)

    def add(self, changed: Tensor, x: Tensor, change: Tensor) -> None:
        """Counts where `changed` [B, L] is true, at one hook; x and change [B, L, d]."""
        share = change.norm(dim=-1) / x.norm(dim=-1).clamp(min=1e-12)
        self.positions += changed.sum(1).cpu()
        self.relative += (share * changed).sum(1).double().cpu()

    def mean_relative(self, row: int) -> float:
        """The mean of |change| / |activation| over the changed positions; 0 if there are none."""
        count = int(self.positions[row])
        return float(self.relative[row]) / count if count else 0.0


@contextmanager
def steered(lm: LanguageModel, plan: SteeringPlan, scope: Scope, changes: Changes | None = None) -> Iterator[None]:
    """Within it a pass over tokens [B, L] of `scope` is steered. Holds the model's lock."""
    shape = torch.Size((len(scope.dose), len(scope.positions)))
    pass_ = _Pass(plan, scope, changes)
    with lm._lock, ExitStack() as stack:
        # A hook is read before it is changed: what is encoded is what the model computed.
        for name, ids in plan.reads.items():
            if name not in plan.changes:
                stack.callback(lm._tap(plan.points[name], shape).read(pass_.reader(ids)).remove)
        for name, interventions in plan.changes.items():
            change = pass_.changer(plan.reads.get(name, ()), interventions)
            stack.callback(lm._tap(plan.points[name], shape).replace(change).remove)
        yield


class _Pass:
    """One forward pass: the codes of each SAE that has encoded so far."""

    def __init__(self, plan: SteeringPlan, scope: Scope, changes: Changes | None) -> None:
        self._plan, self._scope, self._changes = plan, scope, changes
        self._codes: dict[str, Codes] = {}

    def reader(self, ids: tuple[str, ...]) -> Callable[[Tensor], None]:
        def take(value: Tensor) -> None:
            self._encode(ids, value)

        return take

    def changer(self, ids: tuple[str, ...], interventions: tuple[Intervention, ...]) -> Callable[[Tensor], Tensor]:
        def change(value: Tensor) -> Tensor:
            x = value.float()
            self._encode(ids, x)
            total, changed = torch.zeros_like(x), torch.zeros(x.shape[:2], dtype=torch.bool, device=x.device)
            for one in interventions:
                where = self._where(one, x.device)
                amount = torch.where(where, self._amount(one, x), 0.0)
                total += amount[..., None] * self._plan.saes[one.sae].W_dec[one.latent]
                changed |= where
            dose = self._scope.dose.to(x.device)
            total *= dose[:, None, None]
            changed &= (dose != 0)[:, None]
            if self._changes is not None:
                self._changes.add(changed, x, total)
            # Where nothing changes the model's own value stays, whatever its dtype.
            return torch.where(changed[..., None], (x + total).to(value.dtype), value)

        return change

    def _encode(self, ids: tuple[str, ...], value: Tensor) -> None:
        for id in ids:
            self._codes[id] = self._plan.saes[id].encode_sparse(value.reshape(-1, value.shape[-1]).float())

    def _activation(self, sae: str, latent: int, shape: torch.Size) -> Tensor:
        """Activations [B, L] of a feature."""
        codes = self._codes[sae]
        flat = torch.zeros(shape.numel(), device=codes.value.device)
        own = codes.latent == latent
        flat[codes.position[own]] = codes.value[own].float()
        return flat.view(shape)

    def _amount(self, one: Intervention, x: Tensor) -> Tensor:
        """What is added of the decoder direction [B, L]."""
        batch = x.shape[:2]
        flat = x.reshape(-1, x.shape[-1])
        value = torch.full((len(flat),), 0.0 if one.value is None else one.value, device=x.device)
        if one.unit == "max":
            value = value * self._plan.maxima[one.sae, one.latent]
        elif one.unit == "norm":
            value = value * flat.norm(dim=-1)
        direction = self._plan.saes[one.sae].W_dec[one.latent]
        activation = self._activation(one.sae, one.latent, batch).reshape(-1)
        return OPERATIONS[one.op](Site(flat, activation, direction, value)).view(batch)

    def _where(self, one: Intervention, device: torch.device) -> Tensor:
        """Positions [B, L] that an intervention changes."""
        scope = self._scope
        positions = scope.positions
        chosen = positions >= one.from_position
        if one.where == "prompt":
            chosen &= positions < scope.answer_from
        elif one.where == "answer":
            chosen &= positions >= scope.answer_from
        if not one.special_tokens:
            chosen &= ~scope.special
        batch = torch.Size((len(scope.dose), len(positions)))
        where = chosen.to(device)[None].expand(batch)
        if one.when is None:
            return where
        return where & (self._activation(one.when.sae, one.when.latent, batch) > one.when.above)
