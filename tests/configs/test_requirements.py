"""Admission is a pure function: what fits now, later, never, and what would fit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.load import STAGES, load_config
from configs.profiles import load_profile, requirement_for
from configs.requirements import Fit, Node, Offer, Requirement, fit
from tests.configs.test_load import PRESETS

GIB = 2**30


def _node(cpus: float = 4, gpus: float = 0, memory: int = 8 * GIB, free: float = 1.0, **labels: str) -> Node:
    return Node(cpus, gpus, memory, labels, cpus * free, gpus * free, int(memory * free))


def test_never_says_need_offer_and_the_largest_that_fits() -> None:
    verdict = fit(Requirement(workers=3, gpus=1), Offer([_node(gpus=1), _node(gpus=1)]))
    assert verdict.fit is Fit.NEVER
    assert verdict.largest_workers == 2
    for part in ("3 workers x {1 CPU, 1 GPU", "2 nodes", "4 CPU (4 free), 1 GPU (1 free)", "that fit is 2"):
        assert part in verdict.reason


def test_busy_is_later_and_labels_and_the_store_count() -> None:
    assert fit(Requirement(cpus=4), Offer([_node(free=0.5)])).fit is Fit.LATER
    assert fit(Requirement(labels={"zone": "a"}), Offer([_node(zone="b")])).fit is Fit.NEVER
    assert fit(Requirement(labels={"zone": "a"}), Offer([_node(zone="a")])).fit is Fit.NOW
    full = fit(Requirement(store_bytes=2 * GIB), Offer([_node()], GIB))
    assert full.fit is Fit.NEVER
    assert "2.00 GiB in the store" in full.reason
    assert "1.00 GiB free" in full.reason


needs = st.builds(
    Requirement, workers=st.integers(1, 8), cpus=st.integers(0, 4), gpus=st.integers(0, 2), memory=st.integers(0, 4)
)
nodes = st.lists(
    st.builds(_node, st.integers(0, 8), st.integers(0, 4), st.integers(0, 16), st.sampled_from([0.0, 0.5, 1.0])),
    max_size=5,
)


@given(needs, nodes)
def test_more_machines_never_fit_less_and_fewer_workers_always_fit(need: Requirement, machines: list[Node]) -> None:
    order = [Fit.NEVER, Fit.LATER, Fit.NOW]
    alone, more = fit(need, Offer(machines)), fit(need, Offer([*machines, _node(4, 2, 8)]))
    assert order.index(more.fit) >= order.index(alone.fit)
    if 0 < alone.largest_workers < need.workers:
        smaller = need.model_copy(update={"workers": alone.largest_workers})
        assert fit(smaller, Offer(machines)).fit is not Fit.NEVER


@pytest.mark.parametrize("name", ["local", "gpu"])
def test_profiles_name_every_stage(name: str) -> None:
    profile = load_profile(name, cluster_has_gpu=False)
    assert set(profile.stages) == set(STAGES)
    assert load_profile("auto", cluster_has_gpu=name == "gpu") == profile


def test_a_config_overrides_its_profile() -> None:
    config = load_config("train", PRESETS / "train.yaml", ["resources.workers=2", "resources.labels={a: b}"])
    need = requirement_for(config, load_profile("local", False))
    assert (need.workers, need.labels, need.cpus, need.device) == (2, {"a": "b"}, 1, "cpu")


def test_an_unknown_profile_is_named() -> None:
    with pytest.raises(ValueError, match="no profile 'tpu'; the profiles are local, gpu, auto"):
        load_profile("tpu", False)
