"""A home with one artifact of each kind that the API shows: a tiny trained model and what is made from it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.labeller import Labeller
from cluster.catalog import Catalog
from cluster.store import Manifest, Store
from configs.artifact_ids import ArtifactRef
from configs.download import DownloadConfig
from configs.extract import ExtractConfig
from configs.label import LabelConfig
from configs.probe import ProbeConfig
from configs.tokenize import TokenizeConfig
from jobs.life.stage_context import JobContext
from jobs.stages import extract, label, probe
from sae.formats.dataset import Document, Message, write_documents
from sae.language_model import LanguageModel
from sae.text.document_statistics import DocumentStatistics
from tests.actors import extract_world
from tests.actors.extract_world import WIDTH, K, inline, make_saes, put_artifact, train_config, write_tokens
from tests.labelled_tokens import ids_of, labelled_texts, write_labelled
from tests.tiny_model import documents

DATASET = ArtifactRef("datasets", "d" * 16)
CHAT = 9  # the document that is a chat
MODEL, TOKENS = extract_world.MODEL, extract_world.TOKENS
LABELLED = ArtifactRef("tokens", "2" * 16)  # documents with columns, for probes
EVALUATION, REPORT = ArtifactRef("evaluations", "e" * 16), ArtifactRef("reports", "f" * 16)
DOCUMENTS = 30


class SampleArtifacts:
    """What is there, by reference."""

    def __init__(
        self, store: Store, sae: ArtifactRef, features: ArtifactRef, labels: ArtifactRef, probes: ArtifactRef
    ) -> None:
        self.store, self.sae, self.features, self.labels, self.probes = store, sae, features, labels, probes

    def refs(self) -> list[ArtifactRef]:
        """All of it, inputs before what was made from them."""
        return [
            DATASET, MODEL, TOKENS, LABELLED, self.sae, EVALUATION, self.probes, self.features, self.labels, REPORT,
        ]  # fmt: skip

    def record(self, catalog: Catalog) -> None:
        """Takes all of it into a catalog."""
        for ref in self.refs():
            manifest = self.store.manifest(ref)
            assert manifest is not None
            catalog.record_artifact(manifest.model_dump(mode="json"))


def make_samples(root: Path, gpt2: Path, monkeypatch: pytest.MonkeyPatch) -> SampleArtifacts:
    """Makes everything in a store below `root`. Real formats; the SAE is random, its features really extracted."""
    store = Store.open(str(root / "store"), str(root / "cache"))
    _dataset(store, root)
    shutil.copytree(gpt2, root / "model")
    lm = LanguageModel.load(gpt2)
    summary = {"architecture": "GPT2LMHeadModel", "n_layers": lm.n_layers, "d_model": lm.d_model, "parameters": 120_000}
    summary |= {"vocab_size": lm.vocab_size, "context_length": lm.context_length}
    model_source = {"type": "local", "path": "/srv/secret/tiny"}
    model_config = DownloadConfig.model_validate({"what": "model", "source": model_source})
    put_artifact(store, MODEL, root / "model", config=model_config.science(), summary=summary, label="tiny")
    _tokens(store, root, gpt2)
    sae = make_saes(store, train_config(None), None, root / "saes")[0]
    _finish_sae(store, sae, root)
    inline(monkeypatch)
    counts = {"top_examples": 5, "quantiles": 2, "quantile_examples": 2, "uniform_examples": 3}
    config = ExtractConfig(sae=str(sae), rows=26, lm_dtype="fp32", **counts)
    job = extract_world.extract_job(store, config, [sae], root / "scratch")
    extract.run(job)
    metrics = {"sae": str(sae), "ev": 0.8, "l0": 6.0, "tokens": 100}
    _json(store, root, EVALUATION, "metrics.json", metrics, {"sae": str(sae)})
    inputs = {"features": str(job.outputs[0].ref), "evaluation": str(EVALUATION)}
    _json(store, root, REPORT, "report.json", {"title": "tiny"}, inputs)
    features = job.outputs[0].ref
    labels, probes = _labels(store, features, root, monkeypatch), _probes(store, sae, root, gpt2)
    return SampleArtifacts(store, sae, features, labels, probes)


def _labels(store: Store, features: ArtifactRef, root: Path, monkeypatch: pytest.MonkeyPatch) -> ArtifactRef:
    monkeypatch.setattr("actors.labeller.make_labeller", Labeller)
    config, given = LabelConfig(features=str(features)), {"features": [features]}
    outputs = label.outputs(config, given, "")
    requirement = extract_world.REQUIREMENT
    label.run(JobContext(config, outputs, store, root / "scratch", given, requirement=requirement))
    return outputs[0].ref


def _probes(store: Store, sae: ArtifactRef, root: Path, gpt2: Path) -> ArtifactRef:
    """Probes of the SAE on labelled documents, beside random latents and the others; really measured."""
    from sae.language_model import load_tokenizer

    texts, columns = labelled_texts(220)
    folder = write_labelled(root / "labelled", ids_of(texts, load_tokenizer(gpt2)), columns)
    tokenize = {"dataset": str(DATASET), "model": str(MODEL), "context_length": 48, "packing": "off"}
    science = TokenizeConfig.model_validate({**tokenize, "metadata_columns": list(columns)}).science()
    put_artifact(store, LABELLED, folder, config=science, inputs={"model": str(MODEL)})
    spurious = {"column": "half", "values": ["early", "late"], "classes": ["kitchen", "harbour"]}
    config = ProbeConfig.model_validate(
        {
            "sae": str(sae), "tokens": str(LABELLED), "class_column": "topic", "spurious": spurious, "k": [1, 8],
            "ablated": [4, 30], "draws": 2, "min_documents": 20, "test_fraction": 0.4, "rows_per_chunk": 256, "lm_dtype": "fp32",
        }
    )  # fmt: skip
    given = {"sae": [sae], "tokens": [LABELLED]}
    outputs = probe.outputs(config, given, "")
    scratch = root / "probing"
    scratch.mkdir()
    probe.run(JobContext(config, outputs, store, scratch, given, requirement=extract_world.REQUIREMENT))
    return outputs[0].ref


def _dataset(store: Store, root: Path) -> None:
    folder = root / "documents"
    folder.mkdir(parents=True)
    chat = (Message("user", "Who steers the boat?"), Message("assistant", "The captain.", thinking="It is a boat."))
    texts = [
        Document("test" if i % 10 == 0 else "train", t, {"topic": "x"}, chat if i == CHAT else None)
        for i, t in enumerate(documents(DOCUMENTS))
    ]
    info = write_documents(folder, texts, rows_per_file=8)
    source = {"type": "hub", "repo": "someone/texts"}
    config = DownloadConfig.model_validate({"what": "dataset", "source": source})
    statistics = DocumentStatistics()
    for document in texts:
        statistics.add(document.split, document.text)
    summary = {"documents": info.documents, "text_bytes": info.text_bytes, "splits": info.splits}
    summary |= {"statistics": statistics.figures()}
    put_artifact(store, DATASET, folder, config=config.science(), summary=summary, label="someone/texts@abc")


def _tokens(store: Store, root: Path, gpt2: Path) -> None:
    from sae.language_model import load_tokenizer

    config = TokenizeConfig(
        dataset=str(DATASET), model=str(MODEL), context_length=48, bos="always", return_attention_mask=False
    )
    put_artifact(
        store,
        TOKENS,
        write_tokens(root / "tokens", load_tokenizer(gpt2)),
        config=config.science(),
        inputs={"dataset": str(DATASET), "model": str(MODEL)},
        summary={"tokens": 1248, "splits": {"train": {"rows": 26}}},
    )


def _finish_sae(store: Store, ref: ArtifactRef, root: Path) -> None:
    """Adds what training would have written beside the SAE: metrics and curves."""
    manifest = store.manifest(ref)
    assert manifest is not None
    steps = np.arange(40)
    pq.write_table(pa.table({"step": steps, "loss": 1 / (1.0 + steps)}), root / "curves.parquet")
    (root / "metrics.json").write_text(json.dumps({"ev": 0.8, "l0": 6.0}))
    more = tuple(store.put(ref, 1, name, root / name) for name in ("curves.parquet", "metrics.json"))
    own = {"hook": "blocks.1.hook_resid_post", "architecture": "topk", "d_sae": WIDTH, "k": K}
    summary = {"sae": own, "ev": 0.8}
    store.commit(manifest.model_copy(update={"files": (*manifest.files, *more), "summary": summary}))


def _json(store: Store, root: Path, ref: ArtifactRef, name: str, body: dict[str, Any], inputs: dict[str, str]) -> None:
    (root / name).write_text(json.dumps(body))
    file = store.put(ref, 1, name, root / name)
    fields = {"stage": "test", "stage_version": 1, "attempt": 1, "inputs": inputs, "files": (file,), "summary": body}
    store.commit(Manifest(kind=ref.kind, id=ref.id, **fields))
