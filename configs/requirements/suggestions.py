"""What would have to change for a requirement to fit."""

from __future__ import annotations

import math
from collections.abc import Iterator

from configs.requirements.capacity import Node, NodeType, Offer
from configs.requirements.labels import matches, may_match
from configs.requirements.requirement import Requirement

_MIN_MEMORY = 1 << 20


def advice(need: Requirement, offer: Offer, largest_workers: int) -> str:
    """One sentence or two for a requirement that can never fit an offer. `largest_workers`: how many such ever fit."""
    if offer.store_free is not None and need.store_bytes > offer.store_free:
        return "Make room in the store, or set RAYLENS_STORE to a larger place"
    if largest_workers > 0:
        return f"Set resources.workers={largest_workers} or less, ask for less a worker, or add nodes"
    machines: list[Node | NodeType] = [*offer.nodes, *(one for one in offer.node_types if one.more != 0)]
    if not machines:
        return "The cluster has no node: add one"
    if not list(_allowed(need, offer)):
        return _about_labels(need, machines)
    if need.gpus and not any(one.gpus for one in _allowed(need, offer)):
        which = "No node that its labels allow" if need.labels else "No node"
        return f"{which} has a GPU: use --profile local, or add a node with one"
    largest = largest_worker(need, offer)
    if largest is None:
        return "Not even one such worker fits: ask for less a worker, or add a node"
    less = [
        f"resources.{name}={value:g}" if name != "memory" else f"resources.memory={value}"
        for name in ("cpus", "gpus", "memory")
        if (value := getattr(largest, name)) < getattr(need, name)
    ]
    return f"Not even one such worker fits; the largest that a node holds has {', '.join(less)}. Or add a larger node"


def largest_worker(need: Requirement, offer: Offer) -> Requirement | None:
    """The worker nearest to the one asked for, and no larger, that some node could hold when it is empty.

    None if no node has any of a resource that it needs, or none has the labels.
    """
    best: tuple[tuple[float, float], Requirement] | None = None
    for one in _allowed(need, offer):
        clipped = {
            "cpus": math.floor(min(need.cpus, one.cpus) * 10_000) / 10_000,
            "gpus": min(need.gpus, one.gpus if one.gpus < 1 else math.floor(one.gpus)),
            "memory": min(need.memory, one.memory) if min(need.memory, one.memory) >= _MIN_MEMORY else 0,
        }
        kept = [clipped[name] / wanted for name in clipped if (wanted := getattr(need, name))]
        score = (min(kept, default=1.0), sum(kept))
        if score[0] > 0 and (best is None or score > best[0]):
            best = score, need.model_copy(update={**clipped, "workers": 1, "store_bytes": 0})
    return best and best[1]


def _allowed(need: Requirement, offer: Offer) -> Iterator[Node | NodeType]:
    yield from (node for node in offer.nodes if matches(need.labels, node.labels))
    for one in offer.node_types:
        if one.more != 0 and (matches if one.all_labels else may_match)(need.labels, one.labels):
            yield one


def _about_labels(need: Requirement, machines: list[Node | NodeType]) -> str:
    for key, selector in need.labels.items():
        if not any(matches({key: selector}, one.labels) for one in machines):
            values = sorted({one.labels[key] for one in machines if key in one.labels})
            known = ", ".join(f"{key}={value}" for value in values) or f"none carries a label {key}"
            return (
                f"No node allows {key}={selector} (of the nodes, {known}): set resources.labels, or start a node with "
                "`python -m cluster join ADDRESS --labels KEY=VALUE`"
            )
    wanted = ", ".join(f"{key}={selector}" for key, selector in need.labels.items())
    return f"No single node allows all of {wanted}: set resources.labels, or add a node that carries them"
