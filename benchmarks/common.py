"""What all benchmarks share: the machine, interleaved medians, the demo's model and tokens, and tables of results."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from cluster.store import Store
from configs.artifact_ids import ArtifactRef, parse_ref

REPOSITORY = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).parent / "results"
PRESETS = REPOSITORY / "configs" / "presets"


class Figure(NamedTuple):
    """One line of a table: what was measured, the value with its unit, what it should be, and whether it is."""

    what: str
    value: str
    target: str = ""
    met: bool | None = None


class Inputs(NamedTuple):
    """The model and the tokens that benchmarks of training run on."""

    store: Store
    model: ArtifactRef
    tokens: ArtifactRef

    def model_folder(self) -> Path:
        """The language model as a folder."""
        return self.store.files(self.model).directory()


def demo_inputs() -> Inputs:
    """The demo's model and tokens, from the default store; made by their own stages if they are not there."""
    refs = run_stage("tokenize", PRESETS / "tokenize.yaml")
    tokens = parse_ref(refs[0], "tokens")
    store = Store.open()
    return Inputs(store, parse_ref(store.files(tokens).manifest.inputs["model"], "models"), tokens)


def run_stage(stage: str, config: Path) -> list[str]:
    """Runs `python -m jobs STAGE` and returns its artifacts. Ends the program if the stage fails."""
    command = [sys.executable, "-m", "jobs", stage, "--config", str(config)]
    ran = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    if ran.returncode:
        sys.exit(f"error: `{' '.join(command[1:])}` failed; its message stands above")
    artifacts: list[str] = json.loads(ran.stdout)["artifacts"]
    return artifacts


def interleave(work: dict[str, Callable[[], Any]], rounds: int, warmup: int = 1) -> dict[str, list[float]]:
    """Seconds of each piece of work in `rounds` rounds, all pieces once in every round: what slows the machine for a
    while slows them alike."""
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for n in range(warmup + rounds):
        for name, do in work.items():
            start = time.perf_counter()
            do()
            if n >= warmup:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def median_ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """Median of the ratios of each round."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def fp32_rate(n: int = 2048) -> tuple[Callable[[], Any], float]:
    """A product of two [n, n] fp32 matrices by the faster library, the measure of the machine, and its operations."""
    import torch

    from sae.linear import linear

    a, b = torch.randn(2, n, n)
    out = torch.empty(n, n)
    products: dict[str, Callable[[], Any]] = {
        "torch": lambda: torch.mm(a, b, out=out),
        "oneDNN": lambda: linear(a, b),
    }
    seconds = interleave(products, 5)
    return products[min(seconds, key=lambda name: min(seconds[name]))], 2.0 * n**3


def machine() -> dict[str, Any]:
    """CPU, memory, library builds and commit: what a figure holds for."""
    import torch

    commit = _git("rev-parse", "HEAD")
    return {
        "cpu": _cpu_name(),
        "cpus": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "commit": commit + (" (with changes)" if _git("status", "--porcelain", "--untracked-files=no") else ""),
        "load_before": os.getloadavg()[0],
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }


def write_results(
    name: str,
    title: str,
    figures: Sequence[Figure],
    settings: dict[str, Any],
    raw: dict[str, Any],
    environment: Any,
    module: str | None = None,
) -> None:
    """Writes results/NAME.json and NAME.md and prints the table. `environment` is machine() before the runs.

    `module`: the benchmark, where results have another name.
    """
    RESULTS.mkdir(exist_ok=True)
    body = {
        "name": name,
        "figures": [figure._asdict() for figure in figures],
        "settings": settings,
        "machine": environment,
        "raw": raw,
    }
    (RESULTS / f"{name}.json").write_text(json.dumps(body, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    words = {True: "yes", False: "no", None: ""}
    lines = [f"# {title}", "", "| what | measured | target | met |", "|---|---|---|---|"]
    lines += [f"| {f.what} | {f.value} | {f.target} | {words[f.met]} |" for f in figures]
    lines += [
        "",
        f"`python -m benchmarks.{module or name}`; settings: {_words(settings)}.",
        "",
        f"On {_words(environment)}.",
        "",
    ]
    (RESULTS / f"{name}.md").write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))


def threads_argument() -> int:
    """Compute threads of a benchmark: those of the local profile's training."""
    from configs.resource_profiles import load_profile

    return load_profile("local", False).stages["train"].threads


def _words(values: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items())


def _git(*arguments: str) -> str:
    ran = subprocess.run(["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True)
    return ran.stdout.strip() if ran.returncode == 0 else "unknown"


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
