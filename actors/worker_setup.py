"""What every worker process does first."""

from __future__ import annotations

import os
import platform
from tempfile import TemporaryDirectory

from configs.cpu_dtypes import cpu_dtypes
from configs.requirements import Requirement


def temporary_folder() -> TemporaryDirectory[str]:
    """A folder whose name has this process' id, by which the folder of a killed worker is found."""
    return TemporaryDirectory(prefix=f"raylens-{os.getpid()}-")


class DtypeNotInHardware(ValueError):
    """A half precision that this node's CPU could only emulate."""


def refuse_emulated(requirement: Requirement, *dtypes: str) -> None:
    """Raises DtypeNotInHardware if one of `dtypes`, in which the worker will compute, would be emulated on this CPU."""
    emulated = (set(dtypes) & {"bf16", "fp16"}) - cpu_dtypes()
    if requirement.device == "cpu" and emulated:
        raise DtypeNotInHardware(
            f"the CPU of node {platform.node()} has no {' or '.join(sorted(emulated))} instructions, and emulating them takes "
            "about 50 times as long as fp32: set lm_dtype=fp32 (and autocast=off), or resources.labels to nodes that have them"
        )


def set_up(requirement: Requirement) -> None:
    """Takes the granted threads, keeps freed memory for the next step, and keeps fp32 products in fp32 (no TF32)."""
    import torch  # here: workers that only read text start without it

    from sae.language_model.malloc import keep_freed_memory

    torch.set_num_threads(requirement.threads)
    keep_freed_memory()
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
