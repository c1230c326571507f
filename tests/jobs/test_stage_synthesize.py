"""The synthesize stage on real components, SAEs that are trained on what it makes, and their evaluation beside controls."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from actors.trainer import TrainTask, run_task
from cluster.store import Store
from configs.artifact_ids import ArtifactRef
from configs.evaluate import EvaluateConfig
from configs.requirements import Requirement
from configs.synthesize import SynthesizeConfig
from configs.train import TrainConfig
from jobs.life.stage_context import JobContext, Stopped
from jobs.stages import evaluate, extract, synthesize, train
from sae.architectures import Export
from sae.formats.evaluation import read_metrics
from sae.formats.planted import PlantedReader
from sae.formats.sae_folder import write_sae
from sae.training.collectives import LocalCollective
from tests.actors.extract_world import REQUIREMENT, LocalChannel, bytes_written, files_of, inline, put_artifact

CONFIG = SynthesizeConfig(
    features=40, d=24, roots=4, branching=2, depth=1, rows=20, heldout_rows=6, row_samples=16, rows_per_chunk=8,
    least_firing=0.02, most_firing=0.2, calibration_rows=8,
)  # fmt: skip
REF = ArtifactRef("activations", "5" * 16)


@pytest.fixture(autouse=True)
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers run in this process."""
    inline(monkeypatch)


def job_of(store: Store, scratch: Path, config: SynthesizeConfig = CONFIG, **fields: Any) -> JobContext:
    scratch.mkdir()
    outputs = synthesize.outputs(config, {}, REF.id)
    return JobContext(config, outputs, store, scratch, **{"requirement": REQUIREMENT, **fields})


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    root = tmp_path_factory.mktemp("planted")
    store = Store.open(str(root / "store"), str(root / "cache"))
    with pytest.MonkeyPatch.context() as patch:
        inline(patch)
        synthesize.run(job_of(store, root / "job"))
    return store


