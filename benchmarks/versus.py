"""RayLens beside SAELens on the same model, hooks, tokens, widths, k and batch, in turns; used by two benchmarks."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks.common import (
    REPOSITORY,
    Figure,
    Inputs,
    demo_inputs,
    machine,
    median_ratio,
    threads_argument,
    write_results,
)
from configs.architectures.steps import steps_of
from configs.train import TrainConfig
from sae.formats.tokens import TokensReader
from sae.language_model import LanguageModel

PEERS = Path(os.environ.get("RAYLENS_PEERS_PYTHON", REPOSITORY / ".venv-peers" / "bin" / "python"))


class Setting(NamedTuple):
    """What both sides train."""

    hooks: list[str]
    d_sae: int
    k: int
    rows: int
    batch_rows: int
    lr: float
    threads: int
    block_steps: int
    saelens: dict[str, Any]
    bf16: bool


def arguments(doc: str | None, hooks: list[str], rows: int, batch_rows: int) -> argparse.Namespace:
    """The command line of these benchmarks, with their own sizes."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hooks", nargs="+", default=hooks, help="the hook of each SAE")
    parser.add_argument("--d-sae", type=int, default=9216)
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--rows", type=int, default=rows, help="rows of tokens to train on, 128 tokens each")
    parser.add_argument("--batch-rows", type=int, default=batch_rows, help="rows in a step, 128 positions each")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--eval-rows", type=int, default=128)
    parser.add_argument("--block-steps", type=int, default=4, help="steps whose positions RayLens shuffles together")
    parser.add_argument("--threads", type=int, default=threads_argument())
    parser.add_argument(
        "--saelens",
        type=json.loads,
        default={},
        help="JSON of prefetch, compile_sae, compile_llm, buffer_rows, lm_dtype, autocast, autocast_lm",
    )
    parser.add_argument("--bf16", action="store_true", help="our language model and SAE encoder in bf16")
    return parser.parse_args()


def versus(name: str, title: str, given: argparse.Namespace, target: float, goal: str) -> None:
    """Runs both sides `rounds` times in turns, measures the SAEs of the last round, and writes the table."""
    if not PEERS.exists():
        sys.exit(f"error: there is no {PEERS}: run `make .venv-peers/.installed`, or set RAYLENS_PEERS_PYTHON")
    environment = machine()
    setting = Setting(
        given.hooks,
        given.d_sae,
        given.k,
        given.rows // given.batch_rows * given.batch_rows,
        given.batch_rows,
        given.lr,
        given.threads,
        given.block_steps,
        given.saelens,
        given.bf16,
    )
    inputs = demo_inputs()
    runs: dict[str, list[dict[str, Any]]] = {"ours": [], "saelens": []}
    with tempfile.TemporaryDirectory(prefix="raylens-bench-") as temporary:
        root = Path(temporary)
        for n in range(given.rounds):
            for side, run in (("ours", _ours), ("saelens", _saelens)):
                folder = root / f"{side}-{n}"
                folder.mkdir()
                runs[side].append(run(inputs, setting, folder))
                print(f"round {n + 1} {side}: {runs[side][-1]['tokens_per_second']:,.0f} tokens/s", file=sys.stderr)
        quality = {side: _quality(inputs, runs, side, setting, given.eval_rows) for side in runs}
    _write(name, title, setting, given, runs, quality, target, goal, environment)


def train_config(inputs: Inputs, setting: Setting) -> TrainConfig:
    """Our side's config: streaming, one lane. The learning rate warms up over a fifth of the steps, 50 at most."""
    warmup = max(1, min(50, setting.rows // setting.batch_rows // 5))
    saes = [
        {
            "hook": hook,
            "d_sae": setting.d_sae,
            "k": setting.k,
            "lr": setting.lr,
            "seed": number,
            "lr_warmup": warmup,
        }
        for number, hook in enumerate(setting.hooks)
    ]
    return TrainConfig.model_validate(
        {
            "model": str(inputs.model),
            "tokens": str(inputs.tokens),
            "saes": saes,
            "rows": setting.rows,
            "batch_rows": setting.batch_rows,
            "lanes": 1,
            "block_steps": setting.block_steps,
            "lm_dtype": "bf16" if setting.bf16 else "fp32",
            "autocast": "bf16" if setting.bf16 else "off",
        }
    )


def run_ours(inputs: Inputs, config: TrainConfig, mode: str, threads: int, folder: Path) -> dict[str, Any]:
    """One run in a process of its own; see benchmarks/ours.py."""
    spec = {
        "config": config.model_dump(mode="json"),
        "mode": mode,
        "threads": threads,
        "scratch": str(folder),
        "store": inputs.store.url,
    }
    (folder / "spec.json").write_text(json.dumps(spec))
    return _run([sys.executable, "-m", "benchmarks.ours", str(folder / "spec.json")], folder)


def _ours(inputs: Inputs, setting: Setting, folder: Path) -> dict[str, Any]:
    return run_ours(inputs, train_config(inputs, setting), "ray", setting.threads, folder)


def _saelens(inputs: Inputs, setting: Setting, folder: Path) -> dict[str, Any]:
    tokens = TokensReader(inputs.store.files(inputs.tokens), "train")
    np.save(folder / "rows.npy", tokens.read(0, setting.rows).input_ids)
    lm = LanguageModel.load(inputs.model_folder())
    batch = setting.batch_rows * tokens.context_length
    # Position 0 of each row is dropped there, and a step takes only whole batches.
    steps = setting.rows * (tokens.context_length - 1) // batch
    config = train_config(inputs, setting).saes[0]
    spec = {
        "model": str(inputs.model_folder()),
        "rows": str(folder / "rows.npy"),
        "length": tokens.context_length,
        "saes": [{"hook": lm.hook(h).module_path, "d_sae": setting.d_sae, "k": setting.k} for h in setting.hooks],
        "d_in": lm.d_model,
        "tokens": steps * batch,
        "batch": batch,
        "lr": setting.lr,
        "warmup": config.lr_warmup,
        "decay": steps_of(config.lr_decay, 1),
        "lm_rows": setting.batch_rows,
        "threads": setting.threads,
        "out": str(folder / "out"),
        **setting.saelens,
    }
    (folder / "spec.json").write_text(json.dumps(spec))
    script = REPOSITORY / "benchmarks" / "peers" / "saelens_run.py"
    return _run([str(PEERS), str(script), str(folder / "spec.json")], folder)


def _run(command: list[str], folder: Path) -> dict[str, Any]:
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "OMP_NUM_THREADS")}
    with (folder / "stderr").open("w") as stderr:
        ran = subprocess.run(command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, stderr=stderr, text=True)
    if ran.returncode:
        sys.exit(f"error: {' '.join(command)} failed:\n{(folder / 'stderr').read_text()[-3000:]}")
    report: dict[str, Any] = json.loads(ran.stdout.strip().splitlines()[-1])
    return report


