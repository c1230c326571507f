"""What a job needs of machines and of the store."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from configs.base import Config
from configs.requirements.labels import checked_selectors

MAX_WORKERS = 10_000
_MAX_UNITS = 100_000
_STEP = 1e-4  # Ray counts CPUs and GPUs in steps of this size
_MIB, _PIB = 1 << 20, 1 << 50


class Requirement(Config):
    """What a job needs: `workers` equal workers, and bytes in the store.

    Sizes that no machine has, or that Ray cannot count, are refused here, where the message can name them.
    """

    workers: int = Field(1, ge=1, le=MAX_WORKERS, description="Number of equal workers.")
    cpus: float = Field(1, ge=0, le=_MAX_UNITS, allow_inf_nan=False, description="CPUs of each worker.")
    gpus: float = Field(0, ge=0, le=_MAX_UNITS, allow_inf_nan=False, description="GPUs of each worker.")
    memory: int = Field(0, ge=0, le=_PIB, description="Bytes of memory of each worker; 0 asks for none in particular.")
    labels: dict[str, str] = Field(
        default_factory=dict, description="Labels of the nodes that workers may run on: value, !value or in(a, b)."
    )
    threads: int = Field(1, ge=1, le=4096, description="Compute threads of each worker; set apart from `cpus`.")
    device: Literal["cpu", "cuda"] = Field("cpu", description="Where tensors live.")
    store_bytes: int = Field(0, ge=0, le=1 << 60, description="Bytes that the job will write to the store.")

    @field_validator("cpus", "gpus")
    @classmethod
    def _countable(cls, value: float) -> float:
        if abs(value / _STEP - round(value / _STEP)) > 1e-6:
            raise ValueError(f"CPUs and GPUs are counted in steps of 0.0001, for example {round(value, 4) or _STEP:g}")
        return value

    @field_validator("gpus")
    @classmethod
    def _whole_above_one(cls, value: float) -> float:
        if value > 1 and value != int(value):
            raise ValueError("more than one GPU a worker must be a whole number of them")
        return value

    @field_validator("memory")
    @classmethod
    def _in_bytes(cls, value: int) -> int:
        if 0 < value < _MIB:
            raise ValueError(f"memory is in bytes, and {value} bytes hold no worker (4 GiB are {4 << 30})")
        return value

    @field_validator("labels")
    @classmethod
    def _selectors(cls, value: dict[str, str]) -> dict[str, str]:
        return checked_selectors(value)

    def __str__(self) -> str:
        store = f", and {self.store_bytes / 2**30:.2f} GiB in the store" if self.store_bytes else ""
        return f"{self.workers} worker{'s' * (self.workers > 1)} x {{{self.size()}}}{store}"

    def size(self) -> str:
        """What one worker needs, in words."""
        parts = [f"{self.cpus:g} CPU", f"{self.gpus:g} GPU"]
        parts += [f"{self.memory / 2**30:.1f} GiB memory"] if self.memory else []
        return ", ".join([*parts, *(f"{key}={value}" for key, value in self.labels.items())])

    def needs_resources(self) -> bool:
        """False for a job that uses nothing on any node, as a pipeline, which only waits for others."""
        return bool(self.cpus or self.gpus or self.memory)
