"""Laws of fit() and pack(), for any requirement, capacity and admitted jobs."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from configs.requirements import Capacity, Fit, Node, NodeType, Requirement, fit, from_json, to_json
from configs.requirements.packing import free, pack, total

MIB = 2**20
ORDER = [Fit.NEVER, Fit.LATER, Fit.GROW, Fit.NOW]
LABELS = st.dictionaries(st.sampled_from(["zone", "tier"]), st.sampled_from(["a", "b"]), max_size=2)
SHARES = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])
NEEDS = st.builds(
    Requirement,
    workers=st.integers(1, 8),
    cpus=st.sampled_from([0, 0.3, 0.5, 1, 2, 3]),
    gpus=st.sampled_from([0, 0, 0.3, 0.5, 0.6, 1, 2]),
    memory=st.sampled_from([0, MIB, 2 * MIB, 5 * MIB]),
    labels=st.dictionaries(st.sampled_from(["zone", "tier"]), st.sampled_from(["a", "!a", "in(a,b)"]), max_size=1),
)


@st.composite
def _nodes(draw: st.DrawFn) -> Node:
    cpus, gpus, memory = draw(st.integers(0, 8)), draw(st.integers(0, 4)), draw(st.integers(0, 16)) * MIB
    return Node(cpus, gpus, memory, draw(LABELS), cpus * draw(SHARES), gpus * draw(SHARES), int(memory * draw(SHARES)))


NODES = _nodes()
TYPES = st.builds(
    NodeType,
    st.sampled_from(["x", "y"]),
    st.integers(0, 8),
    st.integers(0, 4),
    st.integers(0, 16).map(lambda n: n * MIB),
    LABELS,
    st.none() | st.integers(0, 3),
    st.booleans(),
)
OFFERS = st.builds(
    Capacity, st.lists(NODES, max_size=5).map(tuple), st.none(), st.lists(TYPES, max_size=2, unique_by=lambda t: t.name)
)


def _rank(requirement: Requirement, capacity: Capacity) -> int:
    return ORDER.index(fit(requirement, capacity).fit)


@given(NEEDS, OFFERS, NODES, TYPES)
def test_more_offer_never_fits_worse(requirement: Requirement, capacity: Capacity, node: Node, new: NodeType) -> None:
    alone = _rank(requirement, capacity)
    assert _rank(requirement, capacity._replace(nodes=[*capacity.nodes, node])) >= alone
    assert _rank(requirement, capacity._replace(node_types=[*capacity.node_types, new])) >= alone
    idle = [n._replace(free_cpus=n.cpus, free_gpus=n.gpus, free_memory=n.memory) for n in capacity.nodes]
    assert _rank(requirement, capacity._replace(nodes=idle)) >= alone


@given(NEEDS, OFFERS)
def test_what_fits_now_fits_later_too_and_smaller_needs_fit_as_well(
    requirement: Requirement, capacity: Capacity
) -> None:
    busy = capacity._replace(nodes=[n._replace(free_cpus=0, free_gpus=0, free_memory=0) for n in capacity.nodes])
    if fit(requirement, capacity).fit is not Fit.NEVER:
        assert fit(requirement, busy).fit is not Fit.NEVER
    if requirement.workers > 1:
        assert _rank(requirement.model_copy(update={"workers": requirement.workers - 1}), capacity) >= _rank(
            requirement, capacity
        )
    assert _rank(requirement.model_copy(update={"labels": {}}), capacity) >= _rank(requirement, capacity)


@given(NEEDS, OFFERS)
def test_never_tells_the_largest_that_fits(requirement: Requirement, capacity: Capacity) -> None:
    verdict = fit(requirement, capacity)
    if verdict.fit is not Fit.NEVER:
        assert verdict.largest_workers >= requirement.workers
        return
    assert verdict.largest_workers < requirement.workers
    assert verdict.suggestion
    if verdict.largest_workers:
        assert fit(requirement.model_copy(update={"workers": verdict.largest_workers}), capacity).fit is not Fit.NEVER
        assert verdict.largest_worker == requirement.model_copy(update={"workers": 1})
    assert fit(requirement.model_copy(update={"workers": verdict.largest_workers + 1}), capacity).fit is Fit.NEVER
    largest = verdict.largest_worker
    if largest is not None:
        assert fit(largest, capacity).fit is not Fit.NEVER
        Requirement.model_validate(largest.model_dump())  # a size that may be asked for
        assert all(getattr(largest, name) <= getattr(requirement, name) for name in ("cpus", "gpus", "memory"))
    elif not requirement.labels and capacity.nodes:  # no node has all of the resources, however little of each
        assert not any(
            (n.cpus or not requirement.cpus)
            and (n.gpus or not requirement.gpus)
            and (n.memory or not requirement.memory)
            for n in capacity.nodes
        )


@given(st.lists(NEEDS, max_size=4), OFFERS)
def test_grants_take_from_what_is_free_only(granted: list[Requirement], capacity: Capacity) -> None:
    before, after = [free(node) for node in capacity.nodes], pack(capacity, granted).free
    assert pack(capacity, []).free == before
    assert all(0 <= b <= a for had, has in zip(before, after, strict=True) for a, b in zip(had, has, strict=True))
    for name in ("cpus", "gpus", "memory"):
        taken = sum(getattr(a, name) - getattr(b, name) for a, b in zip(before, after, strict=True))
        assert taken <= sum(g.workers * getattr(g, name) for g in granted) + 1e-6


@given(st.lists(NEEDS, min_size=1, max_size=4), OFFERS)
def test_no_place_is_promised_twice(granted: list[Requirement], capacity: Capacity) -> None:
    packing = pack(capacity, granted)
    for j, node in enumerate(capacity.nodes):
        for name, have, spare in zip(("cpus", "gpus", "memory"), total(node), packing.free[j], strict=True):
            held = sum(
                n * getattr(granted[i], name) for i, pairs in enumerate(packing.admitted) for k, n in pairs if k == j
            )
            assert held + spare <= have + 1e-6
    for grant, pairs in zip(granted, packing.admitted, strict=True):
        assert sum(n for _, n in pairs) <= grant.workers


@given(st.lists(NEEDS, min_size=1, max_size=6), st.lists(NODES, min_size=1, max_size=4))
def test_granting_one_after_another_never_promises_more_than_there_is(
    asked: list[Requirement], nodes: list[Node]
) -> None:
    capacity = Capacity(tuple(n._replace(free_cpus=n.cpus, free_gpus=n.gpus, free_memory=n.memory) for n in nodes))
    held: dict[str, Requirement] = {}
    for i, requirement in enumerate(asked):
        if fit(requirement, capacity, held).fit is Fit.NOW:
            held[str(i)] = requirement
    for name in ("cpus", "gpus", "memory"):
        promised = sum(g.workers * getattr(g, name) for g in held.values())
        assert promised <= sum(getattr(n, name) for n in nodes) + 1e-6


@given(NEEDS, OFFERS, st.lists(NEEDS, max_size=3))
def test_who_waits_is_told_for_whom(requirement: Requirement, capacity: Capacity, granted: list[Requirement]) -> None:
    verdict = fit(requirement, capacity, {f"job {i}": one for i, one in enumerate(granted)})
    if verdict.fit is Fit.LATER:
        assert verdict.blocked_by
    if verdict.fit is Fit.NOW:
        assert verdict.blocked_by == verdict.adds == ()
    for name in verdict.blocked_by:
        assert name in verdict.reason


@given(OFFERS, st.none() | st.integers(0, 2**50))
def test_an_offer_comes_back_from_json(capacity: Capacity, store: int | None) -> None:
    capacity = Capacity(tuple(capacity.nodes), store, tuple(capacity.node_types))
    assert from_json(json.loads(json.dumps(to_json(capacity)))) == capacity


def test_answers_are_ordered_from_worst_to_best() -> None:
    assert list(Fit) == ORDER
