"""The training loop on Ray Train beside the same loop in a plain process, after start-up.

    python -m benchmarks.ray_overhead [--rows 240] [--rounds 5]

Streaming, one TopK SAE; tokens/s over the seconds of the loop, in turns, each run in a process of its own.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.common import Figure, demo_inputs, machine, median_ratio, write_results
from benchmarks.versus import Setting, arguments, run_ours, train_config


def main() -> None:
    given = arguments(__doc__, ["blocks.7.hook_resid_post"], 240, 16)
    place, inputs = machine(), demo_inputs()
    rows = given.rows // given.batch_rows * given.batch_rows
    sizes = (given.d_sae, given.k, rows, given.batch_rows, given.lr, given.threads, given.block_steps)
    config = train_config(inputs, Setting(given.hooks, *sizes, {}, False, "ray"))
    runs: dict[str, list[dict[str, Any]]] = {"ray": [], "plain": []}
    with tempfile.TemporaryDirectory(prefix="raylens-bench-") as temporary:
        for n in range(given.rounds):
            for mode, done in runs.items():
                folder = Path(temporary) / f"{mode}-{n}"
                folder.mkdir()
                done.append(run_ours(inputs, config, mode, given.threads, folder))
                print(f"round {n + 1} {mode}: {done[-1]['tokens_per_second']:,.0f} tokens/s", file=sys.stderr)
        weights = {
            mode: Path(done[-1]["saes"][0], "sae_weights.safetensors").read_bytes() for mode, done in runs.items()
        }
    speeds = {mode: [run["tokens_per_second"] for run in done] for mode, done in runs.items()}
    share = median_ratio(speeds["ray"], speeds["plain"])
    same = weights["ray"] == weights["plain"]
    figures = [
        Figure("Ray Train over the plain loop, tokens/s", f"{share:.1%}", ">= 97%", share >= 0.97),
        Figure("Ray Train", f"{statistics.median(speeds['ray']):,.0f} tokens/s"),
        Figure("plain loop", f"{statistics.median(speeds['plain']):,.0f} tokens/s"),
        Figure("weights of both are byte-equal", "yes" if same else "no", "yes", same),
    ]
    settings = {
        "rows": rows,
        "batch_rows": given.batch_rows,
        "d_sae": given.d_sae,
        "k": given.k,
        "block_steps": given.block_steps,
        "rounds": given.rounds,
    }
    write_results(
        "ray_overhead", "Ray Train beside the same loop without Ray", figures, settings, {"runs": runs}, place
    )


if __name__ == "__main__":
    main()
