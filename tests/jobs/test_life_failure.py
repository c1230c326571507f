"""What people read when something fails."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from cluster.store import CorruptFile
from configs.load import ConfigError
from jobs.life.outcome import Failure, code_of, failure_of


def _raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:  # noqa: BLE001 - the point of it
        return caught


def test_our_own_errors_are_expected_and_coded_by_their_class() -> None:
    assert failure_of(CorruptFile("a flipped byte")) == Failure("corrupt_file", "a flipped byte", True)
    assert failure_of(ConfigError("no key")).code == "config_error"
    assert code_of(CorruptFile) == "corrupt_file"


@pytest.mark.parametrize("error", [KeyError("x"), TypeError("no"), ZeroDivisionError(), AssertionError("never")])
def test_what_no_one_foresaw_is_told_as_a_fault(error: Exception) -> None:
    failure = failure_of(error)
    assert failure.code == "internal_error"
    assert not failure.expected
    assert type(error).__name__ in failure.message


def test_a_plain_value_error_is_expected_if_our_code_raised_it() -> None:
    from configs.resource_profiles import load_profile

    with pytest.raises(ValueError, match="no profile") as caught:
        load_profile("tpu", False)
    assert failure_of(caught.value).expected
    assert not failure_of(_raised(ValueError("from a library"))).expected


def test_a_full_disk_is_told_as_such() -> None:
    failure = failure_of(OSError(errno.ENOSPC, "No space left on device", "/x"))
    assert failure.code == "store_full"
    assert not failure.retryable  # somebody must make room first
    assert "/x" in failure.message


def test_rays_wrappings_are_taken_off(ray_cluster: str) -> None:
    import ray

    from cluster.store import StoreError

    @ray.remote
    class Worker:
        def work(self, die: bool = False) -> None:
            if die:
                import os

                os._exit(1)
            raise StoreError("the shard is gone")

    worker: Any = Worker.remote()
    with pytest.raises(ray.exceptions.RayTaskError) as caught:
        ray.get(worker.work.remote())
    assert failure_of(caught.value) == Failure("store_error", "the shard is gone", True)
    with pytest.raises(ray.exceptions.RayActorError) as dead:
        ray.get(worker.work.remote(die=True))
    failure = failure_of(dead.value)
    assert failure.code == "worker_died"
    assert failure.retryable
    assert "\n" not in failure.message


def test_ray_trains_wrapping_is_taken_off() -> None:
    from ray.train.v2.api.exceptions import WorkerGroupError

    error = WorkerGroupError("two workers failed", {1: RuntimeError("peer gone"), 0: CorruptFile("bad")})
    assert failure_of(error).code == "corrupt_file"


def test_work_that_ray_cannot_place_is_told_as_unschedulable(ray_cluster: str) -> None:
    import ray

    @ray.remote(num_gpus=7)
    def never() -> None: ...

    with pytest.raises(ray.exceptions.TaskUnschedulableError) as caught:
        ray.get(never.remote(), timeout=60)
    assert failure_of(caught.value).code == "unschedulable"
