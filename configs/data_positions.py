"""Which token positions are data: settings shared by all stages that read activations."""

from __future__ import annotations

from pydantic import Field

from configs.base import Config


class DataPolicy(Config):
    """Which positions are data. Padding, BOS and separators never are; these two can be let in, and it is recorded."""

    calibration_rows: int = Field(64, ge=1, description="Rows at the start of the split that calibrate each hook.")
    sink_factor: float = Field(
        3.0, gt=1, description="A position whose norm exceeds this many times the median norm is an attention sink."
    )
    include_sinks: bool = Field(False, description="Treat attention sinks as data.")
    include_special: bool = Field(False, description="Treat special tokens other than BOS, PAD and separator as data.")
