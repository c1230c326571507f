"""Law 8: each option changes what it says. Here, for every option of every stage:

- another value makes another job and another artifact, unless the option is one that may not: then it makes neither;
- the stage reads it while it works (tests/jobs/test_pipeline.py, where all stages run);
- a resource changes the requirement, or is refused because it has no effect.

What each option does to the result is tested where it is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from pydantic import ValidationError

from configs.architectures import NAMES
from configs.base import Config, Resources, StageConfig
from configs.load import parse_config
from configs.resource_profiles import load_profile, requirement_for
from configs.stages import STAGES
from jobs.life.planner import Planner

DATASET, MODEL, TOKENS, SAE, FEATURES, EVALUATION = (
    f"{kind}/{'0' * 16}" for kind in ("datasets", "models", "tokens", "saes", "features", "evaluations")
)
HOOK = "blocks.1.hook_resid_post"
LINES = '{"text": "one two", "other": "three", "split": "train", "half": "test"}\n{"text": "<b>four</b>", "other": "five"}\n'
EXAMPLES: dict[str, dict[str, Any]] = {
    "download": {"what": "dataset", "source": {"type": "local", "path": "lines.jsonl"}, "dataset": {}},
    # With these all options are open.
    "tokenize": {
        "dataset": DATASET, "other_datasets": [DATASET.replace("0", "2")], "weights": [2, 1], "model": MODEL,
        "packing": "off",
    },
    "harvest": {"model": MODEL, "tokens": TOKENS, "hooks": [HOOK]},
    "train": {
        "model": MODEL, "tokens": TOKENS, "cache": {}, "lm_dtype": "fp32", "autocast": "off",
        "early_stop": {},
        "saes": [
            *({"hook": HOOK, "architecture": name, "d_sae": 128} for name in NAMES),
            {"hook": HOOK, "architecture": "jumprelu", "d_sae": 128, "sparsity_loss": "tanh"},
            {
                "hook": HOOK, "d_sae": 128, "target_hook": "blocks.0.hook_attn_out", "k_start": 64, "k_warmup": 9,
                "lr_decay": "30%",
            },
            {"hooks": [HOOK, "blocks.0.hook_attn_out"], "architecture": "standard", "d_sae": 128},
        ],
    },
    "synthesize": {},
    "import": {"source": {"type": "local", "path": "sae"}, "format": "saelens", "model": MODEL, "tokens": TOKENS},
    "export": {"sae": SAE, "format": "delphi"},
    "evaluate": {"sae": SAE, "compare_with": [SAE.replace("0", "7")]},
    "probe": {
        "sae": SAE, "tokens": TOKENS, "class_column": "other", "compare_with": [SAE.replace("0", "7")],
        "spurious": {"column": "half", "values": ["a", "b"], "classes": ["c", "d"]},
    },
    "extract": {"sae": SAE},
    "label": {"features": FEATURES, "endpoint": {"url": "http://127.0.0.1:1/v1", "model": "judge", "latents": 2}},
    "report": {"features": FEATURES, "evaluation": EVALUATION},
    "maintain": {},
    "pipeline": {"stages": [{"stage": "report", "features": FEATURES, "evaluation": EVALUATION}]},
}  # fmt: skip
# Tried in turn, after the choices that the option itself names, until one is another valid value.
OTHERS = (
    False, True, 1, 2, 3, 17, 64, 256, 24, 0.5, 0.25, 1.5, 5.0, None, "test", "other", "half", "blocks.0.hook_mlp_out",
    ["blocks.0.hook_mlp_out"], ["train"], [32, 64], [64, 128], {"test": 0.5}, [DATASET.replace("0", "3")], [1.0, 4.0],
    ["blocks.0.hook_mlp_out", "blocks.0.hook_attn_out"],
    [SAE.replace("0", "8")], ["e", "f"], [3], "{text} {other}", {"narrator": "system"}, "2024-07-26", ["assistant"],
    *(ref.replace("0", "1") for ref in (DATASET, MODEL, TOKENS, SAE, FEATURES, EVALUATION)), "https://models.example/v1",
    "labels/1111111111111111", "probes/1111111111111111",
)  # fmt: skip
# A source counts by what it holds, not by where it is or how it was named.
BY_CONTENT = {f"{stage}.source.{name}" for stage in ("download", "import") for name in ("path", "files", "type")}
# Options of a training config in place of an id, and one in place of a model: tests/jobs/test_stage_synthesize.py. A grid is
# expanded: tests/configs/test_grid.py.
ELSEWHERE = {
    "evaluate.controls", "evaluate.seeds", "train.activations", "train.grid",
    "download.quantization",  # of models: tests/sae/test_language_model_quantization.py
    "import.part", "import.k", "export.features", "export.labels",  # tests/jobs/test_stage_import.py and test_stage_export.py
}  # fmt: skip
# It decides whether there are options of a dataset at all.
NO_LEAF = {"download.what"}
# Options of SAEs that are open only beside others, which the last two examples have, a transcoder and a crosscoder; two belong to
# another sparsity loss of JumpReLU.
_LAST = len(NAMES) + 1
NOT_OPEN = {
    f"train.saes.{NAMES.index('jumprelu')}.tanh_scale", f"train.saes.{_LAST - 1}.target",
    *(f"train.saes.{i}.{name}" for i in range(_LAST) for name in ("skip_connection", "k_start", "k_warmup")),
    *(f"train.saes.{i}.hooks" for i in range(_LAST + 1)),
    *(f"train.saes.{_LAST + 1}.{name}" for name in ("hook", "target_hook", "skip_connection")),
    f"train.saes.{NAMES.index('standard')}.hook_norms",
}  # fmt: skip


def _leaves(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, Config):
        for name in type(value).model_fields:
            if name not in ("stage", "architecture"):  # these choose the class of the config
                yield from _leaves(getattr(value, name), f"{path}.{name}")
    elif isinstance(value, tuple) and value and isinstance(value[0], Config):
        for i, item in enumerate(value):
            yield from _leaves(item, f"{path}.{i}")
    else:
        yield path


def _options() -> list[str]:
    found = [f"{stage}{path}" for stage, body in EXAMPLES.items() for path in _leaves(parse_config(stage, body))]
    apart = BY_CONTENT | NO_LEAF | ELSEWHERE | NOT_OPEN
    return [path for path in found if path not in apart and ".resources." not in path]


@pytest.fixture(autouse=True)
def _source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lines.jsonl").write_text(LINES)
    (tmp_path / "sae").mkdir()
    for name in ("cfg.json", "sae_weights.safetensors", "sae.safetensors"):
        (tmp_path / "sae" / name).write_text(name)
    monkeypatch.chdir(tmp_path)


def _changed(config: StageConfig, path: list[str]) -> StageConfig:
    """The config with another value at a path."""
    owner: Any = config
    for part in path[:-1]:
        owner = owner[int(part)] if isinstance(owner, tuple) else getattr(owner, part)
    others = (*_choices(type(owner).model_fields[path[-1]].annotation), *OTHERS)
    # An option that speaks for others (`add_special_tokens`) is changed where those were not given.
    for other, given in [(other, given) for given in (False, True) for other in others]:
        body = config.model_dump(mode="json", exclude_unset=given and len(path) == 1)
        body.setdefault(path[0], getattr(config, path[0]))
        node: Any = body
        for part in path[:-1]:
            node = node[int(part)] if isinstance(node, list) else node[part]
        if node.get(path[-1]) == other:
            continue
        node[path[-1]] = other
        try:
            found = type(config).model_validate(body)
        except ValidationError:
            continue
        if found != config:
            return found
    raise AssertionError(f"no other value is known for {'.'.join(path)}: add one to OTHERS")


def _choices(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) is Literal:
        yield from get_args(annotation)
    for inner in get_args(annotation):
        yield from _choices(inner)


def _named(config: StageConfig) -> tuple[str, list[str]]:
    step = Planner().step(config)
    return step.fingerprint, [str(output.ref) for output in step.outputs]


def test_there_is_an_example_of_each_stage() -> None:
    assert set(EXAMPLES) == set(STAGES)


@pytest.mark.parametrize("option", _options())
def test_another_value_is_another_job(option: str) -> None:
    stage, *path = option.split(".")
    config = parse_config(stage, EXAMPLES[stage])
    changed = _changed(config, path)
    (job, artifacts), (other, others) = _named(config), _named(changed)
    if "runtime" in path:
        assert (job, artifacts) == (other, others)
        return
    assert job != other
    if path[0] == "cache" and path[1] in ("rows_per_chunk", "hooks"):
        assert artifacts == others, "how a cache is stored is no part of the SAEs that were trained from it"
        assert _named(config.harvest()) != _named(changed.harvest())  # type: ignore[attr-defined]
    elif path[0] == "saes":
        moved = [one != another for one, another in zip(artifacts, others, strict=True)]
        assert moved == [i == int(path[1]) for i in range(len(artifacts))], "an SAE is named by its own settings alone"
    elif artifacts:
        assert not set(artifacts) & set(others)


def test_a_source_counts_by_what_it_holds(tmp_path: Path) -> None:
    config = parse_config("download", EXAMPLES["download"])
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "lines.jsonl").write_text(LINES)
    moved = parse_config("download", {**EXAMPLES["download"], "source": {"type": "local", "path": "elsewhere"}})
    assert _named(config) == _named(moved)
    (tmp_path / "elsewhere" / "more.jsonl").write_text(LINES.replace("one", "two"))
    more = _named(moved)
    assert more != _named(config)
    some = {"type": "local", "path": "elsewhere", "files": ["more.*"]}
    assert _named(parse_config("download", {**EXAMPLES["download"], "source": some})) not in (more, _named(config))


@pytest.mark.parametrize("name", sorted(Resources.model_fields))
@pytest.mark.parametrize("stage", sorted(STAGES))
def test_a_resource_changes_the_requirement_or_is_refused(stage: str, name: str) -> None:
    values = {"workers": 3, "cpus": 0.75, "gpus": 0.5, "memory": 3 << 30, "threads": 7, "labels": {"zone": "a"}}
    profile = load_profile("gpu", True)
    plain = parse_config(stage, EXAMPLES[stage])
    given = parse_config(stage, {**EXAMPLES[stage], "resources": {name: values[name]}})
    assert _named(plain) == _named(given)
    if name in STAGES[stage].no_effect:
        with pytest.raises(ValueError, match=f"resources.{name} has no effect on stage {stage}"):
            requirement_for(given, profile)
        return
    before, after = requirement_for(plain, profile).model_dump(), requirement_for(given, profile).model_dump()
    assert {key for key in before if before[key] != after[key]} == {name}
