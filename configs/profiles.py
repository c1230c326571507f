"""Resource profiles: what each stage asks for on a machine without GPUs (`local`) and with them (`gpu`)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import yaml
from pydantic import Field

from configs.base import Config, StageConfig
from configs.requirements import Requirement

_FOLDER = Path(__file__).parent / "resources"
PROFILES = ("local", "gpu", "auto")


class Profile(Config):
    """Requirements by stage."""

    device: Literal["cpu", "cuda"] = Field(description="Where tensors live under this profile.")
    stages: dict[str, Requirement] = Field(description="What each stage asks for.")


def load_profile(name: str, cluster_has_gpu: bool) -> Profile:
    """Reads a profile; `auto` is `gpu` where the cluster has one, else `local`. Raises ValueError."""
    if name not in PROFILES:
        raise ValueError(f"there is no profile {name!r}; the profiles are {', '.join(PROFILES)}")
    chosen = ("gpu" if cluster_has_gpu else "local") if name == "auto" else name
    return Profile.model_validate(yaml.safe_load((_FOLDER / f"{chosen}.yaml").read_text()))


def requirement_for(config: StageConfig, profile: Profile) -> Requirement:
    """The profile's requirement of the config's stage, with the config's own `resources` over it."""
    base = profile.stages[config.stage].model_copy(update={"device": profile.device})
    given = config.resources.model_dump(exclude_none=True)
    return Requirement.model_validate({**base.model_dump(), **given})
