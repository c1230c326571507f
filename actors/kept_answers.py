"""Answers of a model server in the store, beside the unfinished artifact that they are for."""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import NamedTuple

from cluster.store import Store
from configs.artifact_ids import ArtifactRef, canonical_json
from sae.labels.endpoint.asking import Answered

_FOLDER = "answers/"


class StoredAnswers(NamedTuple):
    """Each answer is a finished part of the artifact: a later attempt finds it, and publishing the artifact removes it."""

    store: Store
    output: ArtifactRef
    attempt: int
    scratch: Path
    lock: Lock

    def all(self) -> dict[str, Answered]:
        """Those of earlier attempts, by hash."""
        parts = self.store.parts(self.output)
        return {
            name.removeprefix(_FOLDER).removesuffix(".json"): Answered(**extra)
            for name, (_, extra) in parts.items()
            if name.startswith(_FOLDER)
        }

    def keep(self, name: str, answered: Answered) -> None:
        """Stores one. Raises StoreError."""
        body = answered._asdict()
        path = self.scratch / f"{name}.json"
        path.write_text(canonical_json(body), encoding="utf-8")
        with self.lock:
            self.store.put(self.output, self.attempt, f"{_FOLDER}{name}.json", path, body, part=True)
