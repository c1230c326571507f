"""The cluster: what its nodes have, and whether each stage fits."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, Field

from configs.requirements import Node


class ClusterNode(BaseModel):
    """One machine."""

    cpus: float = Field(description="CPUs.")
    gpus: float = Field(description="GPUs.")
    memory: int = Field(description="Bytes of memory for work.")
    free_cpus: float = Field(description="CPUs that nothing holds.")
    free_gpus: float = Field(description="GPUs that nothing holds.")
    free_memory: int = Field(description="Bytes of memory that nothing holds.")
    labels: dict[str, str] = Field(description="Labels that a job can ask for.")

    @classmethod
    def from_node(cls, node: Node) -> Self:
        """From what the cluster offers. Labels that only name the machine are left out."""
        own = {k: v for k, v in node.labels.items() if not k.startswith("ray.io/node")}
        return cls(**{**node._asdict(), "labels": own})


class NodeType(BaseModel):
    """A kind of node that the autoscaler can add."""

    name: str = Field(description="Its name.")
    cpus: float = Field(description="CPUs of each.")
    gpus: float = Field(description="GPUs of each.")
    memory: int = Field(description="Bytes of memory of each.")
    more: int | None = Field(description="How many more there may be; null: no limit is known.")


class Cluster(BaseModel):
    """The cluster as its dispatcher last saw it, a second ago if it is up."""

    up: bool = Field(description="Whether a dispatcher grants jobs just now. If not, jobs wait until it is back.")
    nodes: list[ClusterNode] = Field(description="The nodes.")
    node_types: list[NodeType] = Field(description="What the autoscaler may add.")
    store_free: int | None = Field(description="Bytes that the store can still take; null where that is unknown.")
    running: list[str] = Field(description="Ids of the jobs that hold machines.")
    waiting: list[str] = Field(description="Ids of the jobs that wait for their turn or their inputs.")


class StageFit(BaseModel):
    """What one stage asks for, and how that stands to the cluster."""

    stage: str = Field(description="The stage.")
    requirement: dict[str, Any] = Field(description="What it asks for under the profile.")
    fits: str = Field(description="`now`, `later`, `grow` (when nodes are added) or `never`.", examples=["now"])
    reason: str = Field(description="In words: need, offer, and how the one stands to the other.")
    largest_workers: int = Field(description="Workers of this size that could ever run at once.")
    suggestion: str = Field(description="What to change, if it never fits.")
    blocked_by: list[str] = Field(description="Ids of the jobs that hold what it would wait for.")


class Fits(BaseModel):
    """Whether each stage of a profile fits."""

    profile: str = Field(description="The profile that was looked at: `auto` is settled.")
    stages: list[StageFit] = Field(description="The stages.")
