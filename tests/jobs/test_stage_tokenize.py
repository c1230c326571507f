"""The tokenize stage as a job runs it: the same bytes on any number of workers, after a kill and after a stop."""

from __future__ import annotations

import json
import shutil
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from cluster.store import Store
from configs.artifact_ids import ArtifactRef
from configs.data_positions import SPEAKERS
from configs.requirements import Requirement
from configs.tokenize import TokenizeConfig
from configs.train import TrainConfig
from jobs.life.stage_context import Stopped
from jobs.stages import tokenize
from sae.formats.dataset import DatasetReader, Document, Message, write_documents
from sae.formats.tokens import Role, TokenRows, TokensReader, load_info
from sae.text.chat_messages import plain_text
from sae.training.build import build_run, count_excluded_by_role
from sae.training.collectives import LocalCollective
from tests.artifacts import MODEL, hashes, make_job, put_folder
from tests.tiny_model import documents

DATASET = ArtifactRef("datasets", "3" * 16)
INPUTS = {"dataset": [DATASET], "model": [MODEL]}
EVERY_OPTION: dict[str, Any] = {
    "packing": "best_fit", "stride": 4, "padding": "none", "padding_side": "left", "bos": "always", "max_rows": 60,
    "resplit": {"test": 0.4, "group_column": "author"}, "metadata_columns": ["author"], "return_attention_mask": False,
}  # fmt: skip
FP = "4" * 16
TOKENS = ArtifactRef("tokens", FP)


def make_store(folder: Path, model: Path, texts: int = 240) -> Store:
    """A store with the tiny model and a dataset in three files."""
    store = Store.open(str(folder / "store"))
    put_folder(store, MODEL, model, "download")
    docs = folder / "documents"
    docs.mkdir()
    splits = ("train", "train", "train", "train", "test")
    made = (Document(splits[i % 5], t, {"author": f"author {i % 7}"}) for i, t in enumerate(documents(texts)))
    write_documents(docs, made, rows_per_file=100)
    put_folder(store, DATASET, docs, "download")
    return store


def config(**options: Any) -> TokenizeConfig:
    given = {"context_length": 32, "rows_per_shard": 100, "chunk_bytes": 6000, **options}
    return TokenizeConfig(dataset=str(DATASET), model=str(MODEL), **given)


def run(store: Store, workers: int = 2, attempt: int = 1, stop: Any = lambda: False, **options: Any) -> dict[str, str]:
    requirement = Requirement(workers=workers, cpus=1, threads=1)
    tokenize.run(
        make_job(tokenize, config(**options), store, INPUTS, FP, requirement=requirement, attempt=attempt, stop=stop)
    )
    return hashes(store, TOKENS)


@pytest.fixture
def store(tmp_path: Path, tiny_gpt2: Path, ray_cluster: str) -> Store:
    return make_store(tmp_path, tiny_gpt2)


@pytest.mark.parametrize("options", [{}, EVERY_OPTION], ids=["defaults", "options"])
def test_the_same_bytes_on_one_two_and_four_workers(store: Store, options: dict[str, Any]) -> None:
    found = []
    for workers in (1, 2, 4):
        found.append(run(store, workers, **options))
        store.delete(TOKENS)
    assert found[0] == found[1] == found[2]
    assert {"tokens.json", "train-00000.parquet", "test-00000.parquet"} <= set(found[0])


def test_options_reach_the_rows(store: Store) -> None:
    run(store, **EVERY_OPTION)
    files = store.files(TOKENS)
    info = load_info(files)
    authors: dict[str, set[str]] = {}
    for split, figures in info.splits.items():
        rows = [
            row for name in files.names if name.startswith(split) for row in pq.read_table(files.path(name)).to_pylist()
        ]
        assert len(rows) == figures["rows"] <= 60
        assert len({len(row["input_ids"]) for row in rows}) > 1, "not padded"
        assert all(Role.PAD not in row["roles"] for row in rows)
        assert sum(row["roles"].count(Role.REPEATED) for row in rows) == figures["roles"]["repeated"] > 0
        assert all("attention_mask" not in row for row in rows)
        for row in rows:
            assert [m["author"] for m in row["metadata"]] == [f"author {s['doc'] % 7}" for s in row["segments"]]
            authors.setdefault(split, set()).update(m["author"] for m in row["metadata"])
        read = TokensReader(files, split).read(0, len(rows))
        assert (read.roles[:, -1] != Role.PAD).all(), "padded on the left when read"
        assert read.input_ids.shape == (len(rows), info.context_length)
    assert authors["train"] and authors["test"] and not authors["train"] & authors["test"]
    missing = {"resplit": {"group_column": "topic"}}
    store.delete(TOKENS)
    with pytest.raises(
        ValueError, match="datasets/3333333333333333 has no column 'topic': beside the text it has author"
    ):
        run(store, **missing)


