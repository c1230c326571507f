"""One kill of each kind: the artifacts are byte-equal to those of an undisturbed run. The counts are in `make chaos`."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from cluster.store import Store
from tests.artifacts import tiny_store
from tests.kills import Case, moment, prepare, run_case


@pytest.fixture(scope="module")
def world(ray_cluster: str, tiny_gpt2: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, dict[str, Case]]:
    store = tiny_store(tmp_path_factory.mktemp("kills"), tiny_gpt2, train_rows=256)
    return store, prepare(store)


@pytest.mark.chaos
@pytest.mark.parametrize("victim", ["harvester", "trainer", "extractor"])
def test_a_killed_worker_changes_no_byte(victim: str, world: tuple[Store, dict[str, Case]]) -> None:
    store, cases = world
    undisturbed, _ = run_case(cases[victim], store)
    killed, hit = run_case(cases[victim], store, after=moment(cases[victim], random.Random(victim)))
    assert hit is not None
    assert killed == undisturbed
