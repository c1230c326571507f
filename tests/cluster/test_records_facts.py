"""Facts of artifacts, read from what each stage's manifest says; marks on features."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.records import Records, RecordsError
from configs.architectures import BatchTopKConfig, TopKConfig
from configs.base import StageConfig
from configs.download import DownloadConfig, LocalSource
from configs.identity import ArtifactRef, parse_ref
from configs.tokenize import TokenizeConfig
from configs.train import TrainConfig
from jobs.life.planner import Step
from jobs.stages import load_stage
from tests.cluster.catalog import MANIFEST, REF

MODEL, TOKENS = "models/1111111111111111", "tokens/3333333333333333"
HOOK = "blocks.1.hook_resid_post"


def manifest(kind: str, number: str, stage: str, config: Any = None, **more: Any) -> dict[str, Any]:
    science = config.science() if isinstance(config, StageConfig) else config or {}
    said = {"kind": kind, "id": number * 16, "stage": stage, "config": science, "inputs": {}, "summary": {}}
    return MANIFEST | said | more


def train_config() -> TrainConfig:
    return TrainConfig(
        model=MODEL,
        tokens=TOKENS,
        saes=(
            TopKConfig(hook=HOOK, d_sae=256, k=8),
            BatchTopKConfig(hook="blocks.0.hook_resid_post", architecture="batchtopk", d_sae=512, k=16, seed=1),
        ),
    )


def test_each_sae_of_a_run_has_its_own_facts(records: Records) -> None:
    """The stage's own labels and config, so that both sides of what tells them apart are held together."""
    config = train_config()
    inputs = {"model": [parse_ref(MODEL)], "tokens": [parse_ref(TOKENS)]}
    outputs = load_stage("train").outputs(config, inputs, "f" * 16)
    step = Step(config, 1, inputs, outputs, "f" * 16)
    for output in step.outputs:
        made = manifest(
            "saes", output.ref.id[0], "train", config, id=output.ref.id, label=output.label,
            inputs={"model": MODEL, "tokens": TOKENS}, summary={"ev": 0.1},
        )  # fmt: skip
        records.record_artifact(made)
    for output, sae in zip(outputs, config.saes, strict=True):
        row = records.artifact(output.ref)
        assert row is not None
        assert row.facts == {
            "model": MODEL, "tokens": TOKENS, "hook": sae.hook, "architecture": sae.architecture, "d_sae": sae.d_sae,
            "k": sae.k, "evaluation": None, "ev": None, "l0": None, "alive": None,
        }  # fmt: skip
        (found,) = records.artifacts("saes", facts={"hook": sae.hook, "k": sae.k})
        assert found.id == output.ref.id
    assert len(records.artifacts("saes", facts={"model": MODEL})) == 2
    assert records.artifacts("saes", facts={"model": MODEL, "d_sae": 1}) == []


def test_facts_of_the_other_kinds(records: Records) -> None:
    source = DownloadConfig(what="dataset", source=LocalSource(path="/x"))
    tokenize = TokenizeConfig(dataset="datasets/" + "2" * 16, model=MODEL, context_length=32)
    split = {"train": {"rows": 36}}
    records.record_artifact(
        manifest("datasets", "2", "download", source, summary={"documents": 3, "text_bytes": 9, "splits": {}})
    )
    records.record_artifact(
        manifest("models", "1", "download", summary={"architecture": "gpt2", "n_layers": 2, "d_model": 64})
    )
    records.record_artifact(
        manifest(
            "tokens",
            "3",
            "tokenize",
            tokenize,
            inputs={"dataset": "datasets/" + "2" * 16, "model": MODEL},
            summary={"rows": 36, "tokens": 1152, "data_tokens": 1100, "documents": 3, "splits": split},
        )
    )
    records.record_artifact(
        manifest(
            "activations",
            "7",
            "harvest",
            {"hooks": [HOOK, "blocks.0.hook_mlp_out"], "dtype": "bf16", "split": "train"},
            inputs={"model": MODEL, "tokens": TOKENS},
            summary={"rows": 36},
        )
    )
    records.record_artifact(
        manifest("features", "6", "extract", summary={"sae": REF, "n_features": 256, "alive": 200, "data_positions": 9})
    )
    records.record_artifact(manifest("reports", "9", "report"))
    facts = {row.kind: {k: v for k, v in row.facts.items() if v is not None} for row in records.artifacts()}
    assert facts == {
        "datasets": {"documents": 3, "text_bytes": 9, "splits": {}},
        "models": {"architecture": "gpt2", "layers": 2, "d_model": 64},
        "tokens": {
            "dataset": "datasets/" + "2" * 16, "model": MODEL, "context_length": 32, "rows": 36, "tokens": 1152,
            "data_tokens": 1100, "documents": 3, "splits": split,
        },
        "activations": {
            "model": MODEL, "tokens": TOKENS, "hooks": [HOOK, "blocks.0.hook_mlp_out"], "dtype": "bf16",
            "split": "train", "rows": 36,
        },
        "features": {"sae": REF, "count": 256, "alive": 200, "data_positions": 9},
        "reports": {},
    }  # fmt: skip