def test_rows_hold_the_documents(store: Store, tiny_gpt2: Path) -> None:
    from sae.language_model import load_tokenizer

    run(store, return_attention_mask=True)
    files = store.files(TOKENS)
    tokenizer = load_tokenizer(tiny_gpt2)
    texts = {doc: d.text for doc, d in DatasetReader(store.files(DATASET)).documents("test")}
    found: dict[int, list[tuple[int, int]]] = {doc: [] for doc in texts}
    for name in files.names:
        if name.startswith("test-"):
            for row in pq.read_table(files.path(name)).to_pylist():
                assert len(row["input_ids"]) == 32
                assert row["attention_mask"] == [int(role != Role.PAD) for role in row["roles"]]
                _collect(row, found)
    for doc, text in texts.items():
        assert [i for _, i in sorted(found[doc])] == tokenizer(text, add_special_tokens=False).input_ids
    reader = TokensReader(files, "train")
    rows = reader.read(0, reader.n_rows)
    assert set(rows.document.ravel().tolist()) - {-1} == set(range(240)) - set(texts)


def _collect(row: dict[str, Any], found: dict[int, list[tuple[int, int]]]) -> None:
    """Adds (offset in its document, id) for each data token of a row."""
    starts = [segment["start"] for segment in row["segments"]]
    for segment, end in zip(row["segments"], [*starts[1:], 32]):
        for place in range(segment["start"], end):
            if row["roles"][place] == Role.DATA:
                found[segment["doc"]].append((segment["offset"] + place - segment["start"], row["input_ids"][place]))


def test_a_mixture_has_rows_of_each_dataset_by_weight(store: Store, tmp_path: Path) -> None:
    other = ArtifactRef("datasets", "5" * 16)
    (tmp_path / "other").mkdir()
    texts = documents(90, seed=5)
    write_documents(tmp_path / "other", (Document("train", text, {}) for text in texts))
    put_folder(store, other, tmp_path / "other", "download")
    found = []
    for workers in (1, 3):
        options = {"other_datasets": [str(other)], "weights": [1, 3], "bos": "always"}
        asked = config(**options)
        assert list(tokenize.inputs(asked)) == ["dataset", "dataset_2", "model"]
        requirement = Requirement(workers=workers, cpus=1, threads=1)
        job = make_job(tokenize, asked, store, {**INPUTS, "dataset_2": [other]}, FP, requirement=requirement)
        assert tokenize.store_bytes(asked, job.inputs, store) == 0  # neither dataset has a summary here
        tokenize.run(job)
        found.append(hashes(store, TOKENS))
        info, train = load_info(store.files(TOKENS)), TokensReader(store.files(TOKENS), "train")
        document = train.read(0, train.n_rows).document[:, 1]
        store.delete(TOKENS)
    assert found[0] == found[1]
    assert info.mixture == [
        {"dataset": str(DATASET), "weight": 1, "first_document": 0},
        {"dataset": str(other), "weight": 3, "first_document": 240},
    ]
    first, second = info.splits["train"]["rows_of_datasets"]
    assert abs(second - 3 * first) <= 4
    assert info.splits["test"]["rows_of_datasets"] == [info.splits["test"]["rows"], 0]
    assert ((document < 240).sum(), (document >= 240).sum()) == (first, second)


def test_statistics_count_what_is_there(store: Store) -> None:
    run(store)
    info = load_info(store.files(TOKENS))
    manifest = store.manifest(TOKENS)
    assert manifest is not None
    assert manifest.summary == json.loads(json.dumps({**info.statistics, "splits": info.splits}))
    for split, figures in info.splits.items():
        reader = TokensReader(store.files(TOKENS), split)
        rows = reader.read(0, reader.n_rows)
        assert figures["rows"] == reader.n_rows
        assert figures["roles"] == {role.name.lower(): int((rows.roles == role).sum()) for role in Role}
    lengths = info.statistics["document_tokens"]
    assert lengths["min"] < lengths["median"] < lengths["max"]  # of documents, not of padded rows
    assert info.statistics["documents"] == 240
    assert round(sum(info.statistics["split_percent"].values()), 6) == 100


