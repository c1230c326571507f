"""A worker is killed: the artifacts are byte-equal to those of an undisturbed run.

Training workers are killed in test_plugs.py; the counts are in `make chaos`.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from cluster.store import Store
from configs.extract import ExtractConfig
from configs.harvest import HarvestConfig
from jobs.stages import extract, harvest
from tests.actors.extract_world import HOOKS, MODEL, POLICY, ROWS, TOKENS, make_saes, make_world, train_config
from tests.kills import Case, moment, parts, run_case


@pytest.fixture(scope="module")
def store(tiny_gpt2: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    return make_world(tmp_path_factory.mktemp("kills"), tiny_gpt2)


def _harvest(store: Store, folder: Path) -> Case:
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


def _extract(store: Store, folder: Path) -> Case:
    (sae,) = make_saes(store, train_config(None), None, folder)
    config = ExtractConfig(sae=str(sae), rows_per_chunk=1, lm_dtype="fp32")
    return Case(extract, config, {"sae": [sae]}, "c" * 16, "ray::Extractor", parts, 3)  # of 4 sketches


@pytest.mark.chaos
@pytest.mark.parametrize("make_case", [_harvest, _extract])
def test_a_killed_worker_changes_no_byte(make_case, store: Store, ray_cluster: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    case = make_case(store, tmp_path)
    undisturbed, _ = run_case(case, store)
    killed, hit = run_case(case, store, after=moment(case, random.Random(case.fp)))
    assert hit is not None
    assert killed == undisturbed
