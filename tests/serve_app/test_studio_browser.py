"""The web pages in a real browser, against the server of the other tests."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import pytest

from serve_app.security.sessions import new_code
from tests.serve_app.browser import needs_chromium, page_of, started
from tests.serve_app.conftest import Site
from tests.serve_app.sample_artifacts import DATASET, LABELLED, MODEL, TOKENS, SampleArtifacts
from tests.serve_app.test_training import training_job, write_curve

pytestmark = needs_chromium
PAGES = (
    "/", "/datasets", "/datasets/new", f"/{DATASET}", "/models", "/models/new", f"/{MODEL}", "/tokens", "/tokens/new",
    f"/{TOKENS}", "/saes", "/saes/new", "/probes", "/probes/new", "/features", "/lists", "/jobs", "/cluster", "/settings",
)  # fmt: skip
HOSTILE = '<img src=x onerror="window.hit=1">\u202edlrow\u0007'


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with started() as browser:
        yield browser


@pytest.fixture
def page(chromium: Any, site: Site) -> Iterator[Any]:
    with page_of(chromium, site.url) as page:
        yield page


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
    for ref in (DATASET, MODEL, TOKENS):
        item = site.reader.get(f"/v1/{ref}").json()
        page.goto(f"/{ref.kind}")
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
    return (
        f"/{samples.sae}",
        f"/{samples.probes}",
        f"/{samples.features}",
        f"/{samples.features}/0",
        f"/{samples.features}/0/steer",
        f"/{samples.labels}",
        f"/{samples.labels}/queue",
        f"/{samples.labels}/map",
    )


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


def run_page(site: Site) -> str:
    """The page of a training job that has curves."""
    accepted = training_job(site, 2)
    write_curve(site, accepted)
    return f"/jobs/{accepted['job']['id']}"


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


def test_chosen_features_go_on_a_list(page: Any, site: Site, samples: SampleArtifacts) -> None:
    sign_in(page, site)
    page.goto(f"/{samples.features}")
    for latent in (3, 5):
        page.get_by_role("checkbox", name=f"Choose feature {latent}", exact=True).check()
    page.get_by_label("Name of a new list").fill("boats and ships")
    page.get_by_role("button", name="Make it with them").click()
    page.get_by_text("“boats and ships” has 2 features now.").first.wait_for()
    assert page.get_by_role("checkbox", checked=True).count() == 0
    page.get_by_role("link", name="Lists", exact=True).click()
    page.get_by_role("link", name="boats and ships").click()
    page.get_by_role("region", name="Features of the list").get_by_role("link", name="5", exact=True).click()
    page.get_by_role("heading", name="Feature 5", exact=True).wait_for()
    page.get_by_role("button", name="Lists", exact=True).click()
    page.get_by_role("checkbox", name="boats and ships").uncheck()
    page.get_by_role("link", name="boats and ships").wait_for(state="detached")
    (made,) = site.reader.get("/v1/lists").json()["items"]
    assert made["features"] == 1
    site.writer.delete(f"/v1/lists/{made['id']}").raise_for_status()


# Two of a desktop and a phone, and what is left of 1280 and 768 px at a zoom of 200%.
WIDTHS = (1280, 768, 640, 384, 320)
# What is cut off: beyond the edges of the window, or of a box that hides the rest, where nothing scrolls to it.
SHOWN = "h1, h2, p, a, button, input, select, textarea, label, dt, dd, svg, canvas"
CUT_OFF = """shown => [...document.querySelectorAll(`#content :is(${shown})`)]
  .filter((node) => {
    const box = node.getBoundingClientRect();
    if (!box.width || node.closest('.hidden, [aria-hidden=true]')) return false;
    for (let up = node.parentElement; up; up = up.parentElement) {
      const how = getComputedStyle(up).overflowX, edge = up.getBoundingClientRect();
      if (how === 'auto' || how === 'scroll') return false;
      if (how === 'hidden' && (box.right > edge.right + 1 || box.left < edge.left - 1)) return true;
    }
    return box.right > innerWidth + 1 || box.left < -1;
  }).map((node) => node.outerHTML.slice(0, 120))"""


def cut_off(page: Any) -> list[str]:
    """What is cut off and stays so: charts are drawn anew for another width a moment after the page has it."""
    until = time.monotonic() + 5
    while (found := page.evaluate(CUT_OFF, SHOWN)) and time.monotonic() < until:
        page.wait_for_timeout(50)
    return list(found)


def test_no_page_has_a_serious_fault_of_accessibility_or_scrolls_sideways_or_is_cut_off(
    page: Any, site: Site, samples: SampleArtifacts
) -> None:
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import expect

    axe, cut = Axe(), []
    sign_in(page, site)
    made = site.writer.post("/v1/lists", json={"name": "a list with quite a long name of features of one kind"}).json()
    listed = {"features": [{"sae": str(samples.sae), "latent": latent} for latent in (1, 2)]}
    site.writer.post(f"/v1/lists/{made['id']}/features", json=listed).raise_for_status()
    own = (run_page(site), f"/lists/{made['id']}", "/jobs/x/y", "/jobs/train-0000000000")
    for path in (*PAGES, *pages_of(samples), *own):
        page.set_viewport_size({"width": 1280, "height": 900})
        page.goto(path)
        page.get_by_role("heading", level=1).wait_for()
        expect(page.locator(".loading")).to_have_count(0, timeout=60_000)
        # The scheme changes colours alone.
        for scheme, options in (("light", {}), ("dark", {"runOnly": ["color-contrast"]})):
            page.emulate_media(color_scheme=scheme)
            found = axe.run(page, options={"resultTypes": ["violations"], **options}).response["violations"]
            bad = [
                (one["id"], one["nodes"][0]["html"][:200]) for one in found if one["impact"] in ("serious", "critical")
            ]
            assert not bad, (path, scheme, bad)
        page.wait_for_load_state("load")
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (path, width)
            cut += [(path, width, node) for node in cut_off(page)]
    assert not cut
    site.writer.delete(f"/v1/lists/{made['id']}").raise_for_status()


def test_forms_say_what_exists_and_what_can_never_run(page: Any, site: Site) -> None:
    """Before anything is submitted."""
    body = {"dataset": str(DATASET), "model": str(MODEL), "context_length": 36}
    made = site.writer.post("/v1/tokens", json=body).json()
    sign_in(page, site)
    page.goto(f"/tokens/new?dataset={DATASET}&model={MODEL}")
    page.get_by_text("It writes up to").wait_for()
    page.get_by_label("Context length").fill("36")
    page.get_by_text("An equal job is under way").wait_for()
    assert page.get_by_role("link", name=made["job"]["id"]).count() == 1
    page.get_by_text("More options").click()
    page.get_by_text("Resources", exact=True).click()
    page.get_by_label("Workers").fill("3")
    page.get_by_label("Context length").fill("37")
    page.get_by_text("This can never run here.").wait_for()
    assert "1 node" in page.locator(".job-check").inner_text()


def test_a_delete_dialog_names_what_refers_to_the_artifact(page: Any, site: Site, samples: SampleArtifacts) -> None:
    sign_in(page, site)
    page.goto(f"/{samples.sae}")
    page.get_by_role("button", name="Delete").click()
    dialog = page.get_by_role("alertdialog")
    for ref in site.reader.get(f"/v1/artifacts/{samples.sae}/referrers").json()["artifacts"]:
        dialog.get_by_role("link", name=ref).wait_for()
    assert dialog.get_by_role("link").count() >= 2


def three(value: float) -> str:
    """A figure as the report and the pages write it: three digits that count."""
    if not value:
        return "0"
    return f"{value:#.3g}".rstrip(".") if abs(value) < 100 else f"{value:.1f}".rstrip("0").rstrip(".")


def facts(page: Any) -> dict[str, str]:
    """The figures at the top of a page, by their names."""
    page.locator(".facts dd").first.wait_for()
    rows = page.locator(".facts div").all()
    return {row.locator("dt").inner_text(): row.locator("dd").inner_text() for row in rows}


def test_each_figure_of_probes_is_shown_beside_its_controls(page: Any, site: Site, samples: SampleArtifacts) -> None:
    def shown(one: dict[str, float], signed: bool = False) -> str:
        def digits(value: float) -> str:  # a half is rounded away from zero, as JavaScript does
            rounded = Decimal(value).quantize(Decimal("0.001"), ROUND_HALF_UP)
            return f"{rounded:{'+' if signed else ''}}"

        return f"{digits(one['value'])} [{digits(one['low'])}, {digits(one['high'])}]"

    def cells(figure: dict[str, Any]) -> list[str]:
        beside = [(shown(one), shown(one["difference"], signed=True)) for one in figure["controls"]]
        return [shown(figure["sae"]), *(text for pair in beside for text in pair)]

    def row_of(table: str, first: str, number: int = 0) -> list[str]:
        named = page.get_by_role("region", name=table).get_by_role("row").filter(
            has=page.get_by_role("rowheader", name=first, exact=True)
        )  # fmt: skip
        return list(named.nth(number).locator("td").all_inner_texts())

    sign_in(page, site)
    page.goto("/probes")
    page.get_by_role("link", name=f"of {samples.sae}").click()
    body = site.reader.get(f"/v1/{samples.probes}/files/probes.json").raise_for_status().json()
    page.get_by_role("region", name="Accuracy of sparse probes").wait_for()
    for row in body["sparse_probing"]:
        assert row_of("Accuracy of sparse probes, the mean over classes", str(row["k"])) == cells(row)
    for row in body["perturbation"]["rows"]:
        for number, name in enumerate(("tpp", "intended", "unintended")):
            found = row_of("Accuracy that probes lose when latents are ablated", str(row["ablated"]), number)
            assert found[1:] == cells(row[name])
    for row in body["spurious"]["rows"]:
        found = [row_of("Spurious correlation removal", str(row["ablated"]), number) for number in (0, 1)]
        assert cells(row["accuracy"]) in [one[1:] for one in found]
    page.get_by_label("Latents that a probe reads").select_option("1")
    for one in body["classes"]:
        row = one["sparse_probing"][0]
        documents, hook, *figures, latents, _ = row_of("Accuracy of each class’s probe on 1 latent", one["class"])
        assert (documents, hook) == (f"{one['train']} / {one['test']}", shown(one["whole_hook"]))
        assert figures == cells(row)
        assert latents == str(row["latents"][0])
    shown_facts = facts(page)
    assert (shown_facts["Classes"], shown_facts["Test documents"]) == (
        str(len(body["classes"])),
        str(body["documents"]["test"]),
    )


def test_an_sae_is_probed_as_the_form_says(page: Any, site: Site, samples: SampleArtifacts) -> None:
    sign_in(page, site)
    page.goto(f"/{samples.sae}")
    page.get_by_role("link", name="Probe", exact=True).click()
    assert page.get_by_label("SAE (required)").input_value() == str(samples.sae)
    page.get_by_label("Tokens (required)").select_option(str(LABELLED))
    page.get_by_label("Class column (required)").fill("topic")
    page.get_by_label("Latents of a probe (k)").fill("1\n3")
    page.get_by_text("Spurious column", exact=True).first.click()
    page.get_by_label("Spurious column (required)").fill("half")
    page.get_by_label("Spurious values (required)").fill("early\nlate")
    page.get_by_label("Classes that go with them (required)").fill("kitchen\nharbour")
    page.get_by_role("button", name="Probe", exact=True).click()
    page.get_by_role("heading", name="probe-").wait_for()
    config = site.reader.get(f"/v1/jobs/{page.url.rpartition('/')[2]}").json()["config"]
    assert (config["sae"], config["tokens"], config["class_column"]) == (str(samples.sae), str(LABELLED), "topic")
    assert config["k"] == [1, 3]
    assert config["spurious"] == {"column": "half", "values": ["early", "late"], "classes": ["kitchen", "harbour"]}


def test_thirty_figures_on_six_pages_are_those_of_the_api(page: Any, site: Site, samples: SampleArtifacts) -> None:
    def api(path: str) -> Any:
        return site.reader.get(path).raise_for_status().json()

    sign_in(page, site)
    compared: list[tuple[str, str]] = []
    page.goto(f"/{MODEL}")
    shown, model = facts(page), api(f"/v1/{MODEL}")["summary"]
    names = {
        "Blocks": "n_layers",
        "Residual stream": "d_model",
        "Vocabulary": "vocab_size",
        "Longest row": "context_length",
    }
    compared += [(shown[name], f"{model[key]:,}") for name, key in names.items()]
    page.goto(f"/{DATASET}")
    shown, dataset = facts(page), api(f"/v1/{DATASET}")
    compared.append((shown["Documents"], f"{dataset['summary']['documents']:,}"))
    lengths = dataset["statistics"]["document_characters"]
    compared += [(shown[name], f"{round(lengths[key]):,}") for name, key in (("Mean", "mean"), ("Median", "median"))]
    page.goto(f"/{TOKENS}")
    compared.append((facts(page)["Tokens"], f"{api(f'/v1/{TOKENS}')['statistics']['tokens']:,}"))
    page.goto(f"/{samples.sae}")
    shown, sae = facts(page), api(f"/v1/{samples.sae}")["fields"]
    compared += [(shown["Latents"], f"{sae['d_sae']:,}"), (shown["k"], f"{sae['k']}")]
    page.goto(f"/{samples.features}?sort=max&order=desc")
    rows = page.get_by_role("region", name="Features").locator("tbody tr")
    rows.first.wait_for()
    features = api(f"/v1/{samples.features}/latents?sort=max&order=desc&limit=5")["items"]
    for row, feature in zip(rows.all(), features, strict=False):
        cells = row.locator("td").all_inner_texts()
        figures = (
            str(feature["latent"]),
            f"{three(100 * feature['density'])}%",
            three(feature["max"]),
            three(feature["mean"]),
        )
        compared += zip(cells, figures, strict=False)
    latent = features[0]["latent"]
    page.goto(f"/{samples.features}/{latent}")
    shown, feature = facts(page), api(f"/v1/{samples.features}/latents/{latent}")
    compared += [(shown["Active positions"], f"{feature['count']:,}"), (shown["Max activation"], three(feature["max"]))]
    compared.append((shown["Mean when active"], three(feature["mean"])))
    nearest = page.locator(".card", has_text="Nearest features").locator("li .num").all_inner_texts()
    compared += zip(nearest, (f"{one['cosine']:.3f}" for one in feature["neighbours"]), strict=True)
    assert len(compared) >= 30
    assert [left for left, _ in compared] == [right for _, right in compared]
