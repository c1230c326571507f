"""What people see of a curve while it grows."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from actors import curve_reports
from actors.curve_reports import POINTS, CurveReports, as_json
from sae.training.sae_trainer import CurvePoint


def points(n: int) -> list[CurvePoint]:
    return [CurvePoint(i, 8 * (i + 1), 80, 1 / (1 + i), 4, 0, 0, 1e-3) for i in range(n)]


@given(st.integers(0, 5 * POINTS))
def test_a_curve_is_thinned_evenly_and_keeps_its_ends(n: int) -> None:
    found = json.loads(as_json(points(n)))
    steps = found["columns"]["step"]
    assert found["steps"] == n and len(steps) == min(n, POINTS)
    assert {len(column) for column in found["columns"].values()} == {len(steps)}
    if n:
        assert (steps[0], steps[-1]) == (0, n - 1)
        assert max(b - a for a, b in pairwise(steps)) - n / POINTS < 2 if n > 1 else True


def test_a_step_without_data_has_no_figure() -> None:
    point = points(1)[0]._replace(mse=float("nan"))
    assert json.loads(as_json([point]))["columns"]["mse"] == [None]


class Channel(NamedTuple):
    """Keeps what it is told."""

    told: list[tuple[str, int]]

    def report_curve(self, sae: str, text: str, length: int) -> None:
        self.told.append((sae, length))


class Trainer:
    """An SAE whose curve grows."""

    recorded: list[CurvePoint] = []  # noqa: RUF012


def test_curves_are_told_when_they_grow_and_a_second_apart(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    now = 100.0
    monkeypatch.setattr(curve_reports.time, "monotonic", lambda: now)
    channel, trainer = Channel([]), Trainer()
    reports = CurveReports(channel, {0: trainer}, {0: "a1"})  # type: ignore[arg-type]
    reports.after_step()
    trainer.recorded = points(3)
    reports.after_step()
    trainer.recorded = points(5)
    reports.after_step()
    assert channel.told == [("a1", 3)]
    now += 1
    reports.after_step()
    now += 1
    reports.after_step()
    assert channel.told == [("a1", 3), ("a1", 5)]
