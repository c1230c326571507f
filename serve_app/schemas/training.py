"""A training job while it runs and after: its curves and checkpoints."""

from __future__ import annotations

from pydantic import BaseModel, Field

Columns = dict[str, list[float | None]]


class SaeCurves(BaseModel):
    """The curves of one SAE of the run, as far as it is trained."""

    sae: str = Field(description="The SAE.", examples=["saes/67d5273bd9611bd1"])
    label: str = Field(description="What it is.", examples=["topk 4608 k=32 at blocks.7.hook_resid_post"])
    finished: bool = Field(description="Whether it is trained and in the store.")
    steps: int = Field(description="Steps so far.")
    columns: Columns = Field(
        description="Columns of equal length, one of them `step`: at most 300 steps, evenly spaced, the last among them.",
        examples=[{"step": [0, 1], "mse": [1.0, 0.8], "l0": [32, 32], "dead": [0, 0], "lr": [0.001, 0.001]}],
    )


class RunCheckpoint(BaseModel):
    """A checkpoint that the job would go on from."""

    block: int = Field(description="The next block of the run.")
    bytes: int = Field(description="Bytes of its files.")
    saes: int = Field(description="SAEs that it holds.")


class Training(BaseModel):
    """A training job. Read it again when its progress changes: curves grow once a block."""

    saes: list[SaeCurves] = Field(description="All SAEs of the run, in the order of its config.")
    checkpoints: list[RunCheckpoint] = Field(
        description="Checkpoints in the store, the newest first. A job that has succeeded has none."
    )
