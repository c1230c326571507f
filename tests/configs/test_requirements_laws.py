"""Laws of fit() and place(), for any need, offer and grants."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from configs.requirements import Fit, Node, NodeType, Offer, Requirement, fit, from_json, to_json
from configs.requirements.packing import free, place, total

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
    Offer, st.lists(NODES, max_size=5).map(tuple), st.none(), st.lists(TYPES, max_size=2, unique_by=lambda t: t.name)
)


def _rank(need: Requirement, offer: Offer) -> int:
    return ORDER.index(fit(need, offer).fit)


@given(NEEDS, OFFERS, NODES, TYPES)
def test_more_offer_never_fits_worse(need: Requirement, offer: Offer, node: Node, new: NodeType) -> None:
    alone = _rank(need, offer)
    assert _rank(need, offer._replace(nodes=[*offer.nodes, node])) >= alone
    assert _rank(need, offer._replace(node_types=[*offer.node_types, new])) >= alone
    idle = [n._replace(free_cpus=n.cpus, free_gpus=n.gpus, free_memory=n.memory) for n in offer.nodes]
    assert _rank(need, offer._replace(nodes=idle)) >= alone


@given(NEEDS, OFFERS)
def test_what_fits_now_fits_later_too_and_smaller_needs_fit_as_well(need: Requirement, offer: Offer) -> None:
    busy = offer._replace(nodes=[n._replace(free_cpus=0, free_gpus=0, free_memory=0) for n in offer.nodes])
    if fit(need, offer).fit is not Fit.NEVER:
        assert fit(need, busy).fit is not Fit.NEVER
    if need.workers > 1:
        assert _rank(need.model_copy(update={"workers": need.workers - 1}), offer) >= _rank(need, offer)
    assert _rank(need.model_copy(update={"labels": {}}), offer) >= _rank(need, offer)


@given(NEEDS, OFFERS)
def test_never_tells_the_largest_that_fits(need: Requirement, offer: Offer) -> None:
    verdict = fit(need, offer)
    if verdict.fit is not Fit.NEVER:
        assert verdict.largest_workers >= need.workers
        return
    assert verdict.largest_workers < need.workers
    assert verdict.advice
    if verdict.largest_workers:
        assert fit(need.model_copy(update={"workers": verdict.largest_workers}), offer).fit is not Fit.NEVER
        assert verdict.largest_worker == need.model_copy(update={"workers": 1})
    assert fit(need.model_copy(update={"workers": verdict.largest_workers + 1}), offer).fit is Fit.NEVER
    largest = verdict.largest_worker
    if largest is not None:
        assert fit(largest, offer).fit is not Fit.NEVER
        Requirement.model_validate(largest.model_dump())  # a size that may be asked for
        assert all(getattr(largest, name) <= getattr(need, name) for name in ("cpus", "gpus", "memory"))
    elif not need.labels and offer.nodes:  # no node has all of the resources, however little of each
        assert not any(
            (n.cpus or not need.cpus) and (n.gpus or not need.gpus) and (n.memory or not need.memory)
            for n in offer.nodes
        )


@given(st.lists(NEEDS, max_size=4), OFFERS)
def test_grants_take_from_what_is_free_only(granted: list[Requirement], offer: Offer) -> None:
    before, after = [free(node) for node in offer.nodes], place(offer, granted).free
    assert place(offer, []).free == before
    assert all(0 <= b <= a for had, has in zip(before, after, strict=True) for a, b in zip(had, has, strict=True))
    for name in ("cpus", "gpus", "memory"):
        taken = sum(getattr(a, name) - getattr(b, name) for a, b in zip(before, after, strict=True))
        assert taken <= sum(g.workers * getattr(g, name) for g in granted) + 1e-6


@given(st.lists(NEEDS, min_size=1, max_size=4), OFFERS)
def test_no_place_is_promised_twice(granted: list[Requirement], offer: Offer) -> None:
    places = place(offer, granted)
    for j, node in enumerate(offer.nodes):
        for name, have, spare in zip(("cpus", "gpus", "memory"), total(node), places.free[j], strict=True):
            held = sum(n * getattr(granted[i], name) for i, pairs in enumerate(places.held) for k, n in pairs if k == j)
            assert held + spare <= have + 1e-6
    for grant, pairs in zip(granted, places.held, strict=True):
        assert sum(n for _, n in pairs) <= grant.workers


@given(st.lists(NEEDS, min_size=1, max_size=6), st.lists(NODES, min_size=1, max_size=4))
def test_granting_one_after_another_never_promises_more_than_there_is(
    asked: list[Requirement], nodes: list[Node]
) -> None:
    offer = Offer(tuple(n._replace(free_cpus=n.cpus, free_gpus=n.gpus, free_memory=n.memory) for n in nodes))
    held: dict[str, Requirement] = {}
    for i, need in enumerate(asked):
        if fit(need, offer, held).fit is Fit.NOW:
            held[str(i)] = need
    for name in ("cpus", "gpus", "memory"):
        promised = sum(g.workers * getattr(g, name) for g in held.values())
        assert promised <= sum(getattr(n, name) for n in nodes) + 1e-6


@given(NEEDS, OFFERS, st.lists(NEEDS, max_size=3))
def test_who_waits_is_told_for_whom(need: Requirement, offer: Offer, granted: list[Requirement]) -> None:
    verdict = fit(need, offer, {f"job {i}": one for i, one in enumerate(granted)})
    if verdict.fit is Fit.LATER:
        assert verdict.holders
    if verdict.fit is Fit.NOW:
        assert verdict.holders == verdict.adds == ()
    for name in verdict.holders:
        assert name in verdict.reason


@given(OFFERS, st.none() | st.integers(0, 2**50))
def test_an_offer_comes_back_from_json(offer: Offer, store: int | None) -> None:
    offer = Offer(tuple(offer.nodes), store, tuple(offer.node_types))
    assert from_json(json.loads(json.dumps(to_json(offer)))) == offer


def test_answers_are_ordered_from_worst_to_best() -> None:
    assert list(Fit) == ORDER
