"""docs/modules.md: one line for each module, from the first line of its docstring.

python -m tests.module_map     writes it; tests/test_docs.py checks that it is up to date
"""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "docs" / "modules.md"
FOLDERS = ("configs", "sae", "cluster", "actors", "jobs", "serve_app", "benchmarks")
_HEAD = """# Modules

One line for each module: the first line of its docstring. Made by `python -m tests.module_map`; do not edit it.
"""


def render() -> str:
    """The whole document, as Markdown."""
    tables = [_table(folder) for top in FOLDERS for folder in _packages(ROOT / top)]
    return "\n".join([_HEAD, *tables])


def _packages(top: Path) -> list[Path]:
    return sorted(path.parent for path in top.rglob("__init__.py") if "versions" not in path.parts)


def _table(folder: Path) -> str:
    modules = sorted(path for path in folder.glob("*.py") if path.name != "__init__.py")
    lines = [f"## {folder.relative_to(ROOT)}", "", _first_line(folder / "__init__.py"), ""]
    if modules:
        lines += ["| module | content |", "|---|---|"]
        lines += [f"| `{path.name}` | {_first_line(path).replace('|', chr(92) + '|')} |" for path in modules]
        lines.append("")
    return "\n".join(lines)


def _first_line(path: Path) -> str:
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(text.split("\n\n")[0].split())


if __name__ == "__main__":
    FILE.write_text(render(), encoding="utf-8")
