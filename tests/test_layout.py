"""The layout: imports run one way, Ray is imported in its folders only, no pickle, small uploads."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ALLOWED_IMPORTS = {
    "configs": set(),
    "sae": {"configs"},
    "cluster.store": {"configs"},
    "cluster.catalog": {"configs"},
    "cluster.machines": {"configs"},
    "actors": {"sae", "configs", "cluster.store"},
    "jobs": {"actors", "sae", "configs", "cluster.store", "cluster.catalog", "cluster.machines"},
    "serve_app": {"jobs", "actors", "sae", "configs", "cluster.store", "cluster.catalog", "cluster.machines"},
}
MAY_USE_RAY = ("cluster.machines", "actors", "jobs", "serve_app")


def _folder(module: str) -> str | None:
    return next((folder for folder in ALLOWED_IMPORTS if module == folder or module.startswith(folder + ".")), None)


def _imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


FILES = [
    path
    for folder in ("configs", "sae", "cluster", "actors", "jobs", "serve_app")
    for path in (ROOT / folder).rglob("*.py")
]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_run_one_way(path: Path) -> None:
    folder = _folder(".".join(path.relative_to(ROOT).with_suffix("").parts))
    if folder is None:
        return  # cluster/__main__.py joins its three folders
    imported = _imports(path)
    for name in imported:
        target = _folder(name)
        if target is not None and target != folder:
            assert target in ALLOWED_IMPORTS[folder], (
                f"{path.relative_to(ROOT)} imports {name}: {folder} may not know {target}"
            )
        if name.split(".")[0] == "ray":
            assert folder in MAY_USE_RAY, f"{path.relative_to(ROOT)} imports {name}: {folder} knows no Ray"
    assert not imported & {"pickle", "dill", "cloudpickle"}, f"{path}: no pickle in or out of the program"


def test_the_upload_of_the_working_tree_is_small() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    ignored = [line for line in (ROOT / ".rayignore").read_text().splitlines() if line and not line.startswith("#")]
    names = [name for name in listed.stdout.splitlines() if not name.startswith(tuple(ignored))]
    sizes = {name: (ROOT / name).stat().st_size for name in names if (ROOT / name).is_file()}
    assert sum(sizes.values()) < 6_000_000, sorted(sizes.items(), key=lambda item: -item[1])[:5]


def test_the_api_starts_without_the_libraries_of_models() -> None:
    """Each replica imports it when it starts, and again after it died: torch, transformers and SciPy would double the time."""
    code = (
        "import sys, serve_app.app; print([name for name in ('torch', 'transformers', 'scipy') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
