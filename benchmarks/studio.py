"""The web pages in Chromium, on this machine's cores, the server among them: first load, 100,000 features, progress.

python -m benchmarks.studio [--rounds 40]
"""

from __future__ import annotations

import argparse
import os
import signal
import threading
import time
from typing import Any

from benchmarks.api import p95
from benchmarks.api_data import feature_set
from benchmarks.common import Figure, machine, write_results
from configs.artifact_ids import ArtifactRef
from serve_app.security.sessions import new_code
from tests.serve_app.browser import page_of, started
from tests.serve_app.following import client, driven_job
from tests.serve_app.sample_artifacts import TOKENS
from tests.serve_app.schema_cases import warm
from tests.serve_app.served import Served, served, temporary_samples, wait_until

FEATURES = 100_000
SET = ArtifactRef("features", "00000000000186a0")
TABLE = f"/features/{SET.id}"
SORTS = ("density", "max", "mean", "latent")
REPLICAS = 2
FIRST = "document.querySelector('[aria-label=Features] tbody td a')?.textContent"
# Scrolls by 400 px a frame; gives milliseconds between frames, in how many nothing was to be seen, and how far it came.
SCROLL = """async () => {
  const box = document.querySelector('[aria-label=Features]');
  const times = []; let blank = 0, last = performance.now();
  for (let i = 0; i < 240; i++) {
    box.scrollTop += 400;
    await new Promise(requestAnimationFrame);
    const now = performance.now(); times.push(now - last); last = now;
    const middle = box.getBoundingClientRect();
    const at = document.elementFromPoint(middle.left + 60, middle.top + middle.height / 2);
    if (!at || !at.closest('tbody td')) blank += 1;
  }
  return {times, blank, at: box.scrollTop};
}"""


