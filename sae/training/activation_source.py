"""Sources of training batches: the language model (stream) or the activation cache. Both give equal lanes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from configs.data_policy import DataPolicy
from sae.activations import activations_of_rows
from sae.calibration import Calibration, check_finite, data_mask
from sae.formats.activations import ActivationsReader
from sae.formats.tokens import TokensReader
from sae.language_model import HookPoint, LanguageModel
from sae.training.plan import Plan


class Lane(NamedTuple):
    """One lane of a block at one hook: acts float32 [s, d] and which slots are data, bool [s]; already permuted."""

    acts: Tensor
    mask: Tensor


class Source(Protocol):
    """Gives a lane of a block, for every hook of the run."""

    def lane(self, plan: Plan, block: int, lane: int) -> dict[str, Lane]: ...


class StreamSource:
    """Runs the language model on the lane's rows, one step's rows in one forward pass."""

    def __init__(
        self,
        model: LanguageModel,
        tokens: TokensReader,
        hooks: Iterable[HookPoint],
        calibrations: Mapping[str, Calibration],
        policy: DataPolicy,
    ) -> None:
        self._model, self._tokens, self._hooks = model, tokens, list(hooks)
        self._calibrations, self._policy = calibrations, policy

    def lane(self, plan: Plan, block: int, lane: int) -> dict[str, Lane]:
        """See Source."""
        acts: dict[str, list[Tensor]] = {hook.name: [] for hook in self._hooks}
        masks: dict[str, list[Tensor]] = {hook.name: [] for hook in self._hooks}
        for rows in plan.lane_batches(block, lane):
            values, roles = activations_of_rows(self._model, self._tokens, self._hooks, rows.start, rows.stop)
            for name, value in values.items():
                norms = value.norm(dim=-1)
                check_finite(norms, name, rows.start)
                masks[name].append(data_mask(roles, norms, self._calibrations[name], self._policy).flatten())
                acts[name].append(value.flatten(0, 1))
        order = plan.permutation(block, lane).to(self._model.device)
        return {name: Lane(torch.cat(acts[name])[order], torch.cat(masks[name])[order]) for name in acts}


class CacheSource:
    """Reads the lane's rows from the activation cache; slots that are not data are zero and masked."""

    def __init__(self, readers: Mapping[str, ActivationsReader], device: str) -> None:
        self._readers, self._device = readers, device

    def lane(self, plan: Plan, block: int, lane: int) -> dict[str, Lane]:
        """See Source."""
        order = plan.permutation(block, lane)
        place = torch.empty_like(order)
        place[order] = torch.arange(len(order))
        return {name: self._hook_lane(reader, plan, block, lane, place) for name, reader in self._readers.items()}

    def _hook_lane(self, reader: ActivationsReader, plan: Plan, block: int, lane: int, place: Tensor) -> Lane:
        slots, pieces = [], []
        offset = 0
        for rows in plan.lane_batches(block, lane):
            cached = reader.read(rows.start, rows.stop)
            slots.append(place[offset + (cached.row - rows.start) * plan.context_length + cached.position])
            pieces.append(cached.acts)
            offset += len(rows) * plan.context_length
        slot, values = torch.cat(slots), torch.cat(pieces)
        acts = torch.zeros(len(place), values.shape[1])
        mask = torch.zeros(len(place), dtype=torch.bool)
        acts[slot], mask[slot] = values, True
        return Lane(acts.to(self._device), mask.to(self._device))
