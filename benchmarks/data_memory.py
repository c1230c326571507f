"""Peak memory of every process while text is downloaded and tokenized: 200 MB, 2 GB, and one document of 500 MB.

    python -m benchmarks.data_memory [--megabytes 200 2000] [--document 500]

The demo's text, repeated with a number before each document (JSON Lines), or all of it in one text file; the demo's
tokenizer; two workers of one CPU. Peaks are those that the kernel keeps of each process (VmHWM): what was resident at once,
files mapped into memory among it. Reads /proc: Linux alone.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.common import PRESETS, Figure, machine, run_stage, write_results
from benchmarks.tokenize import ROW_TOKENS, WORKERS, repeated, write_text
from cluster.store import Store
from configs.artifact_ids import parse_ref
from configs.settings import settings

MOST_MIB = 1500
MEGABYTE = 1_000_000
INTERVAL_S = 0.2


class PeakMemory:
    """Peaks, in MiB, of the processes of this RAYLENS_HOME, by what their command line begins with."""

    def __init__(self) -> None:
        self.peaks: dict[int, tuple[str, float]] = {}
        self._own = f"RAYLENS_HOME={settings().home}\0".encode()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._end.set()
        self._thread.join()

    def largest(self) -> tuple[str, float]:
        """The process with the highest peak."""
        return max(self.peaks.values(), key=lambda peak: peak[1])

    def _sample(self) -> None:
        others: set[int] = {os.getpid()}
        while not self._end.wait(INTERVAL_S):
            for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
                if pid in others:
                    continue
                try:
                    if pid not in self.peaks and self._own not in Path(f"/proc/{pid}/environ").read_bytes() + b"\0":
                        others.add(pid)
                        continue
                    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
                    words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                except (OSError, ValueError):
                    continue
                if "VmHWM" in status:
                    name = " ".join(os.path.basename(word.decode(errors="replace")) for word in words[:4]).strip()
                    self.peaks[pid] = (name, int(status["VmHWM"].split()[0]) / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, nargs="*", default=[200, 2000])
    parser.add_argument("--document", type=int, default=500, help="megabytes of the one document; 0: without it")
    given = parser.parse_args()
    os.environ["RAYLENS_HOME"] = str(settings().home)  # by which the processes are found
    model = run_stage("download", PRESETS / "download-model.yaml")[0]
    dataset = parse_ref(run_stage("download", PRESETS / "download.yaml")[0], "datasets")
    place, demo = machine(), Store.open().files(dataset).directory()
    raw: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="raylens-bench-") as scratch:
        folder = Path(scratch)
        for megabytes in given.megabytes:
            path = folder / f"text-{megabytes}.jsonl"
            write_text(repeated(demo), path, megabytes * MEGABYTE)
            raw[f"{megabytes:,} MB"] = _measure(path, model)
        if given.document:
            path = folder / "one.txt"
            _write_document(demo, path, given.document * MEGABYTE)
            raw[f"one document of {given.document:,} MB"] = _measure(path, model)
    figures = [figure for name, run in raw.items() for figure in _figures(name, run)]
    write_results(
        "data_memory", "Memory of downloading and tokenizing", figures, {"row_tokens": ROW_TOKENS}, raw, place
    )


def _write_document(demo: Path, path: Path, size: int) -> None:
    written = 0
    with path.open("w", encoding="utf-8") as file:
        for text in repeated(demo):
            file.write(text + "\n")
            written += len(text.encode()) + 1
            if written >= size:
                break


def _measure(text: Path, model: str) -> dict[str, Any]:
    """Peaks of both stages, by stage: the largest process and all peaks above 100 MiB. Removes the text."""
    config = text.with_suffix(".json")
    measured: dict[str, Any] = {}
    download = {"stage": "download", "what": "dataset", "source": {"type": "local", "path": str(text)}}
    dataset = _run("download", config, download, measured)
    text.unlink()
    tokenize = {
        "stage": "tokenize", "dataset": dataset, "model": model, "context_length": ROW_TOKENS, "seed": int(time.time()),
        "resources": {"workers": WORKERS, "cpus": 1, "threads": 1},
    }  # fmt: skip
    tokens = _run("tokenize", config, tokenize, measured)
    for ref in (parse_ref(tokens, "tokens"), parse_ref(dataset, "datasets")):
        Store.open().delete(ref)
    return measured


def _run(stage: str, config: Path, content: dict[str, Any], measured: dict[str, Any]) -> str:
    config.write_text(json.dumps(content))
    begin = time.perf_counter()
    with PeakMemory() as memory:
        artifact = run_stage(stage, config)[0]
    above = sorted((round(peak), name) for name, peak in memory.peaks.values() if peak > 100)
    measured[stage] = {
        "seconds": time.perf_counter() - begin,
        "largest": memory.largest(),
        "above_100_mib": above[::-1],
    }
    return artifact


def _figures(name: str, run: dict[str, Any]) -> list[Figure]:
    return [
        Figure(
            f"{name}, {stage}: largest peak of a process", f"{one['largest'][1]:,.0f} MiB ({one['largest'][0]})",
            f"{MOST_MIB} MiB", one["largest"][1] <= MOST_MIB,
        )
        for stage, one in run.items()
    ]  # fmt: skip


if __name__ == "__main__":
    main()
