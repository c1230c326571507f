"""What a job needs, what machines offer, and whether the one fits the other. Pure: nothing here asks a cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Literal, NamedTuple

from pydantic import Field

from configs.base import Config


class Requirement(Config):
    """What a job needs: `workers` equal workers, and bytes in the store."""

    workers: int = Field(1, ge=1, description="Number of equal workers.")
    cpus: float = Field(1, ge=0, description="CPUs of each worker.")
    gpus: float = Field(0, ge=0, description="GPUs of each worker.")
    memory: int = Field(0, ge=0, description="Bytes of memory of each worker.")
    labels: dict[str, str] = Field(default_factory=dict, description="Labels that each worker's node must carry.")
    threads: int = Field(1, ge=1, description="Compute threads of each worker; set apart from `cpus`.")
    device: Literal["cpu", "cuda"] = Field("cpu", description="Where tensors live.")
    store_bytes: int = Field(0, ge=0, description="Bytes that the job will write to the store.")

    def __str__(self) -> str:
        parts = [f"{self.cpus:g} CPU", f"{self.gpus:g} GPU", f"{self.memory / 2**30:.1f} GiB memory"]
        labels = "".join(f", {k}={v}" for k, v in self.labels.items())
        store = f", and {self.store_bytes / 2**30:.2f} GiB in the store" if self.store_bytes else ""
        return f"{self.workers} worker{'s' * (self.workers > 1)} x {{{', '.join(parts)}{labels}}}{store}"


class Node(NamedTuple):
    """One machine: what it has in all, what is free of it, and its labels."""

    cpus: float
    gpus: float
    memory: int
    labels: Mapping[str, str]
    free_cpus: float
    free_gpus: float
    free_memory: int


class Offer(NamedTuple):
    """What the cluster and the store offer."""

    nodes: Sequence[Node]
    store_free: int | None = None

    def __str__(self) -> str:
        nodes = "; ".join(
            f"{n.cpus:g} CPU ({n.free_cpus:g} free), {n.gpus:g} GPU ({n.free_gpus:g} free), "
            f"{n.memory / 2**30:.1f} GiB memory ({n.free_memory / 2**30:.1f} free)"
            + "".join(f", {k}={v}" for k, v in n.labels.items() if not k.startswith("ray.io/node"))
            for n in self.nodes
        )
        store = "" if self.store_free is None else f"; the store has {self.store_free / 2**30:.2f} GiB free"
        return f"{len(self.nodes)} node{'s' * (len(self.nodes) != 1)}: {nodes or 'none'}{store}"


class Fit(Enum):
    """How a requirement stands to an offer."""

    NOW = "fits now"
    LATER = "fits when other jobs finish"
    NEVER = "can never fit"


class Verdict(NamedTuple):
    """The answer of fit(): how it stands, in words, and the most workers of this size that could ever run."""

    fit: Fit
    reason: str
    largest_workers: int


def fit(need: Requirement, offer: Offer) -> Verdict:
    """Holds a requirement against an offer. Deterministic and without side effects."""
    ever = sum(_room(need, n, n.cpus, n.gpus, n.memory) for n in offer.nodes)
    now = sum(_room(need, n, n.free_cpus, n.free_gpus, n.free_memory) for n in offer.nodes)
    if offer.store_free is not None and need.store_bytes > offer.store_free:
        return Verdict(Fit.NEVER, _say(need, offer, "the store is too small"), ever)
    if ever < need.workers:
        return Verdict(Fit.NEVER, _say(need, offer, f"the most workers of this size that fit is {ever}"), ever)
    if now < need.workers:
        return Verdict(Fit.LATER, _say(need, offer, f"{now} of {need.workers} workers fit now"), ever)
    return Verdict(Fit.NOW, _say(need, offer, "it fits"), ever)


def _room(need: Requirement, node: Node, cpus: float, gpus: float, memory: int) -> int:
    if any(node.labels.get(k) != v for k, v in need.labels.items()):
        return 0
    rooms = [
        int(have / want + 1e-9)
        for have, want in ((cpus, need.cpus), (gpus, need.gpus), (memory, need.memory))
        if want > 0
    ]
    return max(0, min(rooms, default=need.workers))


def _say(need: Requirement, offer: Offer, verdict: str) -> str:
    return f"needs {need}; there is {offer}; {verdict}"
