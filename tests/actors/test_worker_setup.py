"""What a worker does first."""

from __future__ import annotations

import pytest

from actors import worker_setup
from actors.worker_setup import DtypeNotInHardware, refuse_emulated
from configs.requirements import Requirement


def test_a_worker_refuses_what_its_cpu_would_emulate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_setup, "cpu_dtypes", lambda: frozenset({"fp32"}))
    with pytest.raises(DtypeNotInHardware, match=r"has no bf16 instructions.*set lm_dtype=fp32"):
        refuse_emulated(Requirement(), "off", "bf16")
    refuse_emulated(Requirement(), "off", "fp32")
    refuse_emulated(Requirement(device="cuda", gpus=1), "bf16")
    monkeypatch.setattr(worker_setup, "cpu_dtypes", lambda: frozenset({"fp32", "bf16"}))
    refuse_emulated(Requirement(), "bf16")
