"""The table of stages in docs/operations.md: what each does and requires, from the registry and the resource profiles.

python -m tests.stage_table     writes it there; tests/test_docs.py checks that it is up to date
"""

from __future__ import annotations

from pathlib import Path

from configs.requirements import Requirement
from configs.resource_profiles import load_profile
from configs.stages import STAGES

FILE = Path(__file__).resolve().parent.parent / "docs" / "operations.md"
BEGIN = "| stage | what it does |"
_COLUMNS = ("workers", "CPUs", "GPUs", "memory of each worker", "threads")


def render() -> str:
    """The table as Markdown; where the profile `gpu` differs from `local`, its value stands in brackets."""
    profiles = load_profile("local", False), load_profile("gpu", True)
    lines = [f"{BEGIN} {' | '.join(_COLUMNS)} |", "|---" * (2 + len(_COLUMNS)) + "|"]
    for name, entry in STAGES.items():
        pairs = zip(*(_cells(profile.stages[name]) for profile in profiles), strict=True)
        cells = [local if local == gpu else f"{local} (`gpu`: {gpu})".strip() for local, gpu in pairs]
        lines.append(f"| {name} | {entry.title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cells(requirement: Requirement) -> list[str]:
    memory = f"{requirement.memory / 2**30:g} GiB" if requirement.memory else ""
    gpus = f"{requirement.gpus:g}" if requirement.gpus else ""
    return [str(requirement.workers), f"{requirement.cpus:g}", gpus, memory, str(requirement.threads)]


def replaced(text: str) -> str:
    """The document with the table of now. Raises ValueError if it has no such table."""
    begin = text.index(BEGIN)
    return text[:begin] + render() + text[text.index("\n\n", begin) :]


if __name__ == "__main__":
    FILE.write_text(replaced(FILE.read_text(encoding="utf-8")), encoding="utf-8")
