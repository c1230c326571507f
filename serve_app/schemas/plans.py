"""The plan of a training run: what it will read and take, and what looks wrong with it."""

from __future__ import annotations

from pydantic import BaseModel, Field


class Operations(BaseModel):
    """Floating-point operations of the matrix products of a run."""

    language_model: float = Field(description="Of the language model up to the last hook, about.")
    saes: float = Field(description="Of the encoders' dense products.")
    total: float = Field(description="Both.")


class TrainingPlan(BaseModel):
    """What is known of a run from its settings and inputs. Nothing is run; times need a look at the model: `train --plan`."""

    missing: list[str] = Field(description="Inputs that do not exist: figures of the run are null then.", examples=[[]])
    workers: int = Field(description="Workers that the job will ask for.")
    rows: int | None = Field(description="Rows that are read, in whole steps.", examples=[1600])
    context_length: int | None = Field(description="Positions of a row.", examples=[128])
    steps: int | None = Field(description="Optimizer steps.", examples=[300])
    tokens: int | None = Field(description="Positions that are read, in all epochs.", examples=[614400])
    data_positions: int | None = Field(description="Of these, about so many are data.", examples=[600500])
    flops: Operations | None = Field(description="Operations of the run.")
    memory_bytes: int | None = Field(description="Memory of the largest worker, about.", examples=[942900224])
    memory_granted: int | None = Field(
        description="Memory that the job will ask for, for a worker.", examples=[2147483648]
    )
    disk_bytes: int | None = Field(description="Bytes that the run and its cache will write to the store, at most.")
    warnings: list[str] = Field(description="What looks wrong, in sentences.", examples=[[]])
