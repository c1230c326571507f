"""The report as a whole: what stands in both files, equal bytes, escaping, refusals."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from configs.report import ReportConfig
from sae.formats.artifact_files import LocalFiles
from sae.formats.features import FeaturesReader
from sae.formats.tokens import TokensReader
from sae.report import build
from sae.report.build import build_report
from sae.report.labels import shortened
from sae.report.overview import density_bars
from sae.report.sources import Artifacts, ReportError
from tests.sae.report_artifacts import DEAD, FEATURES, INPUTS, LENGTH, ROWS, XSS, write_artifacts, write_json

CONFIG = ReportConfig(features="features/0000000000000001", evaluation="evaluations/0000000000000002", pages=20)


class Scripts(HTMLParser):
    """Script elements by id, as a browser would cut them."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: dict[str, str] = {}
        self.tags: set[str] = set()
        self._at: str | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag == "script":
            self._at = dict(attrs).get("id") or "code"
            assert self._at not in self.found
            self.found[self._at] = ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self._at = None

    def handle_data(self, data: str) -> None:
        if self._at is not None:
            self.found[self._at] += data


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Artifacts:
    return write_artifacts(tmp_path_factory.mktemp("report"), labels=True)


@pytest.fixture(scope="module")
def made(artifacts: Artifacts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    build_report(artifacts, CONFIG, folder)
    return folder


@pytest.fixture(scope="module")
def page(made: Path) -> str:
    return (made / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def data(page: str) -> dict[str, Any]:
    return json.loads(Scripts(page).found["data"])


def feature(page: str, number: int) -> dict[str, Any]:
    return json.loads(Scripts(page).found[f"p{number}"])


def test_equal_inputs_give_equal_bytes(artifacts: Artifacts, made: Path, tmp_path: Path) -> None:
    build_report(artifacts, CONFIG, tmp_path)
    for name in ("report.html", "report.json"):
        assert (tmp_path / name).read_bytes() == (made / name).read_bytes()


def test_report_json_holds_the_figures(made: Path) -> None:
    body = json.loads((made / "report.json").read_text())
    sae = body["sae"]
    assert {"ev": 0.81, "l0": 3.0, "ce_score_zero": 0.93, "kl_score_zero": 0.97}.items() <= sae.items()
    assert sae["alive"] == body["features"]["alive"] / FEATURES < 1
    assert sae["id"] == INPUTS["sae"]
    assert body["features"]["count"] == FEATURES
    tokens = body["tokens"]
    assert tokens["rows"] == ROWS
    assert tokens["tokens"] == ROWS * LENGTH == tokens["data"] + sum(tokens["excluded"].values())


def test_the_truth_card_is_in_the_page_and_in_the_json(made: Path, page: str, artifacts: Artifacts) -> None:
    card = json.loads((made / "report.json").read_text())["card"]
    assert card == json.loads(artifacts.evaluation.path("metrics.json").read_text())["card"]
    text = " ".join(re.sub(r"<[^>]*>", " ", page[page.index('id="card-h"') : page.index('id="excluded-h"')]).split())
    assert "Explained variance 0.810 [0.800, 0.820] frozen decoder 0.500 [0.400, 0.600] +0.310 documents" in text
    assert "Dead latents share never active on these positions 0.810 [0.800, 0.820] – – – latents" in text
    assert "Controls: frozen decoder (saes/00000000000000dd). 9 documents. By &lt;hand&gt;." in text


def test_labels_stand_beside_permuted_ones_and_steering_beside_its_control(
    made: Path, page: str, data: dict[str, Any]
) -> None:
    body = json.loads((made / "report.json").read_text())["labels"]
    assert (body["beats"], body["types"]) == (FEATURES - 2, {"tokens": FEATURES - 2, "obscure": 2})
    assert [one["control"] for one in body["steering"]["answers"]] == [False, True]
    columns = data["features"]
    assert columns["label"][DEAD] == -1 and columns["score"][DEAD] is None
    assert data["strings"][columns["label"][1]] == "tokens: 'river 1'"
    number = next(n for n in data["pages"] if n not in (3, DEAD))
    method, label, score, *_, permuted, difference, low, high, precision, recall = feature(page, number)["labels"][0]
    assert (data["strings"][method], data["strings"][label]) == ("tokens", f"tokens: 'river {number}'")
    assert (score, permuted, difference, low, high, precision, recall) == (0.9, 0.5, 0.4, 0.3, 0.5, 0.7, None)
    text = " ".join(re.sub(r"<[^>]*>", " ", page[page.index('id="labels-h"') : page.index('id="excluded-h"')]).split())
    assert "58 tokens 2 obscure An example of steering" in text
    assert "With feature 1 Once &lt;/script&gt;" in text and "Control: another feature, feature 2" in text


def test_labels_of_another_sae_are_refused(artifacts: Artifacts, tmp_path: Path) -> None:
    shutil.copytree(artifacts.labels.path("labels.json").parent, tmp_path / "labels")
    info = json.loads((tmp_path / "labels/labels.json").read_text())
    info["inputs"]["sae"] = "saes/00000000000000ff"
    write_json(tmp_path / "labels/labels.json", info)
    with pytest.raises(ReportError, match="the labels are those of saes/00000000000000ff: a report needs both"):
        build_report(artifacts._replace(labels=LocalFiles(tmp_path / "labels")), CONFIG, tmp_path)


def test_long_labels_are_cut_at_a_comma() -> None:
    text = ", ".join(f"'word{n}'" for n in range(40))
    assert len(shortened(text)) <= 164 and shortened(text).endswith("', …")
    assert shortened("x" * 200) == "x" * 160 + ", …"
    assert shortened("short") == "short"


def test_an_evaluation_without_a_card_makes_a_report_without_one(tmp_path: Path) -> None:
    made = write_artifacts(tmp_path / "artifacts")
    path = made.evaluation.path("metrics.json")
    metrics = json.loads(path.read_text())
    del metrics["card"]
    path.write_text(json.dumps(metrics))
    assert build_report(made, CONFIG, tmp_path)["card"] is None
    assert "Truth card" not in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_an_sae_is_shown_as_the_architecture_that_was_trained(tmp_path: Path) -> None:
    body = build_report(write_artifacts(tmp_path / "artifacts", architecture="batchtopk"), CONFIG, tmp_path)
    assert body["sae"]["architecture"] == "batchtopk"
    assert body["sae"]["k"] == 3
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "A sparse autoencoder (batchtopk, trained for L0&nbsp;=&nbsp;3," in page
    assert "jumprelu" not in page


def test_without_a_logit_lens_the_report_says_why(tmp_path: Path) -> None:
    body = build_report(write_artifacts(tmp_path / "artifacts", lens=False), CONFIG, tmp_path)
    why = "blocks.1.ln2.hook_normalized is neither the residual stream nor added to it"
    assert body["features"]["no_logit_lens"] == why
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert f"there is no logit lens: {why}." in page
    assert json.loads(Scripts(page).found["data"])["features"]["promoted"] == []
    number = json.loads(Scripts(page).found["data"])["pages"][0]
    assert feature(page, number)["up"] == feature(page, number)["down"] == []


def test_the_page_needs_nothing_from_outside(page: str) -> None:
    assert "default-src 'none'" in page
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", page)
    assert "fetch(" not in page
    assert "innerHTML" not in page
    code = Scripts(page).found["code"]
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    assert f"script-src &#39;sha256-{digest}&#39;".replace("&#39;", "'") in page


def test_markup_in_documents_cannot_leave_its_block(page: str, data: dict[str, Any]) -> None:
    parsed = Scripts(page)
    assert set(parsed.found) == {"data", "code", *(f"p{number}" for number in data["pages"])}
    assert "img" not in parsed.tags
    assert "tiny &lt;model&gt;" in page
    texts = [
        "".join(data["strings"][s] for s in example[4])
        for number in data["pages"]
        for section in feature(page, number)["sections"]
        for example in section["examples"]
    ]
    assert any("</script><script>" in text for text in texts), "the fixture's document is among the examples"
    assert XSS not in page


def test_examples_show_the_tokens_of_their_positions(artifacts: Artifacts, page: str, data: dict[str, Any]) -> None:
    tokens = TokensReader(artifacts.tokens, "train")
    seen = 0
    for number in data["pages"]:
        stored = FeaturesReader(artifacts.features).examples([number]).to_pylist()
        sections = feature(page, number)["sections"]
        shown = [example for section in sections for example in section["examples"]]
        assert len(shown) == len(stored)
        by_place = {(e["row"], e["position"]): e for e in stored}
        for row, position, activation, first, strings, acts, _ in shown:
            example = by_place[row, position]
            assert activation == pytest.approx(example["activation"], rel=1e-3)
            assert first == max(0, position - CONFIG.context_tokens)
            length = len(strings)
            assert first <= position < first + length <= LENGTH
            values = dict(zip(acts[::2], acts[1::2], strict=True))
            known = example["acts"][first - example["start"] :][:length]
            assert values == pytest.approx({i: v for i, v in enumerate(known) if v}, rel=1e-3)
            assert tokens.read(row, row + 1).roles[0, first + length - 1] != 4
            seen += 1
    assert seen > 100


def test_documents_are_kept_apart_where_attention_is(tmp_path: Path) -> None:
    artifacts = write_artifacts(tmp_path / "artifacts", attention="document")
    build_report(artifacts, CONFIG, tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    tokens = TokensReader(artifacts.tokens, "train")
    for number in json.loads(Scripts(page).found["data"])["pages"]:
        for section in feature(page, number)["sections"]:
            for row, position, _, first, strings, _, _ in section["examples"]:
                document = tokens.read(row, row + 1).document[0]
                assert set(document[first : first + len(strings)]) == {document[position]}


def test_context_tokens_bounds_what_is_shown(artifacts: Artifacts, tmp_path: Path) -> None:
    build_report(artifacts, CONFIG.model_copy(update={"context_tokens": 4, "seed": 5}), tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    data = json.loads(Scripts(page).found["data"])
    assert "seed 5" in data["rule"]
    for number in data["pages"]:
        for section in feature(page, number)["sections"]:
            assert all(len(example[4]) <= 9 for example in section["examples"])


def test_the_table_has_every_feature(artifacts: Artifacts, data: dict[str, Any]) -> None:
    table = FeaturesReader(artifacts.features).features().to_pylist()
    columns = data["features"]
    assert [len(columns[name]) for name in ("density", "max", "mean", "neighbour")] == [FEATURES] * 4
    assert columns["density"][DEAD] == columns["mean"][DEAD] == 0
    assert DEAD not in data["pages"]
    for i, row in enumerate(table):
        assert columns["density"][i] == pytest.approx(row["density"], rel=1e-3)
        assert columns["neighbour"][i] == row["neighbours"][0]
        if row["count"]:
            assert columns["mean"][i] == pytest.approx(row["sum"] / row["count"], rel=1e-3)


def test_a_feature_page_counts_what_the_artifact_counts(artifacts: Artifacts, page: str, data: dict[str, Any]) -> None:
    table = FeaturesReader(artifacts.features).features().to_pylist()
    for number in data["pages"]:
        shown = feature(page, number)
        assert sum(count for _, _, count in shown["hist"]) == table[number]["count"]
        assert all(low < high for low, high, _ in shown["hist"])
        assert shown["sections"][0]["name"] == "Top"
        assert len(shown["sections"]) == 6
        top = [example[2] for example in shown["sections"][0]["examples"]]
        assert top == sorted(top, reverse=True)


def test_curves_are_thinned_by_means_and_skip_what_is_not_a_number(data: dict[str, Any]) -> None:
    curves = data["curves"]
    assert "1,200 steps" in curves["note"]
    assert "mean of 2 steps" in curves["note"]
    names = [line["name"] for line in curves["lines"]]
    assert "Mean squared error" in names
    assert "Auxiliary loss" not in names, "a column without a number is left out"
    assert all(len(line["y"]) == len(curves["x"]) == 600 for line in curves["lines"])
    assert curves["x"] == sorted(curves["x"])
    assert curves["x"][-1] == pytest.approx(1199.5 * 250, rel=1e-4)


def test_density_bars_count_every_feature() -> None:
    density = np.array([0.0, 0.0, 1e-5, 1e-4, 1.2e-4, 0.03, 1.0])
    bars = density_bars(density)["bars"]
    assert sum(bar["count"] for bar in bars) == len(density)
    assert [bar["count"] for bar in bars if bar.get("dead")] == [2]
    for bar in bars[1:]:
        inside = density[(density >= bar["low"]) & (density <= bar["high"])]
        assert len(inside) == bar["count"]
    assert density_bars(np.zeros(3))["bars"] == []


def test_artifacts_of_two_saes_are_refused(tmp_path: Path) -> None:
    artifacts = write_artifacts(tmp_path / "a")
    write_json(tmp_path / "a/evaluation/metrics.json", {"sae": "saes/00000000000000dd"})
    with pytest.raises(
        ReportError, match=r"saes/00000000000000aa .* saes/00000000000000dd: a report needs both of one"
    ):
        build_report(artifacts, CONFIG, tmp_path)
    with pytest.raises(ReportError, match="has 61 latents, but 60 features"):
        build_report(write_artifacts(tmp_path / "b", d_sae=61), CONFIG, tmp_path)


def test_speakers_of_the_training_are_asked_for(tmp_path: Path) -> None:
    artifacts = write_artifacts(tmp_path / "a")
    write_json(tmp_path / "a/sae/training.json", {"config": {"policy": {"speakers": ["assistant"]}}})
    with pytest.raises(ValueError, match=r"wants speakers \(assistant\), but these tokens are of no chats"):
        build_report(artifacts, CONFIG, tmp_path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    artifacts = write_artifacts(tmp_path / "a")
    (tmp_path / "a/sae/curves.parquet").unlink()
    with pytest.raises(ReportError, match=r"an SAE without curves\.parquet"):
        build_report(artifacts, CONFIG, tmp_path)


def test_a_page_too_large_is_refused(artifacts: Artifacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "MAX_BYTES", 50_000)
    with pytest.raises(ReportError, match=r"lower pages \(now 20\) or context_tokens \(now 24\)"):
        build_report(artifacts, CONFIG, tmp_path)
    assert list(tmp_path.iterdir()) == []
