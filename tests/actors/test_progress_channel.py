"""The progress channel of a training run: what is written to it is seen elsewhere, runs do not mix, and nothing stays behind."""

from __future__ import annotations

import pytest
import ray
from ray.exceptions import RpcError
from ray.experimental.internal_kv import _internal_kv_list

from actors import progress_channel
from actors.progress_channel import ProgressChannel, curve_lengths


@ray.remote(num_cpus=0)
def _work(channel: ProgressChannel) -> bool:
    for rows in (10, 30, 20):  # a run that goes on from a checkpoint is behind what was told before
        channel.report("rows", rows)
    channel.report("checkpoint", 2)
    return channel.stop_requested()


def test_a_worker_and_its_driver_see_the_same(ray_cluster: str) -> None:
    channel, other = ProgressChannel.open("run"), ProgressChannel.open("run")
    assert channel != other
    assert channel.latest() == {}
    assert not ray.get(_work.remote(channel))
    assert channel.latest() == {"rows": 20, "checkpoint": 2}
    assert other.latest() == {}

    channel.report_curve("a1", "points", 3)
    latest = channel.latest()
    assert channel.curves(latest, {}) == {"a1": "points"}
    assert channel.curves(latest, curve_lengths(latest)) == {}, "only those that grew are read"

    channel.request_stop()
    assert ray.get(_work.remote(channel))
    assert not other.stop_requested()

    other.report("rows", 1)
    channel.clear()
    assert channel.latest() == {}
    assert not channel.stop_requested()
    assert other.latest() == {"rows": 1}
    other.clear()
    assert not _internal_kv_list("channel/", namespace="raylens")


def test_a_head_that_does_not_answer_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RpcError("no answer")

    for name in ("_internal_kv_list", "_internal_kv_get", "_internal_kv_put"):
        monkeypatch.setattr(progress_channel, name, fail)
    channel = ProgressChannel("run")
    channel.report("rows", 1)
    channel.request_stop()
    assert channel.latest() == {}
    assert not channel.stop_requested()
