"""Names of hook points, and how wide their values are."""

from __future__ import annotations

import pytest

from configs.hook_names import hook_width, stored_hook

RESID = "blocks.1.hook_resid_post"


def test_the_input_of_a_block_is_the_output_of_the_one_before() -> None:
    assert stored_hook("blocks.2.hook_resid_pre") == RESID
    assert stored_hook("blocks.0.hook_resid_pre") == "blocks.0.hook_resid_pre"


@pytest.mark.parametrize("path", ["model.layers", "transformer.h", "gpt_neox.layers", "model.language_model.layers"])
def test_the_path_of_a_block_is_its_output(path: str) -> None:
    assert stored_hook(f"{path}.1") == RESID
    for other in (f"{path}.1.mlp", f"model.vision_tower.{path}.1", "model.layers", "model.encoder.layers.1"):
        assert stored_hook(other) == other


@pytest.mark.parametrize(
    ("summary", "config", "hook", "width"),
    [
        ({}, {"hidden_size": 32}, RESID, 32),
        ({}, {"n_embd": 48}, RESID, 48),
        ({}, {"d_model": 64}, RESID, 64),  # MPT
        (
            {},
            {"model_type": "gemma3", "text_config": {"hidden_size": 2560}, "vision_config": {"hidden_size": 9}},
            RESID,
            2560,
        ),
        ({"d_model": 72}, {"hidden_size": 9}, RESID, 72),
        ({}, {"n_embd": 48}, "transformer.h.1.mlp.c_fc", 192),
        ({}, {"hidden_size": 32, "intermediate_size": 300}, "model.layers.0.mlp.gate_proj", 300),
        ({}, {"text_config": {"hidden_size": 32, "intermediate_size": 300}}, "model.layers.0.mlp", 300),
    ],
)
def test_the_width_of_a_hook(summary: dict[str, int], config: dict[str, object], hook: str, width: int) -> None:
    assert hook_width(summary, config, hook) == width
