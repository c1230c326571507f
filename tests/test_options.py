"""Law 8: every option that a config accepts is read by the code that it is for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from configs.base import Config
from configs.stages import STAGES

ROOT = Path(__file__).resolve().parent.parent


def _models(kind: type[Config]) -> list[type[Config]]:
    return [kind, *(model for child in kind.__subclasses__() for model in _models(child))]


def _options() -> list[tuple[str, str]]:
    assert STAGES
    return sorted(
        {
            (model.__name__, name)
            for model in _models(Config)
            if model.__module__.startswith("configs.")
            for name in model.model_fields
        }
    )


CODE = {
    path: path.read_text(encoding="utf-8")
    for room in ("configs", "sae", "cluster", "actors", "jobs")
    for path in (ROOT / room).rglob("*.py")
}


@pytest.mark.parametrize(("model", "name"), _options(), ids=lambda value: str(value))
def test_an_option_is_read_outside_its_definition(model: str, name: str) -> None:
    # As an attribute (`config.rows`), or by name where a mapping of the whole value is read (`"rows"`).
    read = re.compile(rf"(\.|\"){name}\b(?!\s*:)")
    places = [path for path, text in CODE.items() if read.search(text)]
    assert places, f"{model}.{name} is accepted and nothing reads it"
