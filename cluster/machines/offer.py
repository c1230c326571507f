"""What the nodes offer, read from Ray, as plain values for configs.requirements.fit."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from configs.requirements import Node, Offer


def offer(store_free: int | None = None) -> Offer:
    """What the connected cluster has and what is free of it, per node. `store_free`: bytes free in the store."""
    import ray

    # Not a public name, but Ray has no public one that gives what is free node by node.
    from ray._private.state import available_resources_per_node

    free: dict[str, dict[str, float]] = available_resources_per_node()
    nodes = [node_of(node, free.get(node["NodeID"], {})) for node in ray.nodes() if node["Alive"]]
    return Offer(tuple(nodes), store_free)


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
    """True if a node of the connected cluster has a GPU."""
    return any(node.gpus > 0 for node in offer().nodes)


def local_cpus() -> int:
    """Logical CPUs that a cluster on this machine declares; `RAYLENS_CPUS` overrides."""
    return int(os.environ.get("RAYLENS_CPUS") or os.cpu_count() or 1)


def local_gpus() -> int:
    """NVIDIA GPUs of this machine that this process may use. Asks the device files, so that Ray need not start."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        chosen = [part for part in visible.split(",") if part.strip()]
        return 0 if "-1" in chosen else len(chosen)
    return len([path for path in Path("/dev").glob("nvidia*") if path.name.removeprefix("nvidia").isdigit()])
