"""Turns the report's data into one HTML file that needs no network, runs only its own script and escapes all text."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

SCRIPTS = ("dom", "charts", "feature_parts", "table", "feature", "main")


def render(facts: dict[str, Any], overview: dict[str, Any], pages: dict[int, Any]) -> bytes:
    """The page. `facts` are the template's values; `overview` and each of `pages` become blocks of JSON."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True)
    environment.filters["commas"] = lambda number: f"{number:,}"
    script = _script()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    text = environment.from_string(_asset("page.html.j2")).render(
        **facts,
        css=Markup(_asset("page.css")),
        script=Markup(script),
        script_hash=f"sha256-{digest}",
        overview=script_json(overview),
        pages=[(number, script_json(page)) for number, page in sorted(pages.items())],
    )
    return text.encode()


def script_json(value: Any) -> Markup:
    """JSON that is safe within a script element: no `<` in it can end the element or open a comment."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"))


def _script() -> str:
    # The web pages import what is exported here (serve_app/studio); in the report's own page all is one script.
    body = "\n".join(re.sub(r"^(export |import .*\n)", "", _asset(f"js/{name}.js"), flags=re.M) for name in SCRIPTS)
    return f'(() => {{\n"use strict";\n{body}}})();\n'


def _asset(name: str) -> str:
    return files("sae.report").joinpath(name).read_text(encoding="utf-8")
