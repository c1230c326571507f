"""Tables for people: the nodes of a cluster, and how the stages of a profile stand to it."""

from __future__ import annotations

import io
import shutil
from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from configs.requirements import Capacity, Fit, FitResult, Requirement
from configs.requirements.capacity import show_labels
from configs.resource_profiles import Profile

_GIB = 2**30
_NO_TERMINAL = 120  # columns, where the output goes into a file
_ANSWERS = {Fit.NOW: "yes", Fit.GROW: "after growing", Fit.LATER: "later", Fit.NEVER: "NO"}


def nodes_table(capacity: Capacity) -> str:
    """One line for each node and each type of node that the autoscaler may add."""
    table = _table("node", "CPU", "GPU", "memory (GiB)", "labels")
    head_first = sorted(capacity.nodes, key=lambda node: node.labels.get("raylens.io/role") != "head")
    for i, node in enumerate(head_first):
        memory = f"{node.free_memory / _GIB:.1f} of {node.memory / _GIB:.1f}"
        name = node.labels.get("raylens.io/role", "node")
        cpus, gpus = _of(node.free_cpus, node.cpus), _of(node.free_gpus, node.gpus)
        table.add_row(f"{i + 1} {name}", cpus, gpus, memory, _labels(node.labels))
    for one in capacity.node_types:
        more = "any number" if one.more is None else f"{one.more} more"
        table.add_row(
            f"+ {one.name}: {more}", f"{one.cpus:g}", f"{one.gpus:g}", f"{one.memory / _GIB:.1f}", _labels(one.labels)
        )
    return _shown(table)


def stages_table(profile: Profile, verdicts: Mapping[str, FitResult]) -> str:
    """One line for each stage: what it needs, whether it fits, and why not."""
    table = _table(
        "stage", "needs: workers x each", "fits", "why not" if any(_why(one) for one in verdicts.values()) else ""
    )
    for stage, verdict in verdicts.items():
        table.add_row(stage, _need(profile.stages[stage]), _ANSWERS[verdict.fit], _why(verdict))
    return _shown(table)


def _need(requirement: Requirement) -> str:
    if not requirement.needs_resources():
        return "nothing of its own"
    parts = [f"{requirement.cpus:g} CPU", *([f"{requirement.gpus:g} GPU"] if requirement.gpus else [])]
    parts += [f"{requirement.memory / _GIB:g} GiB"] if requirement.memory else []
    return f"{requirement.workers} x {{{', '.join([*parts, *(f'{k}={v}' for k, v in requirement.labels.items())])}}}"


def _why(verdict: FitResult) -> str:
    if verdict.fit is Fit.NOW:
        return ""
    if verdict.fit is not Fit.NEVER:
        return verdict.finding
    few = f"only {verdict.largest_workers} such would fit. " if verdict.largest_workers else ""
    return f"{few}{verdict.suggestion}"


def _of(free: float, total: float) -> str:
    return f"{free:g} of {total:g}" if total else "0"


def _labels(labels: Mapping[str, str]) -> str:
    return show_labels(labels).removeprefix(", ")


def _table(*columns: str) -> Table:
    table = Table(*columns, header_style="", box=None, padding=(0, 2, 0, 0))
    for column in table.columns[:-1]:
        column.no_wrap = True
    return table


def _shown(table: Table) -> str:
    columns = shutil.get_terminal_size((_NO_TERMINAL, 24)).columns
    console = Console(file=io.StringIO(), width=max(80, columns), color_system=None, highlight=False, markup=False)
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())
