"""The web pages in a real browser, against the server of the other tests."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from serve_app.security.sessions import new_code
from tests.serve_app.conftest import Site
from tests.serve_app.sample_artifacts import DATASET, MODEL, TOKENS, SampleArtifacts

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
REQUIRED = os.environ.get("RAYLENS_REQUIRE_CHROMIUM") == "1"
pytestmark = pytest.mark.skipif(CHROMIUM is None and not REQUIRED, reason="there is no Chromium here")
PAGES = (
    "/", "/datasets", "/datasets/new", f"/{DATASET}", "/models", "/models/new", f"/{MODEL}", "/tokens", "/tokens/new",
    f"/{TOKENS}", "/saes", "/saes/new", "/features", "/jobs", "/cluster", "/settings",
)  # fmt: skip
HOSTILE = '<img src=x onerror="window.hit=1">\u202edlrow\u0007'


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Any, site: Site) -> Iterator[Any]:
    """A page of a browser that nobody has signed in. Errors of its script, of its policy, and requests elsewhere fail."""
    context = chromium.new_context(base_url=site.url, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(30_000)
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda m: faults.append(m.text) if m.type == "error" and "a status of 4" not in m.text else None)
    page.on("request", lambda r: None if r.url.startswith(site.url) else faults.append(r.url))
    yield page
    context.close()
    assert not faults


def sign_in(page: Any, site: Site) -> None:
    page.goto(f"/sign-in#{new_code(site.catalog)}")
    page.get_by_role("heading", name="Overview").wait_for()


def test_from_the_link_to_signing_out(page: Any, site: Site) -> None:
    page.goto("/jobs")
    page.get_by_role("heading", name="Sign in").wait_for()
    page.get_by_label("API token").fill("rl_wrong")
    page.get_by_role("button", name="Sign in").click()
    page.get_by_text("this token is not valid").wait_for()
    sign_in(page, site)
    assert "#" not in page.url, "the code is in no address and no history"
    page.locator(".feed.live").wait_for()
    page.get_by_role("link", name="Cluster").click()
    page.get_by_role("heading", name="Cluster").wait_for()
    assert page.title() == "Cluster · RayLens"
    assert page.evaluate("document.activeElement.textContent") == "Cluster", "the heading has the focus"
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("heading", name="Sign in").wait_for()
    page.goto("/cluster")
    page.get_by_role("heading", name="Sign in").wait_for()


def test_pages_show_what_the_api_answers(page: Any, site: Site) -> None:
    sign_in(page, site)
    cluster = site.reader.get("/v1/cluster").json()
    page.locator(".tile").first.wait_for()
    tiles = page.locator(".tile").all_inner_texts()
    assert f"Nodes\n{len(cluster['nodes'])}\n" in tiles[0]
    assert "GPUs free\n0\nof 0" in tiles[2]
    for item in site.reader.get("/v1/artifacts", params={"limit": 12}).json()["items"]:
        page.get_by_role("cell", name=item["ref"], exact=True).wait_for()
    page.goto("/cluster")
    rows = page.get_by_role("region", name="Whether each stage fits").get_by_role("row")
    rows.nth(1).wait_for()
    fits = site.reader.get("/v1/cluster/fit").json()["stages"]
    assert rows.count() == len(fits) + 1
    for number, stage in enumerate(fits, 1):
        assert rows.nth(number).inner_text().startswith(stage["stage"])
        assert str(stage["largest_workers"]) in rows.nth(number).inner_text()


def test_a_form_from_the_schema_keeps_its_input(page: Any, site: Site) -> None:
    from playwright.sync_api import expect

    sign_in(page, site)
    page.goto("/settings")
    page.get_by_text("Create a token").click()
    page.get_by_label("Name").fill("a/b")
    page.get_by_label("Days").fill("-1")
    page.get_by_role("button", name="Create the token").click()
    page.get_by_text("String should match pattern").first.wait_for()
    assert page.get_by_text("Input should be greater than 0").first.is_visible()
    expect(page.get_by_label("Name")).to_be_focused()  # the first wrong field
    page.get_by_label("Name").fill("made in a page")
    page.get_by_label("Days").fill("2")
    page.get_by_label("Scope").select_option("write")
    page.get_by_role("button", name="Create the token").click()
    page.get_by_text("It is shown this once").wait_for()
    token = page.locator(".notice code").inner_text()
    principal = site.tokens.verify(token)
    assert principal is not None
    assert principal.scopes == {"read", "write"}
    row = page.get_by_role("row", name="made in a page")
    row.get_by_role("button", name="Revoke").click()
    page.get_by_role("alertdialog").get_by_role("button", name="Revoke the token").click()
    row.get_by_text("revoked").wait_for()
    assert site.tokens.verify(token) is None


def test_jobs_change_as_their_rows_do(page: Any, site: Site) -> None:
    """Without a reload, by the event stream. Names and messages are text."""
    sign_in(page, site)
    page.goto("/jobs")
    page.locator(".feed.live").wait_for()
    body = {"config": {"stage": "maintain"}, "notes": HOSTILE, "tags": ["live"]}
    job = site.writer.post("/v1/jobs", json=body).json()["job"]["id"]
    page.get_by_role("link", name=job).click()
    page.get_by_role("heading", name=job).wait_for()
    shown = page.get_by_text('<img src=x onerror="window.hit=1">')
    assert "⟨U+202E⟩" in shown.inner_text()
    page.get_by_role("button", name="Cancel", exact=True).click()
    page.get_by_role("alertdialog").get_by_role("button", name="Cancel the job").click()
    page.get_by_text("cancelled").first.wait_for()
    page.get_by_role("button", name="Resume").wait_for()
    assert page.evaluate("window.hit") is None


def test_a_dataset_is_tokenized_as_the_form_says(page: Any, site: Site) -> None:
    """Form, API, job and record say the same of both switches; the preview follows them."""
    sign_in(page, site)
    page.goto(f"/{DATASET}")
    page.get_by_role("link", name="Tokenize it").click()
    page.get_by_label("Model (required)").select_option(str(MODEL))
    preview = page.get_by_role("complementary", name="Preview")
    preview.get_by_text("separator", exact=True).wait_for(
        timeout=120_000
    )  # the server imports the tokenizers' library first
    for name in ("Add special tokens", "Return attention mask"):
        switch = page.get_by_role("switch", name=name)
        assert switch.is_checked()
        switch.focus()
        page.keyboard.press("Space")
        assert not switch.is_checked()
    preview.get_by_text("No attention mask is written.").wait_for()
    assert preview.get_by_text("separator", exact=True).count() == 0
    page.get_by_label("Context length").fill("32")
    page.get_by_role("button", name="Tokenize").click()
    page.get_by_role("heading", name="tokenize-").wait_for()
    config = site.reader.get(f"/v1/jobs/{page.url.rpartition('/')[2]}").json()["config"]
    assert (config["add_special_tokens"], config["return_attention_mask"]) == (False, False)
    assert config["context_length"] == 32


def test_pages_of_artifacts_show_what_the_api_answers(page: Any, site: Site) -> None:
    sign_in(page, site)
    for kind in ("datasets", "models", "tokens"):
        (item,) = site.reader.get(f"/v1/{kind}").json()["items"]
        page.goto(f"/{kind}")
        page.get_by_role("link", name=item["name"] or item["label"] or item["id"], exact=True).click()
        page.get_by_text(item["ref"], exact=True).first.wait_for()
    shown = page.locator(".facts").first.inner_text()
    summary = site.reader.get(f"/v1/{TOKENS}").json()["statistics"]
    known = [summary[name] for name in ("tokens", "data_tokens", "rows", "documents") if name in summary]
    assert known
    for number in known:
        assert f"{number:,}" in shown, number


def pages_of(samples: SampleArtifacts) -> tuple[str, ...]:
    """The pages of the SAE and of its features."""
    return f"/{samples.sae}", f"/{samples.features}", f"/{samples.features}/0", f"/{samples.features}/0/steer"


def test_a_feature_steers_the_model_in_the_browser(page: Any, site: Site, samples: SampleArtifacts) -> None:
    sign_in(page, site)
    (loud,) = site.reader.get(f"/v1/{samples.features}/latents?sort=count&order=desc&limit=1").json()["items"]
    page.goto(f"/{samples.features}/{loud['latent']}")
    page.get_by_role("link", name="Steer with it").click()
    page.get_by_label("Prompt").fill("the captain of the boat")
    page.get_by_label("Tokens, at most").fill("6")
    page.get_by_role("button", name="Steer").click()
    page.get_by_text("With the change").wait_for()
    page.get_by_text(re.compile(r"at \d+ positions")).wait_for()
    change = {"sae": str(samples.sae), "latent": loud["latent"], "op": "add", "value": 1, "unit": "max"}
    body = {"text": "the captain of the boat", "max_tokens": 6, "interventions": [change]}
    found = site.reader.post("/v1/text/steer", json=body).json()
    assert f"at {found['steered'][0]['positions']} positions" in page.locator("#content").inner_text()
    assert "text=the+captain" in page.url


def test_a_feature_is_starred_and_shows_what_the_api_answers(page: Any, site: Site, samples: SampleArtifacts) -> None:
    sign_in(page, site)
    page.goto(f"/{samples.features}?sort=density&order=desc")
    (first, *_) = site.reader.get(f"/v1/{samples.features}/latents?sort=density&order=desc&limit=1").json()["items"]
    page.get_by_role("region", name="Features").get_by_role("link").first.click()
    page.get_by_role("heading", name=f"Feature {first['latent']}", exact=True).wait_for()
    assert f"{first['count']:,}" in page.locator(".facts").first.inner_text()
    page.get_by_role("button", name="☆ Star").click()
    page.get_by_role("button", name="★ Starred").wait_for()
    annotation = f"/v1/{samples.sae}/latents/{first['latent']}"
    assert site.reader.get(annotation).json()["starred"]
    page.get_by_role("button", name="★ Starred").click()
    page.get_by_role("button", name="☆ Star").wait_for()
    assert not site.reader.get(annotation).json()["starred"]


def test_no_page_has_a_serious_fault_of_accessibility(page: Any, site: Site, samples: SampleArtifacts) -> None:
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import expect

    sign_in(page, site)
    for path in (*PAGES, *pages_of(samples)):
        page.goto(path)
        page.get_by_role("heading", level=1).wait_for()
        expect(page.locator(".loading")).to_have_count(0, timeout=60_000)
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            found = Axe().run(page).response["violations"]
            bad = [
                (one["id"], one["nodes"][0]["html"][:200]) for one in found if one["impact"] in ("serious", "critical")
            ]
            assert not bad, (path, scheme, bad)


def test_no_page_scrolls_sideways(page: Any, site: Site, samples: SampleArtifacts) -> None:
    sign_in(page, site)
    for path in (*PAGES, *pages_of(samples), "/jobs/x/y", "/jobs/train-0000000000"):
        page.goto(path)
        page.get_by_role("heading", level=1).wait_for()
        page.wait_for_load_state("load")
        for width in (1280, 768, 320):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (path, width)
