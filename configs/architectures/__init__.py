"""Configs of the SAE architectures: one class for each, and the union that a run chooses from.

A new architecture is a class in a file of this folder, its name in `ARCHITECTURES`, and `sae/architectures/NAME.py`, where NAME
is the value of the class' `architecture`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, get_args

from pydantic import Discriminator, Tag

from configs.architectures.base import DeadLatentsConfig, DecoderNormConfig, SaeConfig, ShallowConfig
from configs.architectures.matching_pursuit import MatchingPursuitConfig
from configs.architectures.nested import HierarchicalTopKConfig, MatryoshkaConfig
from configs.architectures.relu import GatedConfig, JumpReluConfig, PenalisedConfig, StandardConfig
from configs.architectures.topk import BatchKConfig, BatchTopKConfig, FixedL0Config, TopKConfig, WarmedKConfig

__all__ = [
    "ARCHITECTURES", "NAMES", "AnySae", "BatchKConfig", "BatchTopKConfig", "DeadLatentsConfig", "DecoderNormConfig",
    "FixedL0Config", "GatedConfig", "HierarchicalTopKConfig", "JumpReluConfig", "MatchingPursuitConfig", "MatryoshkaConfig",
    "PenalisedConfig", "SaeConfig", "ShallowConfig", "StandardConfig", "TopKConfig", "WarmedKConfig", "architecture_name",
    "target_l0",
]  # fmt: skip

ARCHITECTURES: tuple[type[SaeConfig], ...] = (
    TopKConfig,
    BatchTopKConfig,
    HierarchicalTopKConfig,
    MatryoshkaConfig,
    StandardConfig,
    GatedConfig,
    JumpReluConfig,
    MatchingPursuitConfig,
)

NAMES: tuple[str, ...] = tuple(get_args(cls.model_fields["architecture"].annotation)[0] for cls in ARCHITECTURES)


def _tag(value: Any) -> str | None:
    name = value.get("architecture", "topk") if isinstance(value, dict) else getattr(value, "architecture", "topk")
    return name if name in NAMES else None


if TYPE_CHECKING:
    AnySae = SaeConfig
else:
    AnySae = Annotated[
        reduce(or_, (Annotated[cls, Tag(name)] for name, cls in zip(NAMES, ARCHITECTURES, strict=True))),
        Discriminator(
            _tag,
            custom_error_type="architecture",
            custom_error_message=f"architecture must be one of {', '.join(NAMES)}",
        ),
    ]


def architecture_name(cfg: Mapping[str, Any]) -> str:
    """The architecture that an SAE folder's cfg.json is of: our own name for it, else SAELens'.

    SAELens writes different ones under one name: a BatchTopK SAE is `jumprelu` there.
    """
    return str(cfg.get("metadata", {}).get("raylens", {}).get("architecture") or cfg["architecture"])


def target_l0(cfg: Mapping[str, Any]) -> float | None:
    """Active latents of a position that an SAE was trained for, from its folder's cfg.json; None if that is not known."""
    found = cfg.get("k") or cfg.get("metadata", {}).get("raylens", {}).get("target_l0")
    return None if found is None else float(found)
