"""Identities: equal for equal requests, different for anything that changes bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.artifact_ids import ArtifactRef, canonical_json, fingerprint, parse_ref

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(), v, max_size=3),
)


@given(st.dictionaries(st.text(), values, max_size=4))
def test_the_order_of_keys_does_not_matter(science: dict) -> None:
    turned = dict(reversed(science.items()))
    assert fingerprint("train", 1, science, {}) == fingerprint("train", 1, turned, {})
    assert canonical_json(science) == canonical_json(turned)


def test_stage_version_science_and_inputs_all_count() -> None:
    base = ("train", 1, {"k": 1}, {"model": "models/" + "0" * 16})
    changed = [("tokenize", *base[1:]), ("train", 2, *base[2:]), (*base[:2], {"k": 2}, base[3]), (*base[:3], {})]
    assert len({fingerprint(*case) for case in [base, *changed]}) == 5


def test_references_are_read_and_refused() -> None:
    assert parse_ref("saes/0123456789abcdef") == ArtifactRef("saes", "0123456789abcdef")
    for text in ("saes/123", "../etc/passwd", "cats/0123456789abcdef", "saes/0123456789ABCDEF"):
        with pytest.raises(ValueError, match="is not an artifact id"):
            parse_ref(text)
    with pytest.raises(ValueError, match="expected models/"):
        parse_ref("saes/0123456789abcdef", "models")
