"""Which token positions are data: settings shared by all stages that read activations."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from configs.base import Config

SpeakerName = Literal["none", "system", "user", "assistant", "tool", "thinking", "template"]
SPEAKERS: tuple[SpeakerName, ...] = ("none", "system", "user", "assistant", "tool", "thinking", "template")  # by code


class DataPolicy(Config):
    """Which positions are data. Padding, BOS and separators never are; two kinds can be let in, and it is recorded."""

    calibration_rows: int = Field(64, ge=1, description="Rows at the start of the split that calibrate each hook.")
    sink_factor: float = Field(
        3.0, gt=1, description="A position whose norm exceeds this many times the median norm is an attention sink."
    )
    include_sinks: bool = Field(False, description="Treat attention sinks as data.")
    include_special: bool = Field(False, description="Treat special tokens other than BOS, PAD and separator as data.")
    speakers: tuple[SpeakerName, ...] = Field(
        (),
        description="Whose tokens are data, where the tokens are of chats: system, user, assistant, tool, thinking (of the "
        "assistant), template (what the chat template writes) and none (of documents that are no chats). Empty: all.",
    )

    @field_validator("speakers")
    @classmethod
    def _in_order(cls, speakers: tuple[SpeakerName, ...]) -> tuple[SpeakerName, ...]:
        """Which speakers, not in what order they were named: equal policies have one record."""
        return tuple(name for name in SPEAKERS if name in speakers)
