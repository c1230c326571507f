"""`make demo` from nothing: seconds by stage, peak memory of all its processes, and what it came to.

    python -m benchmarks.demo [--home FOLDER]

Runs the demo's two commands with a RAYLENS_HOME of its own, and a second time, when everything is done. Memory is the sum
of PSS (shared pages counted once) over all processes that carry this RAYLENS_HOME in their environment, sampled from
/proc/*/smaps_rollup twice a second.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.common import PRESETS, REPOSITORY, Figure, machine, write_results
from configs.cpu_dtypes import bf16_options, cpu_dtypes

EVERY_S = 0.5


class Memory:
    """Samples the memory of all processes with a marker in their environment, while entered."""

    def __init__(self, marker: str) -> None:
        self._marker = marker.encode()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self.peak, self.at_peak, self.samples = 0, dict[str, int](), 0

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._ended.wait(EVERY_S):
            found = {pid: pss for pid in _pids() if self._ours(pid) and (pss := _pss(pid))}
            self.samples += 1
            if sum(found.values()) > self.peak:
                self.peak = sum(found.values())
                self.at_peak = {f"{pid} {_title(pid)}": pss for pid, pss in found.items()}

    def _ours(self, pid: int) -> bool:
        try:
            return self._marker in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, help="an empty folder for the demo's data; by default a temporary one")
    parser.add_argument("--config", type=Path, default=PRESETS / "pipeline.yaml")
    given = parser.parse_args()
    place = machine()
    with tempfile.TemporaryDirectory(prefix="raylens-demo-") as temporary:
        home = (given.home or Path(temporary)).absolute()
        home.mkdir(parents=True, exist_ok=True)
        if any(home.iterdir()):
            sys.exit(f"error: {home} is not empty: the demo must begin with nothing")
        with Memory(f"RAYLENS_HOME={home}") as memory:
            seconds, report = _demo(given.config, home)
        again, _ = _demo(given.config, home)
    sae, megabytes = report["sae"], memory.peak / 1e6
    stages = ", ".join(f"{stage} {value:.0f}" for stage, value in report["seconds"].items())
    figures = [
        Figure("`make demo` after installation", f"{seconds:.0f} s ({stages})", "<= 480 s", seconds <= 480),
        Figure("peak memory of all processes (sum of PSS)", f"{megabytes:,.0f} MB", "<= 8,000 MB", megabytes <= 8000),
        Figure("held-out EV", f"{sae['ev']:.4f}", ">= 0.80", sae["ev"] >= 0.80),
        Figure("L0", f"{sae['l0']:.2f}", "32", abs(sae["l0"] - 32) < 0.5),
        Figure("alive share of the latents", f"{sae['alive']:.1%}", ">= 95%", sae["alive"] >= 0.95),
        Figure("CE score, zero ablation", f"{sae['ce_score_zero']:.4f}", ">= 0.93", sae["ce_score_zero"] >= 0.93),
        Figure("`make demo` again, with everything done", f"{again:.1f} s"),
    ]
    raw = {"report": report, "peak_by_process": memory.at_peak, "samples": memory.samples, "again": again}
    write_results("demo", "The demo", figures, {"sampled_every_s": EVERY_S}, raw, place)


def _demo(config: Path, home: Path) -> tuple[float, dict[str, Any]]:
    """Seconds of the demo's two commands, and the report.json that its last line points to."""
    environment = {**os.environ, "RAYLENS_HOME": str(home)}
    environment.pop("RAYLENS_STORE", None)
    start = time.monotonic()
    options = bf16_options(cpu_dtypes())  # as the Makefile does
    ran = _command(["-m", "jobs", "pipeline", "--config", str(config), *options], environment, None)
    said = _command(["-m", "jobs.report_summary"], environment, ran)
    seconds = time.monotonic() - start
    sys.stderr.write(said)
    page = Path(said.strip().splitlines()[-1].removeprefix("report: "))
    report: dict[str, Any] = json.loads(page.with_name("report.json").read_text(encoding="utf-8"))
    return seconds, report


def _command(arguments: list[str], environment: dict[str, str], given: str | None) -> str:
    ran = subprocess.run(
        [sys.executable, *arguments], cwd=REPOSITORY, env=environment, input=given, stdout=subprocess.PIPE, text=True
    )
    if ran.returncode:
        sys.exit(f"error: `python {' '.join(arguments)}` failed; its message stands above")
    return ran.stdout


def _pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _pss(pid: int) -> int:
    """Proportional set size in bytes; 0 if the process has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def _title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()[:80]
    except OSError:
        return ""


if __name__ == "__main__":
    main()
