"""A row gives the same activations wherever its padding is: attention sees none of it, positions begin behind it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from configs.tokenize import Attention
from sae.formats.tokens import Role, TokenRows
from sae.language_model import LanguageModel
from sae.language_model.document_positions import document_positions
from tests.sae.families import FAMILIES, LAYERS, VOCAB, build

WIDTHS = (24, 17, 5, 1)
LENGTH = 24


def rows(left: bool, bos: bool) -> TokenRows:
    """Rows of WIDTHS tokens: BOS if wanted, two documents, padding on one side."""
    ids = np.full((len(WIDTHS), LENGTH), 3, np.int32)
    roles = np.full(ids.shape, Role.PAD, np.uint8)
    document = np.full(ids.shape, -1, np.int64)
    for i, width in enumerate(WIDTHS):
        inside = slice(LENGTH - width, LENGTH) if left else slice(0, width)
        ids[i, inside] = np.random.default_rng(i).integers(0, VOCAB, width)
        roles[i, inside] = Role.DATA
        document[i, inside] = np.where(np.arange(width) < width // 2 + 1, 2 * i, 2 * i + 1)
        if bos and width > 1:
            roles[i, inside.start], document[i, inside.start] = Role.BOS, -1
    return TokenRows(ids, roles, document, np.zeros_like(roles))


@pytest.mark.parametrize("bos", [False, True])
@pytest.mark.parametrize("attention", ["row", "document"])
@pytest.mark.parametrize("family", list(FAMILIES))
def test_padding_on_the_left_changes_nothing(family: str, attention: Attention, bos: bool) -> None:
    lm = LanguageModel(build(family))
    hook = lm.hook(f"blocks.{LAYERS - 1}.hook_resid_post")
    found = []
    for left in (False, True):
        given = rows(left, bos)
        groups = given.attention_groups(attention, "left" if left else "right")
        assert (groups is None) == (attention == "row" and not left)
        document = None if groups is None else torch.from_numpy(groups)
        values = lm.run_to(torch.from_numpy(given.input_ids).long(), [hook], document)[hook.name]
        found.append(values[torch.from_numpy(given.roles) != Role.PAD])
    torch.testing.assert_close(found[1], found[0], rtol=1e-3, atol=1e-4)


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans(), st.lists(st.integers(1, 4), min_size=1, max_size=3))))
def test_positions_begin_behind_the_padding(made: list[tuple[int, bool, list[int]]]) -> None:
    for pads, bos, lengths in made:
        document = np.array([[-1] * (pads + bos) + [n for n, length in enumerate(lengths) for _ in range(length)]])
        roles = np.array([[Role.PAD] * pads + [Role.BOS] * bos + [Role.DATA] * sum(lengths)], np.uint8)
        read = TokenRows(np.zeros_like(roles, np.int32), roles, document, np.zeros_like(roles))
        lengths[0] += bos  # the row's BOS belongs to the document behind it
        expected = [*range(pads), *(i for length in lengths for i in range(length))]
        groups = read.attention_groups("document", "left")
        assert document_positions(torch.from_numpy(groups)).tolist() == [expected]
        groups = read.attention_groups("row", "left")
        assert document_positions(torch.from_numpy(groups)).tolist() == [[*range(pads), *range(sum(lengths))]]
