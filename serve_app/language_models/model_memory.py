"""Memory of a language model. Needs no torch, for replicas that load no model."""

from __future__ import annotations

BYTES: dict[str, int] = {"fp32": 4, "bf16": 2, "fp16": 2}  # of a weight
_OVERHEAD = 1.3  # memory during the load, relative to the weights


def needed_bytes(parameters: int, dtype: str) -> int:
    """Bytes of memory that loading a model takes."""
    return int(parameters * BYTES[dtype] * _OVERHEAD)


def process_bytes(parameters: int, dtype: str) -> int:
    """Bytes of memory of the process that runs it: torch, an SAE and activations included."""
    return needed_bytes(parameters, dtype) + (768 << 20)
