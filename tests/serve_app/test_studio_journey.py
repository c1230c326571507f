"""From an empty page to a starred feature in the browser, on a cluster as `up` starts it: by the keyboard alone, then by mouse.

By mouse the pages lead to what is there already, so that nothing is made twice.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from serve_app.security.sessions import new_code
from tests.running_cluster import RunningCluster
from tests.serve_app.browser import Keyboard, needs_chromium, page_of, started
from tests.tiny_model import documents

pytestmark = needs_chromium
JOB_MS = 120_000


@pytest.fixture(scope="module")
def cluster(running_cluster: RunningCluster, tiny_gpt2: Any) -> Iterator[tuple[RunningCluster, httpx2.Client]]:
    """With a text and the tiny model in its data folder; a client of its API."""
    data = running_cluster.home / "data"
    data.mkdir(exist_ok=True)
    shutil.copytree(tiny_gpt2, data / "tiny", dirs_exist_ok=True)
    (data / "journey.txt").write_text("\n".join(documents(60)))
    headers = {"Authorization": f"Bearer {running_cluster.token}"}
    with httpx2.Client(base_url=running_cluster.url, headers=headers, timeout=150, trust_env=False) as client:
        yield running_cluster, client


def made(page: Any, stage: str, kind: str) -> str:
    """Waits for the job whose page is open, and gives the reference of the first artifact that it made."""
    page.get_by_role("heading", level=1, name=f"{stage}-", exact=False).wait_for()
    page.locator(".head .badge.succeeded").wait_for(timeout=JOB_MS)
    found = page.get_by_role("link", name=re.compile(f"^{kind}.[0-9a-f]{{16}}$")).first
    found.wait_for()
    return str(found.inner_text())


@pytest.mark.timeout(600)
def test_the_whole_way_by_keyboard_and_again_by_mouse(cluster: tuple[RunningCluster, httpx2.Client]) -> None:
    running, api = cluster
    model = api.post("/v1/models", json={"source": {"type": "local", "path": "tiny"}}).raise_for_status().json()
    (model_ref,) = model["artifacts"]
    with started() as browser, page_of(browser, running.url) as page:
        keys = Keyboard(page)
        page.goto(f"/sign-in#{new_code(running.catalog)}")
        keys.heading("Overview")
        dataset = _dataset(page, keys)
        tokens = _tokens(page, keys, api, model_ref, dataset)
        sae = _training(page, keys, tokens)
        features = _features(page, keys, sae)
        _feature(page, keys, api, sae, features)
        keys.press("button", "Sign out")
        keys.heading("Sign in")
        page.goto("/jobs")
        keys.heading("Sign in")
        page.goto(f"/sign-in#{new_code(running.catalog)}")
        _by_mouse(page, model_ref, dataset, tokens, sae, features)


def _dataset(page: Any, keys: Keyboard) -> str:
    keys.press("link", "Datasets")
    keys.heading("Datasets")
    keys.press("link", "Add a dataset")
    keys.heading("Add a dataset")
    keys.choose("Source", "local", exact=False)
    keys.write("Path", "journey.txt", exact=False)
    keys.press("button", "Add the dataset")
    return made(page, "download", "datasets")


def _tokens(page: Any, keys: Keyboard, api: httpx2.Client, model: str, dataset: str) -> str:
    keys.press("link", dataset)
    keys.press("link", "Tokenize it")
    keys.heading("Tokenize a dataset")
    page.get_by_role("option", name=re.compile(model.replace("/", "."))).wait_for(state="attached", timeout=JOB_MS)
    field = keys.to("combobox", "Model", exact=False)
    while field.input_value() != model:
        page.keyboard.press("ArrowDown")
    for name in ("Add special tokens", "Return attention mask"):
        keys.press("switch", name, key="Space")
        assert page.get_by_role("switch", name=name).get_attribute("aria-checked") == "false"
    keys.write("Context length", "32")
    keys.press("button", "Tokenize")
    tokens = made(page, "tokenize", "tokens")
    found = api.get(f"/v1/{tokens}").raise_for_status().json()
    assert (found["add_special_tokens"], found["return_attention_mask"]) == (False, False)
    keys.press("link", tokens)
    page.get_by_text(tokens, exact=True).first.wait_for()
    facts = "\n".join(page.locator(".facts").all_inner_texts())
    assert "Add special tokens\noff" in facts and "Return attention mask\noff" in facts
    return tokens


def _training(page: Any, keys: Keyboard, tokens: str) -> str:
    keys.press("link", "Train SAEs on them")
    keys.heading("Train SAEs")
    page.get_by_role("option", name=re.compile(tokens.replace("/", "."))).wait_for(state="attached")
    keys.write("Hooks", "blocks.1.hook_resid_post")
    keys.press("checkbox", "topk", key="Space")
    keys.write("Latents", "64, 96")
    keys.write("k", "4")
    page.get_by_text("2 SAEs").wait_for()
    keys.write("Epochs", "40")
    keys.write("Batch rows", "8")
    page.get_by_role("complementary", name="Plan").get_by_text("It fits").wait_for()
    keys.press("button", "Train")
    page.get_by_role("heading", level=1, name="train-", exact=False).wait_for()
    # The curves move while it trains.
    seen = set()
    steps = page.get_by_text(re.compile(r"^[1-9][0-9,]* steps")).first
    steps.wait_for(timeout=JOB_MS)
    while len(seen) < 2 and not page.locator(".head .badge.succeeded").count():
        seen.add(steps.inner_text())
        page.wait_for_timeout(200)
    assert len(seen) == 2, seen
    assert page.locator(".chart canvas").count() >= 4
    made_now = page.get_by_role("link", name=re.compile("^topk 96"))
    made_now.wait_for(timeout=JOB_MS)
    return str(made_now.get_attribute("href")).lstrip("/")


def _features(page: Any, keys: Keyboard, sae: str) -> str:
    keys.press("link", "topk 96", exact=False)
    keys.press("button", "Extract features")
    features = made(page, "extract", "features")
    keys.press("link", features)
    return features


def _feature(page: Any, keys: Keyboard, api: httpx2.Client, sae: str, features: str) -> None:
    keys.press("button", "Density", exact=False)
    page.wait_for_url("**sort=density**")
    (first,) = api.get(f"/v1/{features}/latents?sort=density&order=desc&limit=1").json()["items"]
    keys.press("link", str(first["latent"]))
    keys.heading(f"Feature {first['latent']}")
    keys.press("button", "☆ Star")
    page.get_by_role("button", name="★ Starred").wait_for()
    assert api.get(f"/v1/{sae}/latents/{first['latent']}").json()["starred"]
    keys.write("A text, up to 1,000 characters", "The captain steers the boat.")
    keys.press("button", "Find active features")
    page.get_by_role("region", name="Features that are active on your text").get_by_role("link").first.wait_for(
        timeout=JOB_MS
    )


def _by_mouse(page: Any, model: str, dataset: str, tokens: str, sae: str, features: str) -> None:
    page.get_by_role("heading", level=1, name="Overview").wait_for()
    page.get_by_role("link", name="Datasets", exact=True).click()
    page.get_by_role("link", name="Add a dataset").click()
    source = page.get_by_role("combobox", name="Source")
    source.select_option(source.get_by_role("option", name=re.compile("^local")).get_attribute("value"))
    page.get_by_role("textbox", name="Path").fill("journey.txt")
    page.get_by_role("button", name="Add the dataset").click()
    page.wait_for_url(re.compile(f"/({dataset}|jobs/download-.*)$"))
    page.locator(f'a[href="/{dataset}"]').or_(page.get_by_role("link", name="Tokenize it")).first.click()
    page.get_by_role("link", name="Tokenize it").click()
    page.get_by_role("combobox", name="Model").select_option(model)
    for name in ("Add special tokens", "Return attention mask"):
        page.get_by_role("switch", name=name).click()
    page.get_by_role("textbox", name="Context length").fill("32")
    page.get_by_text("An equal tokenization exists").wait_for()
    page.locator(f'.job-check a[href="/{tokens}"]').click()
    page.get_by_role("link", name="Train SAEs on them").click()
    for name, text in (
        ("Hooks", "blocks.1.hook_resid_post"),
        ("Latents", "64, 96"),
        ("k", "4"),
        ("Epochs", "40"),
        ("Batch rows", "8"),
    ):
        page.get_by_role("textbox", name=name, exact=True).first.fill(text)
        if name == "Hooks":
            page.get_by_role("checkbox", name="topk", exact=True).check()
    page.get_by_text(re.compile("^An equal .* exist")).wait_for()
    page.locator(f'.job-check a[href="/{sae}"]').click()
    page.locator(f'a[href="/{features}"]').first.click()
    page.get_by_role("button", name="Density").click()
    page.wait_for_url("**sort=density**")
    page.get_by_role("region", name="Features").get_by_role("link").first.click()
    page.get_by_role("button", name="★ Starred").click()
    page.get_by_role("button", name="☆ Star").click()
    page.get_by_role("button", name="★ Starred").wait_for()
    page.locator(".example .t.on").first.hover()
    page.get_by_text(re.compile(": activation [0-9.]+, [0-9]+% of the largest$")).first.wait_for()
    page.get_by_label("A text, up to 1,000 characters").fill("The captain steers the boat.")
    page.get_by_role("button", name="Find active features").click()
    page.get_by_role("region", name="Features that are active on your text").get_by_role("link").first.wait_for()
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("heading", level=1, name="Sign in").wait_for()