def test_the_artifact_says_what_it_holds_in_predicted_bytes(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = store.files(REF)
    assert files.manifest.summary["format"] == "planted"
    assert files.manifest.summary["l0"] > 1
    reader, heldout = PlantedReader(files), PlantedReader(files, "heldout")
    assert (reader.rows, heldout.rows) == (20, 6)
    first = reader.read_ranges([range(0, 8)])[0].acts
    calibration = reader.calibration
    torch.testing.assert_close(calibration.mean, first.mean(dim=0), atol=1e-5, rtol=1e-4)
    assert (first - calibration.mean).square().mean() * calibration.scale**2 == pytest.approx(1, rel=1e-4)
    assert calibration.sinks == 0
    assert not torch.equal(heldout.read_ranges([range(6)])[0].acts, reader.read_ranges([range(6)])[0].acts)
    written = bytes_written(monkeypatch)
    other = Store.open(str(tmp_path / "store"), str(tmp_path / "cache"))
    synthesize.run(job_of(other, tmp_path / "job"))
    assert 0.5 < sum(written) / synthesize.store_bytes(CONFIG, {}, other) < 1
    assert files_of(other, REF) == files_of(store, REF), "the config alone decides the bytes"


def test_a_stopped_job_keeps_its_chunks(store: Store, tmp_path: Path) -> None:
    other = Store.open(str(tmp_path / "store"), str(tmp_path / "cache"))
    job = job_of(other, tmp_path / "job")
    job.stop = lambda: len(other.parts(REF)) >= 6
    with pytest.raises(Stopped, match="kept"):
        synthesize.run(job)
    assert other.manifest(REF) is None
    kept = other.parts(REF)
    synthesize.run(job_of(other, tmp_path / "again", attempt=2))
    assert files_of(other, REF) == files_of(store, REF)
    found = {file.name: file.path for file in other.files(REF).manifest.files}
    assert all(found[name] == file.path for name, (file, _) in kept.items()), "nothing was made twice"


def train_config(**settings: Any) -> TrainConfig:
    sae = {"architecture": "topk", "hook": "planted", "d_sae": 32, "k": 3, "lr": 0.01, "lr_warmup": 0}
    return TrainConfig.model_validate(
        {
            "activations": str(REF), "saes": [sae], "batch_rows": 4, "lanes": 1, "epochs": 4, "lm_dtype": "fp32",
            "autocast": "off", **settings,
        }
    )  # fmt: skip


def trained(store: Store, config: TrainConfig, scratch: Path) -> list[ArtifactRef]:
    """Trains and publishes the SAEs of a config that are missing, as the stage does, but without Ray Train."""
    scratch.mkdir(exist_ok=True)
    outputs = train.outputs(config, {"activations": [REF]}, "f" * 16)
    job = JobContext(config, outputs, store, scratch, {"activations": [REF]}, "f" * 16, requirement=REQUIREMENT)
    missing = {i: output.ref for i, output in enumerate(outputs) if store.manifest(output.ref) is None}
    if missing:
        task = TrainTask(
            config, missing, train._planted_metadata(job), None, None, REF, store, "f" * 16, 1, Requirement(),
            LocalChannel(),  # type: ignore[arg-type]
        )  # fmt: skip
        run_task(task, LocalCollective(), "cpu", scratch)
        train.run(job)  # everything is there: it publishes
    return [output.ref for output in outputs]


def evaluated(store: Store, config: EvaluateConfig, inputs: dict[str, list[ArtifactRef]], scratch: Path) -> list[Any]:
    scratch.mkdir()
    outputs = evaluate.outputs(config, inputs, "")
    evaluate.run(JobContext(config, outputs, store, scratch, inputs, requirement=REQUIREMENT))
    return [store.files(output.ref) for output in outputs]


def test_a_trained_sae_is_measured_beside_its_controls_and_seeds(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = EvaluateConfig.model_validate(
        {"sae": train_config().model_dump(), "controls": ["decoder", "soft_decoder", "encoder"], "seeds": 2}
    )
    run = config.trained_beside()
    assert run is not None
    assert [(sae.frozen, sae.seed) for sae in run.saes] == [
        ("decoder", 0), ("soft_decoder", 0), ("encoder", 0), ("none", 1), ("none", 2),
    ]  # fmt: skip
    assert isinstance(config.sae, TrainConfig)
    inputs = {"sae": trained(store, config.sae, tmp_path / "one"), "beside": trained(store, run, tmp_path / "beside")}
    written = bytes_written(monkeypatch)
    (files,) = evaluated(store, config, inputs, tmp_path / "job")
    assert evaluate.store_bytes(config, inputs, store) == pytest.approx(sum(written), rel=0.3)
    metrics = read_metrics(files)
    assert metrics["rows"] == 6
    assert metrics["tokens"] == 6 * 16
    assert metrics["planted"]["l0"] == pytest.approx(
        PlantedReader(store.files(REF), "heldout").codes(0, 6).latent.numel() / 96
    )
    card = metrics["card"]
    names = [one["control"] for one in card["controls"]]
    assert names == ["frozen decoder", "softly frozen decoder", "frozen encoder"]
    assert card["seeds"] == [str(ref) for ref in inputs["beside"][3:]]
    rows = {row["figure"]: row for row in card["figures"]}
    assert rows["ev"]["sae"]["value"] == pytest.approx(metrics["ev"])
    assert rows["mcc"]["sae"]["value"] == pytest.approx(metrics["planted"]["mcc"])
    assert [one["control"] for one in rows["ev"]["controls"]] == names
    assert rows["ev"]["controls"][0]["difference"]["value"] > 0, "a decoder that learns explains more than a random one"
    # A control's own evaluation says what the card says of it.
    alone = EvaluateConfig(sae=str(inputs["beside"][0]))
    (own,) = evaluated(store, alone, {"sae": inputs["beside"][:1]}, tmp_path / "alone")
    assert rows["ev"]["controls"][0]["value"] == pytest.approx(read_metrics(own)["ev"])
    # By ids it is the same evaluation.
    ids = {f"compared_{i}": [ref] for i, ref in enumerate(inputs["beside"])}
    named = EvaluateConfig(sae=str(inputs["sae"][0]), compare_with=tuple(map(str, inputs["beside"])))
    assert evaluate.outputs(named, {"sae": inputs["sae"], **ids}, "")[0].ref.id == files.manifest.id
    # One that the run lists itself is taken from there.
    listed = config.sae.model_copy(update={"saes": (*config.sae.saes, run.saes[0])})
    again = EvaluateConfig.model_validate({**config.model_dump(), "sae": listed.model_dump()})
    missing = again.trained_beside()
    assert missing is not None and run.saes[0] not in missing.saes


def test_the_planted_dictionary_itself_scores_one(store: Store, tmp_path: Path) -> None:
    reader = PlantedReader(store.files(REF), "heldout")
    directions = torch.from_numpy(reader.dictionary.directions)
    tensors = {"W_enc": directions.T, "b_enc": torch.zeros(40), "W_dec": directions, "b_dec": reader.calibration.mean}
    export = Export(tensors, {"architecture": "topk", "k": 1, "apply_b_dec_to_input": True})
    ref = ArtifactRef("saes", "d" * 16)
    write_sae(tmp_path / "sae", "topk", export, {"hook_name": "planted"}, reader.calibration, {})
    put_artifact(store, ref, tmp_path / "sae", config=train_config().science(), inputs={"activations": str(REF)})
    (files,) = evaluated(store, EvaluateConfig(sae=str(ref)), {"sae": [ref]}, tmp_path / "job")
    found = read_metrics(files)["planted"]
    assert found["mcc"] == pytest.approx(1)
    assert found["uniqueness"] == 1
    other = EvaluateConfig(sae=str(ref), compare_with=(f"saes/{'e' * 16}",))
    with pytest.raises(ValueError, match=r"saes/d+ was not trained here, so it is not known"):
        evaluated(store, other, {"sae": [ref], "compared_0": [ArtifactRef("saes", "e" * 16)]}, tmp_path / "other")


def test_what_planted_saes_cannot_do_is_refused(store: Store, tmp_path: Path) -> None:
    refs = trained(store, train_config(), tmp_path / "train")
    with pytest.raises(ValueError, match="was trained on planted activations, which have no tokens"):
        extract._origin(store, refs[0])
    harvested = ArtifactRef("activations", "8" * 16)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "activations.json").write_text(json.dumps({"rows": 4}))
    put_artifact(store, harvested, tmp_path / "folder")
    with pytest.raises(ValueError, match="holds activations of a language model, not planted ones"):
        train.store_bytes(train_config(), {"activations": [harvested]}, store)
    config = train_config(saes=[{"hook": "planted", "d_sae": 32, "k": 4}])
    other = trained(store, config, tmp_path / "other")
    named = EvaluateConfig(sae=str(refs[0]), compare_with=(str(other[0]),))
    with pytest.raises(ValueError, match=r"neither a control nor another seed of saes/\w+: it differs in .*k"):
        evaluated(store, named, {"sae": refs, "compared_0": other}, tmp_path / "evaluate")
