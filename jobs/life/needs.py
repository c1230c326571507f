"""What a job asks for: what its row says, and the bytes that it will write, which is known once its inputs are there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from configs.base import StageConfig
from configs.identity import ArtifactRef
from configs.requirements import Requirement
from jobs.stages import stage_module

if TYPE_CHECKING:
    from cluster.store import Store


def requirement_in(row: dict[str, Any]) -> Requirement:
    """The requirement that a row records; rows of before may hold more beside it."""
    return Requirement.model_validate({k: v for k, v in row.items() if k in Requirement.model_fields})


def with_bytes(
    need: Requirement,
    store: Store,
    config: StageConfig,
    inputs: dict[str, list[ArtifactRef]],
    outputs: Sequence[ArtifactRef],
) -> Requirement:
    """The requirement with the bytes that are left to write, if the stage can tell."""
    tell = getattr(stage_module(config.stage), "store_bytes", None)
    if tell is None or any(store.manifest(ref) is None for refs in inputs.values() for ref in refs):
        return need
    # What earlier attempts finished is written already.
    written = sum(file.size for ref in outputs for file, _ in store.parts(ref).values())
    return need.model_copy(update={"store_bytes": max(0, int(tell(config, inputs, store)) - written)})
