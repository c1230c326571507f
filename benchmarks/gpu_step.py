"""A training step on a GPU beside the card's own rates, and where its time goes.

    python -m benchmarks.gpu_step [--device cuda] [--seconds 1] [--sizes 576x9216 2304x16384 ...] [--others 576x9216 ...]

For each size and each of TopK and BatchTopK: the whole step (SaeTrainer.step, `autocast` off and on), its dense encoder product
alone in the same precision, and the selection of active latents alone. For each size of `--others`: the step with `autocast` of
every other architecture with the defaults of its sparsity, and of TopK with half of its latents dead. The card's rates are a
bf16 product of 8,192 x 8,192 matrices and a copy of 2 GiB. Times are medians over steps that are timed one by one, between
synchronisations.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from pydantic import TypeAdapter
from torch import Tensor

from actors.worker_setup import set_up
from benchmarks.common import Figure, machine, write_results
from configs.architectures import NAMES, AnySae, SaeConfig
from configs.requirements import Requirement
from sae import sparse
from sae.calibration import Calibration
from sae.training.sae_trainer import SaeTrainer

SIZES = ("576x4608", "576x9216", "2304x16384", "2304x65536")
OTHER_SIZES = ("576x9216", "2304x16384")
CONFIG: TypeAdapter[SaeConfig] = TypeAdapter(AnySae)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=1.0, help="time for each figure")
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--sizes", nargs="+", default=SIZES, help="d x d_sae")
    parser.add_argument("--others", nargs="+", default=OTHER_SIZES, help="d x d_sae, for the other architectures")
    given = parser.parse_args()
    set_up(Requirement(threads=2, device=given.device))
    environment = machine() | _card(given.device)
    rates = _rates(given.device, given.seconds)
    rows = []
    for size in given.sizes:
        d, d_sae = map(int, size.split("x"))
        for architecture in ("topk", "batchtopk"):
            for autocast in (False, True):
                rows.append(_row(architecture, d, d_sae, given, autocast))
                print(rows[-1], flush=True)
    others = [one for size in given.others for one in _others(*map(int, size.split("x")), given)]
    profile = _profile(given)
    raw = {"rates": rates, "steps": rows, "others": others, "profile": profile}
    settings = {"device": given.device, "batch": given.batch, "k": given.k, "sizes": " ".join(given.sizes)}
    title = "Training steps on a GPU, beside the card's own rates"
    write_results("gpu_step", title, _figures(rates, rows, others, profile), settings, raw, environment)


def _card(device: str) -> dict[str, Any]:
    if device != "cuda":
        return {}
    found = torch.cuda.get_device_properties(0)
    return {"card": found.name, "card_bytes": found.total_memory, "cuda": torch.version.cuda}


def _seconds(device: str, run: Callable[[], object], budget: float) -> float:
    """Median seconds of `run`, after three runs that do not count."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    for _ in range(3):
        run()
    wait()
    taken: list[float] = []
    while sum(taken) < budget or len(taken) < 5:
        start = time.perf_counter()
        run()
        wait()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def _rates(device: str, budget: float) -> dict[str, float]:
    """FLOP/s of a bf16 and an fp32 product, and bytes/s of a copy (read and written)."""
    n = 8192 if device == "cuda" else 1024
    found = {}
    for name, dtype in (("bf16_flops", torch.bfloat16), ("fp32_flops", torch.float32)):
        a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
        found[name] = 2 * n**3 / _seconds(device, lambda a=a, b=b: a @ b, budget)  # type: ignore[misc]
    source = torch.empty(n * n * 8, device=device)
    target = torch.empty_like(source)
    found["copy_bytes"] = 2 * source.numel() * 4 / _seconds(device, lambda: target.copy_(source), budget)
    return found


def _trainer(
    architecture: str, d: int, d_sae: int, given: argparse.Namespace, autocast: bool, dead_after_tokens: int = 2**62
) -> tuple[SaeTrainer, list[Tensor]]:
    values: dict[str, Any] = {
        "hook": "bench",
        "architecture": architecture,
        "d_sae": d_sae,
        "dead_after_tokens": dead_after_tokens,
    }
    if architecture in ("topk", "batchtopk"):
        values["k"] = given.k
    config = CONFIG.validate_python(values)
    calibration = Calibration("bench", 1.0, 3.0, 1.0, torch.zeros(d), 1, 1, 0)
    trainer = SaeTrainer(config, calibration, total_steps=100_000, device=given.device, autocast=autocast)
    # Activations with structure: sums of a few directions, as a residual stream has, so that codes are not all alike.
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(2000, d, generator=generator)
    chosen = torch.randint(0, 2000, (4, given.batch, 12), generator=generator)
    return trainer, [(directions[one].sum(1) / 12**0.5).to(given.device) for one in chosen]


