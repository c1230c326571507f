"""Every architecture on the demo's activations: EV against L0 of short runs, and how long a step takes.

    python -m benchmarks.architectures [--d-sae 2304] [--rows 1472] [--epochs 2] [--rounds 15] [--threads 2]

SAEs at the output of SmolLM2-135M's block 7, all with the defaults of their architecture, trained beside each other on one cache
of activations; EV, L0 and dead latents are those of 128 further rows. Then the trained SAEs take further steps in turns in this
process, and the ratios are medians over the rounds.
"""

from __future__ import annotations

import argparse
from typing import Any, NamedTuple

import torch
from torch import Tensor

from actors.worker_setup import set_up
from benchmarks.common import (
    PRESETS,
    Figure,
    demo_inputs,
    interleave,
    machine,
    median_ratio,
    run_stage,
    threads_argument,
    write_results,
)
from configs.artifact_ids import parse_ref
from configs.requirements import Requirement
from configs.train import TrainConfig
from sae.formats.activations import ActivationsReader
from sae.formats.sae_folder import Sae
from sae.metrics.reconstruction import add_rows, explained_variance, l0, row_sums
from sae.training.build import build_run
from sae.training.collectives import LocalCollective
from sae.training.loop import AfterBlock, train
from sae.training.sae_trainer import SaeTrainer

HOOK = "blocks.7.hook_resid_post"
HELD_OUT, BATCH_ROWS, STEP_ROWS = 128, 8, 16
SAES: tuple[dict[str, Any], ...] = (
    *({"architecture": "topk", "k": k} for k in (8, 16, 32, 64, 100)),
    *({"architecture": "hierarchicaltopk", "k": k} for k in (64,)),
    *({"architecture": "batchtopk", "k": k} for k in (16, 32, 64)),
    *({"architecture": "matryoshka", "k": k} for k in (16, 32, 64)),
    *({"architecture": "jumprelu", "target": target} for target in (16.0, 32.0, 64.0, 100.0)),
    *({"architecture": "gated", "l1": l1} for l1 in (1.5, 3.0, 6.0)),
    *({"architecture": "standard", "l1": l1} for l1 in (0.7, 1.5, 3.0)),
    *({"architecture": "matchingpursuit", "k": k} for k in (8, 16)),
)
LEVELS = (8, 16, 32, 64)  # at which HierarchicalTopK is used


class Point(NamedTuple):
    """What one SAE reaches on the held-out rows. `dead`: share of latents that no position of the last 200,000 made active."""

    name: str
    ev: float
    l0: float
    dead: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--d-sae", type=int, default=2304)
    parser.add_argument("--rows", type=int, default=1472)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=threads_argument())
    given = parser.parse_args()
    environment = machine()
    inputs = demo_inputs()
    files = inputs.store.files(parse_ref(run_stage("harvest", PRESETS / "harvest.yaml")[0], "activations"))
    set_up(Requirement(threads=given.threads))  # as every worker does
    config = TrainConfig.model_validate(
        {
            "model": str(inputs.model), "tokens": str(inputs.tokens), "cache": {}, "lm_dtype": "fp32", "autocast": "off",
            "rows": given.rows, "epochs": given.epochs, "batch_rows": BATCH_ROWS, "lanes": 1,
            "saes": [{"hook": HOOK, "d_sae": given.d_sae, **sae} for sae in SAES],
        }
    )  # fmt: skip
    tokens = inputs.store.files(inputs.tokens)
    run = build_run(config, list(range(len(SAES))), None, tokens, files, LocalCollective(), "cpu")
    train(run, LocalCollective(), 0, lambda _: None, lambda _: AfterBlock(False, False), lambda _: None)
    held_out = ActivationsReader(files, HOOK).read(given.rows, given.rows + HELD_OUT).acts
    points = [point for trainer in run.trainers.values() for point in _points(trainer, held_out)]
    x = ActivationsReader(files, HOOK).read(0, STEP_ROWS).acts
    ratios, lengths = _steps(run.trainers, x, given.rounds)
    figures = [Figure(p.name, f"EV {p.ev:.4f} at L0 {p.l0:.1f}, {100 * p.dead:.1f}% dead") for p in points]
    settings = {**vars(given), "positions of a step": len(x)}
    raw = {"points": [p._asdict() for p in points], "step_seconds": lengths}
    figures += [*_targets({p.name: p for p in points}), *ratios]
    write_results("architectures", "Architectures", figures, settings, raw, environment)