# Notes when a page has shown its first figures, in the page itself: the way to this process and back is no part of it.
SHOWN = """new MutationObserver((_, observer) => {
  if (!document.querySelector('.tile')) return;
  observer.disconnect();
  requestAnimationFrame(() => { window.shownAt = performance.now(); });
}).observe(document, {childList: true, subtree: true});"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40, help="of each measurement")
    given = parser.parse_args()
    host = machine()
    with temporary_samples() as samples, served(samples, REPLICAS) as site:
        feature_set(samples.store, samples, SET, FEATURES)
        manifest = samples.store.manifest(SET)
        assert manifest is not None
        complete = manifest.model_copy(update={"inputs": {"sae": str(samples.sae), "tokens": str(TOKENS)}})
        site.catalog.record_artifact(complete.model_dump(mode="json"))
        warm(site.url, site.token, samples)
        with client(site) as http:
            for _ in range(4 * REPLICAS):  # each replica reads the table once
                http.get(f"/v1{TABLE}/latents?limit=1").raise_for_status()
        with started() as browser:
            loads, script = first_load(browser, site, given.rounds)
            with signed_in(browser, site) as page:
                rows = table(page, given.rounds)
                sorts, filters = sorted_and_filtered(page, site, given.rounds)
                opened = features(page, given.rounds)
                frames = scrolled(page)
                late = progress(page, site, given.rounds)
                lost, killed = over_kills(page, site)
    figures = [
        _row("first load of a page, local, warm server, median", sorted(loads)[len(loads) // 2], 1000),
        Figure("JavaScript of the first page, compressed", f"{script / 1024:.0f} KiB", "<= 300 KB", script <= 300_000),
        _row("first rows of 100,000 features, p95", p95(rows), 500),
        _row("a sort, p95", p95(sorts), 300),
        _row("a filter, from the last key, p95", p95(filters), 300),
        _row("scrolling: between frames, median", sorted(frames["times"])[len(frames["times"]) // 2], 17),
        Figure("scrolled by 240 steps of 400 px", f"{frames['at']:,.0f} px", ">= 96,000 px", frames["at"] >= 96_000),
        Figure("frames of 240 without a row in the middle", str(frames["blank"]), "0", frames["blank"] == 0),
        _row("a feature's page, from the click, p95", p95(opened), 200),
        _row("progress shown behind the job, p95", p95(late), 1500),
        Figure(f"changes of {killed} jobs not shown over two replica kills", str(lost), "0", not lost),
    ]
    raw = {"first_load": loads, "rows": rows, "sorts": sorts, "filters": filters, "features": opened, "progress": late}
    settings = {"rounds": given.rounds, "features": FEATURES, "replicas": REPLICAS}
    write_results("studio", "The web pages in Chromium", figures, settings, {**raw, "frames": frames["times"]}, host)


def until(act: str, test: str) -> str:
    """A function of the page that acts, and gives the milliseconds until a test is true, which it looks at once a frame."""
    return f"""() => new Promise((resolve, reject) => {{
      const began = performance.now();
      {act};
      const look = () => ({test}) ? resolve(performance.now() - began)
        : performance.now() - began > 30000 ? reject(new Error("not within 30 s")) : requestAnimationFrame(look);
      look();
    }})"""


class signed_in:
    """A page of a browser, signed in, while the block runs. Requests that a killed replica left unanswered are no fault."""

    def __init__(self, browser: Any, site: Served) -> None:
        self._page = page_of(browser, site.url, expected="Failed to load resource")
        self._site = site

    def __enter__(self) -> Any:
        page = self._page.__enter__()
        page.goto(f"/sign-in#{new_code(self._site.catalog)}")
        page.get_by_role("heading", name="Overview").wait_for()
        page.locator(".tile").first.wait_for()
        return page

    def __exit__(self, *error: Any) -> None:
        self._page.__exit__(*error)


def first_load(browser: Any, site: Served, rounds: int) -> tuple[list[float], int]:
    """Milliseconds until the overview has its figures, of browsers that have nothing yet; bytes of its JavaScript."""
    took, size = [], 0
    with signed_in(browser, site) as page:
        state = page.context.storage_state()
    for _ in range(max(5, rounds // 4)):
        context = browser.new_context(base_url=site.url, storage_state=state)
        page = context.new_page()
        page.add_init_script(SHOWN)
        page.goto("/", wait_until="commit")
        page.locator(".tile").first.wait_for()
        took.append(page.evaluate("new Promise(resolve => requestAnimationFrame(() => resolve(window.shownAt)))"))
        entries = "performance.getEntriesByType('resource').filter(one => one.name.endsWith('.js'))"
        size = page.evaluate(f"{entries}.reduce((sum, one) => sum + one.encodedBodySize, 0)")
        context.close()
    return took, size


def table(page: Any, rounds: int) -> list[float]:
    """Milliseconds from a click on the name of the set to its first rows."""
    took = []
    for _ in range(rounds):
        page.goto("/features")
        link = f"document.querySelector('a[href=\"{TABLE}\"]')"
        page.locator(f'a[href="{TABLE}"]').wait_for()
        took.append(page.evaluate(until(f"{link}.click()", f"{FIRST} !== undefined")))
    return took


def sorted_and_filtered(page: Any, site: Served, rounds: int) -> tuple[list[float], list[float]]:
    """Milliseconds from a click on a header, and from a filter that was typed, to other rows."""
    sorts, filters = [], []
    draw = iter(range(10**6))
    with client(site) as http:

        def first(query: str) -> str:
            return str(http.get(f"/v1{TABLE}/latents?limit=1&{query}").json()["items"][0]["latent"])

        page.goto(TABLE)
        page.get_by_role("region", name="Features").get_by_role("link").first.wait_for()
        for i in range(rounds):
            wanted = SORTS[i % len(SORTS)]
            index = ("latent", "density", "max", "mean").index(wanted)
            act = f"document.querySelectorAll('[aria-label=Features] thead th button')[{index}].click()"
            # A first click on a header puts the largest first.
            expected = first(f"sort={wanted}&order=desc")
            sorts.append(page.evaluate(until(act, f"{FIRST} === '{expected}'")))
        page.goto(f"{TABLE}?sort=density&order=asc")
        field = page.get_by_label("Density, at least")
        for _ in range(rounds):
            least = 0.001 + next(draw) / 20_000
            field.fill("")
            page.wait_for_timeout(300)
            wanted = first(f"sort=density&order=asc&min_density={least}")
            type_it = (
                "const field = document.querySelectorAll('.controls input.narrow')[0];"
                "Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value').set.call(field, '%s');"
                "field.dispatchEvent(new Event('input', {bubbles: true}))"
            )
            filters.append(page.evaluate(until(type_it % least, f"{FIRST} === '{wanted}'")))
    return sorts, filters


def features(page: Any, rounds: int) -> list[float]:
    """Milliseconds from a click on a feature to its page with its figures."""
    took = []
    page.goto(TABLE)
    for i in range(rounds):
        page.get_by_role("region", name="Features").get_by_role("link").first.wait_for()
        link = f"document.querySelectorAll('[aria-label=Features] tbody td a')[{i % 20}]"
        shown = "document.querySelector('h1').textContent.startsWith('Feature ') && document.querySelector('.facts dd')"
        took.append(page.evaluate(until(f"{link}.click()", shown)))
        page.go_back()
    return took


def scrolled(page: Any) -> Any:
    """Milliseconds between frames, and frames without a row, while the table is scrolled."""
    page.goto(TABLE)
    page.get_by_role("region", name="Features").get_by_role("link").first.wait_for()
    return page.evaluate(SCROLL)


def progress(page: Any, site: Served, rounds: int) -> list[float]:
    """Milliseconds from writing progress to seeing it."""
    job, attempt = driven_job(site, 7001)
    page.goto(f"/jobs/{job}")
    page.locator(".feed.live").wait_for()
    took = []
    for i in range(rounds):
        began = time.monotonic()
        site.catalog.progress(job, attempt, phase="pack", done=1000 + i, total=100_000, unit="rows")
        page.get_by_text(f"{1000 + i:,} of").first.wait_for()
        took.append(1000 * (time.monotonic() - began))
        time.sleep(0.13)
    site.catalog.finish(job, attempt, "CANCELLED")
    return took


def over_kills(page: Any, site: Served, jobs: int = 12, kills: int = 2) -> tuple[int, int]:
    """Jobs whose end the list does not show although it was never loaded again, of those that ended while replicas died."""
    made = [driven_job(site, 8000 + i) for i in range(jobs)]
    page.goto("/jobs")
    page.locator(".feed.live").wait_for()
    page.get_by_role("link", name=made[-1][0]).wait_for()
    page.evaluate("window.sameDocument = true")

    def end_all() -> None:
        for job, attempt in made:
            site.catalog.finish(job, attempt, "CANCELLED")
            time.sleep(1.5)

    ending = threading.Thread(target=end_all)
    ending.start()
    for _ in range(kills):
        victim = site.pids()[0]
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda victim=victim: len(set(site.ready()) - {victim}) == REPLICAS, 120, "a replica in its place")
    ending.join()
    page.locator(".feed.live").wait_for(timeout=60_000)
    page.wait_for_timeout(1500)
    assert page.evaluate("window.sameDocument")
    rows = [page.get_by_role("row", name=job) for job, _ in made]
    return sum("cancelled" not in row.inner_text() for row in rows), jobs


def _row(what: str, value: float, most: float) -> Figure:
    return Figure(what, f"{value:.0f} ms", f"<= {most:,.0f} ms", value <= most)


if __name__ == "__main__":
    main()
