"""samples, rows and statistics on the command line: a line of JSON for programs, text for people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cluster.store import Store
from configs.artifact_ids import ArtifactRef
from jobs.__main__ import main
from jobs.data_commands import rendered
from sae.formats.dataset import Document, write_documents
from tests.artifacts import LENGTH, MODEL, TOKENS, put_folder, tiny_store

DATASET = ArtifactRef("datasets", "5" * 16)
DOCS = [
    Document("test" if i == 3 else "train", f"Text {i} of the harbour\x1b[2J", {"kind": "a" if i < 3 else "b"})
    for i in range(6)
]


@pytest.fixture
def store(tmp_path: Path, tiny_gpt2: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    store = tiny_store(tmp_path, tiny_gpt2, 40, 8)
    (tmp_path / "documents").mkdir()
    write_documents(tmp_path / "documents", DOCS, rows_per_file=4)
    put_folder(store, DATASET, tmp_path / "documents", "download")
    monkeypatch.setenv("RAYLENS_HOME", str(tmp_path))
    monkeypatch.setenv("RAYLENS_STORE", store.url)
    return store


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[dict[str, Any], str]:
    assert main(list(arguments)) == 0
    said = capsys.readouterr()
    return json.loads(said.out), said.err


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], range(6)),
        (["--split", "test"], [3]),
        (["--where", "kind=b"], [3, 4, 5]),
        (["--where", "kind=b", "--split", "train"], [4, 5]),
        (["--contains", "Text 4"], [4]),
        (["--contains", "TEXT 4"], []),
        (["--contains", "TEXT 4", "--ignore-case"], [4]),
        (["--regex", "[2-4] of"], [2, 3, 4]),
        (["--start", "4"], [4, 5]),
        (["--limit", "2"], [0, 1]),
    ],
)
def test_samples(store: Store, capsys: pytest.CaptureFixture[str], options: list[str], expected: Any) -> None:
    answer, shown = run(capsys, "samples", str(DATASET), *options)
    assert [item["doc"] for item in answer["items"]] == list(expected)
    for doc in expected:
        assert f"--- document {doc}, {DOCS[doc].split}" in shown
    assert f"looked at {answer['looked_at']} of 6 documents" in shown
    assert ("--start 2 goes on" in shown) == (options == ["--limit", "2"])
    assert "\x1b" not in shown


def test_samples_show_as_much_of_a_text_as_is_asked(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    _, shown = run(capsys, "samples", str(DATASET), "--characters", "6", "--limit", "1")
    assert "Text 0\n" in shown
    _, shown = run(capsys, "samples", str(DATASET), "--characters", "6", "--limit", "1", "--contains", "harbour")
    assert "he har\n" in shown
    answer, _ = run(capsys, "samples", str(DATASET), "--seconds", "1e-9", "--regex", "Text 5")
    assert (answer["items"], answer["next"]) == ([], 4)


def test_rows(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    every, shown = run(capsys, "rows", str(TOKENS), "--limit", "100")
    assert [(item["split"], item["row"]) for item in every["items"]] == [
        *(("train", row) for row in range(40)),
        *(("test", row) for row in range(8)),
    ]
    assert "--- row 0, train\n[bos " in shown
    item = every["items"][7]
    assert len(item["ids"]) == len(item["texts"]) == len(item["roles"]) == LENGTH
    piece, token = "".join(item["texts"][4:9]), item["ids"][5]
    for options, expected in (
        (["--split", "test"], [item for item in every["items"] if item["split"] == "test"]),
        (["--token", str(token)], [item for item in every["items"] if token in item["ids"]]),
        (["--doc", "7"], [item for item in every["items"] if item["documents"][0]["doc"] == 7]),
        (["--contains", piece], [item for item in every["items"] if piece in "".join(item["texts"])]),
        (["--regex", "^no such"], []),
        (["--start", "45"], every["items"][45:]),
    ):
        answer, shown = run(capsys, "rows", str(TOKENS), "--limit", "100", *options)
        assert answer["items"] == expected
        assert f"looked at {answer['looked_at']} of 48 rows" in shown


def test_a_row_is_rendered_with_roles_and_borders() -> None:
    row = {
        "texts": ["<s>", " on", " boat", "</s>", " A", "<x>", "</s>", "</s>"],
        "roles": ["bos", "data", "data", "separator", "data", "special", "pad", "pad"],
        "speakers": ["none"] * 8,
        "documents": [
            {"doc": 3, "start": 1, "stop": 4, "offset": 90},
            {"doc": 4, "start": 4, "stop": 6, "offset": 0},
        ],
    }
    assert rendered(row) == (
        "[bos <s>][document 3 from token 90] on boat[separator </s>][document 4] A[special <x>][2 of padding]"
    )
    row["speakers"] = ["none", "user", "assistant", "none", "assistant", "template", "none", "none"]
    assert rendered(row) == (
        "[bos <s>][document 3 from token 90][by user] on[by assistant] boat[separator </s>][document 4][by assistant] A"
        "[by template][special <x>][2 of padding]"
    )


def test_neighbours_of_one_role_are_rendered_as_one_within_a_document() -> None:
    row = {
        "texts": ["<p>", " an", " old", " boat", " a", " b", " c"],
        "roles": ["pad", "repeated", "repeated", "data", "repeated", "repeated", "repeated"],
        "speakers": ["none"] * 7,
        "documents": [{"doc": 3, "start": 1, "stop": 5, "offset": 9}, {"doc": 4, "start": 5, "stop": 7, "offset": 2}],
    }
    assert rendered(row) == (
        "[document 3 from token 9][repeated  an old] boat[repeated  a][document 4 from token 2][repeated  b c][1 of padding]"
    )


def test_statistics(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = store.manifest(MODEL)
    assert manifest is not None
    store.commit(manifest.model_copy(update={"summary": {"parameters": 7, "scripts": ["漢"]}}))
    answer, shown = run(capsys, "statistics", str(MODEL))
    assert answer == {"parameters": 7, "scripts": ["漢"]}
    assert "漢" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["samples", str(TOKENS)], "expected datasets/ and 16 hexadecimal digits"),
        (["samples", "datasets/" + "9" * 16], "9999999999999999"),
        (["samples", str(DATASET), "--regex", "("], "is no regular expression of RE2"),
        (["samples", str(DATASET), "--where", "x=1"], "it has kind"),
        (
            ["rows", str(TOKENS), "--split", "validation"],
            "there are no rows of split 'validation'; there are train, test",
        ),
        (["rows", str(TOKENS), "--contains", "a", "--regex", "b"], "one of the two"),
    ],
)
def test_what_is_wrong_is_said(
    store: Store, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(arguments) == 1
    said = capsys.readouterr()
    assert message in said.err
    assert json.loads(said.out)["state"] == "FAILED"


@pytest.mark.parametrize("options", [["--limit", "0"], ["--start", "-1"], ["--seconds", "0"], ["--seconds", "nan"]])
def test_a_number_that_cannot_be_is_refused(store: Store, options: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["samples", str(DATASET), *options])
    assert ended.value.code == 2