def _points(trainer: SaeTrainer, x: Tensor) -> list[Point]:
    export = trainer.export()
    metadata = {"hook_name": HOOK, "raylens": {"architecture": trainer.config.architecture}}
    sae = Sae(dict(export.tensors), {**export.config, "metadata": metadata}, trainer.calibration)
    dead = float((trainer.tokens_since_active >= trainer.config.dead_after_tokens).double().mean())
    name = _name(trainer)
    if trainer.config.architecture != "hierarchicaltopk":
        return [_point(name, sae, x, dead)]
    found = []
    for k in LEVELS:
        sae.config["k"] = k
        found.append(_point(f"{name} used at k={k}", sae, x, dead))
    return found


def _point(name: str, sae: Sae, x: Tensor, dead: float) -> Point:
    codes = sae.encode_sparse(x)
    made, mask = sae.decode_sparse(codes, x), torch.ones(1, len(x), dtype=torch.bool)
    total = add_rows(row_sums(x, made, codes, mask, x.mean(0)))
    return Point(name, explained_variance(total) or 0.0, l0(total) or 0.0, dead)


def _name(trainer: SaeTrainer) -> str:
    words = trainer.config.label.split(" at ")[0].split()
    return f"{words[0]} {words[-1]}"


def _targets(points: dict[str, Point]) -> list[Figure]:
    """What the architectures promise, as far as one run of each shows it."""
    jump = points["jumprelu L0=32"]
    worst = min(points[f"hierarchicaltopk k=64 used at k={k}"].ev - points[f"topk k={k}"].ev for k in LEVELS)
    return [
        Figure("JumpReLU with target 32: L0", f"{jump.l0:.1f}", "32 +- 2", abs(jump.l0 - 32) <= 2),
        Figure("JumpReLU with target 32: dead", f"{100 * jump.dead:.1f}%", "<= 5%", jump.dead <= 0.05),
        Figure(
            "HierarchicalTopK less TopK trained for that k: EV at the worst of k = 8, 16, 32, 64", f"{worst:+.4f}",
            ">= -0.01", worst >= -0.01,
        ),
    ]  # fmt: skip


def _steps(trainers: dict[int, SaeTrainer], x: Tensor, rounds: int) -> tuple[list[Figure], dict[str, list[float]]]:
    """Ratios of the lengths of steps, and all lengths. Of each penalised architecture the SAE with L0 nearest to 100."""
    by_name = {_name(trainer): trainer for trainer in trainers.values()}
    near = {
        name: min((t for n, t in by_name.items() if n.split()[0] == name), key=lambda t: abs(t.curve()[-1].l0 - 100))
        for name in ("standard", "gated", "jumprelu")
    }
    of = {"topk k=100": by_name["topk k=100"], "topk k=64": by_name["topk k=64"], **near}
    of |= {name: by_name[name] for name in ("hierarchicaltopk k=64", "batchtopk k=64", "matryoshka k=64")}
    seconds = interleave({name: lambda t=trainer: t.step(x) for name, trainer in of.items()}, rounds, warmup=2)
    active = {name: trainer.curve()[-1].l0 for name, trainer in of.items()}

    def figure(above: str, below: str, most: float | None) -> Figure:
        ratio = median_ratio(seconds[above], seconds[below])
        what = f"step of {above} (L0 {active[above]:.0f}) over that of {below}"
        return Figure(what, f"{ratio:.2f}", f"<= {most}" if most else "", ratio <= most if most else None)

    figures = [figure(name, "topk k=100", 1.6) for name in near]
    figures += [figure("hierarchicaltopk k=64", "topk k=64", 1.3), figure("matryoshka k=64", "batchtopk k=64", None)]
    return figures, seconds


if __name__ == "__main__":
    main()
