"""Which admitted jobs are in a requirement's way."""

from __future__ import annotations

from collections.abc import Mapping

from configs.requirements.capacity import Capacity
from configs.requirements.packing import NodeResources, Packing, workers_per_node
from configs.requirements.requirement import Requirement

UNKNOWN = "work that is not in this catalog"


def blockers(
    requirement: Requirement, capacity: Capacity, packing: Packing, admitted: Mapping[str, Requirement]
) -> tuple[str, ...]:
    """Names of the jobs without any one of which more workers would fit now.

    Where only several together are in the way: all that run on a node that the requirement's labels allow.
    """
    now = sum(workers_per_node(requirement, capacity.nodes, packing.free))
    alone: list[str] = []
    together: list[str] = []
    for (name, other), pairs in zip(admitted.items(), packing.admitted, strict=True):
        without = list(packing.free)
        for j, workers in pairs:
            without[j] = without[j].plus(other, workers)
        if sum(workers_per_node(requirement, capacity.nodes, without)) > now:
            alone.append(name)
        if any(_competes(requirement, capacity, j, other) for j, _ in pairs):
            together.append(name)
    without = [
        NodeResources(*(a + b for a, b in zip(free, foreign, strict=True)))
        for free, foreign in zip(packing.free, packing.foreign)
    ]
    if sum(workers_per_node(requirement, capacity.nodes, without)) > now:
        alone.append(UNKNOWN)
    return tuple(alone or together or [UNKNOWN])


def _competes(requirement: Requirement, capacity: Capacity, j: int, other: Requirement) -> bool:
    """Whether both may run on node j, and use the same kind of resource there."""
    anything = requirement.model_copy(update={"cpus": 0, "gpus": 0, "memory": 0})
    allowed = workers_per_node(anything, [capacity.nodes[j]], [NodeResources(0, 0, 0)])[0]
    shared = any(getattr(requirement, name) and getattr(other, name) for name in ("cpus", "gpus", "memory"))
    return bool(allowed and shared)