def _quality(
    inputs: Inputs, runs: dict[str, list[dict[str, Any]]], side: str, setting: Setting, rows: int
) -> list[dict[str, Any]]:
    """EV and L0 of the last round's SAEs on held-out rows, by RayLens' metric, calibration and mask."""
    from safetensors.torch import load_file

    from configs.data_positions import DataPolicy
    from sae.formats.sae_folder import Sae, load_sae
    from sae.metrics.batch_evaluation import Batch, evaluate_batch
    from sae.metrics.summary import summarise

    torch.set_num_threads(setting.threads)
    lm = LanguageModel.load(inputs.model_folder())
    tokens = TokensReader(inputs.store.files(inputs.tokens), "test")
    rows = min(rows, tokens.n_rows)
    found = []
    for number, hook in enumerate(setting.hooks):
        ours = load_sae(Path(runs["ours"][-1]["saes"][number]))
        folder = Path(runs[side][-1]["saes"][number])
        config = {**json.loads((folder / "cfg.json").read_text()), "metadata": {"hook_name": hook}}
        sae = Sae(load_file(folder / "sae_weights.safetensors"), config, ours.calibration)
        parts = [
            evaluate_batch(
                lm,
                lm.hook(hook),
                sae,
                Batch(start, tokens.read(start, min(start + 8, rows)), 0),
                DataPolicy(),
                tokens.attention,
            )
            for start in range(0, rows, 8)
        ]
        metrics = summarise(parts).metrics
        found.append({"hook": hook, **{key: metrics[key] for key in ("ev", "l0", "alive_share", "tokens")}})
    return found


def _write(
    name: str,
    title: str,
    setting: Setting,
    given: argparse.Namespace,
    runs: dict[str, list[dict[str, Any]]],
    quality: dict[str, list[dict[str, Any]]],
    target: float,
    goal: str,
    environment: dict[str, Any],
) -> None:
    speeds = {side: [run["tokens_per_second"] for run in side_runs] for side, side_runs in runs.items()}
    ratio = median_ratio(speeds["ours"], speeds["saelens"])
    evs = {side: [one["ev"] for one in found] for side, found in quality.items()}
    better = all(a >= b for a, b in zip(evs["ours"], evs["saelens"], strict=True))
    middle = {side: statistics.median(values) for side, values in speeds.items()}
    whole = {side: statistics.median(run["whole_seconds"] for run in side_runs) for side, side_runs in runs.items()}
    figures = [
        Figure("RayLens over SAELens, tokens/s of the loop", f"{ratio:.2f}", f">= {target}{goal}", ratio >= target),
        Figure("held-out EV, RayLens", ", ".join(f"{ev:.4f}" for ev in evs["ours"]), "not below SAELens'", better),
        Figure("held-out EV, SAELens", ", ".join(f"{ev:.4f}" for ev in evs["saelens"])),
        Figure("RayLens", f"{middle['ours']:,.0f} tokens/s; {whole['ours']:.0f} s from start to files"),
        Figure("SAELens 6.54", f"{middle['saelens']:,.0f} tokens/s; {whole['saelens']:.0f} s from start to files"),
    ]
    settings = {**setting._asdict(), "rounds": given.rounds}
    for side_runs in runs.values():
        for run in side_runs:
            run.pop("saes")
    write_results(name, title, figures, settings, {"runs": runs, "quality": quality, "ratio": ratio}, environment)
