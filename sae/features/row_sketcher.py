"""From rows of tokens to a sketch: data positions of a hook, from the model or from a cache, through an SAE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from configs.data_positions import DataPolicy
from sae.calibration import Calibration, candidate_mask, check_finite, count_excluded, data_mask
from sae.features.sampling import Quota
from sae.features.sketch import Sketch, SketchMerger, Space, sketch
from sae.formats.activations import DTYPES, ActivationsReader
from sae.formats.sae_folder import Sae
from sae.formats.tokens import TokensReader
from sae.language_model import LanguageModel
from sae.row_activations import activations_of_rows

_FLUSH = 250_000  # codes that wait before they are sketched


class HookRows(NamedTuple):
    """Data positions of some rows at one hook: acts float32 [n, d], row and position int64 [n]; others by reason."""

    acts: Tensor
    row: Tensor
    position: Tensor
    excluded: dict[str, int]


def rows_from_model(
    lm: LanguageModel,
    tokens: TokensReader,
    calibrations: Mapping[str, Calibration],
    policy: DataPolicy,
    start: int,
    stop: int,
    pass_rows: int,
) -> dict[str, HookRows]:
    """Runs the model over rows [start, stop), `pass_rows` in a forward pass, for every hook in `calibrations`."""
    hooks = [lm.hook(name) for name in calibrations]
    parts: dict[str, list[HookRows]] = {name: [] for name in calibrations}
    for first in range(start, stop, pass_rows):
        values, roles = activations_of_rows(lm, tokens, hooks, first, min(first + pass_rows, stop))
        for name, calibration in calibrations.items():
            norms = values[name].norm(dim=-1)
            check_finite(norms, name, first)
            mask = data_mask(roles, norms, calibration, policy)
            row, position = mask.nonzero(as_tuple=True)
            excluded = count_excluded(roles, norms, calibration, policy)
            parts[name].append(HookRows(values[name][mask], row + first, position, excluded))
    return {name: _joined(rows) for name, rows in parts.items()}


def _joined(parts: list[HookRows]) -> HookRows:
    excluded = {reason: sum(part.excluded[reason] for part in parts) for reason in parts[0].excluded}
    acts, row, position = (torch.cat(columns) for columns in zip(*(part[:3] for part in parts), strict=True))
    return HookRows(acts, row, position, excluded)


def rows_from_cache(
    cache: ActivationsReader, tokens: TokensReader, calibration: Calibration, policy: DataPolicy, start: int, stop: int
) -> HookRows:
    """Reads rows [start, stop) of a cache. It holds data positions only: the candidates that it lacks are sinks."""
    cached = cache.read(start, stop)
    roles = torch.from_numpy(tokens.read(start, stop).roles)
    excluded = count_excluded(roles, torch.zeros(roles.shape), calibration, policy)
    sinks = int(candidate_mask(roles, policy).sum()) - len(cached.row)
    return HookRows(cached.acts, cached.row, cached.position, {**excluded, "sink": sinks})


def side_by_side(hooks: Sequence[HookRows], length: int) -> HookRows:
    """Rows at several hooks as one: acts [n, d + d2 ...] of the positions that are data at each. `length`: positions of a row.

    A position that only some hooks leave out is a sink there.
    """
    if len(hooks) == 1:
        return hooks[0]
    numbers = [one.row * length + one.position for one in hooks]
    common = numbers[0]
    for other in numbers[1:]:
        common = common[torch.isin(common, other)]
    kept = [torch.isin(own, common) for own in numbers]
    acts = torch.cat([one.acts[mask] for one, mask in zip(hooks, kept, strict=True)], dim=1)
    first, lost = hooks[0], len(numbers[0]) - len(common)
    excluded = {**first.excluded, "sink": first.excluded["sink"] + lost}
    return HookRows(acts, first.row[kept[0]], first.position[kept[0]], excluded)


class RowSketcher:
    """Encodes batches of whole rows, given in order, and sketches their codes in a thread of its own.

    Holds the codes of a few million activations at most beside the sketch itself.
    """

    def __init__(self, sae: Sae, space: Space, quota: Quota, dtype: str = "fp32") -> None:
        """`dtype` is that of the activations that the SAE was trained on: they are rounded to it, cached or not."""
        self._sae, self._space, self._dtype = sae, space, dtype
        self._merger = SketchMerger(space, quota)
        self._codes: list[tuple[Tensor, ...]] = []
        self._waiting = self._positions = 0
        self._excluded: dict[str, int] = {}
        self._thread = ThreadPoolExecutor(1)
        self._at_work: Future[None] | None = None

    @torch.inference_mode()
    def add(self, rows: HookRows) -> None:
        """Adds the next rows. Raises ValueError if an activation does not fit into the SAE's dtype."""
        acts = rows.acts.to(self._sae.device)
        if self._dtype != "fp32":
            acts = acts.to(DTYPES[self._dtype]).float()
            if not bool(torch.isfinite(acts).all()):
                raise ValueError(f"activations from row {int(rows.row[0])} do not fit into {self._dtype}")
        codes = self._sae.encode_sparse(acts)
        at = codes.position.cpu()
        row, position = rows.row.cpu()[at], rows.position.cpu()[at]
        self._codes.append((codes.latent.cpu(), row, position, codes.value.cpu()))
        self._waiting += len(at)
        self._positions += len(rows.row)
        self._excluded = {k: self._excluded.get(k, 0) + v for k, v in rows.excluded.items()}
        if self._waiting > _FLUSH:
            self._flush()

    def finish(self) -> Sketch:
        """The sketch of all rows added. Nothing can be added after it."""
        self._flush()
        self._wait()
        self._thread.shutdown()
        return self._merger.result()

    def _flush(self) -> None:
        self._wait()
        if self._codes:
            self._at_work = self._thread.submit(self._sketch, self._codes, self._positions, self._excluded)
        self._codes, self._waiting, self._positions, self._excluded = [], 0, 0, {}

    def _wait(self) -> None:
        if self._at_work is not None:
            self._at_work.result()
        self._at_work = None

    def _sketch(self, codes: list[tuple[Tensor, ...]], positions: int, excluded: dict[str, int]) -> None:
        feature, row, position, value = (torch.cat(c).numpy() for c in zip(*codes, strict=True))
        value = value.astype(np.float32, copy=False)
        self._merger.add(sketch(feature, row, position, value, positions, excluded, self._space))
