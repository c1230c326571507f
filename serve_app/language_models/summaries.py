"""Summaries of models: tokenizer and hook points, made once in a process of their own and kept on disk.

Making one needs torch and transformers, which cost a second of every thread and hundreds of megabytes; a replica that
answers requests loads neither.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any, NamedTuple

from cachetools import LRUCache, cachedmethod

from cluster.machines.paths import code_root
from cluster.store import ArtifactFiles, Store
from configs.artifact_ids import ArtifactRef
from sae.report.token_text import TokenText
from sae.text.row_search import RowTexts
from sae.text.tokenization_preview import StoredTokenizer
from serve_app.errors import ApiError, not_found

_WEIGHTS = (".safetensors", ".gguf")
_KEPT = 8  # in memory
_TIMEOUT_S = 120
_VERSION = 1  # raise it when the content of a summary changes


class ModelSummary(NamedTuple):
    """What is known of a model without its weights."""

    tokenizer: StoredTokenizer
    embeddings: int | None
    hooks: list[str]
    why: str


class ModelSummaries:
    """Summaries by model id. Threads share it; each model is read once a node."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._condition = threading.Condition()
        self._summaries: LRUCache[Any, ModelSummary] = LRUCache(_KEPT)
        self._pieces: LRUCache[Any, TokenText] = LRUCache(_KEPT)
        self._row_texts: LRUCache[Any, RowTexts] = LRUCache(_KEPT)

    @cachedmethod(lambda self: self._summaries, condition=lambda self: self._condition)
    def get(self, id: str) -> ModelSummary:
        """The summary of `models/ID`. The first time takes seconds. Raises ApiError: no such model, or not readable."""
        raw = self._raw(id)
        return ModelSummary(StoredTokenizer(raw["tokenizer"]), raw["embeddings"], raw["hooks"], raw["why"])

    @cachedmethod(lambda self: self._pieces, condition=lambda self: self._condition)
    def pieces(self, id: str) -> TokenText:
        """Strings of the token ids of `models/ID`. Raises StoreError if there is no such model."""
        path = self._store.files(ArtifactRef("models", id)).path("tokenizer.json")
        return TokenText(path.read_text(encoding="utf-8"))

    @cachedmethod(lambda self: self._row_texts, condition=lambda self: self._condition)
    def row_texts(self, id: str) -> RowTexts:
        """The text of rows that the tokenizer of `models/ID` made. Raises StoreError if there is no such model."""
        return RowTexts(self.pieces(id))

    def _raw(self, id: str) -> dict[str, Any]:
        ref = ArtifactRef("models", id)
        manifest = self._store.manifest(ref)
        if manifest is None:
            raise not_found(f"model {ref}")
        path = self._store.cache_folder() / "model_summaries" / f"{id}-a{manifest.attempt}-v{_VERSION}.json"
        try:
            kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return kept
        except (OSError, ValueError):
            pass
        with tempfile.TemporaryDirectory(prefix="raylens-model-summary-") as folder:
            without_weights(ArtifactFiles(self._store, manifest), Path(folder))
            made = _made(Path(folder), str(ref))
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}")
        temporary.write_text(json.dumps(made), encoding="utf-8")
        os.replace(temporary, path)
        return made


def without_weights(files: ArtifactFiles, folder: Path) -> None:
    """Copies a model's files but its weights."""
    for name in files.names:
        if not name.endswith(_WEIGHTS):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(files.path(name), folder / name)


def _made(folder: Path, what: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "sae.language_model.model_summary", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(code_root()), "CUDA_VISIBLE_DEVICES": ""}
    try:
        ended = subprocess.run(
            command, env=environment, cwd=folder, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise ApiError(503, "model_not_read", f"reading {what} took too long", {"Retry-After": "30"}) from None
    if ended.returncode != 0:
        lines = ended.stderr.strip().splitlines()
        raise ApiError(422, "model_not_readable", f"{what} cannot be used: {lines[-1] if lines else 'no reason given'}")
    made: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return made