@pytest.mark.parametrize("options", [{}, EVERY_OPTION], ids=["defaults", "options"])
def test_a_stop_keeps_what_is_finished_and_the_next_attempt_goes_on(
    store: Store, tmp_path: Path, tiny_gpt2: Path, options: dict[str, Any]
) -> None:
    (tmp_path / "other").mkdir()
    undisturbed = run(make_store(tmp_path / "other", tiny_gpt2), **options)
    calls = iter([False, False, False, True])
    with pytest.raises(Stopped, match="the next attempt goes on from there"):
        run(store, workers=1, stop=lambda: next(calls), **options)
    kept = store.parts(ArtifactRef("checkpoints", FP))
    assert 0 < len(kept) < 12
    assert store.manifest(TOKENS) is None
    assert run(store, attempt=2, **options) == undisturbed
    manifest = store.manifest(TOKENS)
    assert manifest is not None
    assert not store.parts(ArtifactRef("checkpoints", FP))
    assert run(store, attempt=3, **options) == undisturbed  # nothing is left to do
    assert store.manifest(TOKENS) == manifest


def test_workers_killed_from_outside_change_nothing(store: Store, tmp_path: Path, tiny_gpt2: Path) -> None:
    import psutil

    (tmp_path / "other").mkdir()
    undisturbed = run(make_store(tmp_path / "other", tiny_gpt2), chunk_bytes=1500)
    over = threading.Event()
    killed: list[int] = []

    def kill() -> None:
        while not over.is_set() and len(killed) < 3:
            for process in psutil.Process().children(recursive=True):  # this session's cluster, no other
                with suppress(psutil.NoSuchProcess):
                    if process.pid not in killed and "store_chunk" in " ".join(process.cmdline()):
                        process.send_signal(signal.SIGKILL)
                        killed.append(process.pid)
                        break
            time.sleep(0.1)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        found = run(store, chunk_bytes=1500)
    finally:
        over.set()
        thread.join()
    assert killed, "no worker was hit: this run shows nothing"
    assert found == undisturbed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"context_length": 4096}, "context_length 4096 is longer than models/1111111111111111 takes: set it to 128"),
        ({"separator": "bos", "bos": "always"}, None),
    ],
)
def test_the_model_and_the_tokenizer_are_asked_first(
    store: Store, options: dict[str, Any], message: str | None
) -> None:
    if message is None:
        run(store, **options)
        reader = TokensReader(store.files(TOKENS), "train")
        assert (reader.read(0, reader.n_rows).roles[:, 0] == Role.BOS).all()
        return
    with pytest.raises(ValueError, match=message):
        run(store, **options)
    assert not store.parts(ArtifactRef("checkpoints", FP))


CHAT = [
    Message("system", "Answer in one sentence."), Message("user", "Who steers <|endoftext|> the boat?"),
    Message("assistant", "the captain steers the grey boat in the harbour.", thinking="a hard sum"),
]  # fmt: skip
TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>\n{% if message.thinking %}{{ message.thinking }}\n\n{% endif %}"
    "{{ message.content }}<|endoftext|>\n{% endfor %}"
)


def make_chat_store(folder: Path, model: Path, template: str | None = TEMPLATE) -> Store:
    """A store with chats, and the tiny model with a chat template."""
    store = Store.open(str(folder / "store"))
    shutil.copytree(model, folder / "model")
    if template is not None:
        (folder / "model" / "chat_template.jinja").write_text(template)
    put_folder(store, MODEL, folder / "model", "download")
    (folder / "documents").mkdir()
    chats = [(*CHAT, Message("user", text), Message("assistant", text[::-1])) for text in documents(30)]
    made = [Document("train", plain_text(chat), {}, chat) for chat in chats]
    write_documents(folder / "documents", [*made, Document("test", "of nobody", {})])
    put_folder(store, DATASET, folder / "documents", "download")
    return store


