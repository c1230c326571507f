"""How many workers a node can run, and on which nodes the workers of admitted jobs are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from configs.requirements.capacity import Capacity, Node, NodeType
from configs.requirements.labels import matches, may_match
from configs.requirements.requirement import MAX_WORKERS, Requirement

_EPSILON = 1e-6


class NodeResources(NamedTuple):
    """CPUs, GPUs and bytes of memory on one node."""

    cpus: float
    gpus: float
    memory: float

    def plus(self, requirement: Requirement, workers: int) -> NodeResources:
        """With what so many workers use added."""
        return NodeResources(
            self.cpus + workers * requirement.cpus,
            self.gpus + workers * requirement.gpus,
            self.memory + workers * requirement.memory,
        )

    def minus(self, requirement: Requirement, workers: int) -> NodeResources:
        """Without what so many workers use, never below zero."""
        return NodeResources(
            max(0.0, self.cpus - workers * requirement.cpus),
            max(0.0, self.gpus - workers * requirement.gpus),
            max(0.0, self.memory - workers * requirement.memory),
        )


class Packing(NamedTuple):
    """Where the workers of admitted jobs are, or will be."""

    free: list[NodeResources]  # by node: neither in use nor promised
    foreign: list[NodeResources]  # by node: in use, but by no admitted job
    admitted: list[list[tuple[int, int]]]  # by job: (node, workers) pairs


def workers_in(requirement: Requirement, resources: NodeResources) -> int:
    """How many workers of this size these resources are enough for; MAX_WORKERS for workers that need nothing."""
    limits = [
        math.floor(have / want + _EPSILON)
        for have, want in ((resources.cpus, requirement.cpus), (resources.memory, requirement.memory))
        if want > 0
    ]
    if requirement.gpus > 0:
        limits.append(_workers_on_gpus(resources.gpus, requirement.gpus))
    return max(0, min([*limits, MAX_WORKERS]))


def _workers_on_gpus(have: float, want: float) -> int:
    """A worker's share of a GPU is on one GPU: two GPUs are enough for two workers of 0.6, not for three."""
    whole = math.floor(have + _EPSILON)
    if want >= 1:
        return whole // round(want)
    return whole * math.floor(1 / want + _EPSILON) + math.floor((have - whole) / want + _EPSILON)


def workers_per_node(requirement: Requirement, nodes: Sequence[Node], resources: Sequence[NodeResources]) -> list[int]:
    """How many workers fit into each node's resources. Workers are equal, so that nodes can be filled one by one."""
    return [
        workers_in(requirement, one) if matches(requirement.labels, node.labels) else 0
        for node, one in zip(nodes, resources, strict=True)
    ]


def workers_on_new_node(requirement: Requirement, node_type: NodeType) -> int:
    """How many workers a new node of this type could run, if its labels allow any."""
    allowed = matches if node_type.all_labels else may_match
    return workers_in(requirement, total(node_type)) if allowed(requirement.labels, node_type.labels) else 0


def total(node: Node | NodeType) -> NodeResources:
    """All that a node has."""
    return NodeResources(node.cpus, node.gpus, node.memory)


def free(node: Node) -> NodeResources:
    """What is not in use on a node."""
    return NodeResources(node.free_cpus, node.free_gpus, node.free_memory)


def with_free(capacity: Capacity, resources: Sequence[NodeResources]) -> Capacity:
    """The capacity with these resources free on its nodes."""
    nodes = [
        node._replace(free_cpus=one.cpus, free_gpus=one.gpus, free_memory=int(one.memory))
        for node, one in zip(capacity.nodes, resources, strict=True)
    ]
    return capacity._replace(nodes=tuple(nodes))


def pack(capacity: Capacity, admitted: Sequence[Requirement]) -> Packing:
    """Where the workers of each admitted job are or could be; deterministic, by the order of nodes and jobs.

    Admission is a promise: a job's workers may run already, start later, or pause between two phases. What is in use on
    the nodes is attributed to the admitted jobs, largest first; workers that it does not account for are packed into
    what is free. So nothing is promised twice, and nothing is counted twice.
    """
    nodes = capacity.nodes
    left = [free(node) for node in nodes]
    used = [NodeResources(*(max(0.0, a - b) for a, b in zip(total(node), free(node), strict=True))) for node in nodes]
    packed: list[list[tuple[int, int]]] = [[] for _ in admitted]
    for i in sorted(range(len(admitted)), key=lambda i: _size(admitted[i]), reverse=True):
        requirement = admitted[i]
        allowed = [j for j, node in enumerate(nodes) if matches(requirement.labels, node.labels)]
        missing = requirement.workers if requirement.needs_resources() else 0
        for pool in (used, left):  # first what is in use, then what is free
            for j in sorted(allowed, key=lambda j: workers_in(requirement, pool[j])):  # the tightest node first
                n = min(missing, workers_in(requirement, pool[j]))
                if n > 0:
                    pool[j] = pool[j].minus(requirement, n)
                    packed[i].append((j, n))
                    missing -= n
        # Other work is where these workers would go. They reserve what is free there: they come before any later job.
        largest_first = sorted(allowed, key=lambda j: workers_in(requirement, total(nodes[j])), reverse=True)
        for j in largest_first[:missing]:
            left[j] = left[j].minus(requirement, 1)
    return Packing(left, used, packed)


def _size(requirement: Requirement) -> tuple[float, float, int]:
    return (requirement.gpus, requirement.cpus, requirement.memory)
