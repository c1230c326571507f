"""How a config names its inputs: the id of an artifact, or the config of the stage that makes it."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from configs.identity import parse_ref


def _kind(kind: str) -> AfterValidator:
    def check(value: str) -> str:
        parse_ref(value, kind)
        return value

    return AfterValidator(check)


DatasetId = Annotated[str, _kind("datasets")]
ModelId = Annotated[str, _kind("models")]
TokensId = Annotated[str, _kind("tokens")]
SaeId = Annotated[str, _kind("saes")]
FeaturesId = Annotated[str, _kind("features")]
EvaluationId = Annotated[str, _kind("evaluations")]
