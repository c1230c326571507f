"""What is measured of a training run before it starts. No torch: the process that plans imports none."""

from __future__ import annotations

from typing import NamedTuple


class HookFigures(NamedTuple):
    """A hook on the probed rows. `gamma`: length of the mean over the root mean square distance from it."""

    name: str
    module_path: str
    kind: str
    width: int
    gamma: float
    median_norm: float
    sink_share: float


class SaeFigures(NamedTuple):
    """One SAE: seconds of a step, and of measuring one batch after the last; and the share of its latents that its initial
    weights activate on no position of the first step."""

    label: str
    seconds_per_step: float
    seconds_per_measure: float
    initially_inactive: float


class ProbeFigures(NamedTuple):
    """What was measured. Operations are of matrix products, a token. Seconds are those of one row, but for `load_seconds`.

    `rows` describe the hooks. `data_share`: of all positions, those that are data. `calibrating`: all hooks. `reading`: a row
    for the steps, from the language model or from the cache. `harvesting`: the language model and the cache's file; 0 if no
    cache has to be made.
    """

    rows: int
    data_share: float
    load_seconds: float
    calibrating: float
    reading: float
    harvesting: float
    flops_per_token: float
    hooks: tuple[HookFigures, ...]
    saes: tuple[SaeFigures, ...]
