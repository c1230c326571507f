"""Labels of the demo's features: time, the largest process, and how many beat their controls.

    python -m benchmarks.labels [--effect-examples 4] [--features features/ID]

The demo's features are extracted first, unless they are there. Then the label stage runs twice, each a command of its own:
without effects and with them. Needs /proc, as benchmarks/data_memory.py.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.common import PRESETS, Figure, machine, run_stage, write_results
from benchmarks.data_memory import PeakMemory
from cluster.store import Store
from configs.artifact_ids import parse_ref
from configs.settings import settings
from sae.formats.labels import LabelsReader

MOST_S, MOST_MIB = 600, 4096


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--effect-examples", type=int, default=4)
    parser.add_argument("--features", help="features/ID, in place of those of the demo")
    given = parser.parse_args()
    os.environ["RAYLENS_HOME"] = str(settings().home)  # by which the processes are found
    features = given.features or run_stage("extract", PRESETS / "extract.yaml")[0]
    place = machine()
    figures: list[Figure] = []
    raw: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="raylens-bench-") as scratch:
        for examples in dict.fromkeys((0, given.effect_examples)):
            config = Path(scratch) / f"label-{examples}.yaml"
            # A seed of its own, so that no earlier labels are found.
            config.write_text(
                json.dumps(
                    {
                        "stage": "label",
                        "features": features,
                        "effect_examples": examples,
                        "seed": time.time_ns() % 2**31,
                    }
                )
            )
            start = time.monotonic()
            with PeakMemory() as memory:
                made = run_stage("label", config)[0]
            seconds, (name, peak) = time.monotonic() - start, memory.largest()
            info = LabelsReader(Store.open().files(parse_ref(made))).info
            raw[str(examples)] = {
                "seconds": seconds,
                "largest_process": name,
                "mib": peak,
                "info": info.model_dump(mode="json"),
            }
            figures += _figures(examples, seconds, peak, info.model_dump())
    write_results(
        "labels", "Labels of the demo's features", figures, {"effect_examples": given.effect_examples}, raw, place
    )


def _figures(examples: int, seconds: float, peak: float, info: dict[str, Any]) -> list[Figure]:
    n, effects = info["n_features"], info["effects"]
    what = f"with {examples} effect examples" if examples else "without effects"
    figures = [
        Figure(
            f"{n:,} features labelled and scored, {what}, seconds", f"{seconds:.0f}", f"{MOST_S}", seconds <= MOST_S
        ),
        Figure(f"largest process, {what}, MiB", f"{peak:,.0f}", f"{MOST_MIB:,}", peak <= MOST_MIB),
        Figure("best label above its permuted label (95% interval)", f"{info['beats']:,} ({info['beats'] / n:.1%})"),
    ]
    if examples:
        for name in ("ablation", "promotion"):
            count = effects[f"{name}_beats"]
            figures.append(Figure(f"{name} above another direction's (95% interval)", f"{count:,} ({count / n:.1%})"))
            found = effects[f"{name}_discovered"]
            figures.append(
                Figure(f"{name} above it, chosen of all features (5% false)", f"{found:,} ({found / n:.1%})")
            )
    else:
        figures.append(Figure("types", ", ".join(f"{count:,} {name}" for name, count in info["types"].items())))
    return figures


if __name__ == "__main__":
    main()
