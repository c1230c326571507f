"""What clients call their requests."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from cluster.catalog import Catalog
from cluster.catalog.idempotency_keys import KEPT_S


def test_a_key_is_taken_once_by_each_owner(catalog: Catalog) -> None:
    assert catalog.take_key("ada", "k", "one", 100.0) is None
    assert catalog.take_key("ada", "k", "one", 101.0) == ("one", None)
    assert catalog.take_key("bob", "k", "two", 101.0) is None
    catalog.note_key("ada", "k", "one", "train-1", 102.0)
    assert catalog.take_key("ada", "k", "other", 103.0) == ("one", "train-1")
    catalog.drop_key("ada", "k")  # it came to something, so it stays
    assert catalog.take_key("ada", "k", "one", 104.0) == ("one", "train-1")


def test_a_key_of_a_request_that_failed_is_free_again(catalog: Catalog) -> None:
    assert catalog.take_key("ada", "k", "one", 100.0) is None
    catalog.drop_key("ada", "k")
    assert catalog.take_key("ada", "k", "two", 101.0) is None
    catalog.drop_key("ada", "k")
    catalog.note_key("ada", "k", "one", "train-1", 102.0)  # an equal request that was still at work
    assert catalog.take_key("ada", "k", "one", 103.0) == ("one", "train-1")


def test_a_key_is_kept_for_a_day(catalog: Catalog) -> None:
    catalog.note_key("ada", "k", "one", "train-1", 100.0)
    assert catalog.take_key("ada", "k", "two", 100.0 + KEPT_S) == ("one", "train-1")
    assert catalog.take_key("ada", "k", "two", 101.0 + KEPT_S) is None


def test_of_many_requests_at_once_one_takes_the_key(catalog: Catalog) -> None:
    with ThreadPoolExecutor(20) as pool:
        taken = list(pool.map(lambda _: catalog.take_key("ada", "k", "one", 100.0), range(60)))
    assert taken.count(None) == 1
    assert set(taken) == {None, ("one", None)}
