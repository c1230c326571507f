"""How the training curves of a run reach its driver while it trains: thinned, a second apart at least, as JSON."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from typing import Protocol

from actors.progress_channel import ProgressChannel
from sae.training.sae_trainer import CurvePoint

POINTS = 300  # of one curve: as many as a chart shows
SECONDS = 1.0


class HasCurve(Protocol):
    """An SAE that is trained."""

    @property
    def recorded(self) -> Sequence[CurvePoint]:
        """Its curve so far."""


class CurveReports:
    """Reports the curves of one worker's SAEs. `ids`: the SAE's id, by its number in the config."""

    def __init__(self, channel: ProgressChannel, trainers: Mapping[int, HasCurve], ids: Mapping[int, str]) -> None:
        self._channel, self._trainers, self._ids = channel, trainers, ids
        self._lengths = dict.fromkeys(trainers, 0)
        self._reported = 0.0

    def after_step(self) -> None:
        """Reports the curves that are longer than before, if the last report is old enough."""
        now = time.monotonic()
        if now - self._reported < SECONDS:
            return
        for number, trainer in self._trainers.items():
            curve = trainer.recorded
            if len(curve) > self._lengths[number]:
                self._lengths[number], self._reported = len(curve), now
                self._channel.report_curve(self._ids[number], as_json(curve), len(curve))


def as_json(curve: Sequence[CurvePoint]) -> str:
    """Columns of at most POINTS points, evenly spaced, the last among them. What is not finite is null."""
    n = len(curve)
    points = [curve[round(i * (n - 1) / (POINTS - 1))] for i in range(POINTS)] if n > POINTS else curve
    columns = {
        name: [float(f"{value:.6g}") if math.isfinite(value) else None for value in (getattr(p, name) for p in points)]
        for name in CurvePoint._fields
    }
    return json.dumps({"steps": n, "columns": columns})
