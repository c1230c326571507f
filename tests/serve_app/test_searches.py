"""Documents and rows over HTTP: paged, searched and filtered as the command line does."""

from __future__ import annotations

from typing import Any

import pytest

from sae.formats.dataset import iter_documents
from sae.formats.tokens import Role, TokensReader
from sae.language_model import load_tokenizer
from tests.actors.extract_world import LENGTH, ROWS
from tests.serve_app.conftest import Site
from tests.serve_app.sample_artifacts import DATASET, DOCUMENTS, MODEL, TOKENS

SAMPLES, TOKEN_ROWS = f"/v1/datasets/{DATASET.id}/samples", f"/v1/tokens/{TOKENS.id}/rows"


def pages(site: Site, path: str, **query: Any) -> list[dict[str, Any]]:
    found = [site.reader.get(path, params=query).raise_for_status().json()]
    while found[-1]["next"] is not None:
        again = site.reader.get(path, params={**query, "cursor": found[-1]["next"]})
        found.append(again.raise_for_status().json())
    return found


def items(site: Site, path: str, **query: Any) -> list[dict[str, Any]]:
    return [item for page in pages(site, path, **query) for item in page["items"]]


def test_a_dataset_shows_its_statistics(site: Site) -> None:
    found = site.reader.get(f"/v1/datasets/{DATASET.id}").json()["statistics"]
    texts = [document.text for _, document in iter_documents(site.store.files(DATASET))]
    assert found["document_characters"]["max"] == max(map(len, texts))
    assert found["missing_splits"] == ["validation"]
    assert found["scripts"][0]["block"] == "Basic Latin"
    assert found["duplicates"]["documents"] == len(texts) - len(set(texts))


def test_samples_are_searched_and_filtered(site: Site) -> None:
    documents = list(iter_documents(site.store.files(DATASET)))
    word = documents[5][1].text.split()[3]
    for query, expected in (
        ({"contains": word}, [doc for doc, d in documents if word in d.text]),
        ({"contains": word.upper(), "ignore_case": True}, [doc for doc, d in documents if word.lower() in d.text.lower()]),
        ({"regex": f"{word}.*{word}"}, [doc for doc, d in documents if d.text.count(word) > 1 and "\n" not in d.text]),
        ({"split": "test"}, [doc for doc, d in documents if d.split == "test"]),
        ({"split": "validation"}, []),
        ({"where": "topic=x"}, [doc for doc, _ in documents]),
        ({"where": ["topic=x", "topic=y"]}, []),
    ):  # fmt: skip
        found = pages(site, SAMPLES, limit=4, **query)
        assert [item["doc"] for page in found for item in page["items"]] == expected, query
        assert sum(page["looked_at"] for page in found) == DOCUMENTS == found[0]["total"]
    (item, *_) = items(site, SAMPLES, contains=word)
    text = dict(documents)[item["doc"]].text
    assert text[item["match"] :].startswith(word)
    assert item["text"] == text
    # A short window moves to the match.
    (short, *_) = items(site, SAMPLES, contains=text[-5:], characters=10)
    start = short["text_start"]
    assert short["text"] == dict(documents)[short["doc"]].text[start : start + 10]
    assert start <= short["match"] < start + 10


def test_rows_are_shown_with_roles_and_documents(site: Site) -> None:
    rows = TokensReader(site.store.files(TOKENS), "train").read(0, ROWS)
    tokenizer = load_tokenizer(site.store.files(MODEL).directory())
    found = items(site, TOKEN_ROWS, limit=7)
    assert [item["row"] for item in found] == list(range(ROWS))
    for number, item in enumerate(found):
        assert item["ids"] == rows.input_ids[number].tolist()
        assert item["roles"] == [Role(role).name.lower() for role in rows.roles[number]]
        assert len(item["texts"]) == LENGTH and item["speakers"] == ["none"] * LENGTH
        assert item["documents"][0]["doc"] == number
    data = [i for i, role in zip(found[1]["ids"], found[1]["roles"]) if role == "data"]
    shown = "".join(t for t, role in zip(found[1]["texts"], found[1]["roles"]) if role == "data")
    assert shown == tokenizer.decode(data)


def test_rows_are_searched(site: Site) -> None:
    rows = TokensReader(site.store.files(TOKENS), "train").read(0, ROWS)
    token = int(rows.input_ids[3, 9])
    expected = [i for i in range(ROWS) if ((rows.input_ids[i] == token) & (rows.roles[i] != Role.PAD)).any()]
    assert [item["row"] for item in items(site, TOKEN_ROWS, token=token)] == expected
    assert [item["row"] for item in items(site, TOKEN_ROWS, doc=4)] == [4]
    whole = items(site, TOKEN_ROWS)
    piece = "".join(whole[6]["texts"][10:14])
    with_piece = [
        item["row"]
        for item in whole
        if piece in "".join(t for t, role in zip(item["texts"], item["roles"]) if role != "pad")
    ]
    assert 6 in with_piece
    assert [item["row"] for item in items(site, TOKEN_ROWS, contains=piece, limit=2)] == with_piece


@pytest.mark.parametrize(
    ("path", "query", "message"),
    [
        (SAMPLES, {"regex": "(a"}, "is no regular expression of RE2"),
        (SAMPLES, {"regex": "a", "contains": "b"}, "one of the two"),
        (SAMPLES, {"ignore_case": True}, "`ignore_case` needs `contains` or `regex`"),
        (SAMPLES, {"where": "nothing=1"}, "is no condition COLUMN=VALUE on a column of this dataset; it has topic"),
        (SAMPLES, {"split": "dev"}, "query.split"),
        (SAMPLES, {"limit": 101}, "query.limit"),
        (SAMPLES, {"seconds": 0}, "query.seconds"),
        (SAMPLES, {"token": 1}, "query.token"),
        (TOKEN_ROWS, {"split": "test"}, "there are no rows of split 'test'; there are train"),
        (TOKEN_ROWS, {"where": "topic=x"}, "query.where"),
        (TOKEN_ROWS, {"token": -1}, "query.token"),
    ],
)
def test_what_is_wrong_is_said(site: Site, path: str, query: dict[str, Any], message: str) -> None:
    answer = site.reader.get(path, params=query)
    assert answer.status_code == 422
    assert message in answer.json()["detail"]
