"""Whether a requirement fits a capacity: now, once the autoscaler adds nodes, once other jobs finish, or never."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import NamedTuple

from configs.requirements.blocking_jobs import blockers
from configs.requirements.capacity import Capacity
from configs.requirements.labels import matches
from configs.requirements.packing import pack, total, with_free, workers_on_new_node, workers_per_node
from configs.requirements.requirement import MAX_WORKERS, Requirement
from configs.requirements.suggestions import largest_worker, suggestion


class Fit(Enum):
    """Whether a requirement fits a capacity, from worst to best."""

    NEVER = "can never fit"
    LATER = "fits when other jobs finish"
    GROW = "fits when the autoscaler adds nodes"
    NOW = "fits now"


class FitResult(NamedTuple):
    """The answer of fit()."""

    fit: Fit
    reason: str  # requirement, capacity, and the finding
    largest_workers: int  # the most workers of this size that could ever run
    largest_worker: Requirement | None = (
        None  # NEVER: the largest worker, no larger than required, that a node could run
    )
    blocked_by: tuple[str, ...] = ()  # LATER, GROW: names of the admitted jobs in the way
    adds: tuple[tuple[str, int], ...] = ()  # GROW: (node type, how many of it the autoscaler would add)
    finding: str = ""  # in words, for where requirement and capacity are shown already
    suggestion: str = ""  # NEVER: what to change


def fit(
    requirement: Requirement, capacity: Capacity, admitted: Mapping[str, Requirement] = MappingProxyType({})
) -> FitResult:
    """Compares a requirement with a capacity. Deterministic and without side effects.

    `admitted`: requirements of the jobs that were admitted already, by name. They are taken out of what is free
    (packing.pack), and the names are given back if they are in the way.

    Labels of an autoscaler's node type may be unknown: then the type counts, and the reason says so.
    """
    on_empty_nodes = sum(workers_per_node(requirement, capacity.nodes, [total(node) for node in capacity.nodes]))
    ever = min(MAX_WORKERS, on_empty_nodes + _addable(requirement, capacity))
    if _store_is_too_small(requirement, capacity):
        return _result(Fit.NEVER, requirement, capacity, "the store is too small", 0)
    if ever < requirement.workers:
        return _result(Fit.NEVER, requirement, capacity, f"the most workers of this size that fit is {ever}", ever)
    packing = pack(capacity, list(admitted.values()))
    now = sum(workers_per_node(requirement, capacity.nodes, packing.free))
    capacity = with_free(capacity, packing.free)
    if now >= requirement.workers:
        return _result(Fit.NOW, requirement, capacity, "it fits", ever)
    finding = f"{now} of {requirement.workers} workers fit now"
    blocked_by = blockers(requirement, capacity, packing, admitted) if on_empty_nodes > now else ()
    if blocked_by:
        finding += f", blocked by {', '.join(blocked_by)}"
    adds = _adds(requirement, capacity, requirement.workers - now)
    if adds:
        added = ", ".join(f"{n} x {name}" for name, n in adds)
        finding += f"; the autoscaler would have to add {added}{_doubt(requirement, capacity, dict(adds))}"
    answer = Fit.GROW if adds else Fit.LATER
    return _result(answer, requirement, capacity, finding, ever)._replace(blocked_by=blocked_by, adds=adds)


def _addable(requirement: Requirement, capacity: Capacity) -> int:
    return sum(
        workers_on_new_node(requirement, one) * (MAX_WORKERS if one.more is None else one.more)
        for one in capacity.node_types
    )


def _adds(requirement: Requirement, capacity: Capacity, missing: int) -> tuple[tuple[str, int], ...]:
    """How many of which node types run the missing workers, those whose labels are known first; none if they cannot."""
    adds: list[tuple[str, int]] = []
    for one in sorted(capacity.node_types, key=lambda one: not matches(requirement.labels, one.labels)):
        each = workers_on_new_node(requirement, one)
        if missing > 0 and each and one.more != 0:
            n = -(-missing // each) if one.more is None else min(one.more, -(-missing // each))
            adds.append((one.name, n))
            missing -= n * each
    return tuple(adds) if missing <= 0 else ()


def _doubt(requirement: Requirement, capacity: Capacity, adds: Mapping[str, int]) -> str:
    unsure = [
        one.name for one in capacity.node_types if one.name in adds and not matches(requirement.labels, one.labels)
    ]
    if not unsure:
        return ""
    labels = ", ".join(f"{key}={value}" for key, value in requirement.labels.items())
    return f" (if its nodes carry {labels}: the labels of {', '.join(unsure)} are not known before there is one)"


def _result(answer: Fit, requirement: Requirement, capacity: Capacity, finding: str, ever: int) -> FitResult:
    reason = f"needs {requirement}; there {'is' if len(capacity.nodes) == 1 else 'are'} {capacity}; {finding}"
    result = FitResult(answer, reason, ever, finding=finding)
    if answer is Fit.NEVER:
        largest = None if _store_is_too_small(requirement, capacity) else largest_worker(requirement, capacity)
        return result._replace(largest_worker=largest, suggestion=suggestion(requirement, capacity, ever))
    return result


def _store_is_too_small(requirement: Requirement, capacity: Capacity) -> bool:
    return capacity.store_free is not None and requirement.store_bytes > capacity.store_free
