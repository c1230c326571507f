"""A store with a tiny trained model and packed tokens in it, and jobs to run stages on it without the command line."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from cluster.store import Manifest, Store
from configs.artifact_ids import ArtifactRef
from configs.base import StageConfig
from configs.requirements import Requirement
from jobs.life.stage_context import JobContext

MODEL = ArtifactRef("models", "1" * 16)
TOKENS = ArtifactRef("tokens", "2" * 16)
LENGTH = 32


def put_folder(store: Store, ref: ArtifactRef, folder: Path, stage: str, inputs: dict[str, str] | None = None) -> None:
    """Publishes all files of a folder as one artifact."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    files = tuple(store.put(ref, 1, name, folder / name, keep=True) for name in names)
    store.commit(
        Manifest(
            kind=ref.kind, id=ref.id, stage=stage, stage_version=1, attempt=1, label="tiny", config={},
            inputs=inputs or {}, files=files, summary={}, provenance={},
        )
    )  # fmt: skip


def write_tokens(folder: Path, model: Path, rows: dict[str, int]) -> None:
    """Writes rows of LENGTH tokens of the tiny model's own language, each beginning with BOS, by split."""
    from sae.formats.tokens import Role, Segments, TokensInfo, shard_name, write_shard
    from sae.language_model import load_tokenizer
    from tests.tiny_model import documents

    tokenizer = load_tokenizer(model)
    stream = [i for text in documents(400, seed=7) for i in tokenizer(text, add_special_tokens=False).input_ids]
    bos = int(tokenizer.bos_token_id or 0)
    at, splits = 0, {}
    for split, n in rows.items():
        ids = np.full((n, LENGTH), bos, np.int32)
        ids[:, 1:] = np.resize(np.array(stream[at:], np.int32), (n, LENGTH - 1))
        at += n
        roles = np.zeros((n, LENGTH), np.uint8)
        roles[:, 0] = Role.BOS
        segments = Segments(np.arange(n + 1), np.arange(n), np.ones(n, np.int32), np.zeros(n, np.int64))
        write_shard(folder / shard_name(split, 0), split, ids, roles, segments)
        splits[split] = {"rows": n, "tokens": n * (LENGTH - 1), "roles": {}, "documents": n, "shards": 1}
    TokensInfo(LENGTH, "row", "none", True, 4096, len(tokenizer), bos, bos, bos, splits).save(folder / "tokens.json")


def tiny_store(folder: Path, model: Path, train_rows: int = 64, test_rows: int = 16) -> Store:
    """A store that holds MODEL and TOKENS."""
    store = Store.open(str(folder / "store"))
    put_folder(store, MODEL, model, "download")
    tokens = folder / "tokens"
    tokens.mkdir()
    write_tokens(tokens, model, {"train": train_rows, "test": test_rows})
    put_folder(store, TOKENS, tokens, "tokenize", {"model": str(MODEL)})
    return store


def make_job(
    stage: Any, config: StageConfig, store: Store, inputs: dict[str, list[ArtifactRef]], fp: str, **more: Any
) -> JobContext:
    """A job of a stage module, with a scratch folder of its own."""
    return JobContext(
        config=config,
        inputs=inputs,
        outputs=stage.outputs(config, inputs, fp),
        fingerprint=fp,
        store=store,
        scratch=_scratch(),
        **{"requirement": Requirement(threads=1), **more},
    )


def _scratch() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="raylens-job-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def hashes(store: Store, ref: ArtifactRef) -> dict[str, str]:
    """SHA-256 of every file of an artifact, by logical name."""
    manifest = store.manifest(ref)
    assert manifest is not None, f"{ref} is not there"
    return {file.name: file.sha256 for file in manifest.files}
