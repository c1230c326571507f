"""Config of the maintenance stage: what may go, and after how long."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from configs.base import StageConfig


class MaintainConfig(StageConfig):
    """Removes what nothing refers to: folders of dead processes, old checkpoints and parts, expired logs and uploads."""

    stage: Literal["maintain"] = "maintain"
    dry_run: bool = Field(True, description="Say what would go, and remove nothing.")
    unfinished_days: float = Field(
        7, ge=0, description="Days after which checkpoints and finished parts of a job that ended may go."
    )
    log_days: float = Field(30, ge=0, description="Days after which the log of a job that ended may go.")
    upload_days: float = Field(
        30, ge=0, description="Days after its last change after which an upload may go that no live job reads."
    )
