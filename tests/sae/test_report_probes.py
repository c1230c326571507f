"""Probes in the report: every figure of probes.json beside its controls, in the page and in report.json."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from sae.formats.artifact_files import LocalFiles
from sae.formats.probes import write_probes
from sae.report.build import build_report
from sae.report.probes import probe_figures, shown_probes
from sae.report.sources import ReportError
from tests.sae.probing_world import control, spurious_world
from tests.sae.report_artifacts import INPUTS, XSS, write_artifacts
from tests.sae.test_report import CONFIG, Scripts

RECORD = {"sae": INPUTS["sae"], "tokens": "tokens/00000000000000ee", "split": "train", "class_column": "topic <b>"}


@pytest.fixture(scope="module")
def probes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What probes.json says of planted latents; a class has a hostile name."""
    body = {**RECORD, **spurious_world(tmp_path_factory.mktemp("probes"))}
    body["classes"][0]["class"] = XSS
    return body


@pytest.fixture(scope="module")
def made(probes: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    (folder / "probes").mkdir()
    write_probes(folder / "probes", probes)
    artifacts = write_artifacts(folder / "artifacts")._replace(probes=LocalFiles(folder / "probes"))
    build_report(artifacts, CONFIG, folder)
    return folder


@pytest.fixture(scope="module")
def section(made: Path) -> str:
    """The section's text, without tags."""
    page = (made / "report.html").read_text(encoding="utf-8")
    part = page[page.index('id="probes-h"') : page.index('id="excluded-h"')]
    return " ".join(re.sub(r"<[^>]*>", " ", part).split())


def shown(figure: dict[str, Any], sign: str = "") -> str:
    return f"{figure['value']:{sign}.3f} [{figure['low']:{sign}.3f}, {figure['high']:{sign}.3f}]"


def test_each_figure_stands_beside_its_controls(probes: dict[str, Any], section: str) -> None:
    rows = [("Sparse probing, k = 1 ", row) for row in probes["sparse_probing"]]
    for row in probes["perturbation"]["rows"]:
        rows += [(f"TPP, {row['ablated']} latents ablated ", row["tpp"])]
        rows += [(f"Intended effect, {row['ablated']} latents ablated ", row["intended"])]
        rows += [(f"Unintended effect, {row['ablated']} latents ablated ", row["unintended"])]
    for row in probes["spurious"]["rows"]:
        rows += [(f"Biased probe, {row['ablated']} latents ablated ", row["accuracy"])]
        rows += [(f"SCR, {row['ablated']} latents ablated ", row["scr"])]
    rows += [("&lt;/script&gt;", probes["classes"][0]["sparse_probing"][-1])]
    for name, figure in rows:
        text = section[section.index(name) :]
        assert shown(figure["sae"]) in text[:600], name
        for one in figure["controls"]:
            assert f"{one['control']} {shown(one)} {shown(one['difference'], '+')}" in text[:1500], (
                name,
                one["control"],
            )
    for name in ("biased", "oracle", "gap", "spurious_value"):
        assert shown(probes["spurious"][name]) in section
    assert f"All dimensions of the hook accuracy: what there is to find {shown(probes['whole_hook'])} – – –" in section
    documents = probes["documents"]
    assert f"{documents['train']} training and {documents['test']} test documents" in section
    assert "labelled by “topic &lt;b&gt;”" in section


def test_report_json_has_the_same_figures(probes: dict[str, Any], made: Path) -> None:
    found = json.loads((made / "report.json").read_text())["probes"]
    assert found == json.loads(json.dumps(probe_figures(probes)))
    assert found["sparse_probing"] == probes["sparse_probing"]
    assert found["perturbation"]["rows"] == probes["perturbation"]["rows"]
    assert found["spurious"]["rows"] == probes["spurious"]["rows"]
    assert [one["class"] for one in found["classes"]] == [XSS, "class 1"]
    last = probes["classes"][1]["sparse_probing"][-1]
    assert (found["classes"][1]["k"], found["classes"][1]["controls"]) == (last["k"], last["controls"])
    assert control(found["sparse_probing"][0], "permuted labels")["difference"]["low"] > 0


def test_names_of_classes_cannot_leave_their_place(made: Path) -> None:
    page = (made / "report.html").read_text(encoding="utf-8")
    assert "img" not in Scripts(page).tags and XSS not in page and page.startswith("<!doctype html>")


def test_what_was_not_measured_is_said(probes: dict[str, Any], section: str) -> None:
    why = "saes/1 scales each activation by itself"
    without = shown_probes({**probes, "perturbation": {"reason": why}, "spurious": None})
    assert without.reasons == [f"No TPP: {why}."]
    assert [row.name for row in without.rows] == ["All dimensions of the hook", "Sparse probing, k = 1"]
    neither = shown_probes({**probes, "perturbation": {"reason": why}, "spurious": {"reason": why}})
    assert neither.reasons[1:] == [f"No SCR: {why}."]
    assert "No TPP" not in section and "No SCR" not in section


def test_without_probes_there_is_no_section(tmp_path: Path) -> None:
    assert build_report(write_artifacts(tmp_path / "artifacts"), CONFIG, tmp_path)["probes"] is None
    assert "probes-h" not in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_probes_of_another_sae_are_refused(probes: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "probes").mkdir()
    write_probes(tmp_path / "probes", {**probes, "sae": "saes/00000000000000ff"})
    artifacts = write_artifacts(tmp_path / "artifacts")._replace(probes=LocalFiles(tmp_path / "probes"))
    with pytest.raises(ReportError, match="the probes are those of saes/00000000000000ff: a report needs both"):
        build_report(artifacts, CONFIG, tmp_path)
