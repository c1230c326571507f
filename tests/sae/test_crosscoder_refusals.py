"""What crosscoders refuse: settings, hooks, and uses that are for SAEs of one hook."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from configs.architectures import StandardConfig, TopKConfig
from configs.steering import Intervention
from sae.exporters import ExportSource, NotExportable, write_export
from sae.features.similar import decoder_directions
from sae.formats.artifact_files import LocalFiles
from sae.steering.errors import SteeringError
from sae.steering.plan import make_plan
from sae.training.build import build_run
from sae.training.collectives import LocalCollective
from tests.sae.crosscoder_world import HOOKS, World, world

__all__ = ["world"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "hook missing"),
        ({"hooks": HOOKS[:1]}, "hooks has 1 hook; a crosscoder has at least two: for one, give `hook`"),
        ({"hooks": []}, "hooks has 0 hook"),
        ({"hooks": [HOOKS[0], HOOKS[1], HOOKS[0]]}, "hooks has blocks.0.hook_mlp_out more than once"),
        ({"hooks": ["blocks.1.hook_resid_pre", "blocks.0.hook_resid_post"]}, "blocks.0.hook_resid_post more than once"),
        ({"hooks": HOOKS, "hook": HOOKS[0]}, "hook = blocks.0.hook_mlp_out and hooks are both given"),
        ({"hooks": HOOKS, "target_hook": HOOKS[0]}, "target_hook is for transcoders"),
        ({"hooks": HOOKS, "skip_connection": True}, "skip_connection is for transcoders"),
        (
            {"hook": HOOKS[0], "architecture": "standard", "hook_norms": "joint"},
            "hook_norms = joint is for crosscoders",
        ),
    ],
)
def test_settings_that_make_no_crosscoder_are_refused(given: dict[str, Any], message: str) -> None:
    cls = StandardConfig if "architecture" in given else TopKConfig
    with pytest.raises(ValidationError, match=message):
        cls.model_validate({"d_sae": 48, **given})


def test_hooks_that_the_model_does_not_have_or_has_under_two_names_are_refused(world: World) -> None:
    model = LocalFiles(world.model)
    for hooks, message in (
        ([HOOKS[0], "blocks.99.hook_mlp_out"], "blocks.99.hook_mlp_out"),
        (
            [HOOKS[0], world.lm.hook(HOOKS[0]).module_path],
            "are the same hook, blocks.0.hook_mlp_out: give each hook once",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            build_run(world.config(hooks=hooks), [0], model, world.files, None, LocalCollective(), "cpu")


def test_what_crosscoders_cannot_do_is_refused_with_the_reason(world: World, tmp_path: Path) -> None:
    ref = "saes/" + "1" * 16
    change = Intervention.model_validate({"sae": ref, "latent": 3, "op": "add", "value": 1.0})
    with pytest.raises(SteeringError, match=f"{ref} is a crosscoder"):
        make_plan(world.lm, {ref: world.sae}, [change], {})
    when = {"sae": ref, "latent": 3, "above": 0.5}
    alone = Intervention.model_validate({**change.model_dump(), "sae": "saes/" + "2" * 16, "when": when})
    with pytest.raises(SteeringError, match=f"{ref} is a crosscoder"):
        make_plan(world.lm, {ref: world.sae, "saes/" + "2" * 16: world.alone}, [alone], {})
    with pytest.raises(NotExportable, match=r"saes/1 is a crosscoder of 3 hooks, and sparsify holds SAEs of one hook"):
        write_export("sparsify", ExportSource(world.sae, "saes/1"), tmp_path)
    metadata = {"hook_name": "a + b", "hook_names": ["a", "b"]}
    (tmp_path / "cfg.json").write_text(json.dumps({"metadata": metadata}))
    with pytest.raises(ValueError, match="a crosscoder of a, b has no directions"):
        decoder_directions(tmp_path)
