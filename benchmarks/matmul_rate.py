"""How much of the machine's fp32 matrix-multiply rate the language model reaches up to the hook.

    python -m benchmarks.matmul_rate [--model FOLDER] [--hook blocks.7.hook_resid_post] [--rows 8 16 32]

The machine's rate is that of a product of two [2048, 2048] matrices by MKL or oneDNN, whichever is faster here. The model's
is the operations of its matrix products (LanguageModel.matmul_flops: weights, and the causal half of attention) over the
time of the whole pass. Both run in turns in one process; the median of the rounds' ratios is reported.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import torch

from actors.worker_setup import set_up
from benchmarks.common import (
    Figure,
    demo_inputs,
    fp32_rate,
    interleave,
    machine,
    median_ratio,
    threads_argument,
    write_results,
)
from configs.requirements import Requirement
from sae.language_model import LanguageModel


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a model folder; by default the demo's")
    parser.add_argument("--hook", default="blocks.7.hook_resid_post")
    parser.add_argument("--rows", type=int, nargs="+", default=[8, 16, 32], help="rows in one forward pass")
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=threads_argument())
    given = parser.parse_args()
    environment = machine()
    folder = given.model or demo_inputs().model_folder()
    set_up(Requirement(threads=given.threads))  # as every worker does
    lm = LanguageModel.load(folder)
    hook = lm.hook(given.hook)
    flops = lm.matmul_flops([hook], given.length)
    product, product_flops = fp32_rate()
    figures, raw = [], {}
    for rows in given.rows:
        ids = torch.randint(0, lm.vocab_size, (rows, given.length), generator=torch.Generator().manual_seed(0))
        seconds = interleave({"lm": lambda ids=ids: lm.run_to(ids, [hook]), "product": product}, given.rounds, 3)
        tokens = rows * given.length
        share = median_ratio(seconds["product"], seconds["lm"]) * flops * tokens / product_flops
        rate = product_flops / statistics.median(seconds["product"])
        speed = tokens / statistics.median(seconds["lm"])
        value = f"{share:.1%} ({speed:,.0f} tokens/s; the machine multiplies at {rate / 1e9:.0f} GFLOP/s)"
        figures.append(Figure(f"language model to the hook, {rows} rows a pass", value, ">= 80%", share >= 0.8))
        raw[str(rows)] = {**seconds, "share": share, "tokens_per_second": speed}
    settings = {"hook": given.hook, "length": given.length, "rounds": given.rounds, "threads": given.threads}
    title = "Language model up to the hook, of the fp32 matrix-multiply rate"
    write_results("matmul_rate", title, figures, {**settings, "flops_per_token": flops}, raw, environment)


if __name__ == "__main__":
    main()
