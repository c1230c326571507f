"""Recovery of a planted dictionary at a quarter of SynthSAEBench's size: every architecture, beside its frozen controls.

    python -m benchmarks.planted [--samples 20000000] [--k 12] [--l1 2.0] [--lr 1e-3] [--controls decoder soft_decoder]
                                 [--seeds 1] [--threads 2] [--home FOLDER]

4,096 planted features in 256 dimensions, SAEs with 1,024 latents, batches of 1,024 samples, k and JumpReLU's target at the
true L0 of the 1,024 most frequent features; `l1` brings the standard architecture near to it. Of the evaluation of each
architecture: F1, MCC, uniqueness, EV, and MCC less that of the control with a frozen decoder. What SynthSAEBench found of F1:
Matryoshka first, then BatchTopK and JumpReLU, then standard, then matching pursuit, which has the best EV.
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

ARCHITECTURES = ("topk", "batchtopk", "matryoshka", "jumprelu", "standard", "matchingpursuit")
ROW = 128
FIGURES = ("f1", "mcc", "uniqueness", "precision", "recall", "ev", "l0", "shrinkage", "dead_share", "pw_mcc")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=20_000_000)
    parser.add_argument("--k", type=int, default=12)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--l1", type=float, default=2.0)
    parser.add_argument("--controls", nargs="*", default=["decoder", "soft_decoder"])
    parser.add_argument("--seeds", type=int, default=1)
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
    figures += [_order(found), _best_ev(found)]
    if "decoder" in given.controls:
        difference = min(_difference(metrics) for metrics in found)
        figures.append(
            Figure("MCC less that with a frozen decoder, least", f"{difference:.3f}", ">= 0.3", difference >= 0.3)
        )
    settings = {
        "samples": f"{given.samples:,}",
        **{name: getattr(given, name) for name in ("k", "l1", "lr", "threads")},
    }
    write_results("planted", "Recovery of planted features", figures, settings, {"metrics": found}, place)


def _config(given: argparse.Namespace) -> dict[str, Any]:
    sparsity: dict[str, Any] = {"jumprelu": {"target": given.k}, "standard": {"l1": given.l1}}
    saes = [
        {"architecture": name, "hook": "planted", "d_sae": 1024, "lr": given.lr, **sparsity.get(name, {"k": given.k})}
        for name in ARCHITECTURES
    ]
    planted = {"stage": "synthesize", "features": 4096, "d": 256, "roots": 32, "rows": given.samples // ROW}
    train = {"stage": "train", "activations": planted, "batch_rows": 1024 // ROW, "lanes": 1, "saes": saes}
    train["resources"] = {"threads": given.threads}
    beside = {"controls": given.controls, "seeds": given.seeds}
    return {"stage": "evaluate", "sae": train, "rows": 256, **beside}


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


def _values(found: list[dict[str, Any]], name: str) -> dict[str, float]:
    """One figure of each architecture."""
    rows = {
        architecture: next(row for row in metrics["card"]["figures"] if row["figure"] == name)
        for architecture, metrics in zip(ARCHITECTURES, found, strict=True)
    }
    return {architecture: float(row["sae"]["value"]) for architecture, row in rows.items()}


def _order(found: list[dict[str, Any]]) -> Figure:
    f1 = _values(found, "f1")
    middle = [f1["batchtopk"], f1["jumprelu"]]
    expected = f1["matryoshka"] > max(middle) and min(middle) > f1["standard"] > f1["matchingpursuit"]
    order = " > ".join(sorted(f1, key=lambda name: -f1[name]))
    target = "matryoshka > batchtopk, jumprelu > standard > matchingpursuit"
    return Figure("F1 by architecture", order, target, expected)


def _best_ev(found: list[dict[str, Any]]) -> Figure:
    ev = _values(found, "ev")
    best = max(ev, key=lambda name: ev[name])
    return Figure("best EV", best, "matchingpursuit", best == "matchingpursuit")


def _difference(metrics: dict[str, Any]) -> float:
    row = next(row for row in metrics["card"]["figures"] if row["figure"] == "mcc")
    control = next(one for one in row["controls"] if one["control"] == "frozen decoder")
    return float(control["difference"]["value"])


if __name__ == "__main__":
    main()
