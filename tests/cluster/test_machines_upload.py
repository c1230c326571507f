"""`ray job submit --working-dir .` uploads the checkout: it must stay small, and hold what a job imports."""

from __future__ import annotations

import zipfile
from pathlib import Path

from ray._private.ray_constants import get_runtime_env_default_excludes
from ray._private.runtime_env.packaging import create_package

from cluster.machines.paths import code_root

LIMIT = 5 << 20


def test_the_upload_is_below_five_megabytes(tmp_path: Path) -> None:
    package = tmp_path / "upload.zip"
    create_package(str(code_root()), package, include_gitignore=True, excludes=get_runtime_env_default_excludes())
    names = zipfile.ZipFile(package).namelist()
    sizes = sorted(((i.compress_size, i.filename) for i in zipfile.ZipFile(package).infolist()), reverse=True)
    assert package.stat().st_size < LIMIT, f"the largest are {sizes[:5]}; add them to .rayignore"
    assert {"jobs/__main__.py", "configs/presets/pipeline.yaml", "sae/__init__.py"} <= set(names)
    assert not [name for name in names if name.startswith((".git/", ".venv/"))]
