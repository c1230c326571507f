"""Who stands where a requirement would go."""

from __future__ import annotations

from collections.abc import Mapping

from configs.requirements.capacity import Offer
from configs.requirements.packing import Places, Space, rooms
from configs.requirements.requirement import Requirement

UNKNOWN = "work that is not in this catalog"


def holders(need: Requirement, offer: Offer, places: Places, held: Mapping[str, Requirement]) -> tuple[str, ...]:
    """Names of those without whom more workers would fit now.

    Where only several together are in the way: all that hold a place on a node that it may run on.
    """
    before = sum(rooms(need, offer.nodes, places.free))
    alone: list[str] = []
    any_place: list[str] = []
    for (name, requirement), pairs in zip(held.items(), places.held, strict=True):
        spaces = list(places.free)
        for j, workers in pairs:
            spaces[j] = spaces[j].plus(requirement, workers)
        if sum(rooms(need, offer.nodes, spaces)) > before:
            alone.append(name)
        if any(_touches(need, offer, j, requirement) for j, _ in pairs):
            any_place.append(name)
    spaces = [Space(*(a + b for a, b in zip(one, more, strict=True))) for one, more in zip(places.free, places.unknown)]
    if sum(rooms(need, offer.nodes, spaces)) > before:
        alone.append(UNKNOWN)
    return tuple(alone or any_place or [UNKNOWN])


def _touches(need: Requirement, offer: Offer, j: int, requirement: Requirement) -> bool:
    allowed = rooms(need.model_copy(update={"cpus": 0, "gpus": 0, "memory": 0}), [offer.nodes[j]], [Space(0, 0, 0)])[0]
    shares = any(getattr(need, name) and getattr(requirement, name) for name in ("cpus", "gpus", "memory"))
    return bool(allowed and shares)