def _row(architecture: str, d: int, d_sae: int, given: argparse.Namespace, autocast: bool) -> dict[str, Any]:
    trainer, batches = _trainer(architecture, d, d_sae, given, autocast)
    turn = 0

    def step() -> None:
        nonlocal turn
        turn += 1
        trainer.step(batches[turn % 4])

    if given.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    dtype = torch.bfloat16 if autocast else torch.float32
    x, weight = batches[0].to(dtype), trainer.architecture.parameters["W_enc_t"].detach().to(dtype)
    pre = x @ weight.T
    choose = sparse.topk if architecture == "topk" else sparse.batch_topk
    with torch.no_grad():
        times = {
            "step": _seconds(given.device, step, given.seconds),
            "product": _seconds(given.device, lambda: x @ weight.T, given.seconds / 4),
            "selection": _seconds(given.device, lambda: choose(pre, given.k), given.seconds / 4),
        }
    peak = torch.cuda.max_memory_allocated() if given.device == "cuda" else 0
    return {
        "architecture": architecture, "d": d, "d_sae": d_sae, "batch": given.batch, "k": given.k, "autocast": autocast,
        **{f"{name}_ms": 1e3 * value for name, value in times.items()},
        "tokens_per_s": given.batch / times["step"], "peak_bytes": peak,
    }  # fmt: skip


def _others(d: int, d_sae: int, given: argparse.Namespace) -> list[dict[str, Any]]:
    found = []
    for architecture in (*NAMES[2:], "topk with half of its latents dead"):
        dead = architecture.startswith("topk")
        trainer, batches = _trainer(
            "topk" if dead else architecture,
            d,
            d_sae,
            given,
            autocast=True,
            dead_after_tokens=given.batch if dead else 2**62,
        )
        if dead:
            with torch.no_grad():
                trainer.architecture.parameters["b_enc"][: d_sae // 2] = -100.0
        turn = itertools.count()
        ms = 1e3 * _seconds(given.device, lambda: trainer.step(batches[next(turn) % 4]), given.seconds / 2)  # noqa: B023
        last = trainer.curve()[-1]
        found.append(
            {"architecture": architecture, "d": d, "d_sae": d_sae, "step_ms": ms, "l0": last.l0, "dead": last.dead}
        )
        print(found[-1], flush=True)
    return found


def _profile(given: argparse.Namespace) -> list[dict[str, Any]]:
    """Operations of ten TopK steps of the largest size, with the time of their kernels and of the CPU that starts them."""
    from torch.profiler import ProfilerActivity, profile

    d, d_sae = map(int, given.sizes[-1].split("x"))
    trainer, batches = _trainer("topk", d, d_sae, given, autocast=True)
    for batch in batches:
        trainer.step(batch)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if given.device == "cuda" else [])]
    with profile(activities=activities) as found:
        for number in range(10):
            trainer.step(batches[number % 4])
    events = sorted(
        found.key_averages(), key=lambda event: -(event.self_device_time_total or event.self_cpu_time_total)
    )
    return [
        {
            "name": event.key[:90],
            "calls": event.count / 10,
            "device_ms": event.self_device_time_total / 1e4,
            "cpu_ms": event.self_cpu_time_total / 1e4,
        }
        for event in events[:30]
    ]


def _figures(
    rates: dict[str, float], rows: list[dict[str, Any]], others: list[dict[str, Any]], profile: list[dict[str, Any]]
) -> list[Figure]:
    found = [
        Figure("the card: product of 8,192 x 8,192 matrices, bf16", f"{rates['bf16_flops'] / 1e12:.0f} TFLOP/s"),
        Figure("the same in fp32, without TF32", f"{rates['fp32_flops'] / 1e12:.0f} TFLOP/s"),
        Figure("the card: a copy of 2 GiB, read and written", f"{rates['copy_bytes'] / 1e12:.2f} TB/s"),
    ]
    for row in rows:
        precision = "bf16" if row["autocast"] else "fp32"
        what = f"{row['architecture']}, {row['d']} x {row['d_sae']}, encoder in {precision}"
        ratio = row["step_ms"] / row["product_ms"]
        value = (
            f"{row['step_ms']:.2f} ms a step, {ratio:.2f} times its product ({row['product_ms']:.2f} ms; selection "
            f"{row['selection_ms']:.2f} ms); {row['tokens_per_s'] / 1e6:.2f}M tokens/s; peak {row['peak_bytes'] / 2**30:.2f} GiB"
        )
        found.append(Figure(what, value))
    for one in others:
        value = f"{one['step_ms']:.2f} ms a step at L0 {one['l0']:.0f}, {one['dead']:.0f} latents dead"
        found.append(Figure(f"{one['architecture']}, {one['d']} x {one['d_sae']}, encoder in bf16", value))
    for one in profile[:16]:
        what = f"in a bf16 TopK step of the largest size: `{one['name']}`, {one['calls']:.0f} calls"
        found.append(Figure(what, f"{one['device_ms']:.3f} ms on the device, {one['cpu_ms']:.3f} ms on the CPU"))
    return found


if __name__ == "__main__":
    main()
