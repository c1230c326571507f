"""How a training run's workers report to its driver: a few keys in the cluster's own key-value store.

Not an actor: each process of Ray wakes a hundred times a second, which a training step on all cores of a small machine
pays for. These figures are for people to read; losing them loses no work. Workers never open the catalog.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import NamedTuple

from ray.exceptions import RpcError
from ray.experimental.internal_kv import (
    _internal_kv_del,
    _internal_kv_get,
    _internal_kv_initialized,
    _internal_kv_list,
    _internal_kv_put,
)

_NAMESPACE = "raylens"
_STOP = "stop"
_CURVE = "curve of "


class ProgressChannel(NamedTuple):
    """The latest figure of each name, and whether a stop was requested. A small value that is sent to workers."""

    name: str

    @classmethod
    def open(cls, run: str) -> ProgressChannel:
        """A new, empty one. `clear` takes it away."""
        return cls(f"{run}-{secrets.token_hex(4)}")

    def report(self, figure: str, value: int) -> None:
        """How far `figure` (rows, a checkpoint) is. While the head does not answer, nothing is reported."""
        try:
            _internal_kv_put(self._key("figures/" + figure), str(value), namespace=_NAMESPACE)
        except RpcError:
            return

    def latest(self) -> dict[str, int]:
        """The figures by name; none while the head does not answer."""
        prefix = self._key("figures/")
        try:
            keys = [key.decode() for key in _internal_kv_list(prefix, namespace=_NAMESPACE)]
            values = {key.removeprefix(prefix): _internal_kv_get(key, namespace=_NAMESPACE) for key in keys}
        except RpcError:
            return {}
        return {figure: int(value) for figure, value in values.items() if value is not None}

    def report_curve(self, sae: str, text: str, length: int) -> None:
        """The curve of an SAE so far, in the place of the one before. `length` is its number of steps."""
        try:
            _internal_kv_put(self._key("curves/" + sae), text, namespace=_NAMESPACE)
        except RpcError:
            return
        self.report(_CURVE + sae, length)

    def curves(self, latest: Mapping[str, int], known: Mapping[str, int]) -> dict[str, str]:
        """The curves, by SAE, that are of another length in `latest` (of this channel) than in `known`."""
        found: dict[str, str] = {}
        for sae, length in curve_lengths(latest).items():
            if known.get(sae) == length:
                continue
            try:
                value = _internal_kv_get(self._key("curves/" + sae), namespace=_NAMESPACE)
            except RpcError:
                return found
            if value is not None:
                found[sae] = value.decode()
        return found

    def request_stop(self) -> None:
        """Requests workers to finish their block, write a checkpoint and end. Call it again: the head may not answer."""
        try:
            _internal_kv_put(self._key(_STOP), "1", namespace=_NAMESPACE)
        except RpcError:
            return

    def stop_requested(self) -> bool:
        """Whether request_stop was called. Workers call it between blocks."""
        try:
            return _internal_kv_get(self._key(_STOP), namespace=_NAMESPACE) is not None
        except RpcError:
            return False

    def clear(self) -> None:
        """Removes all that was written. While the head does not answer it stays, a few bytes until the cluster ends.

        The same if this process has left the cluster: a cancel does that while the run still ends.
        """
        if not _internal_kv_initialized():
            return
        try:
            _internal_kv_del(self._key(""), del_by_prefix=True, namespace=_NAMESPACE)
        except RpcError:
            return

    def _key(self, rest: str) -> str:
        return f"progress/{self.name}/{rest}"


def curve_lengths(latest: Mapping[str, int]) -> dict[str, int]:
    """Of the latest figures, those that say how long the curve of an SAE is, by SAE."""
    return {name.removeprefix(_CURVE): length for name, length in latest.items() if name.startswith(_CURVE)}
