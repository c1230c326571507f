"""The extract stage on real components: from cache and model, on killed workers, resumed, with several SAEs.

Ray is taken only where workers matter; elsewhere the same actors run in this process.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.extractor import Extractor, ExtractTask
from cluster.store import Store
from configs.artifact_ids import ArtifactRef
from configs.extract import ExtractConfig
from configs.requirements import Requirement
from jobs.life.stage_context import JobContext, Stopped
from jobs.stages import extract
from sae.features.sketch_file import ChunkRange
from sae.formats.features import FeaturesReader
from tests.actors import extract_world as world
from tests.actors.extract_world import LENGTH, REQUIREMENT, ROWS, WIDTH, K, bytes_written, extract_job, files_of, inline
from tests.actors.kill import one_killed

NAMES = {"features.parquet", "examples.parquet", "features.json"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, tiny_gpt2: Path) -> Store:
    return world.make_world(tmp_path_factory.mktemp("world"), tiny_gpt2)


@pytest.fixture(scope="module")
def streamed(store: Store, tmp_path_factory: pytest.TempPathFactory) -> list[ArtifactRef]:
    """One SAE that was trained from the stream."""
    return world.make_saes(store, world.train_config(None), None, tmp_path_factory.mktemp("streamed"))


def config_of(sae: ArtifactRef, /, **fields: object) -> ExtractConfig:
    given = {
        "sae": str(sae),
        "rows_per_chunk": 8,
        "batch_rows": 4,
        "top_examples": 3,
        "neighbours": 4,
        "logit_tokens": 6,
        "lm_dtype": "fp32",
    }
    return ExtractConfig.model_validate({**given, **fields})


def fresh(store: Store, job: JobContext) -> dict[str, bytes]:
    """Runs a job from nothing and takes its artifact away again."""
    store.delete(job.outputs[0].ref)
    extract.run(job)
    found = files_of(store, job.outputs[0].ref)
    store.delete(job.outputs[0].ref)
    return found


def test_artifact_is_whole_and_says_what_it_counted(
    store: Store, streamed: list[ArtifactRef], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inline(monkeypatch)
    job = extract_job(store, config_of(streamed[0]), streamed, tmp_path / "job")
    extract.run(job)
    ref = job.outputs[0].ref
    files = store.files(ref)
    assert set(files.names) == NAMES
    left = {p.name for p in Path(store.location(ref)).rglob("*") if p.is_file()}
    assert left == NAMES | {"manifest.json"}
    reader = FeaturesReader(files)
    info = reader.info
    assert info.tokens == ROWS * LENGTH == info.data_positions + sum(info.excluded.values())
    assert info.excluded["bos"] == ROWS
    assert info.excluded["pad"] == 5 * 7
    assert info.l0 == pytest.approx(K, abs=0.5)
    table = reader.features()
    assert table.num_rows == WIDTH
    assert {len(nearest) for nearest in table["neighbours"].to_pylist()} == {4}
    assert {len(tokens) for tokens in table["promoted_tokens"].to_pylist()} == {6}
    assert sum(table["count"].to_pylist()) == round(info.l0 * info.data_positions)
    assert table["count"][7].as_py() == 0
    assert info.alive == sum(c > 0 for c in table["count"].to_pylist()) < WIDTH
    assert files.manifest.summary["alive"] == info.alive
    assert files.manifest.provenance["activations_from"] == "model"
    extract.run(job)  # finished: nothing to do


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_cache_and_model_give_equal_bytes(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    inline(monkeypatch)
    config = world.train_config(dtype)
    cache = world.make_cache(store, config, tmp_path / "harvest")
    saes = world.make_saes(store, config, cache, tmp_path)
    job = extract_job(store, config_of(saes[0], rows=20), saes, tmp_path / "cache")
    extract.run(job)
    assert store.files(job.outputs[0].ref).manifest.provenance["activations_from"] == "cache"
    from_cache = fresh(store, job)
    store.delete(cache)
    extract.run(job)
    assert store.files(job.outputs[0].ref).manifest.provenance["activations_from"] == "model"
    assert fresh(store, job) == from_cache


def test_all_saes_of_a_run_at_once_equal_each_alone(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inline(monkeypatch)
    config = world.train_config("bf16", world.HOOKS)
    cache = world.make_cache(store, config, tmp_path / "harvest")
    saes = world.make_saes(store, config, cache, tmp_path)
    together = extract_job(store, config_of(saes[0], sae=config.model_dump()), saes, tmp_path / "all")
    extract.run(together)
    both = [files_of(store, output.ref) for output in together.outputs]
    assert both[0] != both[1]
    store.delete(cache)  # one from the cache with another, or alone from the model
    alone = extract_job(store, config_of(saes[1]), saes[1:], tmp_path / "one")
    assert alone.outputs == together.outputs[1:]
    assert fresh(store, alone) == both[1]


def test_stopped_job_keeps_its_sketches_and_resumes(
    store: Store, streamed: list[ArtifactRef], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inline(monkeypatch)
    config = config_of(streamed[0], seed=3, rows_per_chunk=2)  # 13 chunks, 5 in a sketch
    undisturbed = fresh(store, extract_job(store, config, streamed, tmp_path / "a"))
    job = extract_job(store, config, streamed, tmp_path / "b")
    ref = job.outputs[0].ref
    job.stop = lambda: bool(store.parts(ref))
    with pytest.raises(Stopped, match="kept"):
        extract.run(job)
    assert list(store.parts(ref)) == ["chunks-000000-000005.safetensors"]
    assert store.manifest(ref) is None
    done: list[int] = []
    requirement = REQUIREMENT.model_copy(update={"workers": 3})  # other sketches than those of the first attempt
    again = extract_job(store, config, streamed, tmp_path / "c", attempt=2, requirement=requirement)
    monkeypatch.setattr(again.progress, "durable", done.append)
    extract.run(again)
    assert done == [16, 22, 26]  # after the 10 rows of the first attempt
    assert files_of(store, ref) == undisturbed


def test_worker_that_is_asked_to_stop_stores_the_chunks_done(
    store: Store, streamed: list[ArtifactRef], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inline(monkeypatch)
    config = config_of(streamed[0], seed=4, rows_per_chunk=2)
    job = extract_job(store, config, streamed, tmp_path / "a")
    settings = extract._settings(job, [(streamed[0], job.outputs[0].ref)])
    channel = world.LocalChannel()
    channel.request_stop()
    actor = Extractor(store, settings, REQUIREMENT, channel)
    assert actor.extract(ExtractTask(ChunkRange(3, 9), (0,))) == ChunkRange(3, 4)
    assert list(store.parts(job.outputs[0].ref)) == ["chunks-000003-000004.safetensors"]
    assert channel.figures == {"3": 2}
    store.delete(job.outputs[0].ref)


@pytest.mark.usefixtures("ray_cluster")
def test_two_workers_of_which_one_is_killed_give_the_bytes_of_one(
    store: Store, streamed: list[ArtifactRef], tmp_path: Path
) -> None:
    config = config_of(streamed[0], seed=2, rows_per_chunk=2)
    with pytest.MonkeyPatch.context() as patch:
        inline(patch)
        undisturbed = fresh(store, extract_job(store, config, streamed, tmp_path / "one"))
    requirement = Requirement(workers=2, cpus=1, threads=1)
    job = extract_job(store, config, streamed, tmp_path / "two", requirement=requirement)
    with one_killed(store, job.outputs[0].ref, "Extractor"):
        extract.run(job)
    assert files_of(store, job.outputs[0].ref) == undisturbed


def test_more_rows_than_there_are_is_refused(store: Store, streamed: list[ArtifactRef], tmp_path: Path) -> None:
    job = extract_job(store, config_of(streamed[0], rows=ROWS + 1), streamed, tmp_path / "job")
    with pytest.raises(ValueError, match="lower `rows`"):
        extract.run(job)
    with pytest.raises(ValueError, match="there are train"):
        extract.run(extract_job(store, config_of(streamed[0], split="test"), streamed, tmp_path / "other"))


def test_bytes_are_predicted_before_the_start(
    store: Store, streamed: list[ArtifactRef], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inline(monkeypatch)
    config = config_of(streamed[0], seed=5)
    job = extract_job(store, config, streamed, tmp_path / "job")
    written = bytes_written(monkeypatch)
    extract.run(job)
    store.delete(job.outputs[0].ref)
    # The toy's 96 random directions are not distributed as a trained SAE's features: only the order of size is right.
    assert sum(written) / 2 < extract.store_bytes(config, {"sae": streamed}, store) < 2 * sum(written)
