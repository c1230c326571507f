"""The page in a real browser, where there is one: its script runs, and text from documents stays text."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from configs.report import ReportConfig
from sae.report.build import build_report
from tests.sae.report_artifacts import write_artifacts

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
CONFIG = ReportConfig(features="features/0000000000000001", evaluation="evaluations/0000000000000002", pages=20)

pytestmark = pytest.mark.skipif(BROWSER is None, reason="there is no Chromium here")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    build_report(write_artifacts(folder / "artifacts", labels=True), CONFIG, folder)
    return folder / "report.html"


def shown(page: Path, tmp_path: Path, place: str = "") -> str:
    """The document after its script has run."""
    assert BROWSER is not None
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    options += ["--disable-component-update", "--disable-sync", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
    run = subprocess.run([BROWSER, *options, f"{page.as_uri()}{place}"], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    return run.stdout.split('<script type="application/json"')[0]


def test_the_overview_draws_charts_and_table(page: Path, tmp_path: Path) -> None:
    dom = shown(page, tmp_path)
    assert dom.count("<figure>") == 5
    assert "1–50 of 60 features" in dom
    assert "0.90 (permuted 0.50), tokens" in dom
    assert "<img" not in dom
    assert 'aria-sort="ascending"' in dom


def test_a_feature_page_shows_its_examples_and_runs_nothing_from_them(page: Path, tmp_path: Path) -> None:
    data = re.search(r'id="data">(.*?)</script>', page.read_text(encoding="utf-8"))
    assert data is not None
    number = json.loads(data[1])["pages"][0]
    dom = shown(page, tmp_path, f"#f{number}")
    assert f"<title>Feature {number} · tiny &lt;model&gt;" in dom
    assert dom.count('class="example"') == dom.count('role="listbox"') >= 15
    assert len(re.findall(r'class="t on peak"[^>]*aria-selected="true"', dom)) == dom.count('class="value"') >= 15
    assert dom.count('class="key quiet"') == 1
    assert "<h2>Labels</h2>" in dom and "0.90 [0.80, 0.95]" in dom
    assert 'aria-label="“' in dom
    assert "<img" not in dom
