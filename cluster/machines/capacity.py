"""Capacity of the nodes, read from Ray, as plain values for configs.requirements.fit."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from cluster.machines.autoscaler import node_types
from configs.requirements import Capacity, Node
from configs.settings import settings


def cluster_capacity(store_free: int | None = None) -> Capacity:
    """What the connected cluster has, what is free of it, per node, and what its autoscaler could add.

    `store_free`: bytes free in the store.
    """
    import ray

    # Not a public name, but Ray has no public one that gives what is free node by node.
    from ray._private.state import available_resources_per_node

    free: dict[str, dict[str, float]] = available_resources_per_node()
    alive = [node for node in ray.nodes() if node["Alive"]]
    nodes = [node_of(node, free.get(node["NodeID"], {})) for node in alive]
    return Capacity(tuple(nodes), store_free, node_types(alive))


def local_capacity(store_free: int | None = None) -> Capacity:
    """Capacity of a temporary cluster on this machine, as Ray would declare it, without starting one."""
    from ray._private.utils import estimate_available_memory  # what `ray.init` declares, less the object store

    memory = max(0, int(estimate_available_memory()) - settings().object_store_bytes)
    cpus, gpus = local_cpus(), local_gpus()
    return Capacity((Node(cpus, gpus, memory, {}, cpus, gpus, memory),), store_free)


def node_of(node: dict[str, Any], free: dict[str, float]) -> Node:
    """One row of ray.nodes() and its free resources. A resource that is used up is missing in `free`: it counts 0."""
    total = node["Resources"]
    return Node(
        cpus=float(total.get("CPU", 0)),
        gpus=float(total.get("GPU", 0)),
        memory=int(total.get("memory", 0)),
        labels=dict(node.get("Labels") or {}),
        free_cpus=float(free.get("CPU", 0)),
        free_gpus=float(free.get("GPU", 0)),
        free_memory=int(free.get("memory", 0)),
    )


def cluster_has_gpu() -> bool:
    """True if a node of the connected cluster has a GPU, or one that its autoscaler may add would."""
    return has_gpu(cluster_capacity())


def has_gpu(capacity: Capacity) -> bool:
    """True if a node has a GPU, or one that the autoscaler may add would."""
    return any(node.gpus > 0 for node in capacity.nodes) or any(
        one.gpus > 0 and one.more != 0 for one in capacity.node_types
    )


def local_cpus() -> int:
    """Logical CPUs that a cluster on this machine declares; `RAYLENS_CPUS` overrides."""
    return settings().cpus or os.cpu_count() or 1


def local_gpus() -> int:
    """NVIDIA GPUs of this machine that this process may use. Asks the device files, so that Ray need not start."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        chosen = [part for part in visible.split(",") if part.strip()]
        return 0 if "-1" in chosen else len(chosen)
    return len([path for path in Path("/dev").glob("nvidia*") if path.name.removeprefix("nvidia").isdigit()])
