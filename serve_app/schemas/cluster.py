"""The cluster: its nodes, and whether each stage fits on them."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, Field

from configs.requirements import Node


class ClusterNode(BaseModel):
    """One node."""

    cpus: float = Field(description="CPUs.")
    gpus: float = Field(description="GPUs.")
    memory: int = Field(description="Bytes of memory for jobs.")
    free_cpus: float = Field(description="CPUs that no process has reserved.")
    free_gpus: float = Field(description="GPUs that no process has reserved.")
    free_memory: int = Field(description="Bytes of memory that no process has reserved.")
    labels: dict[str, str] = Field(description="Labels that a job can require.")

    @classmethod
    def from_node(cls, node: Node) -> Self:
        """From the cluster's capacity. Labels that only identify the machine are removed."""
        own = {k: v for k, v in node.labels.items() if not k.startswith("ray.io/node")}
        return cls(**{**node._asdict(), "labels": own})


class NodeType(BaseModel):
    """A kind of node that the autoscaler can add."""

    name: str = Field(description="Its name.")
    cpus: float = Field(description="CPUs of each.")
    gpus: float = Field(description="GPUs of each.")
    memory: int = Field(description="Bytes of memory of each.")
    more: int | None = Field(description="How many more can be added; null: no limit is known.")


class Cluster(BaseModel):
    """The cluster as its dispatcher saw it last: a second ago if it is up."""

    up: bool = Field(description="Whether a dispatcher admits jobs now. If not, jobs wait until one is back.")
    nodes: list[ClusterNode] = Field(description="The nodes.")
    node_types: list[NodeType] = Field(description="Kinds of nodes that the autoscaler can add.")
    store_free: int | None = Field(description="Free bytes of the store; null if unknown.")
    running: list[str] = Field(description="Ids of the admitted jobs.")
    waiting: list[str] = Field(description="Ids of the pending jobs.")


class StageFit(BaseModel):
    """The requirement of one stage, compared with the cluster's capacity."""

    stage: str = Field(description="The stage.")
    requirement: dict[str, Any] = Field(description="What it requires under the profile.")
    fits: str = Field(
        description="`now`, `later` (when other jobs finish), `grow` (when the autoscaler adds nodes) or `never`.",
        examples=["now"],
    )
    reason: str = Field(description="Requirement and capacity in words.")
    largest_workers: int = Field(description="The number of such workers that the cluster can run at once.")
    suggestion: str = Field(description="What to change, if it never fits.")
    blocked_by: list[str] = Field(description="Ids of the jobs that use the resources that it would wait for.")


class Fits(BaseModel):
    """Whether each stage of a profile fits."""

    profile: str = Field(description="The profile; `auto` is resolved.")
    stages: list[StageFit] = Field(description="The stages.")
