"""The laws of the line: the order of submission, who may pass whom, and that no place is promised twice."""

from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st

from configs.requirements import Capacity, Node, Requirement
from jobs.life.admission import Action, Admitted, Pending, decide

GIB = 1 << 30


def _node(cpus: float = 4, gpus: float = 0, free_cpus: float | None = None, free_gpus: float | None = None) -> Node:
    free = (cpus if free_cpus is None else free_cpus, gpus if free_gpus is None else free_gpus)
    return Node(cpus, gpus, 16 * GIB, {}, *free, 16 * GIB)


def _waiting(name: str, cpus: float = 1, gpus: float = 0, workers: int = 1, outputs: tuple[str, ...] = ()) -> Pending:
    return Pending(name, Requirement(workers=workers, cpus=cpus, gpus=gpus), frozenset(outputs or (f"tokens/{name}",)))


def _holding(name: str, cpus: float = 1, gpus: float = 0) -> Admitted:
    return Admitted(name, "train", Requirement(cpus=cpus, gpus=gpus), frozenset({f"saes/{name}"}))


def test_jobs_start_in_their_order_and_the_first_that_waits_holds_back_all_behind_it() -> None:
    line = [_waiting("a", 2), _waiting("b", 4), _waiting("c", 1)]
    first, second, third = decide(line, [], Capacity([_node(4)]))
    assert first.action is Action.START
    assert (second.action, second.kind, second.blocked_by) == (Action.WAIT, "resources", ("a",))
    assert (third.action, third.kind, third.blocked_by) == (Action.WAIT, "turn", ("b",))  # or b would starve


def test_only_a_job_without_a_gpu_passes_one_that_waits_for_a_gpu() -> None:
    capacity = Capacity([_node(8, 1)])
    line = [_waiting("gpu", 1, 1), _waiting("cpu"), _waiting("gpu2", 1, 0.5)]
    waits, passes, behind = decide(line, [_holding("other", 1, 1)], capacity)
    assert (waits.action, waits.blocked_by) == (Action.WAIT, ("other",))
    assert passes.action is Action.START
    assert (behind.action, behind.blocked_by) == (Action.WAIT, ("gpu",))


def test_what_can_never_fit_is_refused_and_holds_nobody_back() -> None:
    never, fits = decide([_waiting("a", 1, 1), _waiting("b")], [], Capacity([_node(4)]))
    assert never.action is Action.REFUSE
    assert "needs 1 worker x {1 CPU, 1 GPU" in never.reason
    assert "4 CPU (4 free), 0 GPU (0 free)" in never.reason
    assert fits.action is Action.START


def test_what_ran_before_waits_for_the_node_that_went_away() -> None:
    (decision,) = decide([_waiting("a", 1, 1)._replace(fitted=True)], [], Capacity([_node(4)]))
    assert (decision.action, decision.kind) == (Action.WAIT, "resources")
    assert "though it did before" in decision.reason


def test_who_waits_for_a_node_that_went_away_holds_nobody_back() -> None:
    gone, fits = decide([_waiting("a", 9)._replace(fitted=True), _waiting("b", 4)], [], Capacity([_node(4)]))
    assert gone.action is Action.WAIT
    assert fits.action is Action.START


@given(
    sizes=st.lists(st.integers(0, 9), max_size=6), held=st.lists(st.integers(0, 9), max_size=3), free=st.integers(0, 20)
)
def test_no_byte_is_promised_twice(sizes: list[int], held: list[int], free: int) -> None:
    def requirement(size: int) -> Requirement:
        return Requirement(cpus=0, store_bytes=size)

    line = [
        Pending(f"w{i}", requirement(size), frozenset(), True, ("a", "b")[i % 2], free) for i, size in enumerate(sizes)
    ]
    holding = [Admitted(f"h{i}", "train", requirement(size), frozenset(), "a") for i, size in enumerate(held)]
    decisions = decide(line, holding, Capacity([_node()], 0))
    for store, promised in (("a", sum(held)), ("b", 0)):
        started = [
            w.requirement.store_bytes
            for w, d in zip(line, decisions, strict=True)
            if w.store == store and d.action is Action.START
        ]
        assert sum(started) <= max(0, free - promised)
        if not started:
            assert all(w.requirement.store_bytes > max(0, free - promised) for w in line if w.store == store)


def test_of_two_that_make_one_artifact_the_second_waits_whatever_is_free() -> None:
    first, second = decide(
        [_waiting("a", outputs=("saes/x", "saes/y")), _waiting("b", outputs=("saes/y",))], [], Capacity([_node(9)])
    )
    assert first.action is Action.START
    assert (second.action, second.kind, second.blocked_by) == (Action.WAIT, "same_artifact", ("a",))


def test_a_job_that_needs_no_machine_waits_for_nobody() -> None:
    waits, fine = decide([_waiting("a", 4), _waiting("b", 0)], [_holding("c", 4)], Capacity([_node(4)]))
    assert waits.action is Action.WAIT
    assert fine.action is Action.START


@given(
    sizes=st.lists(st.tuples(st.integers(1, 4), st.integers(0, 2)), max_size=8),
    held=st.lists(st.tuples(st.integers(1, 4), st.integers(0, 2)), max_size=3),
    cpus=st.integers(1, 8),
    gpus=st.integers(0, 3),
)
def test_no_place_is_promised_twice(
    sizes: list[tuple[int, int]], held: list[tuple[int, int]], cpus: int, gpus: int
) -> None:
    """Also while Ray still calls everything free: those that were let in have not taken their places yet."""
    assume(sum(size[0] for size in held) <= cpus and sum(size[1] for size in held) <= gpus)
    holding = [_holding(f"h{i}", *size) for i, size in enumerate(held)]
    line = [_waiting(f"w{i}", *size) for i, size in enumerate(sizes)]
    decisions = decide(line, holding, Capacity([_node(cpus, gpus)]))
    started = [
        job.requirement for job, decision in zip(line, decisions, strict=True) if decision.action is Action.START
    ]
    if started:
        assert sum(requirement.cpus for requirement in [*started, *(h.requirement for h in holding)]) <= cpus
        assert sum(requirement.gpus for requirement in [*started, *(h.requirement for h in holding)]) <= gpus
    # And whoever waits, waits for somebody, or for one that does.
    assert all(decision.blocked_by for decision in decisions if decision.action is Action.WAIT)


@given(sizes=st.lists(st.integers(1, 4), min_size=1, max_size=8), cpus=st.integers(1, 8))
def test_something_starts_wherever_anything_ever_can(sizes: list[int], cpus: int) -> None:
    decisions = decide([_waiting(f"w{i}", size) for i, size in enumerate(sizes)], [], Capacity([_node(cpus)]))
    assert (Action.START in [d.action for d in decisions]) == any(size <= cpus for size in sizes)
