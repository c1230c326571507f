"""How a config names its inputs: the id of an artifact, or the config of the stage that makes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, get_args

from pydantic import AfterValidator, BaseModel, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from configs.artifact_ids import parse_ref


def _kind(kind: str) -> AfterValidator:
    def check(value: str) -> str:
        parse_ref(value, kind)
        return value

    return AfterValidator(check)


class IdOrConfig:
    """Marks a field of type `Id | Config ...`: text is an id, a mapping is a config, and a fault names only the one meant.

    Of several configs, the key `stage` says which one a mapping is; without it, it is the first.
    """

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """A union whose branch the value's own type chooses."""
        artifact_id, *configs = get_args(source)
        branches = {_stage(config): handler.generate_schema(config) for config in configs[1:]}
        return core_schema.tagged_union_schema(
            {"id": handler.generate_schema(artifact_id), "config": handler.generate_schema(configs[0]), **branches},
            discriminator=_branch_of(frozenset(branches)),
            custom_error_type="id_or_config",
            custom_error_message="expected an artifact's id, or a mapping that is the config of the stage that makes it",
        )


def _branch_of(others: frozenset[str]) -> Callable[[Any], str | None]:
    def branch(value: Any) -> str | None:
        if isinstance(value, str):
            return "id"
        if not isinstance(value, dict | BaseModel):
            return None
        stage = value.get("stage") if isinstance(value, dict) else getattr(value, "stage", None)
        return stage if isinstance(stage, str) and stage in others else "config"

    return branch


def _stage(config: type[BaseModel]) -> str:
    return str(config.model_fields["stage"].default)


DatasetId = Annotated[str, _kind("datasets")]
ModelId = Annotated[str, _kind("models")]
TokensId = Annotated[str, _kind("tokens")]
ActivationsId = Annotated[str, _kind("activations")]
SaeId = Annotated[str, _kind("saes")]
FeaturesId = Annotated[str, _kind("features")]
LabelsId = Annotated[str, _kind("labels")]
ProbesId = Annotated[str, _kind("probes")]
EvaluationId = Annotated[str, _kind("evaluations")]
