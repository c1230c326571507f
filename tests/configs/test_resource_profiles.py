"""Requirements by profile: a resource that would do nothing is refused."""

from __future__ import annotations

import pytest

from configs.load import load_config, parse_config
from configs.resource_profiles import load_profile, requirement_for
from configs.stages import STAGES
from tests.configs.test_load import PRESETS


@pytest.mark.parametrize(
    ("stage", "profile", "override", "said"),
    [
        ("download", "local", "gpus=1", "resources.gpus has no effect on stage download"),
        ("tokenize", "gpu", "gpus=1", "resources.gpus has no effect on stage tokenize"),
        ("maintain", "local", "workers=2", "resources.workers has no effect on stage maintain"),
        ("maintain", "gpu", "gpus=1", "resources.gpus has no effect on stage maintain"),
        ("maintain", "local", "labels={a: b}", "resources.labels has no effect on stage maintain"),
        ("pipeline", "local", "cpus=4", "resources.cpus has no effect on stage pipeline"),
        ("train", "local", "gpus=1", "resources.gpus=1, but this profile computes on the CPU: use --profile gpu"),
        ("train", "local", "cpus=0", "resources.cpus=0, but a worker of stage train computes"),
        ("train", "local", "workers=1000000", r"resources.workers: .* less than or equal to 10000 \(got 1000000\)"),
        ("train", "local", "memory=8", r"resources.memory: memory is in bytes, and 8 bytes hold no worker"),
        ("train", "local", "labels={zone: 'a b'}", r"resources.labels: label zone='a b': expected a value"),
        ("train", "gpu", "gpus=1.5", r"resources.gpus: more than one GPU a worker must be a whole number"),
        ("train", "gpu", "gpus=0", "resources.gpus=0, but this profile computes on GPUs: use --profile local"),
    ],
)
def test_what_would_do_nothing_is_refused(stage: str, profile: str, override: str, said: str) -> None:
    config = load_config(stage, f"configs/presets/{stage}.yaml", [f"resources.{override}"])
    with pytest.raises(ValueError, match=said):
        requirement_for(config, load_profile(profile, False))


def test_workers_read_datasets_whole_and_nothing_else() -> None:
    profile = load_profile("gpu", True)
    source = {"type": "hub", "repo": "me/it"}
    dataset, model, first = (
        {"what": "dataset", "source": source},
        {"what": "model", "source": source},
        {"what": "dataset", "source": source, "dataset": {"max_documents": 9}},
    )
    workers = [requirement_for(parse_config("download", one), profile).workers for one in (dataset, model, first)]
    assert workers == [2, 1, 1]
    for one in (model, first):
        with pytest.raises(ValueError, match=r"^resources\.workers has no effect on this download: leave it out"):
            requirement_for(parse_config("download", {**one, "resources": {"workers": 2}}), profile)


def test_what_does_something_is_taken() -> None:
    config = load_config("train", "configs/presets/train.yaml", ["resources.workers=2", "resources.gpus=0.5"])
    requirement = requirement_for(config, load_profile("gpu", True))
    assert (requirement.workers, requirement.gpus, requirement.device) == (2, 0.5, "cuda")


@pytest.mark.parametrize("name", ["local", "gpu"])
def test_profiles_name_every_stage(name: str) -> None:
    profile = load_profile(name, cluster_has_gpu=False)
    assert set(profile.stages) == set(STAGES)
    assert load_profile("auto", cluster_has_gpu=name == "gpu") == profile


def test_a_config_overrides_its_profile() -> None:
    config = load_config("train", PRESETS / "train.yaml", ["resources.workers=2", "resources.labels={a: b}"])
    requirement = requirement_for(config, load_profile("local", False))
    assert (requirement.workers, requirement.labels, requirement.cpus, requirement.device) == (2, {"a": "b"}, 1, "cpu")


def test_an_unknown_profile_is_named() -> None:
    with pytest.raises(ValueError, match="no profile 'tpu'; the profiles are local, gpu, auto"):
        load_profile("tpu", False)
