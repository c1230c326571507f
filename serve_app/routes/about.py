"""What the server consists of, and configs to begin with."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import Distribution, distributions
from pathlib import Path

from fastapi import APIRouter

import configs
from configs.cpu_dtypes import bf16_options, cpu_dtypes
from configs.load import load_config
from serve_app.routes.system import raylens_version
from serve_app.schemas.access import About, Library, Preset

router = APIRouter(prefix="/v1", tags=["system"])


@router.get("/about", summary="Get versions and licences")
def get_about() -> About:
    """Of RayLens and of the Python packages that are installed on the server."""
    return About(
        version=raylens_version(), license="Apache-2.0", python=platform.python_version(), libraries=_libraries()
    )


@cache
def _libraries() -> list[Library]:
    found = {d.name: Library(name=d.name, version=d.version, license=_license(d)) for d in distributions() if d.name}
    return sorted(found.values(), key=lambda library: library.name.lower())


def _license(distribution: Distribution) -> str:
    """The licence in a few words: the expression of a package, the last part of its classifier, or its first line."""

    def values(field: str) -> list[str]:
        return [text for text in distribution.metadata.get_all(field) or [] if text.strip()]

    classifiers = [text.rpartition(" :: ")[2] for text in values("Classifier") if text.startswith("License ::")]
    found = values("License-Expression") or [", ".join(classifiers)] * bool(classifiers) or values("License")
    return found[0].strip().splitlines()[0][:80] if found else "not stated"


@router.get("/presets", summary="List configs to begin with")
def list_presets() -> list[Preset]:
    """Each can be submitted as it is with `POST /v1/jobs`."""
    return [_demo()]


@cache
def _demo() -> Preset:
    """The demo that `make demo` runs, in bf16 where this CPU computes in it."""
    overrides = bf16_options(cpu_dtypes())[1::2]
    config = load_config("pipeline", Path(configs.__file__).parent / "presets" / "pipeline.yaml", overrides)
    return Preset(
        name="demo",
        title="The demo: from SmolLM2-135M and the CIA World Factbook to a page of features",
        config=config.model_dump(mode="json", exclude_unset=True),
    )
