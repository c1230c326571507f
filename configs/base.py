"""What every config shares: frozen values, unknown keys refused, errors that name the key."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

_INT64 = 1 << 63
Seed = Annotated[int, Field(ge=0, lt=_INT64)]


class Config(BaseModel):
    """A frozen value. An unknown key is an error, and every field carries a description.

    Numbers are finite and whole ones fit into 64 bits: that is what catalogs, tensors and Parquet files hold.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _in_64_bits(cls, value: Any) -> Any:
        if isinstance(value, int) and not -_INT64 <= value < _INT64:
            raise ValueError("Input should be less than 2^63")
        return value


class Resources(Config):
    """Overrides of the profile's requirement for one stage. Never part of an artifact's identity."""

    workers: int | None = Field(None, ge=1, description="How many workers the stage runs on.")
    cpus: float | None = Field(None, ge=0, description="CPUs that each worker asks Ray for.")
    gpus: float | None = Field(None, ge=0, description="GPUs that each worker asks Ray for.")
    memory: int | None = Field(None, ge=0, description="Bytes of memory that each worker asks Ray for.")
    threads: int | None = Field(None, ge=1, description="Compute threads that each worker uses.")
    labels: dict[str, str] | None = Field(
        None, description="Node labels that each worker needs, for example {'ray.io/accelerator-type': 'H100'}."
    )


class StageConfig(Config):
    """Base of all stage configs. `stage` names the stage; `resources` never enters an identity."""

    stage: str = Field(description="Name of the stage that this config is for.")
    resources: Resources = Field(default_factory=Resources, description="Overrides of the profile's requirement.")

    def unused_resources(self) -> tuple[str, ...]:
        """Resources that have no effect on this job, though they have on other jobs of its stage."""
        return ()

    def science(self) -> dict[str, Any]:
        """The part of the config that decides output bytes: all but `resources` and `runtime`, at every depth."""
        science: dict[str, Any] = _without_runtime(self.model_dump(mode="json"))
        return science


def _without_runtime(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_runtime(v) for k, v in value.items() if k not in ("resources", "runtime")}
    if isinstance(value, list):
        return [_without_runtime(v) for v in value]
    return value
