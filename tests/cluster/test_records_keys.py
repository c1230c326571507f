"""What clients call their requests."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from cluster.records import Records
from cluster.records.idempotency_keys import KEPT_S


def test_a_key_is_taken_once_by_each_owner(records: Records) -> None:
    assert records.take_key("ada", "k", "one", 100.0) is None
    assert records.take_key("ada", "k", "one", 101.0) == ("one", None)
    assert records.take_key("bob", "k", "two", 101.0) is None
    records.note_key("ada", "k", "one", "train-1", 102.0)
    assert records.take_key("ada", "k", "other", 103.0) == ("one", "train-1")
    records.drop_key("ada", "k")  # it came to something, so it stays
    assert records.take_key("ada", "k", "one", 104.0) == ("one", "train-1")


def test_a_key_of_a_request_that_failed_is_free_again(records: Records) -> None:
    assert records.take_key("ada", "k", "one", 100.0) is None
    records.drop_key("ada", "k")
    assert records.take_key("ada", "k", "two", 101.0) is None
    records.drop_key("ada", "k")
    records.note_key("ada", "k", "one", "train-1", 102.0)  # an equal request that was still at work
    assert records.take_key("ada", "k", "one", 103.0) == ("one", "train-1")


def test_a_key_is_kept_for_a_day(records: Records) -> None:
    records.note_key("ada", "k", "one", "train-1", 100.0)
    assert records.take_key("ada", "k", "two", 100.0 + KEPT_S) == ("one", "train-1")
    assert records.take_key("ada", "k", "two", 101.0 + KEPT_S) is None


def test_of_many_requests_at_once_one_takes_the_key(records: Records) -> None:
    with ThreadPoolExecutor(20) as pool:
        taken = list(pool.map(lambda _: records.take_key("ada", "k", "one", 100.0), range(60)))
    assert taken.count(None) == 1
    assert set(taken) == {None, ("one", None)}
