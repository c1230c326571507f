"""The stages, by name. A stage's module is imported when it is asked for: most of them bring torch or Ray."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

MODULES: dict[str, str] = {
    "download": "jobs.stages.download",
    "tokenize": "jobs.stages.tokenize",
    "harvest": "jobs.stages.harvest",
    "train": "jobs.stages.train",
    "evaluate": "jobs.stages.evaluate",
    "extract": "jobs.stages.extract",
    "report": "jobs.stages.report",
    "maintain": "jobs.stages.maintain",
    "pipeline": "jobs.stages.pipeline",
}


def stage_module(stage: str) -> ModuleType:
    """The module of a stage: VERSION, inputs(), outputs(), run() and, if it can tell, store_bytes()."""
    return import_module(MODULES[stage])
