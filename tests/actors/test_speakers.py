"""A data policy with speakers, on the actors that read activations: other speakers' tokens are counted, and are no data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from actors.evaluator import Chunk, Evaluator, EvaluatorSettings
from actors.extractor import Extractor, ExtractTask
from actors.harvester import Harvester, HarvestTask
from cluster.store import Store
from configs.artifact_ids import ArtifactRef
from configs.data_positions import DataPolicy
from configs.harvest import HarvestConfig
from jobs.stages import extract
from sae.features.sketch_file import ChunkRange, SketchFile
from sae.formats.activations import chunk_name
from sae.formats.tokens import Role, Segments, Speaker, TokenRows, TokensReader, load_info, shard_name, write_shard
from sae.metrics.chunk_results import load_results, results_name
from tests.actors import extract_world as world
from tests.actors.extract_world import HOOKS, MODEL, REQUIREMENT, ROWS, TOKENS
from tests.actors.test_extractor import config_of

CHATS = ArtifactRef("tokens", "7" * 16)
POLICY = DataPolicy(calibration_rows=8, speakers=("assistant", "thinking"), include_sinks=True)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, tiny_gpt2: Path) -> Store:
    """The usual world, with tokens CHATS that are those of TOKENS with speakers by chance."""
    root = tmp_path_factory.mktemp("world")
    store = world.make_world(root, tiny_gpt2)
    info, rows = load_info(store.files(TOKENS)), TokensReader(store.files(TOKENS), "train").read(0, ROWS)
    own = rows.roles == Role.DATA
    speakers = np.where(own, np.random.default_rng(0).integers(1, len(Speaker), own.shape), 0).astype(np.uint8)
    counts = np.bincount(speakers[own], minlength=len(Speaker)).tolist()
    info.splits["train"]["speakers"] = {speaker.name.lower(): counts[speaker] for speaker in Speaker}
    number = np.arange(ROWS + 1)
    segments = Segments(number, number[:-1], np.ones(ROWS, np.int32), np.zeros(ROWS, np.int64))
    (root / "chats").mkdir()
    write_shard(root / "chats" / shard_name("train", 0), "train", rows.input_ids, rows.roles, segments, speakers)
    info.save(root / "chats" / "tokens.json")
    world.put_artifact(store, CHATS, root / "chats")
    return store


@pytest.fixture(scope="module")
def sae(store: Store, tmp_path_factory: pytest.TempPathFactory) -> ArtifactRef:
    return world.make_saes(store, world.train_config(None), None, tmp_path_factory.mktemp("sae"))[0]


def data_of(store: Store, start: int, stop: int) -> tuple[np.ndarray, int]:
    """Which positions [n, L] of rows are data, and how many are other speakers'."""
    rows: TokenRows = TokensReader(store.files(CHATS), "train").read(start, stop)
    said = np.isin(rows.speakers, (Speaker.ASSISTANT, Speaker.THINKING))
    own = rows.roles == Role.DATA
    return own & said, int((own & ~said).sum())


def test_evaluator(store: Store, sae: ArtifactRef) -> None:
    output = ArtifactRef("evaluations", "e" * 16)
    settings = EvaluatorSettings(sae, output, MODEL, CHATS, "train", POLICY, "fp32", 3, 0, 1)
    Evaluator(store, settings, REQUIREMENT).measure(Chunk(4, 12))
    (found,) = load_results(store.part_files(output).path(results_name(4)))
    data, others = data_of(store, 4, 12)
    assert found.excluded["other_speaker"] == others > 0
    assert sum(found.excluded.values()) + data.sum() == data.size
    with pytest.raises(ValueError, match="these tokens are of no chats"):
        Evaluator(store, settings._replace(tokens=TOKENS), REQUIREMENT).measure(Chunk(4, 6))


def test_extractor(store: Store, sae: ArtifactRef, tmp_path: Path) -> None:
    job = world.extract_job(store, config_of(sae, rows_per_chunk=2), [sae], tmp_path / "job")
    output = job.outputs[0].ref
    settings = extract._settings(job, [(sae, output)])._replace(tokens=CHATS, policy=POLICY)
    Extractor(store, settings, REQUIREMENT).extract(ExtractTask(ChunkRange(3, 4), (0,)))
    totals = SketchFile(store.part_files(output).path("chunks-000003-000004.safetensors")).totals
    data, others = data_of(store, 6, 8)
    assert (totals.positions, totals.excluded["other_speaker"]) == (data.sum(), others)


def test_harvester(store: Store) -> None:
    config = HarvestConfig(
        model=str(MODEL),
        tokens=str(CHATS),
        hooks=HOOKS[:1],
        policy=POLICY,
        dtype="fp32",
        lm_dtype="fp32",
        rows_per_chunk=6,
    )
    output = ArtifactRef("activations", "a" * 16)
    harvester = Harvester(HarvestTask(config, output, MODEL, CHATS, ROWS, store, 1, REQUIREMENT))
    assert harvester.chunk(1) == 6
    data, others = data_of(store, 6, 12)
    name = chunk_name(HOOKS[0], 1)
    _, extra = store.parts(output)[name]
    assert (extra["data"], extra["excluded"]["other_speaker"]) == (data.sum(), others)
    cached = load_file(store.part_files(output).path(name))
    row, position = data.nonzero()
    assert (cached["row"] == row + 6).all() and (cached["position"] == position).all()
    calibration = harvester._calibrations[HOOKS[0]]
    assert calibration.positions == data_of(store, 0, 8)[0].sum(), "the others calibrate nothing either"
