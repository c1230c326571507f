"""How a config names its inputs: the id of an artifact, or the config of the stage that makes it."""

from __future__ import annotations

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
    """Marks a field of type `Id | Config`: text is an id, a mapping is a config, and a fault names only the one meant."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """A union whose branch the value's own type chooses."""
        artifact_id, config = get_args(source)
        return core_schema.tagged_union_schema(
            {"id": handler.generate_schema(artifact_id), "config": handler.generate_schema(config)},
            discriminator=_branch,
            custom_error_type="id_or_config",
            custom_error_message="expected an artifact's id, or a mapping that is the config of the stage that makes it",
        )


def _branch(value: Any) -> str | None:
    if isinstance(value, str):
        return "id"
    return "config" if isinstance(value, dict | BaseModel) else None


DatasetId = Annotated[str, _kind("datasets")]
ModelId = Annotated[str, _kind("models")]
TokensId = Annotated[str, _kind("tokens")]
ActivationsId = Annotated[str, _kind("activations")]
SaeId = Annotated[str, _kind("saes")]
FeaturesId = Annotated[str, _kind("features")]
EvaluationId = Annotated[str, _kind("evaluations")]
