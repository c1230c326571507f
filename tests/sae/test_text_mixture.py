"""Mixtures: rows of each dataset in proportion to its weight, exactly, none twice, and the same for the same seed."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from configs.tokenize import TokenizeConfig
from sae.formats.artifact_files import LocalFiles
from sae.formats.tokens import load_info
from sae.text.mixture import mixture_rows, shared_out
from sae.text.tokenizer_spec import TokenizeError
from tests.sae.test_text_packing import BOS, EOS, Document, pack, settings_of, spec
from tests.sae.test_text_row_options import PAD, chunk_lists, option_sets, stored_rows

DATASETS = tuple(f"datasets/{digit * 16}" for digit in "0123")
weight_lists = st.lists(st.sampled_from([0.1, 0.25, 1.0, 2.0, 3.0, 7.0]), min_size=2, max_size=4)


@given(rows=st.integers(0, 10_000), weights=weight_lists)
def test_parts_add_up_and_are_within_one_of_their_share(rows: int, weights: list[float]) -> None:
    shares = [Fraction(weight) / sum(map(Fraction, weights)) for weight in weights]
    parts = shared_out(rows, shares)
    assert sum(parts) == rows
    assert all(abs(part - rows * share) < 1 for part, share in zip(parts, shares, strict=True))


@given(
    data=st.data(),
    weights=weight_lists,
    max_rows=st.one_of(st.none(), st.integers(1, 20)),
    max_tokens=st.one_of(st.none(), st.integers(1, 100)),
)
def test_as_many_rows_as_there_are(
    data: st.DataObject, weights: list[float], max_rows: int | None, max_tokens: int | None
) -> None:
    sizes = [np.array(data.draw(st.lists(st.integers(1, 9), max_size=12)), np.int64) for _ in weights]
    assume(any(len(own) for own in sizes))
    total = sum(Fraction(w) for w, own in zip(weights, sizes, strict=True) if len(own))
    shares = [Fraction(w) / total if len(own) else Fraction(0) for w, own in zip(weights, sizes, strict=True)]
    possible = []
    for rows in range(1, (max_rows or 48) + 1):
        parts = shared_out(rows, shares)
        if all(part <= len(own) for part, own in zip(parts, sizes, strict=True)):
            tokens = sum(int(own[:part].sum()) for part, own in zip(parts, sizes, strict=True))
            possible += [parts] * (max_tokens is None or tokens <= max_tokens)
    if not possible:
        with pytest.raises(TokenizeError, match="the mixture has no row of split test"):
            mixture_rows(sizes, weights, "test", max_rows, max_tokens)
        return
    found = mixture_rows(sizes, weights, "test", max_rows, max_tokens)
    assert found in possible
    if max_tokens is None:
        assert found == possible[-1]
    else:  # rows of different lengths: within a row of each dataset
        assert sum(found) >= sum(possible[-1]) - len(weights)


@settings(max_examples=100, deadline=None)
@given(
    datasets=st.lists(chunk_lists, min_size=2, max_size=3),
    options=option_sets(),
    weights=st.lists(st.sampled_from([0.5, 1.0, 3.0]), min_size=3, max_size=3),
    max_rows=st.one_of(st.none(), st.integers(3, 8)),
    seed=st.integers(0, 2),
)
def test_a_mixture_holds_whole_rows_of_its_datasets(
    tmp_path_factory: pytest.TempPathFactory,
    datasets: list[list[list[Document]]],
    options: dict[str, Any],
    weights: list[float],
    max_rows: int | None,
    seed: int,
) -> None:
    truncation = "cut" if options["truncation"] == "refuse" else options["truncation"]
    options = {**options, "truncation": truncation, "seed": seed}
    known, weights = spec(BOS, EOS, pad=PAD), weights[: len(datasets)]
    assume(any(document.ids for chunks in datasets for chunk in chunks for document in chunk))
    config = mixture(weights, **options, max_rows=max_rows)
    folder = tmp_path_factory.mktemp("rows")
    chunks = [chunk for dataset in datasets for chunk in dataset]
    try:
        pack(folder, chunks, known, config, [len(dataset) for dataset in datasets])
    except TokenizeError:  # a dataset has too few rows for its weight
        assume(False)
    first, own = 0, []
    for dataset in datasets:
        alone = tmp_path_factory.mktemp("alone")
        if any(document.ids for chunk in dataset for document in chunk):
            pack(alone, dataset, known, settings_of(9, **options))
        own.append((alone, first, first := first + sum(map(len, dataset))))
    for split, figures in load_info(LocalFiles(folder)).splits.items():
        rows = [row.tokens for row in stored_rows(folder, split, config.return_attention_mask)]
        for (alone, begin, end), count in zip(own, figures["rows_of_datasets"], strict=True):
            mine = [tokens for tokens in rows if begin <= tokens[0].doc < end]
            assert len(mine) == count
            assert all(begin <= token.doc < end for tokens in mine for token in tokens)
            there = Counter(
                tuple(token._replace(doc=token.doc + begin) for token in row.tokens)
                for row in stored_rows(alone, split, config.return_attention_mask)
            )
            assert not Counter(map(tuple, mine)) - there, "rows of the dataset, none more often than there"
        assert figures["rows"] == sum(figures["rows_of_datasets"]) == len(rows)
        given_rows = [len(stored_rows(alone, split, config.return_attention_mask)) for alone, _, _ in own]
        total = sum(w for w, n in zip(weights, given_rows, strict=True) if n)
        for weight, count, n in zip(weights, figures["rows_of_datasets"], given_rows, strict=True):
            assert abs(count - (len(rows) * weight / total if n else 0)) < 1 + 1e-9


def mixture(weights: list[float], **options: Any) -> TokenizeConfig:
    given = settings_of(9, **options).model_dump(exclude_unset=True)
    return TokenizeConfig.model_validate(
        {**given, "dataset": DATASETS[0], "other_datasets": DATASETS[1 : len(weights)], "weights": weights}
    )


def test_the_seed_decides_which_rows_and_in_which_order(tmp_path: Path) -> None:
    datasets = [[[Document("train", [i] * 8) for i in range(40)]] for _ in range(2)]
    found = []
    for number, seed in enumerate((0, 0, 1)):
        folder = tmp_path / str(number)
        folder.mkdir()
        pack(
            folder,
            [c for d in datasets for c in d],
            spec(None, None),
            mixture([3, 1], packing="off", seed=seed),
            [1, 1],
        )
        found.append([row.tokens[0].doc for row in stored_rows(folder, "train", False)])
    assert found[0] == found[1] != found[2]
    assert len(found[0]) == 53
    assert sum(doc < 40 for doc in found[0]) == 40
    assert sorted(found[0]) != found[0]
    assert sorted(found[0]) != sorted(found[2])


def test_what_is_no_mixture_is_refused() -> None:
    one = {"dataset": DATASETS[0], "model": "models/" + "0" * 16}
    for more, message in (
        ({"weights": [1.0]}, "`weights` are for a mixture"),
        (
            {"other_datasets": [DATASETS[1]], "weights": [1.0]},
            "`weights` has 1 numbers: give one for `dataset` and one",
        ),
        ({"other_datasets": [DATASETS[0]], "weights": [1, 2]}, "named twice"),
        ({"other_datasets": [DATASETS[1]], "weights": [1, 0]}, "greater than 0"),
        ({"other_datasets": ["models/" + "0" * 16], "weights": [1, 1]}, "datasets"),
    ):
        with pytest.raises(ValidationError, match=message):
            TokenizeConfig.model_validate({**one, **more})
