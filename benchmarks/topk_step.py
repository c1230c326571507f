"""A whole TopK training step beside its dense encoder product alone.

    python -m benchmarks.topk_step [--d 576] [--d-sae 9216] [--k 32] [--batch 4096]

The step is SaeTrainer.step: forward, backward, optimizer and decoder normalisation, with no dead latents. The product is
[batch, d] x [d, d_sae], by MKL into a buffer that is kept (torch's own product, which the
target is about) and by oneDNN, as the step computes it. All run in turns in one process.
"""

from __future__ import annotations

import argparse
import statistics

import torch

from actors.worker_setup import set_up
from benchmarks.common import Figure, interleave, machine, median_ratio, threads_argument, write_results
from configs.architectures import TopKConfig
from configs.requirements import Requirement
from sae.calibration import Calibration
from sae.linear import linear
from sae.training.sae_trainer import SaeTrainer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--d", type=int, default=576)
    parser.add_argument("--d-sae", type=int, default=9216)
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=threads_argument())
    given = parser.parse_args()
    environment = machine()
    set_up(Requirement(threads=given.threads))  # as every worker does
    config = TopKConfig(hook="bench", d_sae=given.d_sae, k=given.k, dead_after_tokens=2**62)
    calibration = Calibration("bench", 1.0, 3.0, 1.0, torch.zeros(given.d), 1, 1, 0)
    trainer = SaeTrainer(config, calibration, total_steps=10_000)
    # Activations with structure: sums of a few directions, as a residual stream has, so that codes are not all alike.
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(2000, given.d, generator=generator)
    chosen = torch.randint(0, 2000, (4, given.batch, 12), generator=generator)
    batches = [directions[one].sum(1) / 12**0.5 for one in chosen]
    weights, out = trainer.architecture.parameters["W_enc_t"].detach().clone(), torch.empty(given.batch, given.d_sae)
    turn = 0

    def step() -> None:
        nonlocal turn
        turn += 1
        trainer.step(batches[turn % 4])

    def mkl() -> None:
        torch.mm(batches[turn % 4], weights.T, out=out)

    def onednn() -> None:
        linear(batches[turn % 4], weights)

    seconds = interleave({"step": step, "product, MKL": mkl, "product, oneDNN": onednn}, given.rounds, warmup=3)
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    ratio, faster = (median_ratio(seconds["step"], seconds[f"product, {name}"]) for name in ("MKL", "oneDNN"))
    dead = int((trainer.tokens_since_active >= config.dead_after_tokens).sum())
    figures = [
        Figure("TopK step over its dense encoder product, MKL", f"{ratio:.2f}", "<= 1.25", ratio <= 1.25),
        Figure("TopK step over its dense encoder product, oneDNN", f"{faster:.2f}"),
        Figure("TopK step", f"{middle['step'] * 1e3:.0f} ms ({given.batch / middle['step']:,.0f} tokens/s)"),
        *(Figure(f"dense encoder {name}", f"{middle[name] * 1e3:.0f} ms") for name in list(middle)[1:]),
    ]
    settings = {k: v for k, v in vars(given).items()} | {"dead_latents": dead}
    write_results("topk_step", "A TopK training step", figures, settings, {**seconds, "ratio": ratio}, environment)


if __name__ == "__main__":
    main()
