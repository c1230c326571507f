"""Sources of training batches: the language model (stream) or the activation cache. Both give equal lanes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from configs.data_positions import DataPolicy
from sae.calibration import Calibration, check_finite, data_mask
from sae.formats.activations import ActivationsReader, CachedRows
from sae.formats.planted import PlantedReader
from sae.formats.tokens import TokensReader
from sae.language_model import HookPoint, LanguageModel
from sae.row_activations import activations_of_rows
from sae.training.batch_plan import Plan


class Lane(NamedTuple):
    """One lane of a block at one hook: acts float32 [s, d] and which slots are data, bool [s]; already permuted."""

    acts: Tensor
    mask: Tensor


class Source(Protocol):
    """Gives lanes of a block, for every hook of the run."""

    def lanes(self, plan: Plan, block: int, lanes: range) -> list[dict[str, Lane]]: ...


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

    def lanes(self, plan: Plan, block: int, lanes: range) -> list[dict[str, Lane]]:
        """See Source."""
        return [self._lane(plan, block, lane) for lane in lanes]

    def _lane(self, plan: Plan, block: int, lane: int) -> dict[str, Lane]:
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
    """Reads rows from the activation cache, each once a block; slots that are not data are zero and masked."""

    def __init__(self, readers: Mapping[str, ActivationsReader | PlantedReader], device: str) -> None:
        self._readers, self._device = readers, device

    def lanes(self, plan: Plan, block: int, lanes: range) -> list[dict[str, Lane]]:
        """See Source."""
        ranges = [plan.lane_batches(block, lane) for lane in lanes]
        inverse = [torch.argsort(plan.permutation(block, lane)) for lane in lanes]
        found: list[dict[str, Lane]] = [{} for _ in lanes]
        for name, reader in self._readers.items():
            cached = iter(reader.read_ranges([rows for lane in ranges for rows in lane]))
            for number, batches in enumerate(ranges):
                rows = [next(cached) for _ in batches]
                found[number][name] = self._lane(batches, rows, inverse[number], plan.context_length)
        return found

    def _lane(self, batches: list[range], cached: list[CachedRows], inverse: Tensor, length: int) -> Lane:
        """A lane from the cached rows of its batches. `inverse`: slot -> index in the permuted lane."""
        slots, offset = [], 0
        for rows, one in zip(batches, cached, strict=True):
            slots.append(inverse[offset + (one.row - rows.start) * length + one.position])
            offset += len(rows) * length
        slot, values = torch.cat(slots), torch.cat([one.acts for one in cached])
        acts = torch.zeros(len(inverse), values.shape[1])
        mask = torch.zeros(len(inverse), dtype=torch.bool)
        acts[slot], mask[slot] = values, True
        return Lane(acts.to(self._device), mask.to(self._device))
