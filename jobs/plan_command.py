"""`python -m jobs train --config FILE --plan`: what the run will read and take, and what looks wrong. Nothing is made."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import IO, Any

from configs.load import load_config
from configs.resource_profiles import load_profile, requirement_for
from configs.train import TrainConfig
from jobs.life.outcome import failure_of
from jobs.life.planner import resolve_auto
from jobs.plan_probe import probe
from jobs.preflight import estimate


def plan(given: argparse.Namespace, answer: IO[str]) -> int:
    """Writes the plan as one JSON line to `answer` and as text to standard error. Gives the exit status."""
    try:
        found = _plan(given)
    except Exception as error:  # noqa: BLE001 - a plan that cannot be made is told in one message
        print(f"error: {failure_of(error).message}", file=sys.stderr, flush=True)
        return 1
    for line in lines(found):
        print(line, file=sys.stderr)
    with answer:
        answer.write(json.dumps(found) + "\n")
    return 0


def _plan(given: argparse.Namespace) -> dict[str, Any]:
    from cluster.catalog import open_catalog
    from cluster.store import Store
    from jobs.life.submit import has_gpu

    with open_catalog() as catalog:
        profile = load_profile(given.profile, has_gpu(catalog))
    config = load_config(given.command, given.config, given.set)
    assert isinstance(config, TrainConfig), "only `train` has --plan"
    config = resolve_auto(config, profile.device)
    requirement, store = requirement_for(config, profile), Store.open()
    found = estimate(config, store, requirement)
    if found["missing"] or config.model is None:
        return found
    print(f"probing {', '.join(config.hooks())} ...", file=sys.stderr, flush=True)
    busy = _busy()
    found = estimate(config, store, requirement, probe(config, requirement))
    return {**found, "warnings": [*found["warnings"], *busy]}


def _busy() -> list[str]:
    """A warning if other programs keep all cores busy: a product on several cores waits for the slowest of them."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load < cores:
        return []
    return [
        f"this machine is busy (load {load:.1f} on {cores} cores), and times are those of now: alone, the run is faster, and "
        "with more beside it slower"
    ]


def lines(plan: dict[str, Any]) -> list[str]:
    """The plan as text."""
    found = []
    if plan["missing"]:
        found.append(f"not made yet: {', '.join(plan['missing'])}; the rest is known once they exist")
    for hook in plan["hooks"]:
        found.append(
            f"{hook['name']} ({hook['kind']}, {hook['width']} dimensions): gamma {hook['gamma']:.2f}, median norm "
            f"{hook['median_norm']:.4g}, attention sinks {hook['sink_share']:.2%} of {hook['rows']} rows"
        )
    if plan["tokens"] is not None:
        found.append(
            f"{plan['steps']:,} steps, {plan['tokens']:,} tokens, about {plan['data_positions']:,} data positions; "
            f"{_operations(plan['flops']['total'])} operations; about {plan['memory_bytes'] / 2**30:.2f} GiB of memory for a "
            f"worker, {plan['disk_bytes'] / 2**20:,.0f} MiB of disk"
        )
    for sae in plan["saes"]:
        if "seconds_per_step" in sae:
            found.append(
                f"{sae['label']}: {sae['seconds_per_step'] * 1000:.0f} ms a step, {sae['initially_inactive']:.1%} of the latents "
                "inactive with the initial weights"
            )
    if plan["seconds"] is not None:
        found.append(f"about {_duration(plan['seconds']['total'])}, {plan['tokens_per_second']:,.0f} tokens/s")
        parts = ("harvest", "start", "calibration", "reading", "steps", "end")
        shown = (f"{name} {_duration(plan['seconds'][name])}" for name in parts if plan["seconds"][name])
        found.append(f"of it {', '.join(shown)}")
    return found + [f"warning: {text}" for text in plan["warnings"]]


def _operations(count: float) -> str:
    for unit, size in (("P", 1e15), ("T", 1e12), ("G", 1e9)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count:.0f}"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
