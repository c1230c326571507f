"""A tiny model's documents with topics, random SAEs, and jobs that probe them; probers run in the test's process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cluster.store import Store
from configs.artifact_ids import ArtifactRef
from configs.probe import ProbeConfig
from jobs.life.stage_context import JobContext
from jobs.stages import probe
from sae.formats.artifact_files import ArtifactFilesLike
from sae.formats.labelled_rows import read_labelled_rows
from sae.formats.probes import read_probes
from sae.formats.tokens import TokensReader
from sae.language_model import load_tokenizer
from sae.probing.documents import Labelled, choose_documents, columns_of, with_test_split
from tests.actors.extract_world import (
    HOOKS,
    MODEL,
    REQUIREMENT,
    files_of,
    inline,
    make_saes,
    make_world,
    put_artifact,
    train_config,
)
from tests.labelled_tokens import ids_of, labelled_texts, write_labelled

TOKENS, DOCUMENTS = ArtifactRef("tokens", "2" * 16), 220
SPURIOUS = {"column": "half", "values": ["early", "late"], "classes": ["kitchen", "harbour"]}
CONFIG: dict[str, Any] = {
    "tokens": str(TOKENS), "class_column": "topic", "k": [1, 8], "ablated": [4], "draws": 2, "lm_dtype": "fp32",
    "documents_per_class": 80, "min_documents": 20, "rows_per_chunk": 150, "test_fraction": 0.4,
}  # fmt: skip


@pytest.fixture(autouse=True)
def one_process(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Probers run in this process, but in tests that want a cluster."""
    if "ray_cluster" not in request.fixturenames:
        inline(monkeypatch)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, tiny_gpt2: Path) -> Store:
    root = tmp_path_factory.mktemp("world")
    store = make_world(root, tiny_gpt2)
    texts, columns = labelled_texts(DOCUMENTS)
    folder = write_labelled(root / "labelled", ids_of(texts, load_tokenizer(tiny_gpt2)), columns)
    put_artifact(store, TOKENS, folder, inputs={"model": str(MODEL)})
    return store


@pytest.fixture(scope="module")
def saes(store: Store, tmp_path_factory: pytest.TempPathFactory) -> list[ArtifactRef]:
    """Two random SAEs of two hooks."""
    return make_saes(store, train_config(None, HOOKS), None, tmp_path_factory.mktemp("saes"))


def job_of(store: Store, saes: list[ArtifactRef], scratch: Path, config: dict[str, Any], **fields: Any) -> JobContext:
    scratch.mkdir()
    whole = ProbeConfig.model_validate({"sae": str(saes[0]), **CONFIG, **config})
    given = {"sae": saes, "tokens": [ArtifactRef(*whole.tokens.split("/"))]}  # type: ignore[union-attr]
    given |= {f"beside_{i}": [ArtifactRef(*ref.split("/"))] for i, ref in enumerate(whole.compare_with)}
    outputs = probe.outputs(whole, given, "")
    return JobContext(whole, outputs, store, scratch, given, **{"requirement": REQUIREMENT, **fields})


def body_of(
    store: Store, saes: list[ArtifactRef], scratch: Path, config: dict[str, Any], **fields: Any
) -> dict[str, Any]:
    """What probes.json says after a run from nothing; the artifact is taken away again."""
    job = job_of(store, saes, scratch, config, **fields)
    probe.run(job)
    body = read_probes(store.files(job.outputs[0].ref))
    store.delete(job.outputs[0].ref)
    return body


@pytest.fixture(scope="module")
def undisturbed(store: Store, saes: list[ArtifactRef], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of the first SAE, by one worker that nothing befell."""
    job = job_of(store, saes[:1], tmp_path_factory.mktemp("undisturbed") / "job", {})
    with pytest.MonkeyPatch.context() as patch:
        inline(patch)
        probe.run(job)
        probe.run(job)  # finished: nothing to do
    found = files_of(store, job.outputs[0].ref)
    store.delete(job.outputs[0].ref)
    return found


def config_of(saes: list[ArtifactRef], **changed: Any) -> ProbeConfig:
    return ProbeConfig.model_validate({"sae": str(saes[0]), **CONFIG, **changed})


def documents_of(store: Store, config: ProbeConfig) -> Labelled:
    return split_documents(store.files(TOKENS), config)


def split_documents(files: ArtifactFilesLike, config: ProbeConfig) -> Labelled:
    rows = read_labelled_rows(files, config.split, columns_of(config))
    return with_test_split(choose_documents(rows, config), rows, TokensReader(files, config.split), config)
