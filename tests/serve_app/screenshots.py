"""Screenshots of every web page for docs/studio.md: a cluster of its own, a tiny model, and what is made from it.

    python -m tests.serve_app.screenshots      # or: make screenshots

Times and ids differ from run to run, so the files change each time; commit them when pages have changed.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx2

from tests.running_cluster import RunningCluster
from tests.serve_app.browser import page_of, started
from tests.tiny_model import cached, documents

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "studio"
SIZE = {"width": 1120, "height": 720}
TEXT = "The captain steers the small ferry past the old lighthouse."
HOOK = "blocks.1.hook_resid_post"


class Maker:
    """Makes artifacts by the API, as a person would in the pages."""

    def __init__(self, api: httpx2.Client) -> None:
        self._api = api

    def submit(self, path: str, **body: Any) -> tuple[str, list[str]]:
        """The job, and references of what it makes."""
        found = self._api.post(path, json=body).raise_for_status().json()
        return found["job"]["id"], found["artifacts"]

    def make(self, path: str, **body: Any) -> list[str]:
        """Waits for it."""
        job, artifacts = self.submit(path, **body)
        while (state := self._api.get(f"/v1/jobs/{job}").json()["state"]) not in ("SUCCEEDED", "FAILED", "LOST"):
            time.sleep(0.5)
        assert state == "SUCCEEDED", (job, state)
        return artifacts


def main() -> None:
    """Takes all of them."""
    home = Path(tempfile.mkdtemp(prefix="rlshots", dir="/tmp"))
    cluster = RunningCluster(home)
    try:
        cluster.up()
        headers = {"Authorization": f"Bearer {cluster.token}"}
        with httpx2.Client(base_url=cluster.url, headers=headers, timeout=150, trust_env=False) as api:
            pages = make(api, home)
            take(cluster, api, pages)
    finally:
        cluster.down()
        shutil.rmtree(home, ignore_errors=True)


def make(api: httpx2.Client, home: Path) -> dict[str, str]:
    """Makes one artifact of each kind and several SAEs; gives the paths of pages by the names of their pictures."""
    maker = Maker(api)
    (home / "data").mkdir(exist_ok=True)
    shutil.copytree(cached(Path(tempfile.gettempdir()) / "raylens-tests"), home / "data" / "tiny-gpt2")
    texts = [json.dumps({"text": text, "topic": text.split()[4]}) for text in documents(400)]
    (home / "data" / "stories.jsonl").write_text("\n".join(texts))
    (model,) = maker.make("/v1/models", source={"type": "local", "path": "tiny-gpt2"}, tags=["tiny"])
    source = {"type": "local", "path": "stories.jsonl"}
    (dataset,) = maker.make("/v1/datasets", source=source, options={"heldout_fraction": 0.1}, name="stories")
    (tokens,) = maker.make("/v1/tokens", dataset=dataset, model=model, context_length=64)
    saes = [{"hook": HOOK, "architecture": "topk", "d_sae": 192, "k": k} for k in (4, 8, 16)]
    saes += [{"hook": HOOK, "architecture": "batchtopk", "d_sae": 192, "k": k} for k in (4, 8, 16)]
    run, made = maker.submit("/v1/saes", model=model, tokens=tokens, saes=saes, batch_rows=8, epochs=3)
    maker.make("/v1/saes", model=model, tokens=tokens, saes=saes, batch_rows=8, epochs=3)
    for sae in made:
        maker.make("/v1/evaluations", sae=sae)
    (features,) = maker.make("/v1/features", sae=made[1])
    query = "sort=density&order=desc&max_density=0.05&limit=1"
    latent = api.get(f"/v1/{features}/latents?{query}").json()["items"][0]["latent"]
    api.put(f"/v1/{made[1]}/latents/{latent}/star").raise_for_status()
    (labels,) = maker.make("/v1/labels", features=features)
    (labelled,) = maker.make(
        "/v1/tokens", dataset=dataset, model=model, context_length=64, packing="off", metadata_columns=["topic"]
    )
    (probes,) = maker.make("/v1/probes", sae=made[1], tokens=labelled, class_column="topic", min_documents=20, draws=3)
    boats = api.post("/v1/lists", json={"name": "boats and ships"}).raise_for_status().json()["id"]
    listed = [{"sae": made[1], "latent": number} for number in (latent, 3, 17, 40)]
    api.post(f"/v1/lists/{boats}/features", json={"features": listed}).raise_for_status()
    return {
        "overview": "/",
        "datasets": "/datasets",
        "dataset": f"/{dataset}",
        "new-tokens": f"/tokens/new?dataset={dataset}&model={model}",
        "tokens": f"/{tokens}",
        "model": f"/{model}",
        "new-saes": f"/saes/new?model={model}&tokens={tokens}",
        "run": f"/jobs/{run}",
        "saes": "/saes",
        "sae": f"/{made[1]}",
        "features": f"/{features}?sort=density&order=desc",
        "feature": f"/{features}/{latent}",
        "labels": f"/{labels}?sort=label_score&order=desc",
        "map": f"/{labels}/map",
        "list": f"/lists/{boats}",
        "probes": f"/{probes}",
        "jobs": "/jobs",
        "cluster": "/cluster",
        "settings": "/settings",
    }


def take(cluster: RunningCluster, api: httpx2.Client, pages: dict[str, str]) -> None:
    """Opens each page and keeps what is seen without scrolling."""
    from playwright.sync_api import expect

    FOLDER.mkdir(parents=True, exist_ok=True)
    with started() as browser, page_of(browser, cluster.url) as page:
        page.set_viewport_size(SIZE)
        page.emulate_media(color_scheme="light")
        page.goto(f"/sign-in#{cluster.code}")
        page.get_by_role("heading", name="Overview").wait_for()
        for name, path in pages.items():
            page.goto(path)
            page.get_by_role("heading", level=1).wait_for()
            if name == "new-saes":
                page.get_by_role("textbox", name="Hooks", exact=True).first.fill(HOOK)
                page.get_by_role("checkbox", name="topk", exact=True).check()
                page.get_by_role("textbox", name="Latents", exact=True).first.fill("192, 384")
                page.get_by_role("textbox", name="k", exact=True).first.fill("4, 8")
                page.get_by_text("4 SAEs").wait_for()
                page.wait_for_timeout(1000)  # until typing pauses
                page.get_by_text("It fits").wait_for()
                page.evaluate("scrollTo(0, 0)")
            if name == "new-tokens":
                page.get_by_text("It writes up to").or_(page.get_by_text("An equal")).first.wait_for()
                page.get_by_text("separator", exact=True).wait_for(timeout=120_000)
            expect(page.locator(".loading")).to_have_count(0, timeout=60_000)
            page.wait_for_timeout(300)
            page.screenshot(path=FOLDER / f"{name}.png")
    total = sum(file.stat().st_size for file in FOLDER.glob("*.png"))
    print(f"{len(pages)} pictures of {total / 1e6:.2f} MB in {FOLDER.name}/")


if __name__ == "__main__":
    main()
