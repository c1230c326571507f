"""Recovery of a planted dictionary at a quarter of SynthSAEBench's size: every architecture, beside its frozen controls.

    python -m benchmarks.planted [--samples 20000000] [--k 12] [--lr 1e-3] [--threads 2] [--home FOLDER]

4,096 planted features in 256 dimensions, SAEs with 1,024 latents, batches of 1,024 samples, k at the true L0 of the
1,024 most frequent features. Of the evaluation of each architecture: F1, MCC, uniqueness, EV, and MCC less that of the
control with a frozen decoder.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.common import REPOSITORY, Figure, machine, threads_argument, write_results

ARCHITECTURES = ("topk", "batchtopk")
ROW = 128
FIGURES = ("f1", "mcc", "uniqueness", "precision", "recall", "ev", "l0", "shrinkage", "dead_share", "pw_mcc")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=20_000_000)
    parser.add_argument("--k", type=int, default=12)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--threads", type=int, default=threads_argument())
    parser.add_argument("--home", type=Path, help="where artifacts are; by default a temporary folder")
    given = parser.parse_args()
    place = machine()
    with tempfile.TemporaryDirectory(prefix="raylens-planted-") as temporary:
        home = (given.home or Path(temporary)).absolute()
        found = _evaluate(_config(given), home)
    figures = []
    for name, metrics in zip(ARCHITECTURES, found, strict=True):
        figures += [_figure(name, row) for row in metrics["card"]["figures"] if row["figure"] in FIGURES]
    difference = min(_difference(metrics) for metrics in found)
    figures.append(
        Figure("MCC less that with a frozen decoder, least", f"{difference:.3f}", ">= 0.3", difference >= 0.3)
    )
    settings = {
        "samples": f"{given.samples:,}",
        "k": given.k,
        "lr": given.lr,
        "threads": given.threads,
    }
    write_results("planted", "Recovery of planted features", figures, settings, {"metrics": found}, place)


def _config(given: argparse.Namespace) -> dict[str, Any]:
    saes = [
        {"architecture": name, "hook": "planted", "d_sae": 1024, "k": given.k, "lr": given.lr} for name in ARCHITECTURES
    ]
    planted = {"stage": "synthesize", "features": 4096, "d": 256, "roots": 32, "rows": given.samples // ROW}
    train = {"stage": "train", "activations": planted, "batch_rows": 1024 // ROW, "lanes": 1, "saes": saes}
    train["resources"] = {"threads": given.threads}
    controls = ["decoder", "soft_decoder", "encoder"]
    return {"stage": "evaluate", "sae": train, "rows": 256, "controls": controls, "seeds": 1}


def _evaluate(config: dict[str, Any], home: Path) -> list[dict[str, Any]]:
    """The metrics of each SAE."""
    environment = {**os.environ, "RAYLENS_HOME": str(home)}
    environment.pop("RAYLENS_STORE", None)
    command = [sys.executable, "-m", "jobs", "evaluate", "--config", "-"]
    ran = subprocess.run(
        command, cwd=REPOSITORY, env=environment, input=json.dumps(config), stdout=subprocess.PIPE, text=True
    )
    if ran.returncode:
        sys.exit("error: the evaluation failed; its message stands above")
    folders = [home / "store" / ref for ref in json.loads(ran.stdout)["artifacts"]]
    manifests = [json.loads((folder / "manifest.json").read_text(encoding="utf-8")) for folder in folders]
    return [dict(manifest["summary"]) for manifest in manifests]


def _figure(name: str, row: dict[str, Any]) -> Figure:
    own = row["sae"]
    beside = "; ".join(f"{one['control']} {one['value']:.3f}" for one in row["controls"])
    interval = "" if own["low"] is None else f" [{own['low']:.3f}, {own['high']:.3f}]"
    return Figure(f"{name}: {row['figure']}", f"{own['value']:.3f}{interval} ({beside})")


def _difference(metrics: dict[str, Any]) -> float:
    row = next(row for row in metrics["card"]["figures"] if row["figure"] == "mcc")
    control = next(one for one in row["controls"] if one["control"] == "frozen decoder")
    return float(control["difference"]["value"])


if __name__ == "__main__":
    main()
