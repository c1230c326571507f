"""What each operation does to the activations at a position. A new one is a function here and a line of OPERATIONS."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor


class Site(NamedTuple):
    """What an operation sees: activations x [n, d], the feature's activation there [n], its decoder direction [d].

    `value` [n] is the strength in units of activations. All fp32.
    """

    x: Tensor
    activation: Tensor
    direction: Tensor
    value: Tensor


def _add(site: Site) -> Tensor:
    return site.value


def _clamp(site: Site) -> Tensor:
    return site.value - site.activation


def _scale(site: Site) -> Tensor:
    return (site.value - 1) * site.activation


def _ablate(site: Site) -> Tensor:
    return -site.activation


def _project(site: Site) -> Tensor:
    return site.value - site.x @ site.direction / site.direction.square().sum()


def _project_and_cap(site: Site) -> Tensor:
    length: Tensor = site.direction.norm()
    excess: Tensor = (site.x @ site.direction / length - site.value).clamp(min=0)
    return -excess / length


# What is added of the decoder direction, for each position [n].
OPERATIONS: dict[str, Callable[[Site], Tensor]] = {
    "add": _add,
    "clamp": _clamp,
    "scale": _scale,
    "ablate": _ablate,
    "project": _project,
    "project_and_cap": _project_and_cap,
}
