"""Labels in the report: the table's column, the labels of each page with their scores, and the example of steering."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from sae.formats.labels import LabelsReader
from sae.report.overview import digits
from sae.report.string_table import Strings

_LONGEST = 160  # characters of a label


def label_columns(labels: LabelsReader, strings: Strings) -> dict[str, Any]:
    """Columns of the table: the best label (-1: none), its score, the permuted label's, and whether the difference is above 0."""
    table = labels.features()
    texts = table["label"].to_pylist()
    return {
        "label": [-1 if text is None else strings.add(shortened(text)) for text in texts],
        "score": [_digits(value) for value in table["label_score"].to_pylist()],
        "permuted": [_digits(value) for value in table["permuted_score"].to_pylist()],
        "beats": [int(bool(value)) for value in table["beats"].to_pylist()],
        "type": [strings.add(name) for name in table["type"].to_pylist()],
    }


def page_labels(labels: LabelsReader, features: Iterable[int], strings: Strings) -> dict[int, list[list[Any]]]:
    """Labels of each page, best first: [method, label, score, low, high, permuted, difference low, precision, recall]."""
    numbers = (
        "score",
        "score_low",
        "score_high",
        "permuted_score",
        "difference",
        "difference_low",
        "difference_high",
        "precision",
        "recall",
    )
    return {
        feature: [
            [
                strings.add(one["method"]),
                strings.add(shortened(one["label"])),
                *(_digits(one[name]) for name in numbers),
            ]
            for one in labels.labels(feature)
        ]
        for feature in features
    }


def shortened(text: str) -> str:
    """At most so many characters, cut at a comma where there is one."""
    if len(text) <= _LONGEST:
        return text
    cut = text.rfind(", ", 0, _LONGEST)
    return f"{text[: cut if cut > 0 else _LONGEST]}, …"


class SteeredText(NamedTuple):
    """One answer of the example: its title, what it cost, and its text."""

    title: str
    note: str
    text: str


class SteeringShown(NamedTuple):
    """The example of steering: its prompt, the feature, the answers, and why one is missing."""

    prompt: str
    feature: int | None
    answers: list[SteeredText]
    problem: str | None


class LabelsShown(NamedTuple):
    """The overview's section: sentences, types by number of features, and the example of steering."""

    note: str
    types: list[tuple[str, int]]
    steering: SteeringShown | None


def shown_labels(labels: LabelsReader) -> LabelsShown:
    """What the overview says of the labels."""
    info = labels.info
    note = (
        f"{info.beats:,} of {info.n_features:,} features have a label that predicts where they are active better than another "
        f"feature's label does (95% interval). Labels were made from {info.explain_positions:,} positions and scored on "
        f"{info.test_positions:,} of other documents."
    )
    types = sorted(info.types.items(), key=lambda pair: (-pair[1], pair[0]))
    return LabelsShown(note, types, None if info.steering is None else _steering(info.steering))


def _steering(body: dict[str, Any]) -> SteeringShown:
    answers = []
    if body["unsteered"] is not None:
        note = f"perplexity {body['unsteered']['perplexity']:.3g}"
        answers.append(SteeredText("Without a change", note, body["unsteered"]["text"]))
    for one in body["answers"]:
        of = f"feature {one['feature']}" + (f", labelled {shortened(one['label'])}" if one["label"] else "")
        title = f"Control: another feature, {of}" if one["control"] else f"With {of}"
        note = (
            f"{one['strength']:.3g} times its direction at {one['positions']} positions, |change| / |activation| "
            f"{one['change']:.2f}, KL {one['kl']:.2f} nats a token, perplexity {one['perplexity']:.3g}, "
            f"repetition {one['repetition']:.2f}"
        )
        answers.append(SteeredText(title, note, one["text"]))
    shown = next((one["feature"] for one in body["answers"] if not one["control"]), None)
    return SteeringShown(body["prompt"], shown, answers, body["problem"])


def _digits(value: float | None) -> float | int | None:
    return None if value is None else digits(value, 3)
