"""Examples as text for a model server: inside one document, and silent ones without an active position."""

from __future__ import annotations

import numpy as np

from sae.labels.activations import Activations
from sae.labels.predicate import CONTEXT
from sae.labels.text import LabelText
from tests.sae.label_endpoint_world import Planted, features
from tests.sae.planted_text import word

__all__ = ["features"]


def test_windows_stay_in_their_document(features: Planted) -> None:
    text: LabelText = features.text
    for at in range(0, len(text.form), 97):
        start, stop = features.windows.span(at)
        same = text.document[start:stop] == text.document[at]
        assert same.all() and start <= at < stop and start // text.length == (stop - 1) // text.length
        assert features.windows.at(at).token == word(int(text.tokens[at]))
        assert start == at - CONTEXT or start % text.length == 0 or text.document[start - 1] != text.document[at]


def test_silent_windows_hold_no_active_position(features: Planted) -> None:
    active: Activations = features.active
    positions = np.arange(0, len(features.text.form), 31)
    found = features.windows.silent(positions, active.of(3))
    wanted = []
    for at in positions:
        start, stop = features.windows.span(int(at))
        wanted.append(not ((active.of(3) >= start) & (active.of(3) < stop)).any())
    assert found.tolist() == wanted and 0 < found.sum() < len(found)
