"""How many workers a node holds, and where what was granted has its places."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from configs.requirements.capacity import Node, NodeType, Offer
from configs.requirements.labels import matches, may_match
from configs.requirements.requirement import MAX_WORKERS, Requirement

_EPSILON = 1e-6


class Space(NamedTuple):
    """Room on one node."""

    cpus: float
    gpus: float
    memory: float

    def plus(self, need: Requirement, workers: int) -> Space:
        """With what so many workers hold given back."""
        return Space(
            self.cpus + workers * need.cpus, self.gpus + workers * need.gpus, self.memory + workers * need.memory
        )

    def minus(self, need: Requirement, workers: int) -> Space:
        """What is left of it, never below zero."""
        return Space(
            max(0.0, self.cpus - workers * need.cpus),
            max(0.0, self.gpus - workers * need.gpus),
            max(0.0, self.memory - workers * need.memory),
        )


class Places(NamedTuple):
    """Where what was granted is, or will be."""

    free: list[Space]  # by node: what nothing has and nothing was promised
    unknown: list[Space]  # by node: taken, but by nothing that was granted
    held: list[list[tuple[int, int]]]  # by grant: (node, workers) pairs


def room(need: Requirement, space: Space) -> int:
    """How many workers of this size the space holds; MAX_WORKERS for workers that need nothing."""
    rooms = [
        math.floor(have / want + _EPSILON)
        for have, want in ((space.cpus, need.cpus), (space.memory, need.memory))
        if want > 0
    ]
    if need.gpus > 0:
        rooms.append(_gpu_room(space.gpus, need.gpus))
    return max(0, min([*rooms, MAX_WORKERS]))


def _gpu_room(have: float, want: float) -> int:
    """A worker's share of a GPU lies on one GPU: two GPUs hold two workers of 0.6, not three."""
    whole = math.floor(have + _EPSILON)
    if want >= 1:
        return whole // round(want)
    return whole * math.floor(1 / want + _EPSILON) + math.floor((have - whole) / want + _EPSILON)


def rooms(need: Requirement, nodes: Sequence[Node], spaces: Sequence[Space]) -> list[int]:
    """How many workers each node holds in its space. Workers are equal, so that nodes can be filled one by one."""
    return [
        room(need, space) if matches(need.labels, node.labels) else 0 for node, space in zip(nodes, spaces, strict=True)
    ]


def rooms_of_new(need: Requirement, one: NodeType) -> int:
    """How many workers a new node of this type would hold, if its labels allow any."""
    allowed = matches if one.all_labels else may_match
    return room(need, total(one)) if allowed(need.labels, one.labels) else 0


def total(node: Node | NodeType) -> Space:
    """All that a node has."""
    return Space(node.cpus, node.gpus, node.memory)


def free(node: Node) -> Space:
    """What nothing on the node has taken."""
    return Space(node.free_cpus, node.free_gpus, node.free_memory)


def with_free(offer: Offer, spaces: Sequence[Space]) -> Offer:
    """The offer with these spaces free on its nodes."""
    nodes = [
        node._replace(free_cpus=space.cpus, free_gpus=space.gpus, free_memory=int(space.memory))
        for node, space in zip(offer.nodes, spaces, strict=True)
    ]
    return offer._replace(nodes=tuple(nodes))


def place(offer: Offer, granted: Sequence[Requirement]) -> Places:
    """Where the workers of each grant are or could be; deterministic, by the order of nodes and grants.

    A grant is a promise: its workers may be on their nodes already, or start later, or pause between two phases. What
    nodes have in use is held against the grants, largest first; workers that it does not account for are packed into
    what is free. So no place is promised twice, and none is counted twice.
    """
    nodes = offer.nodes
    spaces = [free(node) for node in nodes]
    used = [Space(*(max(0.0, a - b) for a, b in zip(total(node), free(node), strict=True))) for node in nodes]
    held: list[list[tuple[int, int]]] = [[] for _ in granted]
    for i in sorted(range(len(granted)), key=lambda i: _size(granted[i]), reverse=True):
        need = granted[i]
        allowed = [j for j, node in enumerate(nodes) if matches(need.labels, node.labels)]
        missing = need.workers if need.asks_for_machines() else 0
        for spaces_ in (used, spaces):  # first what is in use, then what is free
            for j in sorted(allowed, key=lambda j: room(need, spaces_[j])):  # the tightest node first
                n = min(missing, room(need, spaces_[j]))
                if n > 0:
                    spaces_[j] = spaces_[j].minus(need, n)
                    held[i].append((j, n))
                    missing -= n
        # Others stand where it would go. It keeps what is free there: it goes before whatever comes later.
        for j in sorted(allowed, key=lambda j: room(need, total(nodes[j])), reverse=True)[:missing]:
            spaces[j] = spaces[j].minus(need, 1)
    return Places(spaces, used, held)


def _size(need: Requirement) -> tuple[float, float, int]:
    return (need.gpus, need.cpus, need.memory)
