"""The cluster's autoscaler: which types of node it can add, and the request for the nodes that waiting jobs need.

The types come from two sources. RAYLENS_NODE_TYPES in the environment of the head, which goes first: a JSON list of
{"name", "cpus", "gpus", "memory", "labels", "max"}. And the autoscaler's own report to the head, which has no labels:
Ray 2.60 defines it, and Ray Train and Ray Data read it, but none of the open-source autoscalers writes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field, TypeAdapter, ValidationError, field_validator

from cluster.machines.errors import ClusterError
from configs.base import Config
from configs.requirements import NodeType, Requirement
from configs.requirements.labels import check_labels
from configs.settings import settings

VARIABLE = "RAYLENS_NODE_TYPES"
GROUP = "ray.io/node-group"  # a label: which type a node is of
_ACCELERATOR = "accelerator_type:"  # a resource of Ray's, also a label
_DIFFER = ("ray.io/node-id", "ray.io/availability-zone", "ray.io/availability-region", "ray.io/market-type")


class Declared(Config):
    """A node type as RAYLENS_NODE_TYPES says it."""

    name: str = Field(min_length=1, description="The group's name in the autoscaler's config.")
    cpus: float = Field(ge=0, allow_inf_nan=False, description="CPUs of one node.")
    gpus: float = Field(0, ge=0, allow_inf_nan=False, description="GPUs of one node.")
    memory: int = Field(ge=0, description="Bytes of memory of one node that Ray may give to workers.")
    labels: dict[str, str] = Field(default_factory=dict, description="Labels that its nodes carry.")
    max: int = Field(ge=0, description="How many nodes of it there may be, those that run included.")

    @field_validator("labels")
    @classmethod
    def _labels(cls, value: dict[str, str]) -> dict[str, str]:
        check_labels(value)
        return value


def request_nodes(needs: Sequence[Requirement]) -> None:
    """Requests a size at which all of these run at once from the cluster's autoscaler; each call replaces the last.

    Ray counts them against all that the cluster has, not against what is free: pass what was granted as well as what
    waits for nodes, and nothing once nothing waits. Without an autoscaler it has no effect.
    """
    import ray
    from ray.autoscaler.v2.sdk import request_cluster_resources

    bundles = [
        bundle
        for requirement in needs
        for bundle in [_bundle(requirement)] * requirement.workers
        if bundle["resources"]
    ]
    request_cluster_resources(ray.get_runtime_context().gcs_address, bundles)


def _bundle(requirement: Requirement) -> dict[str, dict[str, float] | dict[str, str]]:
    resources = {"CPU": requirement.cpus, "GPU": requirement.gpus, "memory": requirement.memory}
    return {
        "resources": {name: value for name, value in resources.items() if value},
        "label_selector": dict(requirement.labels),
    }


def node_types(alive: Sequence[Mapping[str, Any]]) -> tuple[NodeType, ...]:
    """What may be added to the connected cluster, of which `alive` are the rows of ray.nodes() that live.

    Raises ClusterError if RAYLENS_NODE_TYPES cannot be read.
    """
    own = declared(settings().node_types, alive)
    names = {one.name for one in own}
    return own + tuple(one for one in reported(_report(), alive) if one.name not in names)


def declared(text: str | None, alive: Sequence[Mapping[str, Any]]) -> tuple[NodeType, ...]:
    """The types of RAYLENS_NODE_TYPES, less what runs already. Raises ClusterError."""
    if not text:
        return ()
    try:
        types = TypeAdapter(list[Declared]).validate_json(text)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, one['loc'])) or 'all of it'}: {one['msg']}" for one in error.errors())
        raise ClusterError(f"{VARIABLE} is not a JSON list of node types: {faults}") from None
    return tuple(
        NodeType(
            *(one.name, one.cpus, one.gpus, one.memory, {GROUP: one.name, **one.labels}),
            more=max(0, one.max - len(_of_type(one.name, {"CPU": one.cpus, "GPU": one.gpus}, alive))),
        )
        for one in types
    )


def reported(config: Any, alive: Sequence[Mapping[str, Any]]) -> tuple[NodeType, ...]:
    """The types of an autoscaler's report (Ray's ClusterConfig message, or None), less what runs already."""
    found = []
    for group in config.node_group_configs if config is not None else ():
        resources = dict(group.resources)
        nodes = _of_type(group.name, resources, alive)
        limits = [group.max_count - len(nodes)] if group.max_count >= 0 else []
        for name, limit in config.max_resources.items():  # of the whole cluster
            if resources.get(name):
                has = sum(node["Resources"].get(name, 0) for node in alive)
                limits.append(int((limit - has) // resources[name]))
        labels = {GROUP: group.name, **_accelerator(resources), **_common_labels(nodes)}
        found.append(
            NodeType(
                *(group.name, float(resources.get("CPU", 0)), float(resources.get("GPU", 0))),
                *(int(resources.get("memory", 0)), labels),
                more=max(0, min(limits)) if limits else None,
                all_labels=False,
            )
        )
    return tuple(found)


def _report() -> Any:
    # Not a public name; Ray Train reads it through the same one.
    from ray._private.state import state

    return state.get_cluster_config()


def _of_type(name: str, resources: Mapping[str, float], alive: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Nodes of a type: by their label, or by their size where they do not carry it."""

    def is_one(node: Mapping[str, Any]) -> bool:
        group = (node.get("Labels") or {}).get(GROUP)
        return group == name if group else _size(node["Resources"]) == _size(resources)

    return [node for node in alive if is_one(node)]


def _size(resources: Mapping[str, float]) -> tuple[float, float]:
    return float(resources.get("CPU", 0)), float(resources.get("GPU", 0))


def _accelerator(resources: Mapping[str, float]) -> dict[str, str]:
    kinds = [name.removeprefix(_ACCELERATOR) for name in resources if name.startswith(_ACCELERATOR)]
    return {"ray.io/accelerator-type": kinds[0]} if kinds else {}


def _common_labels(nodes: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Labels that all of these nodes carry and that a new one of their type will carry too."""
    sets = [set((node.get("Labels") or {}).items()) for node in nodes]
    common = set.intersection(*sets) if sets else set()
    return {key: value for key, value in sorted(common) if key not in _DIFFER}
