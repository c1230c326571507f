"""Where bytes came from: what an equal run on another machine may differ in."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from configs.requirements import Requirement

_PACKAGES = ("torch", "transformers", "tokenizers", "pyarrow", "numpy", "ray", "safetensors")


def provenance_of(requirement: Requirement) -> dict[str, Any]:
    """CPU capability, library builds, device, workers and threads. No times: equal runs have equal manifests."""
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpu_capability": cpu_capability(),
        "packages": {name: found for name in _PACKAGES if (found := _version(name))},
        "device": requirement.device,
        "workers": requirement.workers,
        "threads": requirement.threads,
    }


def cpu_capability() -> str:
    """The vector instructions that decide how sums are rounded: torch's own word if it is loaded, else the kernel's."""
    torch = sys.modules.get("torch")
    if torch is not None:
        return str(torch.backends.cpu.get_cpu_capability())
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except OSError:
        return platform.processor() or "unknown"
    return next((said for flag, said in (("avx512f", "AVX512"), ("avx2", "AVX2")) if flag in flags), "DEFAULT")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
