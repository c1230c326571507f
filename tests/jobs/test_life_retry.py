"""Which failures are tried again, and when."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.life.outcome import FIRST_S, LONGEST_S, TRIES, delay, failure_of, tries_for
from sae.sources import SourceError, SourceUnreachable


@pytest.mark.parametrize("code", ["out_of_memory", "store_full", "hook_not_found", "corrupt_file", "cannot_fit", None])
def test_what_would_fail_again_is_not_tried_again(code: str | None) -> None:
    assert tries_for(code) == 1


@pytest.mark.parametrize(
    "code",
    ["driver_gone", "worker_died", "node_died", "source_unreachable", "store_unreachable", "catalog_unreachable"],
)
def test_what_surrounds_a_job_is_worth_another_try(code: str) -> None:
    assert tries_for(code) > 1


def test_a_source_that_does_not_answer_is_another_matter_than_one_that_is_not_there() -> None:
    assert failure_of(SourceUnreachable("the hub answers 503")).retryable
    assert not failure_of(SourceError("there is no such repository")).retryable


@given(tries=st.integers(1, 40), seed=st.integers(0, 9))
def test_waits_grow_to_a_bound_and_never_vanish(tries: int, seed: int) -> None:
    wait = delay(tries, random.Random(seed))
    longest = min(LONGEST_S, FIRST_S * 2.0 ** (tries - 1))
    assert longest / 2 <= wait <= longest
    assert all(count < 50 for count in TRIES.values())
