"""Chats of every shape to messages of one form, in each format that can hold them, and back from the dataset."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.download import DatasetOptions
from sae.formats.artifact_files import LocalFiles
from sae.formats.dataset import DatasetError, Document, Message, iter_documents, write_documents
from sae.text.chat_messages import KNOWN_ROLES, plain_text, read_chat
from sae.text.readers import SourceFile
from sae.text.source_documents import SourceDocuments
from sae.text.write_dataset import write_dataset

HI = [{"role": "user", "content": "Hi there"}, {"role": "assistant", "content": "Hello."}]
SHARED = [{"from": "human", "value": "Hi there"}, {"from": "gpt", "value": "Hello."}]
PAIR = {"prompt": "Hi there", "response": "Hello."}
SAID = (Message("user", "Hi there"), Message("assistant", "Hello."))
PLAIN = "user: Hi there\n\nassistant: Hello."
CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": 2}}}


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    match path.suffix:
        case ".parquet":
            pq.write_table(pa.Table.from_pylist(rows), path)
        case ".arrow":
            table = pa.Table.from_pylist(rows)
            with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
                writer.write_table(table)
        case ".json":
            path.write_text(json.dumps(rows))
        case ".jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def chats(folder: Path, rows: list[dict[str, Any]], name: str = "a.jsonl", **options: Any) -> list[Document]:
    write(folder / name, rows)
    files = [SourceFile(name, folder / name)]
    return list(SourceDocuments(files, DatasetOptions(**{"heldout_fraction": 0, **options})))


def written(files: list[SourceFile], options: DatasetOptions, folder: Path) -> dict[str, Any]:
    writing = write_dataset(files, options, folder)
    while True:
        try:
            next(writing)
        except StopIteration as done:
            summary: dict[str, Any] = done.value
            return summary


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.parquet", "a.arrow"])
@pytest.mark.parametrize(
    ("row", "options"),
    [
        ({"messages": HI, "id": "7"}, {}),
        ({"conversations": SHARED, "id": "7"}, {}),
        ({"id": "7", **PAIR}, {}),
        ({"id": "7", "q": "Hi there", "a": "Hello."}, {"prompt_column": "q", "response_column": "a"}),
        ({"id": "7", "prompt": HI[:1], "completion": HI[1:]}, {"response_column": "completion"}),
        ({"id": "7", "a": {"q": "Hi there"}, "b": {"r": "Hello."}}, {"prompt_column": "a.q", "response_column": "b.r"}),
        ({"id": "7", "data": {"chat": HI}}, {}),
        ({"id": "7", "data": {"chat": HI}, "messages": HI[:1]}, {"chat_column": "data.chat"}),
        ({"id": "7", "text": "not this", **PAIR}, {"documents": "chats"}),
        ({"id": "7", "text": "not this", "prompt": "Hi there", "a": "Hello."}, {"response_column": "a"}),
        ({"id": "7", "text": "not this", "messages": SHARED}, {"documents": "chats"}),
    ],
)  # fmt: skip
def test_each_shape_gives_the_same_chat(
    tmp_path: Path, name: str, row: dict[str, Any], options: dict[str, Any]
) -> None:
    (document,) = chats(tmp_path, [row], name, **options)
    assert (document.text, document.messages) == (PLAIN, SAID)
    assert document.columns["id"] == "7"


def test_a_prompt_and_its_response_in_csv(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,prompt,response\n7,Hi there,Hello.\n")
    (document,) = SourceDocuments([SourceFile("a.csv", tmp_path / "a.csv")], DatasetOptions(heldout_fraction=0))
    assert document == Document("train", PLAIN, {"id": "7"}, SAID)


def test_thinking_tools_and_parts_of_content(tmp_path: Path) -> None:
    messages = [
        {"role": "developer", "content": [{"type": "text", "text": "Be "}, {"type": "text", "text": "brief."}]},
        {"role": "user", "content": "1 + 2?", "name": "Ann", "weight": 0.5},
        {"role": "assistant", "content": None, "reasoning_content": "I add.", "tool_calls": [CALL]},
        {"role": "function", "content": "3", "tool_call_id": "c1"},
        {"role": "assistant", "content": "Three."},
    ]
    said = (
        Message("system", "Be brief."),
        Message("user", "1 + 2?", name="Ann"),
        Message("assistant", "", thinking="I add.", tool_calls=json.dumps([CALL])),
        Message("tool", "3", tool_call_id="c1"),
        Message("assistant", "Three."),
    )
    plain = (
        "system: Be brief.\n\nuser: 1 + 2?\n\nassistant (thinking): I add.\n\n"
        f"assistant (tool calls): {json.dumps([CALL])}\n\ntool: 3\n\nassistant: Three."
    )
    for name in ("a.jsonl", "a.json"):
        (document,) = chats(tmp_path, [{"messages": messages}], name)
        assert (document.messages, document.text) == (said, plain)
    (tmp_path / "out").mkdir()
    writing = write_dataset([SourceFile("a.jsonl", tmp_path / "a.jsonl")], DatasetOptions(), tmp_path / "out")
    summary = drained(writing)
    assert summary["columns"] == ["messages"]
    assert "chats were read from `messages`: `messages` holds them, and the text is written plainly" in summary["notes"]
    assert "columns that hold no plain values were left out: messages[].weight" in summary["notes"]
    ((_, read),) = iter_documents(LocalFiles(tmp_path / "out"))
    assert (read.messages, read.text, read.columns) == (said, plain, {})
    stored = pq.read_table(tmp_path / "out/documents-00000.parquet").column("messages").to_pylist()
    assert stored[0][1] == {
        "role": "user", "content": "1 + 2?", "thinking": None, "tool_calls": None, "tool_call_id": None, "name": "Ann",
    }  # fmt: skip


def drained(writing: Any) -> dict[str, Any]:
    while True:
        try:
            next(writing)
        except StopIteration as done:
            summary: dict[str, Any] = done.value
            return summary


def test_a_call_as_it_was_written_once_and_calls_that_are_text() -> None:
    (old,) = read_chat([{"role": "assistant", "content": "", "function_call": {"name": "f", "arguments": "{}"}}], {})
    assert json.loads(old.tool_calls or "") == [{"type": "function", "function": {"name": "f", "arguments": "{}"}}]
    (text,) = read_chat([{"role": "assistant", "content": "x", "tool_calls": "[1]"}], {})
    assert text.tool_calls == "[1]"
    (none,) = read_chat([{"role": "assistant", "content": "x", "tool_calls": []}], {})
    assert none.tool_calls is None


@pytest.mark.parametrize("role", KNOWN_ROLES)
def test_known_roles_are_mapped_by_the_table(role: str) -> None:
    (message,) = read_chat([{"from": role.upper(), "value": "x"}], {})
    assert message.role == KNOWN_ROLES[role]


def test_other_roles_are_refused_or_mapped_as_asked(tmp_path: Path) -> None:
    row = {"messages": [*HI, {"role": "narrator", "content": "Later."}]}
    message = (
        r"a.jsonl: column 'messages' of line 1: message 3: role 'narrator' is not known; known are system, developer, "
    )
    with pytest.raises(DatasetError, match=message) as caught:
        chats(tmp_path, [row])
    assert "dataset.chat_roles" in str(caught.value)
    assert len(str(caught.value)) < 500
    (document,) = chats(tmp_path, [row], chat_roles={"narrator": "system", "user": "tool"})
    assert [said.role for said in document.messages or ()] == ["tool", "assistant", "system"]


@pytest.mark.parametrize(
    ("row", "options", "message"),
    [
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, {}, "a part of its content is 'image_url', not"),
        ({"messages": [*HI, {"role": "user", "content": 7}]}, {}, "message 3: content is a number, not text"),
        ({"messages": [*HI, {"content": "x"}]}, {}, "message 3: it has no role; its keys are content"),
        ({"messages": [*HI, "x"]}, {}, "message 3: expected an object with role and content, not text"),
        ({"messages": "x"}, {"chat_column": "messages"}, "expected a list of messages, not text"),
        ({"prompt": 7, "response": "x"}, {}, "column 'prompt' of line 1: expected a list of messages or a text, not a number"),
        ({"chat": HI}, {"chat_column": "chats"}, "no column 'chats'; it has 'chat' .*; it is named by dataset.chat_column"),
        ({"text": "x", "prompt": "x"}, {"response_column": "a"}, "no column 'a'; .* named by dataset.prompt_column or"),
        ({"text": "x"}, {"documents": "chats"}, "no column of chat messages, nor 'prompt' with 'response'"),
    ],
)  # fmt: skip
def test_what_is_no_chat_is_said(tmp_path: Path, row: dict[str, Any], options: dict[str, Any], message: str) -> None:
    with pytest.raises(DatasetError, match=message) as caught:
        chats(tmp_path, [row], **options)
    assert len(str(caught.value)) < 500


def test_a_chat_goes_by_the_policies_of_all_documents(tmp_path: Path) -> None:
    rows = [{"messages": []}, {"messages": [{"role": "user", "content": " "}]}, {"messages": HI}]
    write(tmp_path / "a.jsonl", rows)
    source = SourceDocuments([SourceFile("a.jsonl", tmp_path / "a.jsonl")], DatasetOptions())
    assert [document.text for document in source] == [PLAIN]
    assert source.counts.empty == 2
    html = [{"messages": [{"role": "user", "content": "<b>Hi</b> &amp; there", "thinking": "<i>x</i>"}]}]
    (document,) = chats(tmp_path, html, strip_html=True)
    assert document.messages == (Message("user", "Hi & there", thinking="x"),)
    broken = [{"messages": [{"role": "user", "content": "cut \ud83d off", "name": "\udc00"}]}]
    with pytest.raises(DatasetError, match="half of a pair"):
        chats(tmp_path, broken)
    assert chats(tmp_path, broken, invalid_text="skip") == []
    (document,) = chats(tmp_path, broken, invalid_text="replace")
    assert document.messages == (Message("user", "cut \ufffd off", name="\ufffd"),)
    assert document.text == "user: cut \ufffd off"


def test_a_long_chat_is_cut_between_messages(tmp_path: Path) -> None:
    rows = [{"messages": HI}]
    for most in (len(PLAIN) - 1, len("user: Hi there")):
        (document,) = chats(tmp_path, rows, max_document_bytes=most, long_documents="cut")
        assert (document.messages, document.text) == (SAID[:1], "user: Hi there")
    assert chats(tmp_path, rows, max_document_bytes=13, long_documents="cut") == []
    assert len(chats(tmp_path, rows, max_document_bytes=len(PLAIN))) == 1


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(st.lists(st.tuples(st.sampled_from(["system", "user", "assistant", "tool"]), texts), max_size=6))
def test_messages_of_the_known_form_come_back_as_they_are(said: list[tuple[str, str]]) -> None:
    messages = [Message(role, text) for role, text in said]
    openai = [{"role": message.role, "content": message.content} for message in messages]
    shared = [{"from": message.role, "value": message.content} for message in messages]
    assert read_chat(openai, {}) == read_chat(shared, {}) == messages
    plain = plain_text(messages)
    assert all(f"{message.role}: {message.content}" in plain for message in messages if message.content.strip())


@pytest.mark.parametrize(
    "bad",
    [
        {"messages": [{"role": "narrator", "content": "x"}]},
        {"messages": [{"content": "x"}]},
        {"messages": [{"role": "user", "content": 3}]},
        {"messages": "not JSON"},
        {"messages": HI, "tools": "not JSON"},
        {"messages": HI, "chat_template_kwargs": [1]},
    ],
)
def test_a_malformed_chat_ends_the_download_or_is_counted(tmp_path: Path, bad: dict[str, Any]) -> None:
    rows = [{"messages": HI}, bad, {"messages": SHARED}, bad]
    with pytest.raises(DatasetError, match=r"^a\.jsonl: .*line 2: .*set dataset\.malformed_chats to skip"):
        chats(tmp_path, rows, chat_column="messages")
    options = DatasetOptions(chat_column="messages", malformed_chats="skip", heldout_fraction=0)
    (folder := tmp_path / "out").mkdir()
    summary = written([SourceFile("a.jsonl", tmp_path / "a.jsonl")], options, folder)
    assert (summary["documents"], summary["malformed_chats"]) == (2, 2)
    assert any(note.startswith("2 chats could not be read") and "line 2" in note for note in summary["notes"])
    assert [one.messages for _, one in iter_documents(LocalFiles(folder))] == [SAID, SAID]


def test_chats_tools_and_variables_may_be_json(tmp_path: Path) -> None:
    variables: dict[str, Any] = {"tools": [CALL], "chat_template_kwargs": {"enable_thinking": False}}
    texts = {name: json.dumps(value) for name, value in variables.items()}
    plain, as_json, other = chats(
        tmp_path, [{"messages": HI, **variables, "id": "7"}, {"messages": json.dumps(HI), **texts, "id": "7"},
                   {"messages": HI, "tools": [], "chat_template_kwargs": None}],
        chat_column="messages",
    )  # fmt: skip
    assert plain == as_json
    assert plain.columns == {"id": "7"}
    assert plain.messages == SAID
    assert plain.template_variables is not None
    assert json.loads(plain.template_variables) == {"enable_thinking": False, "tools": [CALL]}
    assert other.template_variables is None
    (none,) = chats(tmp_path, [{"messages": HI, "tools": "x"}], tools_column=None)
    assert none.template_variables is None
    assert none.columns == {"tools": "x"}


def test_template_variables_are_kept_in_the_dataset(tmp_path: Path) -> None:
    rows = [{"messages": HI, "a": {"defs": [CALL]}}, {"messages": HI}]
    documents = chats(tmp_path, rows, tools_column="a.defs")
    (folder := tmp_path / "out").mkdir()
    info = write_documents(folder, documents)
    assert "template_variables" in info.columns
    assert [one for _, one in iter_documents(LocalFiles(folder))] == documents
