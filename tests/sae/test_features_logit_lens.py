"""Logit lens and neighbours against plain computations, ties and blocks included."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import OPTConfig, OPTForCausalLM

from sae.features import logit_lens as logit_lens_module
from sae.features.logit_lens import logit_lens, nearest
from sae.features.write_features import describe_directions
from sae.language_model import LanguageModel, Unembedding
from sae.language_model.unembedding_files import unembedding_of_folder
from tests.sae.families import FAMILIES, build


def test_lens_is_the_largest_and_smallest_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    W_dec, W_U = torch.randn(50, 8, generator=generator), torch.randn(8, 30, generator=generator)
    monkeypatch.setattr(logit_lens_module, "_BLOCK_BYTES", 4 * 30 * 7)
    promoted, suppressed = logit_lens(W_dec, W_U, False, 5)
    for f in range(50):
        logits = W_dec[f] @ W_U
        order = logits.argsort(descending=True)
        assert promoted.ids[f].tolist() == order[:5].tolist()
        assert suppressed.ids[f].tolist() == order.flip(0)[:5].tolist()
        torch.testing.assert_close(suppressed.values[f], logits[suppressed.ids[f]])
    assert logit_lens(W_dec, W_U, False, 99)[0].ids.shape == (50, 30)


def test_equal_logits_come_by_token_id() -> None:
    promoted, suppressed = logit_lens(torch.ones(1, 2), torch.tensor([[1.0, 2, 1, 2], [0, 0, 0, 0]]), False, 4)
    assert promoted.ids.tolist() == [[1, 3, 0, 2]]
    assert suppressed.ids.tolist() == [[0, 2, 1, 3]]


def test_neighbours_are_other_features_by_cosine(monkeypatch: pytest.MonkeyPatch) -> None:
    W_dec = torch.randn(40, 6, generator=torch.Generator().manual_seed(1))
    W_dec[3] = 0  # a direction without length is near to none
    W_dec[9] = 5 * W_dec[8]
    monkeypatch.setattr(logit_lens_module, "_BLOCK_BYTES", 4 * 40 * 9)
    found = nearest(W_dec, 4)
    cosine = torch.nn.functional.cosine_similarity(W_dec[:, None], W_dec[None], dim=-1)
    cosine.fill_diagonal_(-2)
    wanted = cosine.sort(dim=1, descending=True, stable=True)
    keep = torch.arange(40) != 3
    assert torch.equal(found.ids[keep], wanted.indices[keep, :4])
    torch.testing.assert_close(found.values, wanted.values[:, :4])
    assert found.ids[9, 0] == 8
    assert found.values[9, 0] == pytest.approx(1)
    assert nearest(W_dec[:1], 4).ids.shape == (1, 0)


def test_lens_is_what_a_direction_does_to_the_logits(tiny_gpt2: Path) -> None:
    lm = LanguageModel.load(tiny_gpt2)
    unembedding = lm.unembedding(lm.hook("blocks.1.hook_resid_post"))
    assert isinstance(unembedding, Unembedding)
    W_dec = torch.randn(3, lm.d_model, generator=torch.Generator().manual_seed(2)) + 1
    promoted, suppressed = logit_lens(W_dec, unembedding.W_U, unembedding.centered, 4)
    last, ids = lm.hook("blocks.2.hook_resid_post"), torch.zeros(1, 1, dtype=torch.int64)
    for f, direction in enumerate(W_dec):
        # The residual stream is the direction alone; the difference takes the final norm's bias away.
        to = lm.logits(ids, replace=(last, direction.expand_as))[0, 0]
        away = lm.logits(ids, replace=(last, (-direction).expand_as))[0, 0]
        order = (to - away).argsort(descending=True)
        assert promoted.ids[f].tolist() == order[:4].tolist()
        assert suppressed.ids[f].tolist() == order.flip(0)[:4].tolist()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_unembedding_is_read_from_the_files_alone(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = "blocks.1.hook_resid_post"
    build(family).save_pretrained(tmp_path)
    model = LanguageModel.load(tmp_path)
    whole = model.unembedding(model.hook(hook))
    monkeypatch.setattr(LanguageModel, "load", None)
    read = unembedding_of_folder(tmp_path, hook)
    assert torch.equal(read.W_U, whole.W_U)
    assert read.centered == whole.centered


def test_a_model_with_more_than_a_norm_before_its_output_matrix_is_loaded_whole(tmp_path: Path) -> None:
    config = OPTConfig(
        vocab_size=61, hidden_size=32, word_embed_proj_dim=16, ffn_dim=40, num_hidden_layers=2, num_attention_heads=4
    )
    OPTForCausalLM(config).save_pretrained(tmp_path)
    assert isinstance(unembedding_of_folder(tmp_path, "blocks.0.hook_resid_post"), str)


class Directions:
    """What describe_directions reads of an SAE."""

    def __init__(self, hook: str, width: int) -> None:
        self.is_crosscoder = False
        self.W_dec = self.directions = torch.randn(6, width, generator=torch.Generator().manual_seed(3))
        self.target_hook = hook


@pytest.mark.parametrize(
    ("hook", "has_lens"),
    [("blocks.1.hook_resid_mid", True), ("blocks.1.ln2.hook_normalized", False), ("transformer.ln_f", False)],
)
def test_a_lens_is_made_only_where_it_has_a_meaning(hook: str, has_lens: bool, tiny_gpt2: Path) -> None:
    width = LanguageModel.load(tiny_gpt2).d_model
    directions, why = describe_directions(Directions(hook, width), tiny_gpt2, 3, 2)
    assert directions.neighbours.ids.shape == (6, 2)
    if has_lens:
        assert why is None
        assert directions.promoted.ids.shape == directions.suppressed.ids.shape == (6, 3)
    else:
        assert directions.promoted is directions.suppressed is None
        assert why.startswith(f"{hook} is neither the residual stream nor added to it")


def test_a_final_norm_that_is_not_recognised_costs_only_the_lens(
    tiny_gpt2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sae.language_model.unembedding_files.recognise", lambda *_: None)
    monkeypatch.setattr("sae.language_model.unembedding.recognise", lambda *_: None)
    directions, why = describe_directions(Directions("blocks.0.hook_resid_post", 48), tiny_gpt2, 3, 2)
    assert directions.promoted is None
    assert why == "the final norm (LayerNorm) is neither a LayerNorm nor an RMSNorm by its outputs"