@pytest.mark.parametrize("sae_first", [True, False])
def test_an_sae_has_the_figures_of_its_last_evaluation(records: Records, sae_first: bool) -> None:
    def evaluation(number: str, ev: float) -> dict[str, Any]:
        summary = {"sae": REF, "ev": ev, "l0": 8.0, "alive": 200, "ce_score_zero": 0.9}
        return manifest("evaluations", number, "evaluate", summary=summary, inputs={"sae": REF})

    made = [MANIFEST, evaluation("5", 0.7)]
    for one in made if sae_first else reversed(made):
        records.record_artifact(one)

    def told() -> tuple[Any, ...]:
        row = records.artifact(parse_ref(REF))
        assert row is not None
        return tuple(row.facts[name] for name in ("ev", "l0", "alive", "evaluation"))

    assert told() == (0.7, 8.0, 200, "evaluations/" + "5" * 16)
    records.record_artifact(evaluation("e", 0.8))
    assert told() == (0.8, 8.0, 200, "evaluations/" + "e" * 16)
    records.delete_artifact(ArtifactRef("evaluations", "e" * 16))
    assert told() == (0.7, 8.0, 200, "evaluations/" + "5" * 16)
    records.delete_artifact(ArtifactRef("evaluations", "5" * 16))
    assert told() == (None,) * 4


def test_a_manifest_that_says_little_is_recorded_all_the_same(records: Records) -> None:
    for kind in ("datasets", "models", "tokens", "activations", "saes", "evaluations", "features", "checkpoints"):
        row = records.record_artifact(manifest(kind, "a", "toy", summary={"name": "x"}))
        assert set(row.facts.values()) <= {None}
        assert (row.kind == "checkpoints") == (row.facts == {})


def test_facts_that_a_kind_does_not_have(records: Records) -> None:
    with pytest.raises(ValueError, match="saes have no fact rows, size: they have model, tokens, hook"):
        records.artifacts("saes", facts={"rows": 1, "size": 2})
    with pytest.raises(ValueError, match="kind 'reports' have no facts: activations, datasets, "):
        records.artifacts("reports", facts={"rows": 1})
    with pytest.raises(ValueError, match="say which"):
        records.artifacts(facts={"rows": 1})


def test_what_people_say_about_features(records: Records) -> None:
    config = {"saes": [{"architecture": "topk", "d_sae": 256, "k": 8, "hook": HOOK}]}
    records.record_artifact(MANIFEST | {"config": config})
    sae = parse_ref(REF)
    mark = records.mark_feature(sae, 7, "ada", starred=True, label="rivers")
    assert (mark.sae, mark.latent, mark.starred, mark.label, mark.notes, mark.updated_by) == (
        REF, 7, True, "rivers", "", "ada",
    )  # fmt: skip
    records.mark_feature(sae, 3, "eve", notes="unclear")
    mark = records.mark_feature(sae, 7, "eve", label="", notes="of Europe")
    assert (mark.starred, mark.label, mark.notes, mark.updated_by) == (True, "", "of Europe", "eve")
    assert [m.latent for m in records.feature_marks(sae)] == [3, 7]
    assert [m.latent for m in records.feature_marks(sae, starred=True)] == [7]
    assert [m.latent for m in records.feature_marks(sae, starred=False)] == [3]
    assert records.feature_marks(ArtifactRef("saes", "e" * 16)) == []
    records.delete_artifact(sae)
    assert len(records.feature_marks(sae)) == 2, "what people said outlives the files"


def test_marks_that_cannot_be(records: Records) -> None:
    config = {"saes": [{"architecture": "topk", "d_sae": 256, "k": 8, "hook": HOOK}]}
    records.record_artifact(MANIFEST | {"config": config})
    sae = parse_ref(REF)
    for latent in (-1, 256):
        with pytest.raises(ValueError, match=f"{REF} has no latent {latent}: its latents are 0 to 255"):
            records.mark_feature(sae, latent, "ada", starred=True)
    with pytest.raises(ValueError, match="label may have at most 500"):
        records.mark_feature(sae, 1, "ada", label="x" * 501)
    with pytest.raises(ValueError, match="notes may have"):
        records.mark_feature(sae, 1, "ada", notes="\0")
    for absent in (ArtifactRef("saes", "e" * 16), ArtifactRef("models", sae.id)):
        with pytest.raises(RecordsError, match="there is no SAE"):
            records.mark_feature(absent, 1, "ada", starred=True)
    assert records.feature_marks(sae) == []
