"""The overview's data: training curves, the density histogram, and the table of all features."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sae.report.string_table import Strings
from sae.report.token_text import TokenText

POINTS = 800  # of a curve; more would not show
TABLE_TOKENS = 6  # promoted tokens in a row of the table
_PER_DECADE = 5
_LINES = {  # column: (name, unit, whether the axis begins at 0)
    "loss": ("Loss", "", True),
    "mse": ("Mean squared error", "of calibrated inputs", True),
    "ev": ("Explained variance", "share", False),
    "l0": ("L0", "active features a position", False),
    "dead": ("Dead features", "features", True),
    "aux": ("Auxiliary loss", "", True),
    "lr": ("Learning rate", "", True),
}
Float = npt.NDArray[np.float64]


def curves(table: pa.Table) -> dict[str, Any]:
    """Lines over the data positions seen up to each step. `tokens` counts those of one step."""
    steps = table.num_rows
    if not steps:
        note = "This SAE was imported: there is no record of its training."
        return {"x": [], "x_label": "data positions seen", "lines": [], "note": note}
    block = max(1, -(-steps // POINTS))
    means = "" if block == 1 else f" Each point is the mean of {block} steps."
    lines = []
    for column, (name, unit, zero) in _LINES.items():
        values = _column(table, column) if column in table.column_names else np.zeros(0)
        if np.isfinite(values).any() and (column != "aux" or np.nanmax(values) > 0):
            lines.append({"name": name, "unit": unit, "zero": zero, "y": _points(values, block)})
    return {
        "x": _points(np.cumsum(_column(table, "tokens")), block),
        "x_label": "data positions seen",
        "lines": lines,
        "note": f"{steps:,} steps.{means} Point at a curve, or focus it and use the arrow keys, to read its values.",
    }


def density_bars(density: Float) -> dict[str, Any]:
    """Histogram over log10 of the density, five bars a decade, and one bar for the features that never fired.

    A bar's `low` and `high` are just outside the densities in it; `low` > `high` where it is empty.
    """
    alive = density[density > 0]
    dead = len(density) - len(alive)
    if not len(alive):
        return {"bars": [], "ticks": [], "note": f"None of the {dead:,} features ever fired."}
    bar = np.floor(np.log10(alive) * _PER_DECADE).astype(np.int64)
    first, last = int(bar.min()), int(bar.max())
    bars = [_bar(i, alive[bar == i]) for i in range(first, last + 1)]
    decades = range(math.ceil(first / _PER_DECADE), (last + 1) // _PER_DECADE + 1)
    ticks: list[list[Any]] = [[power, _power(power)] for power in decades]
    if dead:  # apart from the others
        never = {"from": (first - 2) / _PER_DECADE, "to": (first - 1) / _PER_DECADE, "count": dead, "dead": True}
        bars = [never, _bar(first - 1, alive[:0]), *bars]
        ticks.insert(0, [(first - 1.5) / _PER_DECADE, "never"])
    median = f"{float(np.median(alive)) * 100:.3g}%"
    note = f"{len(alive):,} features fired, {dead:,} never did. Those that fired have a median density of {median}."
    return {"bars": bars, "ticks": ticks, "note": note}


def feature_columns(table: pa.Table, strings: Strings, token_text: TokenText) -> dict[str, Any]:
    """Columns of the table. `promoted` is flat, TABLE_TOKENS a feature, -1 where there are fewer."""
    count, total = _column(table, "count"), _column(table, "sum")
    mean = np.divide(total, count, out=np.zeros_like(total), where=count > 0)
    promoted: list[int] = []
    rows = [row or [] for row in table["promoted"].to_pylist()]  # null without a logit lens
    width = min(TABLE_TOKENS, max(map(len, rows), default=0))
    for row in rows:
        own: list[int] = [strings.add(token_text.string(token)) for token in row[:width]]
        promoted += own + [-1] * (width - len(own))
    nearest = [(row[0], cosines[0]) if row else (-1, None) for row, cosines in zip(
        table["neighbours"].to_pylist(), table["neighbour_cosines"].to_pylist(), strict=True)]  # fmt: skip
    return {
        "density": [digits(v) for v in _column(table, "density")],
        "max": [digits(v) for v in _column(table, "max")],
        "mean": [digits(v) for v in mean],
        "promoted": promoted,
        "neighbour": [n for n, _ in nearest],
        "cosine": [None if c is None else digits(c, 3) for _, c in nearest],
    }


def digits(value: float, n: int = 4) -> float | int:
    """The value to n significant digits, an integer where it is one: short in JSON, and enough to read."""
    rounded = float(f"{value:.{n}g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) < 2**53 else rounded


def _points(values: Float, block: int) -> list[float | None]:
    """Means over blocks of consecutive values; None where none of them is finite."""
    found: list[float | None] = []
    for start in range(0, len(values), block):
        part = values[start : start + block]
        part = part[np.isfinite(part)]
        found.append(digits(float(part.mean()), 5) if len(part) else None)
    return found


def _column(table: pa.Table, name: str) -> Float:
    column: Float = table[name].to_numpy().astype(np.float64)
    return column


def _bar(i: int, inside: Float) -> dict[str, Any]:
    low, high = (_outside(inside.min(), math.floor), _outside(inside.max(), math.ceil)) if len(inside) else (1, 0)
    return {"from": i / _PER_DECADE, "to": (i + 1) / _PER_DECADE, "count": len(inside), "low": low, "high": high}


def _outside(value: float, towards: Callable[[float], int]) -> float:
    """The value to 4 significant digits, rounded down or up."""
    exponent = math.floor(math.log10(value)) - 3
    return float(f"{towards(value / 10.0**exponent)}e{exponent}")


def _power(power: int) -> str:
    return f"{10.0 ** (power + 2):.{max(0, -power - 2)}f}%"
