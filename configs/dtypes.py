"""Element types that a config may name."""

from __future__ import annotations

from typing import Literal

LmDtype = Literal["auto", "fp32", "bf16", "fp16"]
CacheDtype = Literal["fp32", "bf16", "fp16"]
