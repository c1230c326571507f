"""A real browser on the web pages: its errors, those of the pages' policy, and requests elsewhere fail a test."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
REQUIRED = os.environ.get("RAYLENS_REQUIRE_CHROMIUM") == "1"
needs_chromium = pytest.mark.skipif(CHROMIUM is None and not REQUIRED, reason="there is no Chromium here")


@contextmanager
def started() -> Iterator[Any]:
    """Chromium, without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def page_of(browser: Any, url: str, expected: str = "a status of 4") -> Iterator[Any]:
    """A page that nobody has signed in to. `expected`: a console error with this text in it is none."""
    context = browser.new_context(base_url=url, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(30_000)
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda m: faults.append(m.text) if m.type == "error" and expected not in m.text else None)
    page.on("request", lambda r: None if r.url.startswith(url) else faults.append(r.url))
    yield page
    context.close()
    assert not faults


class Keyboard:
    """A person who has no mouse: goes from control to control with Tab, and works them by keys."""

    MOST = 120  # controls between two that a person would give up after

    def __init__(self, page: Any) -> None:
        self.page = page

    def to(self, role: str, name: str, exact: bool = True) -> Any:
        """Presses Tab until a control has the focus."""
        wanted = self.page.get_by_role(role, name=name, exact=exact).first
        wanted.wait_for()
        for _ in range(self.MOST):
            if wanted.evaluate("node => node === document.activeElement"):
                return wanted
            self.page.keyboard.press("Tab")
        raise AssertionError(f"Tab does not reach the {role} {name!r}")

    def press(self, role: str, name: str, exact: bool = True, key: str = "Enter") -> None:
        """Goes there and presses a key."""
        self.to(role, name, exact)
        self.page.keyboard.press(key)

    def write(self, name: str, text: str, exact: bool = True) -> None:
        """Goes to a text field and types."""
        self.to("textbox", name, exact)
        self.page.keyboard.type(text)

    def choose(self, name: str, text: str, exact: bool = True) -> None:
        """Goes to a list of choices and types the beginning of one."""
        field = self.to("combobox", name, exact)
        self.page.keyboard.type(text)
        assert field.evaluate("node => node.selectedOptions[0].textContent").startswith(text)

    def heading(self, name: str, exact: bool = True, timeout: float = 30_000) -> None:
        """Waits for a page, whose heading has the focus then."""
        self.page.get_by_role("heading", level=1, name=name, exact=exact).wait_for(timeout=timeout)
