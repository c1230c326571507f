"""What a requirement may be, and the answers of fit(): now, grow, later, never, and what would fit."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from configs.requirements import Capacity, Fit, Node, NodeType, Requirement, fit, from_json, to_json

GIB = 2**30


def _node(cpus: float = 4, gpus: float = 0, memory: int = 8 * GIB, free: float = 1.0, **labels: str) -> Node:
    return Node(cpus, gpus, memory, labels, cpus * free, gpus * free, int(memory * free))


def _type(name: str = "gpus", gpus: float = 1, more: int | None = 1, known: bool = True, **labels: str) -> NodeType:
    return NodeType(name, 8, gpus, 32 * GIB, labels, more, known)


def test_never_says_need_offer_and_the_largest_that_fits() -> None:
    verdict = fit(Requirement(workers=3, gpus=1), Capacity([_node(gpus=1), _node(gpus=1)]))
    assert verdict.fit is Fit.NEVER
    assert verdict.largest_workers == 2
    for part in ("3 workers x {1 CPU, 1 GPU", "2 nodes: 2 x {4 CPU (4 free), 1 GPU (1 free)", "that fit is 2"):
        assert part in verdict.reason
    assert "resources.workers=2 or less" in verdict.suggestion


def test_never_says_the_largest_worker_that_one_node_holds() -> None:
    requirement = Requirement(workers=2, cpus=6, memory=4 * GIB)
    verdict = fit(requirement, Capacity([_node(cpus=4, memory=16 * GIB), _node(cpus=5, memory=2 * GIB)]))
    assert (verdict.fit, verdict.largest_workers) == (Fit.NEVER, 0)
    assert verdict.largest_worker == Requirement(cpus=4, memory=4 * GIB)
    assert "the largest that a node holds has resources.cpus=4. Or add" in verdict.suggestion


def test_workers_are_placed_on_nodes_and_not_on_the_sum_of_them() -> None:
    six = Capacity([_node(cpus=3), _node(cpus=3)])
    assert fit(Requirement(workers=3, cpus=2), six).largest_workers == 2
    assert fit(Requirement(workers=2, cpus=3), six).fit is Fit.NOW
    two_halves = Capacity([_node(gpus=2)])
    assert fit(Requirement(workers=2, gpus=0.6), two_halves).fit is Fit.NOW
    assert fit(Requirement(workers=3, gpus=0.6), two_halves).largest_workers == 2  # a share lies on one GPU


def test_busy_is_later_and_names_who_holds_it() -> None:
    capacity = Capacity([_node(free=0.5)])
    assert fit(Requirement(cpus=4), capacity).blocked_by == ("work that is not in this catalog",)
    held = {
        "train job a": Requirement(cpus=2),
        "report job b": Requirement(cpus=1),
        "pipeline job c": Requirement(cpus=0),
    }
    verdict = fit(Requirement(cpus=2), capacity, held)
    assert verdict.fit is Fit.LATER
    assert "4 CPU (1 free)" in verdict.reason  # b has not taken its place yet
    assert verdict.blocked_by == ("train job a", "report job b")
    assert "0 of 1 workers fit now, blocked by train job a, report job b" in verdict.reason


def test_only_who_stands_in_the_way_is_named() -> None:
    capacity = Capacity([_node(cpus=8, gpus=1)])
    held = {"train job a": Requirement(gpus=1), "report job b": Requirement(cpus=1)}
    assert fit(Requirement(gpus=1), capacity, held).blocked_by == ("train job a",)
    both = {"a": Requirement(cpus=4), "b": Requirement(cpus=4)}
    assert fit(Requirement(cpus=8), capacity, both).blocked_by == ("a", "b")


def test_what_the_autoscaler_can_add() -> None:
    requirement = Requirement(workers=2, gpus=1)
    verdict = fit(requirement, Capacity([_node(), _node(gpus=1)], None, [_type(more=3)]))
    assert (verdict.fit, verdict.adds, verdict.blocked_by) == (Fit.GROW, (("gpus", 1),), ())
    assert "the autoscaler may add up to 3 more gpus {8 CPU, 1 GPU, 32.0 GiB memory}" in verdict.reason
    assert "1 of 2 workers fit now; the autoscaler would have to add 1 x gpus" in verdict.reason
    busy = fit(requirement, Capacity([_node(gpus=1, free=0)], None, [_type(more=1)]))
    assert busy.fit is Fit.LATER  # the new node and the busy one together
    assert fit(requirement, Capacity([], None, [_type(more=1)])).largest_workers == 1
    assert fit(requirement, Capacity([], None, [_type(more=0)])).fit is Fit.NEVER
    assert fit(Requirement(workers=5000, gpus=1), Capacity([], None, [_type(more=None)])).adds == (("gpus", 5000),)


def test_labels_of_a_node_type_that_are_not_known_leave_it_possible_and_are_said() -> None:
    requirement = Requirement(gpus=1, labels={"zone": "a"})
    assert fit(requirement, Capacity([], None, [_type(zone="b", known=False)])).fit is Fit.NEVER
    assert fit(requirement, Capacity([], None, [_type()])).fit is Fit.NEVER
    unsure = fit(requirement, Capacity([], None, [_type(known=False)]))
    assert unsure.fit is Fit.GROW
    assert "if its nodes carry zone=a: the labels of gpus are not known" in unsure.reason
    known = fit(requirement, Capacity([], None, [_type("perhaps", known=False), _type("sure", zone="a")]))
    assert known.adds == (("sure", 1),)


@pytest.mark.parametrize(
    ("selector", "zone", "allowed"),
    [
        ("a", "a", True),
        ("a", "b", False),
        ("a", None, False),
        ("!a", "b", True),
        ("!a", "a", False),
        ("!a", None, True),
        ("in(a, b)", "b", True),
        ("in(a,b)", "c", False),
        ("in(a)", None, False),
        ("!in(a,b)", "c", True),
        ("!in(a, b)", "a", False),
        ("!in(a,b)", None, True),
    ],
)
def test_label_selectors(selector: str, zone: str | None, allowed: bool) -> None:
    labels = {} if zone is None else {"zone": zone}
    verdict = fit(Requirement(labels={"zone": selector}), Capacity([_node(**labels)]))
    assert verdict.fit is (Fit.NOW if allowed else Fit.NEVER)


def test_a_selector_is_handed_to_ray_as_ray_understands_it() -> None:
    assert Requirement(labels={"zone": "!in(a, b)"}).labels == {"zone": "!in(a,b)"}


def test_a_label_that_no_node_carries_is_named_with_those_that_there_are() -> None:
    capacity = Capacity([_node(zone="a"), _node(zone="b", tier="x")])
    assert (
        "No node allows zone=c (of the nodes, zone=a, zone=b)"
        in fit(Requirement(labels={"zone": "c"}), capacity).suggestion
    )
    assert "none carries a label rack" in fit(Requirement(labels={"rack": "1"}), capacity).suggestion
    both = fit(Requirement(labels={"zone": "a", "tier": "x"}), capacity)
    assert "No single node allows all of zone=a, tier=x" in both.suggestion


def test_other_suggestions() -> None:
    assert "use --profile local" in fit(Requirement(gpus=1), Capacity([_node()])).suggestion
    assert "has no node" in fit(Requirement(), Capacity([])).suggestion


def test_a_store_that_is_too_small_is_never_whatever_the_machines() -> None:
    full = fit(Requirement(store_bytes=2 * GIB), Capacity([_node()], GIB))
    assert (full.fit, full.largest_workers) == (Fit.NEVER, 0)
    assert "2.00 GiB in the store" in full.reason
    assert "the store has 1.00 GiB free" in full.reason
    assert "RAYLENS_STORE" in full.suggestion


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"workers": 0}, "greater than or equal to 1"),
        ({"workers": -1}, "greater than or equal to 1"),
        ({"workers": 10**18}, "less than or equal to 10000"),
        ({"cpus": -1}, "greater than or equal to 0"),
        ({"cpus": 1e9}, "less than or equal to 100000"),
        ({"cpus": float("nan")}, "finite number"),
        ({"gpus": float("inf")}, "finite number"),
        ({"cpus": 1e-5}, "steps of 0.0001, for example 0.0001"),
        ({"gpus": 0.33333}, "steps of 0.0001, for example 0.3333"),
        ({"gpus": 1.5}, "whole number"),
        ({"memory": -1}, "greater than or equal to 0"),
        ({"memory": 8}, "memory is in bytes, and 8 bytes hold no worker"),
        ({"memory": 10**18}, "less than or equal to"),
        ({"labels": {"zone": ""}}, "label zone=''"),
        ({"labels": {"zone": "in(a"}}, "expected a value such as `a100`"),
        ({"labels": {"a/b/c": "x"}}, "a key is NAME or DOMAIN/NAME"),
        ({"threads": 0}, "greater than or equal to 1"),
        ({"store_bytes": -1}, "greater than or equal to 0"),
        ({"queue": "gpu"}, "Extra inputs are not permitted"),
    ],
)
def test_sizes_that_nothing_has_are_refused(given: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said.replace("(", r"\(")):
        Requirement.model_validate(given)


def test_many_nodes_are_told_in_a_few_words() -> None:
    capacity = Capacity([_node() for _ in range(1000)] + [_node(gpus=i, zone=f"z{i}") for i in range(1, 20)])
    assert "1019 nodes: 1000 x {4 CPU" in str(capacity)
    assert "and 12 others" in str(capacity)
    assert len(str(capacity)) < 1200


def test_an_offer_travels_as_json() -> None:
    capacity = Capacity((_node(gpus=1, zone="a"),), GIB, (_type(more=None, known=False, zone="b"),))
    assert from_json(json.loads(json.dumps(to_json(capacity)))) == capacity
    with pytest.raises(ValueError, match="not a capacity"):
        from_json({"nodes": [{"cpus": 1}]})
