"""Documents that are made from the code are up to date, and links between documents lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests import module_map, stage_table

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def test_the_module_map_is_up_to_date() -> None:
    assert module_map.FILE.read_text(encoding="utf-8") == module_map.render(), "run python -m tests.module_map"


def test_the_table_of_stages_is_up_to_date() -> None:
    text = stage_table.FILE.read_text(encoding="utf-8")
    assert stage_table.replaced(text) == text, "run python -m tests.stage_table"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_files_and_headings(path: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", path.read_text(encoding="utf-8")):
        linked = (path.parent / target).resolve() if target else path
        assert linked.exists(), f"{path.name} links to {target}"
        if anchor:
            assert anchor in _anchors(linked), f"{path.name} links to {target}#{anchor}"


def _anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
