"""What a worker raises arrives as text, whatever its class, and is raised in its own class where that can be."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from ray.train.v2.api.exceptions import WorkerGroupError

from actors.error_serialization import WorkerError
from actors.pool import run_chunks
from actors.train_launcher import _own_error
from cluster.store import StoreError
from jobs.life.outcome import failure_of
from tests.actors import odd_errors

CUDA = (
    "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 79.11 GiB of which 3.20 GiB is free. "
    "Including non-PyTorch memory, this process has 75.90 GiB memory in use. "
) + "See the documentation for memory management. " * 20


def _run(fault: str, calls: Path) -> None:
    run_chunks(lambda: ray.remote(odd_errors.Worker).remote(calls), [fault], 1, "work", lambda chunk, result: None)


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize(
    ("fault", "raised", "code", "says"),
    [
        ("own", StoreError, "store_error", "the shard is gone"),
        ("plain", ValueError, "value_error", "no profile"),
        ("library", WorkerError, "internal_error", "unexpected Odd: odd: 1 and 2"),
        ("gpu", WorkerError, "out_of_gpu_memory", "Tried to allocate 20.00 GiB; use a smaller batch_rows"),
        ("disk", OSError, "store_full", "No space left on device"),
    ],
)
def test_a_pools_error_is_sent_as_text_and_never_tried_again(
    fault: str, raised: type[Exception], code: str, says: str, tmp_path: Path
) -> None:
    with pytest.raises(raised) as caught:
        _run(fault, tmp_path / "calls")
    failure = failure_of(caught.value)
    assert (failure.code, failure.retryable) == (code, False)
    assert says in failure.message
    assert len(failure.message) < 500
    assert failure.expected is (fault != "library")
    assert (tmp_path / "calls").read_text() == f"{fault}\n"


def test_a_training_workers_own_error_is_told_before_that_of_the_peers_that_lost_it() -> None:
    lost = WorkerError.of(RuntimeError("gloo: connection closed by peer"))
    error: Any = WorkerGroupError("two failed", {0: lost, 1: WorkerError.of(odd_errors.make("gpu"))})
    cause = _own_error(error)
    assert cause is not None
    assert failure_of(cause).code == "out_of_gpu_memory"


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError(CUDA),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be reported at some other call"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_too_little_gpu_memory_is_named_with_advice(error: Exception) -> None:
    failure = failure_of(error)
    assert (failure.code, failure.expected, failure.retryable) == ("out_of_gpu_memory", True, False)
    assert all(part in failure.message for part in ("batch_rows", "fewer SAEs", "block_steps"))
    assert len(failure.message) < 500


def test_an_endless_message_is_cut_in_its_middle() -> None:
    failure = failure_of(StoreError("a" * 1000 + " the end"))
    assert len(failure.message) < 500
    assert failure.message.endswith(" the end")


def test_the_text_survives_with_its_traceback() -> None:
    try:
        raise odd_errors.make("library")
    except Exception as error:  # noqa: BLE001 - any
        text = WorkerError.of(error)
    assert (text.name, text.message) == ("Odd", "odd: 1 and 2")
    assert "test_error_serialization" in text.trace
    assert WorkerError(*text.args).trace == text.trace
    assert WorkerError.of(OSError(errno.EDQUOT, "Disk quota exceeded")).errno == errno.EDQUOT
