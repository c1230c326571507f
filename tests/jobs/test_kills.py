"""A harvester is killed: the artifacts are byte-equal to those of an undisturbed run.

Extractors are killed in tests/actors/test_extractor.py, evaluators in test_stage_evaluate.py, workers of tokenization in
test_stage_tokenize.py, training workers in test_plugs.py; the counts are in `make chaos`.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from cluster.store import Store
from configs.harvest import HarvestConfig
from jobs.stages import harvest
from tests.actors.extract_world import HOOKS, MODEL, POLICY, ROWS, TOKENS, make_world
from tests.kills import Case, moment, parts, run_case


@pytest.fixture(scope="module")
def store(tiny_gpt2: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    return make_world(tmp_path_factory.mktemp("kills"), tiny_gpt2)


def _harvest() -> Case:
    config = HarvestConfig(
        model=str(MODEL),
        tokens=str(TOKENS),
        hooks=HOOKS,
        batch_rows=1,
        rows_per_chunk=1,
        policy=POLICY,
        lm_dtype="fp32",
    )
    inputs = {"model": [MODEL], "tokens": [TOKENS]}
    return Case(harvest, config, inputs, "a" * 16, "ray::Harvester", parts, ROWS * 2 // 3)


@pytest.mark.chaos
def test_a_killed_harvester_changes_no_byte(store: Store, ray_cluster: str) -> None:
    case = _harvest()
    undisturbed, _ = run_case(case, store)
    killed, hit = run_case(case, store, after=moment(case, random.Random(case.fp)))
    assert hit is not None
    assert killed == undisturbed
