"""Checkpoints of a training run in the store: one artifact each, so a checkpoint is there whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from safetensors.torch import load_file, save_file
from torch import Tensor

from cluster.store import Manifest, Store, StoredFile
from configs.artifact_ids import ArtifactRef

_KEEP = 2


class Checkpoint(NamedTuple):
    """A finished checkpoint: the next block, and the artifact."""

    block: int
    ref: ArtifactRef


class Checkpoints:
    """The checkpoints of the run with fingerprint `run`."""

    def __init__(self, store: Store, run: str, attempt: int, scratch: Path) -> None:
        self._store, self._run, self._attempt, self._scratch = store, run, attempt, scratch

    def latest(self, sae_ids: list[str]) -> Checkpoint | None:
        """The newest one that has all of `sae_ids`."""
        found = [c for c in self._all() if set(sae_ids) <= set(self._manifest(c.ref).summary["saes"])]
        return max(found, default=None)

    def load(self, checkpoint: Checkpoint, sae_id: str) -> dict[str, Tensor]:
        """State of one SAE. A damaged file raises the store's CorruptFile."""
        state: dict[str, Tensor] = load_file(self._store.files(checkpoint.ref).path(f"{sae_id}.safetensors"))
        return state

    def put(self, block: int, sae_id: str, state: dict[str, Tensor]) -> StoredFile:
        """Stores one SAE's part of the checkpoint before `block`."""
        local = self._scratch / f"{sae_id}-{block}.safetensors"
        save_file({k: v.cpu().contiguous() for k, v in state.items()}, local)
        return self._store.put(self._ref(block), self._attempt, f"{sae_id}.safetensors", local)

    def commit(self, block: int, files: list[StoredFile]) -> None:
        """Makes the checkpoint appear, then drops all but the newest two."""
        info = self._scratch / "checkpoint.json"
        info.write_text(json.dumps({"block": block, "run": self._run}, sort_keys=True) + "\n")
        files = [*files, self._store.put(self._ref(block), self._attempt, "checkpoint.json", info)]
        ref = self._ref(block)
        self._store.commit(
            Manifest(
                kind=ref.kind,
                id=ref.id,
                stage="train",
                stage_version=1,
                attempt=self._attempt,
                label=f"checkpoint of {self._run} before block {block}",
                config={},
                inputs={},
                files=tuple(files),
                summary={"run": self._run, "block": block, "saes": [Path(f.name).stem for f in files[:-1]]},
                provenance={},
            )
        )
        # One that lacks an SAE of this run is of no use to it, however far it is.
        kept = {Path(f.name).stem for f in files[:-1]}
        useful = {c for c in self._all() if kept <= set(self._manifest(c.ref).summary["saes"])}
        for old in sorted(self._all(), key=lambda c: (c in useful, c.block))[:-_KEEP]:
            self._store.delete(old.ref)

    def clear(self) -> None:
        """Removes all checkpoints of the run, once its SAEs are published, and what a killed worker half wrote."""
        for ref in self._store.list("checkpoints", self._run[:8], unfinished=True):
            manifest = self._store.manifest(ref)
            if manifest is None or manifest.summary["run"] == self._run:
                self._store.delete(ref)

    def _ref(self, block: int) -> ArtifactRef:
        return ArtifactRef("checkpoints", f"{self._run[:8]}{block:08x}")

    def _all(self) -> list[Checkpoint]:
        refs = self._store.list("checkpoints", self._run[:8])
        return [
            Checkpoint(manifest.summary["block"], ref)
            for ref in refs
            if (manifest := self._store.manifest(ref)) is not None and manifest.summary["run"] == self._run
        ]

    def _manifest(self, ref: ArtifactRef) -> Manifest:
        manifest = self._store.manifest(ref)
        if manifest is None:
            raise FileNotFoundError(f"checkpoint {ref} went away while it was read")
        return manifest
