"""What would have to change for a requirement to fit."""

from __future__ import annotations

import math
from collections.abc import Iterator

from configs.requirements.capacity import Capacity, Node, NodeType
from configs.requirements.labels import matches, may_match
from configs.requirements.requirement import Requirement

_MIN_MEMORY = 1 << 20


def suggestion(requirement: Requirement, capacity: Capacity, largest_workers: int) -> str:
    """One sentence or two for a requirement that can never fit a capacity. `largest_workers`: how many such ever fit."""
    if capacity.store_free is not None and requirement.store_bytes > capacity.store_free:
        return "Make room in the store, or set RAYLENS_STORE to a larger store"
    if largest_workers > 0:
        return f"Set resources.workers={largest_workers} or less, ask for less a worker, or add nodes"
    machines: list[Node | NodeType] = [*capacity.nodes, *(one for one in capacity.node_types if one.more != 0)]
    if not machines:
        return "The cluster has no node: add one"
    if not list(_allowed(requirement, capacity)):
        return _about_labels(requirement, machines)
    if requirement.gpus and not any(one.gpus for one in _allowed(requirement, capacity)):
        which = "No node that its labels allow" if requirement.labels else "No node"
        return f"{which} has a GPU: use --profile local, or add a node with one"
    largest = largest_worker(requirement, capacity)
    if largest is None:
        return "Not even one such worker fits: ask for less a worker, or add a node"
    less = [
        f"resources.{name}={value:g}" if name != "memory" else f"resources.memory={value}"
        for name in ("cpus", "gpus", "memory")
        if (value := getattr(largest, name)) < getattr(requirement, name)
    ]
    return f"Not even one such worker fits; the largest that a node holds has {', '.join(less)}. Or add a larger node"


def largest_worker(requirement: Requirement, capacity: Capacity) -> Requirement | None:
    """The worker nearest to the one asked for, and no larger, that some node could hold when it is empty.

    None if no node has any of a resource that it needs, or none has the labels.
    """
    best: tuple[tuple[float, float], Requirement] | None = None
    for one in _allowed(requirement, capacity):
        clipped = {
            "cpus": math.floor(min(requirement.cpus, one.cpus) * 10_000) / 10_000,
            "gpus": min(requirement.gpus, one.gpus if one.gpus < 1 else math.floor(one.gpus)),
            "memory": min(requirement.memory, one.memory) if min(requirement.memory, one.memory) >= _MIN_MEMORY else 0,
        }
        kept = [clipped[name] / wanted for name in clipped if (wanted := getattr(requirement, name))]
        score = (min(kept, default=1.0), sum(kept))
        if score[0] > 0 and (best is None or score > best[0]):
            best = score, requirement.model_copy(update={**clipped, "workers": 1, "store_bytes": 0})
    return best and best[1]


def _allowed(requirement: Requirement, capacity: Capacity) -> Iterator[Node | NodeType]:
    yield from (node for node in capacity.nodes if matches(requirement.labels, node.labels))
    for one in capacity.node_types:
        if one.more != 0 and (matches if one.all_labels else may_match)(requirement.labels, one.labels):
            yield one


def _about_labels(requirement: Requirement, machines: list[Node | NodeType]) -> str:
    for key, selector in requirement.labels.items():
        if not any(matches({key: selector}, one.labels) for one in machines):
            values = sorted({one.labels[key] for one in machines if key in one.labels})
            known = ", ".join(f"{key}={value}" for value in values) or f"none carries a label {key}"
            return (
                f"No node allows {key}={selector} (of the nodes, {known}): set resources.labels, or start a node with "
                "`python -m cluster join ADDRESS --labels KEY=VALUE`"
            )
    wanted = ", ".join(f"{key}={selector}" for key, selector in requirement.labels.items())
    return f"No single node allows all of {wanted}: set resources.labels, or add a node that carries them"
