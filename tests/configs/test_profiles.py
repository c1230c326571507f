"""Requirements by profile: a resource that would do nothing is refused."""

from __future__ import annotations

import pytest

from configs.load import load_config
from configs.profiles import load_profile, requirement_for


@pytest.mark.parametrize(
    ("stage", "profile", "override", "said"),
    [
        ("download", "local", "workers=2", "resources.workers has no effect on stage download"),
        ("tokenize", "gpu", "gpus=1", "resources.gpus has no effect on stage tokenize"),
        ("pipeline", "local", "cpus=4", "resources.cpus has no effect on stage pipeline"),
        ("train", "local", "gpus=1", "resources.gpus=1, but this profile computes on the CPU: use --profile gpu"),
        ("train", "gpu", "gpus=0", "resources.gpus=0, but this profile computes on GPUs: use --profile local"),
    ],
)
def test_what_would_do_nothing_is_refused(stage: str, profile: str, override: str, said: str) -> None:
    config = load_config(stage, f"configs/presets/{stage}.yaml", [f"resources.{override}"])
    with pytest.raises(ValueError, match=said):
        requirement_for(config, load_profile(profile, False))


def test_what_does_something_is_taken() -> None:
    config = load_config("train", "configs/presets/train.yaml", ["resources.workers=2", "resources.gpus=0.5"])
    need = requirement_for(config, load_profile("gpu", True))
    assert (need.workers, need.gpus, need.device) == (2, 0.5, "cuda")
