"""What artifacts are searched by, read from each stage's manifest; annotations of features."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.catalog import Catalog, CatalogError, filters_of
from cluster.catalog.index_fields import INDEX
from configs.architectures import BatchTopKConfig, TopKConfig
from configs.artifact_ids import KINDS, ArtifactRef, parse_ref
from configs.base import StageConfig
from configs.download import DownloadConfig, LocalSource
from configs.tokenize import TokenizeConfig
from configs.train import TrainConfig
from tests.cluster.catalog_rows import MANIFEST, REF

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


def test_each_sae_of_a_run_is_found_by_its_own_settings(catalog: Catalog) -> None:
    config = train_config()
    inputs = {"model": MODEL, "tokens": TOKENS}
    ids = ["a" * 16, "b" * 16]
    for id, sae in zip(ids, config.saes, strict=True):
        summary = {"sae": sae.model_dump(mode="json"), "ev": 0.1}
        catalog.record_artifact(manifest("saes", "1", "train", config, id=id, inputs=inputs, summary=summary))
    for id, sae in zip(ids, config.saes, strict=True):
        row = catalog.artifact(ArtifactRef("saes", id))
        assert row is not None
        assert row.fields == {
            "model": MODEL, "tokens": TOKENS, "hook": sae.hook, "architecture": sae.architecture, "d_sae": sae.d_sae,
            "k": sae.k,
        }  # fmt: skip
        (found,) = catalog.artifacts("saes", filters={"hook": sae.hook, "d_sae": sae.d_sae})
        assert found.id == id
    assert len(catalog.artifacts("saes", filters={"model": MODEL})) == 2
    assert catalog.artifacts("saes", filters={"model": MODEL, "d_sae": 1}) == []
    assert [row.id for row in catalog.artifacts("saes", filters={"min_d_sae": 257})] == ids[1:]
    assert [row.id for row in catalog.artifacts("saes", filters={"min_d_sae": 256, "max_d_sae": 511})] == ids[:1]
    assert catalog.artifacts("saes", filters={"min_ev": 0.0}) == [], "an SAE has no figures before its evaluation"


def test_fields_of_the_other_kinds(catalog: Catalog) -> None:
    source = DownloadConfig(what="dataset", source=LocalSource(path="/x"))
    tokenize = TokenizeConfig(dataset="datasets/" + "2" * 16, model=MODEL, context_length=32)
    split = {"train": {"rows": 36}}
    catalog.record_artifact(
        manifest("datasets", "2", "download", source, summary={"documents": 3, "text_bytes": 9, "splits": {}})
    )
    catalog.record_artifact(
        manifest("models", "1", "download", summary={"architecture": "gpt2", "n_layers": 2, "d_model": 64})
    )
    catalog.record_artifact(
        manifest(
            "tokens",
            "3",
            "tokenize",
            tokenize,
            inputs={"dataset": "datasets/" + "2" * 16, "model": MODEL},
            summary={"rows": 36, "tokens": 1152, "data_tokens": 1100, "documents": 3, "splits": split},
        )
    )
    catalog.record_artifact(
        manifest(
            "activations",
            "7",
            "harvest",
            {"hooks": [HOOK, "blocks.0.hook_mlp_out"], "dtype": "bf16", "split": "train"},
            inputs={"model": MODEL, "tokens": TOKENS},
            summary={"rows": 36},
        )
    )
    catalog.record_artifact(
        manifest("features", "6", "extract", summary={"sae": REF, "n_features": 256, "alive": 200, "data_positions": 9})
    )
    catalog.record_artifact(manifest("reports", "9", "report"))
    assert {row.kind: row.fields for row in catalog.artifacts()} == {
        "datasets": {"documents": 3, "text_bytes": 9},
        "models": {"architecture": "gpt2", "layers": 2, "d_model": 64},
        "tokens": {
            "dataset": "datasets/" + "2" * 16, "model": MODEL, "context_length": 32, "rows": 36, "tokens": 1152,
            "data_tokens": 1100, "documents": 3,
        },
        "activations": {
            "model": MODEL, "tokens": TOKENS, "hook": [HOOK, "blocks.0.hook_mlp_out"], "dtype": "bf16",
            "split": "train", "rows": 36,
        },
        "features": {"sae": REF, "n_features": 256, "alive": 200, "data_positions": 9},
        "reports": {},
    }  # fmt: skip


@pytest.mark.parametrize("sae_first", [True, False])
def test_an_sae_has_the_figures_of_its_last_evaluation(catalog: Catalog, sae_first: bool) -> None:
    def evaluation(number: str, ev: float) -> dict[str, Any]:
        summary = {"sae": REF, "ev": ev, "l0": 8.0, "alive": 200, "ce_score_zero": 0.9}
        return manifest("evaluations", number, "evaluate", summary=summary, inputs={"sae": REF})

    made = [MANIFEST, evaluation("5", 0.7)]
    for one in made if sae_first else reversed(made):
        catalog.record_artifact(one)

    def figures() -> tuple[Any, ...]:
        row = catalog.artifact(parse_ref(REF))
        assert row is not None
        return tuple(row.fields.get(name) for name in ("ev", "l0", "alive", "evaluation"))

    assert figures() == (0.7, 8.0, 200, "evaluations/" + "5" * 16)
    catalog.record_artifact(evaluation("e", 0.8))
    assert figures() == (0.8, 8.0, 200, "evaluations/" + "e" * 16)
    catalog.delete_artifact(ArtifactRef("evaluations", "e" * 16))
    assert figures() == (0.7, 8.0, 200, "evaluations/" + "5" * 16)
    catalog.delete_artifact(ArtifactRef("evaluations", "5" * 16))
    assert figures() == (None,) * 4


def test_a_manifest_that_says_little_is_recorded_all_the_same(catalog: Catalog) -> None:
    for kind in ("datasets", "models", "tokens", "activations", "saes", "evaluations", "features", "checkpoints"):
        row = catalog.record_artifact(manifest(kind, "a", "toy", summary={"name": "x"}))
        assert row.fields == {}


def test_a_cache_is_found_by_each_of_its_hooks(catalog: Catalog) -> None:
    hooks = [HOOK, "blocks.0.hook_mlp_out"]
    catalog.record_artifact(manifest("activations", "7", "harvest", {"hooks": hooks}))
    for hook in hooks:
        assert [row.kind for row in catalog.artifacts("activations", filters={"hook": hook})] == ["activations"]


def test_a_crosscoder_is_found_by_each_of_its_hooks(catalog: Catalog) -> None:
    sae = TopKConfig(hooks=(HOOK, "blocks.0.hook_mlp_out"), d_sae=256, k=8)
    catalog.record_artifact(manifest("saes", "8", "train", {}, summary={"sae": sae.model_dump(mode="json")}))
    for hook in sae.all_hooks():
        assert [row.id for row in catalog.artifacts("saes", filters={"hook": hook})] == ["8" * 16]


@pytest.mark.parametrize(
    ("kind", "filters", "message"),
    [
        ("saes", {"rows": 1, "min_hook": "x"}, "saes have no filter min_hook, rows; their fields are: model, tokens"),
        ("reports", {"rows": 1}, "reports have no filter rows; their fields are: none"),
        (None, {"rows": 1}, "say which"),
        ("saes", {"min_ev": "high"}, "min_ev of saes is a number, not 'high'"),
        ("saes", {"hook": 3}, "hook of saes is a text, not 3"),
    ],
)
def test_filters_that_a_kind_does_not_have(
    catalog: Catalog, kind: str | None, filters: dict[str, str | float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        catalog.artifacts(kind, filters=filters)


def test_every_filter_of_every_kind_can_be_asked_for(catalog: Catalog) -> None:
    for kind in INDEX:
        for name, field in filters_of(kind).items():
            assert catalog.artifacts(kind, filters={name: "x" if field.type == "text" else 1}) == []
    assert set(INDEX) < set(KINDS)


def test_what_people_say_about_features(catalog: Catalog) -> None:
    summary = {"sae": {"architecture": "topk", "d_sae": 256, "k": 8, "hook": HOOK}}
    catalog.record_artifact(MANIFEST | {"summary": summary})
    sae = parse_ref(REF)
    mark = catalog.annotate_feature(sae, 7, "ada", starred=True, label="rivers")
    assert (mark.sae, mark.latent, mark.starred, mark.label, mark.notes, mark.updated_by) == (
        REF, 7, True, "rivers", "", "ada",
    )  # fmt: skip
    catalog.annotate_feature(sae, 3, "eve", notes="unclear")
    mark = catalog.annotate_feature(sae, 7, "eve", label="", notes="of Europe")
    assert (mark.starred, mark.label, mark.notes, mark.updated_by) == (True, "", "of Europe", "eve")
    versions = [(v.version, v.label, v.notes, v.written_by) for v in catalog.annotation_versions(sae, 7)]
    assert versions == [(2, "", "of Europe", "eve"), (1, "rivers", "", "ada")]
    catalog.annotate_feature(sae, 7, "eve", starred=True, notes="of Europe")
    assert len(catalog.annotation_versions(sae, 7)) == 2, "nothing was changed"
    assert catalog.annotation_versions(sae, 8) == []
    assert [m.latent for m in catalog.feature_annotations(sae)] == [3, 7]
    assert [m.latent for m in catalog.feature_annotations(sae, starred=True)] == [7]
    assert [m.latent for m in catalog.feature_annotations(sae, starred=False)] == [3]
    assert catalog.feature_annotations(ArtifactRef("saes", "e" * 16)) == []
    catalog.delete_artifact(sae)
    assert len(catalog.feature_annotations(sae)) == 2, "what people said outlives the files"


def test_annotations_that_cannot_be(catalog: Catalog) -> None:
    summary = {"sae": {"architecture": "topk", "d_sae": 256, "k": 8, "hook": HOOK}}
    catalog.record_artifact(MANIFEST | {"summary": summary})
    sae = parse_ref(REF)
    for latent in (-1, 256):
        with pytest.raises(ValueError, match=f"{REF} has no latent {latent}: its latents are 0 to 255"):
            catalog.annotate_feature(sae, latent, "ada", starred=True)
    with pytest.raises(ValueError, match="label may have at most 500"):
        catalog.annotate_feature(sae, 1, "ada", label="x" * 501)
    with pytest.raises(ValueError, match="notes may have"):
        catalog.annotate_feature(sae, 1, "ada", notes="\0")
    for absent in (ArtifactRef("saes", "e" * 16), ArtifactRef("models", sae.id)):
        with pytest.raises(CatalogError, match="there is no SAE"):
            catalog.annotate_feature(absent, 1, "ada", starred=True)
    assert catalog.feature_annotations(sae) == []