def test_chats_give_tokens_with_speakers_and_a_training_on_some(
    tmp_path: Path, ray_cluster: str, tiny_gpt2: Path
) -> None:
    from sae.language_model import load_tokenizer

    store = make_chat_store(tmp_path, tiny_gpt2)
    by_workers = []
    for workers in (1, 3):
        by_workers.append(run(store, workers, context_length=24))
        info, files = load_info(store.files(TOKENS)), store.files(TOKENS)
        rows = TokensReader(files, "train").read(0, info.splits["train"]["rows"])
        _check_training(store, rows)
        store.delete(TOKENS)
    assert by_workers[0] == by_workers[1]
    tokenizer = load_tokenizer(tiny_gpt2)
    own = np.isin(rows.roles, (Role.DATA, Role.SPECIAL, Role.BOUNDARY))
    said = {name: rows.input_ids[own & (rows.speakers == code)] for code, name in enumerate(SPEAKERS)}
    assert info.splits["train"]["speakers"] == {name: len(ids) for name, ids in said.items()}
    assert info.splits["test"]["speakers"]["none"] == sum(info.splits["test"]["speakers"].values()) > 0
    assert len(said["none"]) == 0 and all(len(said[name]) for name in SPEAKERS if name not in ("none", "tool"))
    assert (said["template"] == tokenizer.eos_token_id).sum() == 5 * 30
    assert not (said["user"] == tokenizer.eos_token_id).any(), "its name in a message is text"
    assert "<|endoftext|>" in tokenizer.decode(said["user"].tolist())


def _check_training(store: Store, rows: TokenRows) -> None:
    """The positions that a training on these tokens takes, by speaker."""
    for speakers in ((), ("assistant",), ("user", "thinking")):
        asked = TrainConfig.model_validate({
            "model": str(MODEL), "tokens": str(TOKENS), "saes": [{"hook": "blocks.1.hook_resid_post", "d_sae": 64, "k": 4}],
            "lm_dtype": "fp32", "autocast": "off", "batch_rows": 1, "lanes": 1, "block_steps": 1, "rows": len(rows.roles),
            "policy": {"calibration_rows": 8, "include_sinks": True, "speakers": speakers},
        })  # fmt: skip
        built = build_run(asked, [0], store.files(MODEL), store.files(TOKENS), None, LocalCollective(), "cpu")
        ((hook,),) = built.hooks
        wanted = rows.roles == Role.DATA
        if speakers:
            wanted &= np.isin(rows.speakers, [SPEAKERS.index(name) for name in speakers])
        lanes = [built.source.lanes(built.plan, block, range(1))[0][hook] for block in range(built.plan.blocks)]
        assert sum(int(lane.mask.sum()) for lane in lanes) == wanted.sum() > 0
        for row, lane in enumerate(lanes):
            order = built.plan.permutation(row, 0)
            assert (lane.mask == torch.from_numpy(wanted[row])[order]).all()
        by_role = count_excluded_by_role(built, asked.policy, max(built.ends))
        assert sum(by_role.values()) + wanted.sum() == rows.roles.size
        assert ("other_speaker" in by_role) == bool(speakers)


def test_plain_chats_and_chats_without_a_template(tmp_path: Path, ray_cluster: str, tiny_gpt2: Path) -> None:
    from sae.language_model import load_tokenizer

    store, found = make_chat_store(tmp_path, tiny_gpt2), []
    (tmp_path / "other").mkdir()
    without = make_chat_store(tmp_path / "other", tiny_gpt2, None)
    for one, options in ((store, {"chat": "plain"}), (without, {})):
        found.append(run(one, **options))
        reader = TokensReader(one.files(TOKENS), "train")
        rows = reader.read(0, reader.n_rows)
        first = rows.input_ids[(rows.document == 0) & (rows.roles == Role.DATA)].tolist()
        assert "system: Answer in one" in load_tokenizer(tiny_gpt2).decode(first)
        assert {0, *rows.speakers.ravel().tolist()} == {0, 1, 2, 3, 5, 6}
    assert found[0] == found[1]
    without.delete(TOKENS)
    with pytest.raises(ValueError, match="the tokenizer has no chat template: set `chat: plain`"):
        run(without, chat="template")


def test_text_without_tokens_is_refused(tmp_path: Path, ray_cluster: str, tiny_gpt2: Path) -> None:
    store = Store.open(str(tmp_path / "store"))
    put_folder(store, MODEL, tiny_gpt2, "download")
    (tmp_path / "documents").mkdir()
    write_documents(tmp_path / "documents", [Document("train", "", {})])
    put_folder(store, DATASET, tmp_path / "documents", "download")
    with pytest.raises(ValueError, match="datasets/3333333333333333 gives no tokens"):
        run(store)
    assert store.manifest(TOKENS) is None
