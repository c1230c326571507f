"""The label stage on real components: from the stream and from a cache, repeated, stopped, and what each setting changes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest

from actors.labeller import Labeller
from cluster.machines.paths import code_root
from cluster.store import Store
from configs.artifact_ids import ArtifactRef
from configs.extract import ExtractConfig
from configs.label import LabelConfig
from configs.label_endpoint import PROMPTS
from jobs.life.stage_context import JobContext, Stopped
from jobs.stages import extract, label
from sae.features.coactivation import LEAST_JOINT
from sae.formats.coactivation import read_partners
from sae.formats.labels import LabelsError, LabelsReader
from sae.labels.endpoint.prompts import prompt_hash
from tests.actors import extract_world as world
from tests.actors.extract_world import LENGTH, REQUIREMENT, ROWS, WIDTH, extract_job, files_of, inline
from tests.model_server import ModelServer, model_server


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, tiny_gpt2: Path) -> Store:
    return world.make_world(tmp_path_factory.mktemp("world"), tiny_gpt2)


@pytest.fixture(scope="module")
def features(store: Store, tmp_path_factory: pytest.TempPathFactory) -> list[ArtifactRef]:
    """Features of one SAE that was trained from the stream, and of one that was trained from a cache of the same values."""
    root = tmp_path_factory.mktemp("saes")
    with pytest.MonkeyPatch.context() as patch:
        inline(patch)
        streamed = world.make_saes(store, world.train_config(None), None, root / "streamed")
        cached = world.train_config("fp32")
        saes = streamed + world.make_saes(
            store, cached, world.make_cache(store, cached, root / "cache"), root / "cached"
        )
        made = []
        for sae in saes:
            config = ExtractConfig(sae=str(sae), rows_per_chunk=8, batch_rows=4, top_examples=3, lm_dtype="fp32")
            job = extract_job(store, config, [sae], root / f"job-{sae.id}")
            extract.run(job)
            made.append(job.outputs[0].ref)
    return made


def label_job(store: Store, features: ArtifactRef, scratch: Path, **fields: object) -> JobContext:
    config = LabelConfig.model_validate({"features": str(features), **fields})
    given = {"features": [features]}
    return JobContext(config, label.outputs(config, given, ""), store, scratch, given, requirement=REQUIREMENT)


@pytest.fixture(autouse=True)
def _inline(monkeypatch: pytest.MonkeyPatch) -> None:
    inline(monkeypatch)
    monkeypatch.setattr("actors.labeller.make_labeller", Labeller)


def test_every_feature_has_a_type_and_labels_with_scores_beside_controls(
    store: Store, features: list[ArtifactRef], tmp_path: Path
) -> None:
    job = label_job(store, features[0], tmp_path)
    label.run(job)
    ref = job.outputs[0].ref
    reader = LabelsReader(store.files(ref))
    table = reader.features().to_pylist()
    assert [row["feature"] for row in table] == list(range(WIDTH))
    assert table[7]["type"] == "obscure" and table[7]["label"] is None, "a feature that never fires"
    assert reader.info.labelled == sum(row["label"] is not None for row in table) > WIDTH / 2
    assert sum(reader.info.types.values()) == WIDTH
    assert store.files(ref).manifest.summary["sae"] == reader.info.inputs["sae"]
    assert store.files(ref).manifest.bytes < label.STAGE.store_bytes(job.config, job.inputs, store)
    assert sum(row["auc"] is not None for row in table) > WIDTH / 2
    effects = reader.info.effects
    assert effects["measured"] == sum(row["ablation"] is not None for row in table) > WIDTH / 2
    assert effects["promotion_beats"] == sum((row["promotion_low"] or 0) > 0 for row in table)
    assert effects["promotion_discovered"] <= sum((row["promotion_p"] or 1) <= 0.05 for row in table)
    assert table[7]["ablation"] is None and table[7]["input_score"] is None
    for row in table:
        labels = reader.labels(row["feature"])
        assert [one["rank"] for one in labels] == list(range(len(labels)))
        for one in labels:
            assert one["permuted_feature"] != row["feature"]
            assert one["score_low"] <= one["score"] <= one["score_high"]
            assert one["difference_low"] <= one["difference"] <= one["difference_high"]
            assert one["difference"] == pytest.approx(one["score"] - one["permuted_score"])
            if one["auc"] is not None:  # words that have vectors, and the permuted label, too
                assert 0 <= one["auc_low"] <= one["auc"] <= one["auc_high"] <= 1
                assert one["auc_difference"] == pytest.approx(one["auc"] - one["auc_permuted"])
                words = [*(word for phrase in one["phrases"] for word in phrase), *one["context"]]
                assert any(word.strip() for word in words)
            assert len(one["evidence_rows"]) == len(one["evidence_positions"]) > 0
        if labels:
            assert (labels[0]["label"], labels[0]["score"]) == (row["label"], row["label_score"])
            assert (labels[0]["auc"], labels[0]["auc_permuted"]) == (row["auc"], row["auc_permuted"])
        assert row["detection"] is row["fuzzing"] is None, "no model server was asked"
    _partners_agree(store, ref, [row["active_explain"] + row["active_test"] for row in table])
    with pytest.raises(LabelsError, match="no feature 96: they are 0 to 95"):
        reader.labels(WIDTH)


def _partners_agree(store: Store, ref: ArtifactRef, active: list[int]) -> None:
    """Counts are those of all data positions, and what one feature lists of a partner is what the partner lists of it."""
    files = store.files(ref)
    info = LabelsReader(files).info
    assert info.coactivation_positions == info.explain_positions + info.test_positions
    found = [read_partners(files, feature) for feature in range(WIDTH)]
    assert [count for count, _ in found] == active
    joint = {(feature, one.feature): one.joint for feature, (_, partners) in enumerate(found) for one in partners}
    assert len(joint) > WIDTH
    assert all(LEAST_JOINT <= n <= min(active[a], active[b]) for (a, b), n in joint.items())
    assert all(joint.get((b, a), n) == n for (a, b), n in joint.items())


def test_model_and_cache_give_the_same_labels_and_so_does_a_repetition(
    store: Store, features: list[ArtifactRef], tmp_path: Path
) -> None:
    made = []
    for number, ref in enumerate(features):
        job = label_job(store, ref, tmp_path, seed=3)
        label.run(job)
        made.append(job.outputs[0].ref)
        assert label_job(store, ref, tmp_path, seed=3).outputs[0].ref == made[number]
    first, second = (files_of(store, ref) for ref in made)
    assert first["labels.parquet"] == second["labels.parquet"]
    assert first["features.parquet"] == second["features.parquet"]
    assert first["coactivation.parquet"] == second["coactivation.parquet"]


def test_each_setting_changes_the_labels(store: Store, features: list[ArtifactRef], tmp_path: Path) -> None:
    settings: list[dict[str, object]] = [
        {},
        {"seed": 1},
        {"examples": 8},
        {"strength": 0.0},
        {"min_cosine": 0.0},
        {"positions": LENGTH * (ROWS // 2)},
        {"effect_examples": 0},
        {"effect_examples": 1},
        {"coactive": 2},
    ]
    found = []
    for fields in settings:
        job = label_job(store, features[0], tmp_path, **fields)
        label.run(job)
        files = files_of(store, job.outputs[0].ref)
        found.append(b"".join(files[f"{name}.parquet"] for name in ("labels", "features", "coactivation")))
    assert len(set(found)) == len(settings)


def word_rule(question: dict[str, Any], system: str) -> str:
    """Labels a feature by the token of its strongest example; takes examples with that token for active."""
    if "active" in question:
        return json.dumps({"label": question["active"][0]["token"].strip() or "a blank"})
    texts = ((one["number"], one.get("text", one.get("token"))) for one in question["examples"])
    return json.dumps({"active": [number for number, text in texts if question["label"] in text]})


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with model_server(word_rule) as running:
        yield running


def endpoint_of(server: ModelServer, **fields: Any) -> dict[str, Any]:
    return {"url": server.url, "model": "judge", "latents": 6, "judged": 8, "batch": 8, **fields}


def test_a_model_server_adds_labels_in_words_with_both_scores(
    store: Store, features: list[ArtifactRef], tmp_path: Path, server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYLENS_LABEL_KEY", "open-sesame")
    server.key = "open-sesame"
    plain = label_job(store, features[0], tmp_path)
    label.run(plain)
    job = label_job(store, features[0], tmp_path, endpoint=endpoint_of(server))
    label.run(job)
    ref = job.outputs[0].ref
    assert ref != plain.outputs[0].ref
    files, before = store.files(ref), LabelsReader(store.files(plain.outputs[0].ref))
    reader = LabelsReader(files)
    asked = pq.read_table(files.path("text_labels.parquet")).to_pylist()
    assert len(asked) == 6 and {one["status"] for one in asked} == {"labelled"}
    said = {row["prompt_hash"]: row["answer"] for row in pq.read_table(files.path("answers.parquet")).to_pylist()}
    for one in asked:
        assert json.loads(said[one["prompt_hash"]]) == {"label": one["label"]}
        labels = reader.labels(one["feature"])
        mine = [row for row in labels if row["method"] == "endpoint"]
        assert [row for row in labels if row["method"] != "endpoint"] == [
            {**row, "rank": row["rank"] + (mine != [] and mine[0]["rank"] == 0)}
            for row in before.labels(one["feature"])
        ]
        if one["detection"] is not None:
            (row,) = mine
            assert (row["label"], row["score"]) == (one["label"], one["detection"]["score"])
            assert row["permuted_feature"] == one["permuted_feature"] != one["feature"]
            assert row["precision"] is None and row["phrases"] == [] and row["evidence_rows"]
            assert one["detection"]["low"] <= one["detection"]["score"] <= one["detection"]["high"]
        if mine:
            assert mine[0]["auc_difference"] == pytest.approx(mine[0]["auc"] - mine[0]["auc_permuted"])
        row = reader.features().slice(one["feature"], 1).to_pylist()[0]
        for judged in ("detection", "fuzzing"):
            expected = (None, None) if one[judged] is None else (one[judged]["score"], one[judged]["permuted"])
            assert (row[judged], row[f"{judged}_permuted"]) == expected
        assert one["fuzzing"]["difference"] == pytest.approx(one["fuzzing"]["score"] - one["fuzzing"]["permuted"])
    record = reader.info.endpoint
    assert record is not None and before.info.endpoint is None
    assert (record["url"], record["model"], record["questions"]) == (server.url, "judge", len(said))
    assert reader.info.settings["endpoint"]["prompts"] == PROMPTS
    for name in files.names:
        assert b"open-sesame" not in files.path(name).read_bytes()
    assert "open-sesame" not in files.manifest.model_dump_json() + repr(job.config)
    assert not store.parts(ref), "answers that were kept aside are gone once the artifact is there"


def test_what_does_not_change_the_questions_changes_no_id(features: list[ArtifactRef]) -> None:
    def ref(**fields: Any) -> ArtifactRef:
        config = LabelConfig.model_validate({"features": str(features[0]), **fields})
        return label.outputs(config, {"features": [features[0]]}, "")[0].ref

    asked = {"url": "http://127.0.0.1:1/v1", "model": "judge"}
    others = [
        {},
        asked,
        {**asked, "model": "other"},
        {**asked, "url": "http://127.0.0.1:2/v1"},
        {**asked, "latents": [1, 2]},
    ]
    assert len({ref(endpoint=other or None) for other in others}) == len(others)
    assert ref(endpoint={**asked, "runtime": {"concurrency": 9, "prices": {"prompt": 1}}}) == ref(endpoint=asked)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model": "large"}, "The model large does not exist"),
        ({"latents": [3, 96]}, "no latent 96: they are 0 to 95"),
    ],
)
def test_a_wrong_model_or_latent_is_an_error_before_anything_runs(
    store: Store,
    features: list[ArtifactRef],
    tmp_path: Path,
    server: ModelServer,
    monkeypatch: pytest.MonkeyPatch,
    fields: dict[str, Any],
    message: str,
) -> None:
    monkeypatch.setattr("actors.labeller.make_labeller", None)
    with pytest.raises(ValueError, match=message):
        label.run(label_job(store, features[0], tmp_path, endpoint=endpoint_of(server, **fields)))
    assert len(server.asked) <= 1
    if "model" in fields:
        config = LabelConfig(features=str(features[0]), endpoint=endpoint_of(server, **fields))  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=message):
            label.STAGE.check(config, REQUIREMENT)


def test_a_killed_job_asks_nothing_twice(
    store: Store, features: list[ArtifactRef], tmp_path: Path, server: ModelServer
) -> None:
    fields = {"endpoint": endpoint_of(server, runtime={"concurrency": 2}), "effect_examples": 0, "seed": 5}
    script = (
        "import sys, json, pytest\n"
        "from pathlib import Path\n"
        "from tests.actors.test_labeller import *\n"
        "url, cache, features, scratch, fields = sys.argv[1:]\n"
        "patch = pytest.MonkeyPatch()\n"
        "inline(patch)\n"
        "patch.setattr('actors.labeller.make_labeller', Labeller)\n"
        "job = label_job(Store(url, cache), ArtifactRef('features', features), Path(scratch), **json.loads(fields))\n"
        "label.run(job)\n"
    )
    server.pause_s = 0.02
    arguments = [store.url, str(store.cache), features[0].id, str(tmp_path), json.dumps(fields)]
    process = subprocess.Popen([sys.executable, "-c", script, *arguments], cwd=code_root())
    while len(server.asked) < 12 and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    server.pause_s = 0.0
    first = len(server.asked)
    job = label_job(store, features[0], tmp_path, **fields)
    job.attempt = 2
    kept = len(store.parts(job.outputs[0].ref))
    assert first - 2 <= kept <= first, "all but those at work when it was killed"
    label.run(job)
    names = [prompt_hash(body) for body in server.asked]
    assert len(names) - len(set(names)) == first - kept
    record = LabelsReader(store.files(job.outputs[0].ref)).info.endpoint
    assert record is not None and record["questions"] == len(set(names))


@pytest.mark.parametrize("measures", [True, False])
def test_progress_ends_at_all_rows_whether_effects_are_measured_or_cannot_be(
    store: Store, features: list[ArtifactRef], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, measures: bool
) -> None:
    if not measures:
        monkeypatch.setattr("sae.formats.sae_folder.Sae.scales_each_input", True)
    totals: list[int] = []
    done: list[int] = []
    job = label_job(store, features[0], tmp_path, effect_examples=1, seed=20 + measures)
    job.progress = SimpleNamespace(  # type: ignore[assignment]
        start=lambda phase, total, unit: totals.append(total), update=lambda rows, durable: done.append(rows)
    )
    label.run(job)
    assert totals == [2 * ROWS] and done[-1] == totals[0]
    measured = LabelsReader(store.files(job.outputs[0].ref)).info.effects["measured"]
    assert (measured > 0) == measures


def test_a_stopped_job_publishes_nothing(
    store: Store, features: list[ArtifactRef], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world.LocalChannel, "stop_requested", lambda self: True)
    job = label_job(store, features[0], tmp_path, seed=9)
    with pytest.raises(Stopped, match="stopped before all features were labelled"):
        label.run(job)
    assert job.missing()


def test_a_job_that_is_stopped_while_it_asks_keeps_what_was_answered(
    store: Store, features: list[ArtifactRef], tmp_path: Path, server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.pause_s = 0.05
    monkeypatch.setattr(world.LocalChannel, "stop_requested", lambda self: len(server.asked) > 3)
    fields = {"endpoint": endpoint_of(server, runtime={"concurrency": 1}), "effect_examples": 0, "seed": 6}
    job = label_job(store, features[0], tmp_path, **fields)
    with pytest.raises(Stopped):
        label.run(job)
    kept = len(store.parts(job.outputs[0].ref))
    assert job.missing() and 3 <= kept < 20
