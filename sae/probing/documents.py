"""Which labelled documents are read, what each is labelled with, and which of them test the probes."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from configs.probe import ProbeConfig
from sae.formats.labelled_rows import Int64, LabelledRows
from sae.formats.tokens import Role, TokensReader
from sae.quoting import listed, quoted

LEAST_TRAIN, LEAST_TEST = 8, 4  # documents of a class, or of one combination of class and spurious value
NO_LABEL = -2  # of a document without a value, or without data positions
CELLS = ((0, 0), (0, 1), (1, 0), (1, 1))  # class and spurious value, by number


class ProbingError(ValueError):
    """Labels that cannot be probed; the message says what is missing."""


class Labelled(NamedTuple):
    """D documents in the order of their first rows, and the R rows that hold them, in order.

    label int64 [D]: the number of its class, -1 for another value. cell int64 [D]: its place in CELLS, -1 for none.
    test bool [D]. row, document int64 [R]: numbers of the rows in their split, and whose of the D documents each is.
    unlabelled, unread: documents that are left out, without a value in the column of classes, and beyond `documents_per_class`.
    """

    classes: tuple[str, ...]
    label: Int64
    cell: Int64
    test: NDArray[np.bool_]
    row: Int64
    document: Int64
    unlabelled: int = 0
    unread: int = 0


def columns_of(config: ProbeConfig) -> list[str]:
    """The columns that a config reads."""
    return [config.class_column, *([] if config.spurious is None else [config.spurious.column])]


def choose_documents(rows: LabelledRows, config: ProbeConfig) -> Labelled:
    """The documents to read; `test` is still false everywhere. Raises ProbingError for labels that are too few or missing."""
    _, first = np.unique(rows.document, return_index=True)
    first.sort()  # documents in the order of their first rows
    own = [rows.values[config.class_column][row] for row in first]
    classes = _classes(own, config)
    number = {name: i for i, name in enumerate(classes)}
    label = np.array([NO_LABEL if value is None else number.get(value, -1) for value in own], np.int64)
    cell = _cells(own, [rows.values[columns_of(config)[-1]][row] for row in first], config)
    most = config.documents_per_class
    chosen = np.zeros(len(first), np.bool_)
    for group in range(-1, len(classes)):
        chosen[np.flatnonzero(label == group)[:most]] = True
    for group in range(len(CELLS)):
        chosen[np.flatnonzero(cell == group)[: -(-most // 2)]] = True
    kept = np.flatnonzero(chosen)
    numbers = rows.document[first[kept]]
    order = np.argsort(numbers, kind="stable")
    place = np.searchsorted(numbers[order], rows.document)
    found = order[np.minimum(place, len(order) - 1)]
    row = np.flatnonzero(numbers[found] == rows.document)
    return Labelled(
        classes,
        label[kept],
        cell[kept],
        np.zeros(len(kept), np.bool_),
        row,
        found[row].astype(np.int64),
        int((label == NO_LABEL).sum()),
        int(((label > NO_LABEL) & ~chosen).sum()),
    )


def _classes(own: list[str | None], config: ProbeConfig) -> tuple[str, ...]:
    counts = Counter(value for value in own if value is not None)
    column = f"column {quoted(config.class_column)}"
    if len(counts) < 2:
        has = f"only {quoted(next(iter(counts)))}" if counts else "no value at all"
        raise ProbingError(f"{column} has {has}: a probe tells documents with one value from others, so two are needed")
    for name in config.classes:
        if counts[name] < config.min_documents:
            others = listed(quoted(one, 40) for one, _ in counts.most_common())
            raise ProbingError(
                f"{column} has {counts[name]} documents with {quoted(name, 40)}, and min_documents is {config.min_documents}: "
                f"leave it out of `classes` (there are {others[:200]})"
            )
    if config.classes:
        return config.classes
    enough = sorted((-count, name) for name, count in counts.items() if count >= config.min_documents)
    if not enough:
        name, count = counts.most_common(1)[0]
        raise ProbingError(
            f"no value of {column} has min_documents ({config.min_documents}) documents: {quoted(name)} has {count}, the others "
            "fewer. Lower min_documents, or label more documents"
        )
    return tuple(name for _, name in enough[: config.max_classes])


def _cells(own: list[str | None], other: list[str | None], config: ProbeConfig) -> Int64:
    """Each document's place in CELLS."""
    spurious = config.spurious
    if spurious is None:
        return np.full(len(own), -1, np.int64)
    names = {(spurious.classes[a], spurious.values[b]): i for i, (a, b) in enumerate(CELLS)}
    return np.array([names.get((one or "", two or ""), -1) for one, two in zip(own, other, strict=True)], np.int64)


def with_test_split(chosen: Labelled, rows: LabelledRows, tokens: TokensReader, config: ProbeConfig) -> Labelled:
    """The documents with their test split, by a hash of the seed and their tokens: equal texts are on one side.

    Raises ProbingError where a class or a combination has too few documents on a side.
    """
    pieces: list[list[tuple[int, bytes]]] = [[] for _ in chosen.label]
    for row, document in zip(chosen.row.tolist(), chosen.document.tolist(), strict=True):
        read = tokens.read(row, row + 1)
        own = ~np.isin(read.roles, (Role.PAD, Role.BOS, Role.SEPARATOR, Role.REPEATED))
        pieces[document].append((int(rows.offset[row]), read.input_ids[own].astype("<i4").tobytes()))
    start = f"{config.seed}\n".encode()
    bound = config.test_fraction * 2**64
    test = [_place(start, one) < bound for one in pieces]
    found = chosen._replace(test=np.array(test, np.bool_))
    check_counts(found, config)
    return found


def _place(start: bytes, pieces: list[tuple[int, bytes]]) -> int:
    digest = hashlib.sha256(start)
    for _, tokens in sorted(pieces):
        digest.update(tokens)
    return int.from_bytes(digest.digest()[:8], "big")


def check_counts(documents: Labelled, config: ProbeConfig) -> None:
    """Raises ProbingError where a class, its rest, or a combination for SCR has too few documents on a side."""
    for number, name in enumerate(documents.classes):
        own, other = documents.label == number, (documents.label != number) & (documents.label > NO_LABEL)
        for group, what in ((own, f"class {quoted(name, 60)}"), (other, f"what is not class {quoted(name, 60)}")):
            _check(group, documents.test, what)
    if config.spurious is not None:
        for i, (a, b) in enumerate(CELLS):
            one, two = config.spurious.classes[a], config.spurious.values[b]
            what = f"{config.class_column} {one!r} with {config.spurious.column} {two!r}"
            _check(documents.cell == i, documents.test, what[:160])


def _check(group: NDArray[np.bool_], test: NDArray[np.bool_], what: str) -> None:
    train, tested = int((group & ~test).sum()), int((group & test).sum())
    if train < LEAST_TRAIN or tested < LEAST_TEST:
        raise ProbingError(
            f"{what} has {train} training and {tested} test documents, where equal texts count on one side: "
            f"{LEAST_TRAIN} and {LEAST_TEST} are needed. Label more documents, or change test_fraction"
        )
