"""How much memory a language model takes. Needs no torch: replicas that load no model ask it too."""

from __future__ import annotations

_BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}
_OVERHEAD = 1.3  # of a model in memory over its weights, while it is loaded


def needed_bytes(parameters: int, dtype: str) -> int:
    """Memory that a model takes while it is loaded."""
    return int(parameters * _BYTES[dtype] * _OVERHEAD)


def process_bytes(parameters: int, dtype: str) -> int:
    """Memory of the process that holds it: torch, an SAE and a row's activations take some too."""
    return needed_bytes(parameters, dtype) + (768 << 20)
