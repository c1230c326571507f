"""What a training run reads: rows, steps and positions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from configs.artifact_ids import ArtifactRef
from configs.train import TrainConfig

if TYPE_CHECKING:
    from cluster.store import Store


class RunSize(NamedTuple):
    """What a run reads: `rows` of the split in whole steps, positions of a row, and what is known of the data among them."""

    rows: int
    context_length: int
    epochs: int
    steps: int
    data_share: float

    @property
    def different(self) -> float:
        """Data positions of one epoch."""
        return self.rows * self.context_length * self.data_share

    @property
    def seen(self) -> float:
        """Data positions of all epochs."""
        return self.different * self.epochs


def run_size(config: TrainConfig, store: Store, found: Mapping[str, ArtifactRef]) -> RunSize:
    """From its inputs, by role. Raises ValueError for more rows than there are, or for less than one step."""
    if "tokens" in found:
        info = json.loads(store.files(found["tokens"]).path("tokens.json").read_text())
        split = info["splits"].get(config.split, {})
        rows, length = int(split.get("rows", 0)), int(info["context_length"])
        roles = split.get("roles") or {}
        total = sum(roles.values())
        share = roles.get("data", 0) / total if total else 1.0
    else:
        summary = store.files(found["activations"]).manifest.summary
        rows, length, share = int(summary["rows"]), int(summary["context_length"]), 1.0
    wanted = rows if config.rows is None else config.rows
    if wanted > rows:
        raise ValueError(
            f"the config wants {wanted:,} rows of split {config.split!r}, which has {rows:,}; lower `rows`"
        )
    held_out = 0 if config.early_stop is None else config.early_stop.rows
    whole = max(0, wanted - held_out) // config.batch_rows * config.batch_rows
    if not whole:
        kept = f", of which {held_out} are held out" if held_out else ""
        raise ValueError(
            f"split {config.split!r} has {wanted} rows{kept}, less than one step of batch_rows = {config.batch_rows}"
        )
    return RunSize(whole, length, config.epochs, whole // config.batch_rows * config.epochs, share)
