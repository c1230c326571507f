"""What the nodes of a cluster and a store have, as plain values that also travel as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

_KINDS_SHOWN = 8  # kinds of nodes, in a message
_OF_ONE_NODE = ("ray.io/node-id", "raylens.io/role")


class Node(NamedTuple):
    """One machine: what it has in all, what is free of it, and its labels."""

    cpus: float
    gpus: float
    memory: int
    labels: Mapping[str, str]
    free_cpus: float
    free_gpus: float
    free_memory: int

    def __str__(self) -> str:
        return (
            f"{self.cpus:g} CPU ({self.free_cpus:g} free), {self.gpus:g} GPU ({self.free_gpus:g} free), "
            f"{self.memory / 2**30:.1f} GiB memory ({self.free_memory / 2**30:.1f} free)" + show_labels(self.labels)
        )


class NodeType(NamedTuple):
    """A kind of node that the autoscaler can add: what one has, and how many more of them there may be."""

    name: str
    cpus: float
    gpus: float
    memory: int
    labels: Mapping[str, str]
    more: int | None  # None: no limit is known
    all_labels: bool = True  # False: nodes may carry labels that are not known before there is one

    def __str__(self) -> str:
        more = "any number" if self.more is None else f"up to {self.more}"
        return (
            f"{more} more {self.name} {{{self.cpus:g} CPU, {self.gpus:g} GPU, {self.memory / 2**30:.1f} GiB memory"
            f"{show_labels(self.labels)}}}"
        )


class Capacity(NamedTuple):
    """What the nodes and the store have, and what the autoscaler could add."""

    nodes: Sequence[Node]
    store_free: int | None = None
    node_types: Sequence[NodeType] = ()

    def __str__(self) -> str:
        nodes = self.show_nodes()
        store = "" if self.store_free is None else f"; the store has {self.store_free / 2**30:.2f} GiB free"
        types = "".join(f"; {one}" for one in self.node_types if one.more != 0)
        return f"{nodes}{store}{types and f'; the autoscaler may add{types[1:]}'}"

    def show_nodes(self) -> str:
        """The nodes in words, equal ones together."""
        kinds = Counter(str(node) for node in self.nodes)
        shown = [f"{n} x {{{kind}}}" if n > 1 else kind for kind, n in kinds.most_common(_KINDS_SHOWN)]
        more = len(self.nodes) - sum(n for _, n in kinds.most_common(_KINDS_SHOWN))
        rest = [f"and {more} others"] if more else []
        return f"{len(self.nodes)} node{'s' * (len(self.nodes) != 1)}: {'; '.join([*shown, *rest]) or 'none'}"


def show_labels(labels: Mapping[str, str]) -> str:
    """Labels that jobs may ask for, in order; not a node's own id, nor which one is the head."""
    return "".join(f", {key}={value}" for key, value in sorted(labels.items()) if key not in _OF_ONE_NODE)


def to_json(capacity: Capacity) -> dict[str, Any]:
    """The capacity as values that JSON can hold; from_json gives it back."""
    return {
        "nodes": [{**node._asdict(), "labels": dict(node.labels)} for node in capacity.nodes],
        "store_free": capacity.store_free,
        "node_types": [{**one._asdict(), "labels": dict(one.labels)} for one in capacity.node_types],
    }


def from_json(value: Mapping[str, Any]) -> Capacity:
    """A capacity from what to_json gave. Raises ValueError if it is something else."""
    try:
        nodes = tuple(Node(**node) for node in value["nodes"])
        types = tuple(NodeType(**one) for one in value["node_types"])
        return Capacity(nodes, value["store_free"], types)
    except (KeyError, TypeError) as error:
        raise ValueError(f"this is not a capacity ({error!r}): {str(value)[:200]}") from None
