"""Resource profiles: what each stage asks for on a machine without GPUs (`local`) and with them (`gpu`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError

from configs.base import Config, StageConfig
from configs.requirements import Requirement
from configs.stages import STAGES, StageEntry

_FOLDER = Path(__file__).parent / "resources"
PROFILES = ("local", "gpu", "auto")
# What a stage has of a resource that has no effect on it.
_UNUSED: dict[str, Any] = {"workers": 1, "cpus": 0, "gpus": 0, "memory": 0, "threads": 1, "labels": {}}


class Profile(Config):
    """Requirements by stage."""

    name: Literal["local", "gpu"] = Field(description="Which one it is.")
    device: Literal["cpu", "cuda"] = Field(description="Where tensors live under this profile.")
    stages: dict[str, Requirement] = Field(description="What each registered stage asks for.")


def load_profile(name: str, cluster_has_gpu: bool) -> Profile:
    """Reads a profile; `auto` is `gpu` where the cluster has one, else `local`. Raises ValueError."""
    if name not in PROFILES:
        raise ValueError(f"there is no profile {name!r}; the profiles are {', '.join(PROFILES)}")
    chosen = ("gpu" if cluster_has_gpu else "local") if name == "auto" else name
    raw = yaml.safe_load((_FOLDER / f"{chosen}.yaml").read_text())
    stages = {name: _requirement(entry, raw["default"], raw["stages"].get(name, {})) for name, entry in STAGES.items()}
    return Profile.model_validate({"name": chosen, "device": raw["device"], "stages": stages})


def requirement_for(config: StageConfig, profile: Profile) -> Requirement:
    """The profile's requirement of the config's stage, with the config's own `resources` over it.

    Raises ValueError for a resource that would have no effect, or of a size that no worker can have.
    """
    unused = {name: _UNUSED[name] for name in config.unused_resources()}
    base = profile.stages[config.stage].model_copy(update={"device": profile.device, **unused})
    given = config.resources.model_dump(exclude_none=True)
    for key in sorted(set(STAGES[config.stage].no_effect) & given.keys()):
        raise ValueError(f"resources.{key} has no effect on stage {config.stage}: leave it out")
    for name in sorted(unused.keys() & given.keys()):
        raise ValueError(f"resources.{name} has no effect on this {config.stage}: leave it out")
    if given.get("gpus") and profile.device == "cpu":
        raise ValueError(f"resources.gpus={given['gpus']:g}, but this profile computes on the CPU: use --profile gpu")
    if given.get("gpus") == 0 and base.gpus:
        raise ValueError("resources.gpus=0, but this profile computes on GPUs: use --profile local")
    try:
        requirement = Requirement.model_validate({**base.model_dump(), **given})
    except ValidationError as error:
        faults = (
            f"resources.{'.'.join(map(str, one['loc']))}: {one['msg'].removeprefix('Value error, ')} (got {one['input']!r})"
            for one in error.errors()
        )
        raise ValueError("; ".join(faults)) from None
    if requirement.gpus > 1:
        raise ValueError(
            f"resources.gpus={requirement.gpus:g}, but a worker uses one GPU: set resources.gpus=1 and more workers"
        )
    if base.needs_resources() and not requirement.cpus and not requirement.gpus:
        raise ValueError(
            f"resources.cpus={requirement.cpus:g}, but a worker of stage {config.stage} computes: ask for a share of a CPU, "
            "for example 0.5, or for a GPU"
        )
    return requirement


def _requirement(entry: StageEntry, default: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    return {**default, **{name: _UNUSED[name] for name in entry.no_effect}, **own}
