"""What every worker process does first."""

from __future__ import annotations

import os
from tempfile import TemporaryDirectory

import torch

from configs.requirements import Requirement
from sae.language_model.malloc import keep_freed_memory


def temporary_folder() -> TemporaryDirectory[str]:
    """A folder that says whose it is: what a worker that was killed left behind is found by its process id."""
    return TemporaryDirectory(prefix=f"raylens-{os.getpid()}-")


def set_up(requirement: Requirement) -> None:
    """Takes the granted threads, keeps freed memory for the next step, and keeps fp32 products in fp32 (no TF32)."""
    torch.set_num_threads(requirement.threads)
    keep_freed_memory()
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
