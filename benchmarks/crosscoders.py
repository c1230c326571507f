"""Crosscoders over three blocks beside an SAE for each of them: EV at each block, CE and KL, and where decoders have their norm.

    python -m benchmarks.crosscoders [--d-sae 2304] [--k 32] [--rows 1472] [--epochs 1]

All are trained in one run on one cache of SmolLM2-135M's activations at the outputs of blocks 5, 7 and 9, and evaluated on rows
of the test split. A control has a random decoder that training keeps. In so short a run what is learnt depends on the learning
rate. A crosscoder's rows have three times as many values, which are smaller, so that a rate is larger for their size; SAEs with a
larger rate stand beside it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from benchmarks.common import Figure, demo_inputs, machine, run_stage, write_results
from configs.artifact_ids import parse_ref
from sae.formats.sae_folder import Sae, load_sae
from sae.joint_hooks import norms_of_hooks

HOOKS = [f"blocks.{layer}.hook_resid_post" for layer in (5, 7, 9)]
ROWS, LOSS_ROWS = 64, 16  # that are evaluated


def saes_of(d_sae: int, k: int) -> dict[str, dict[str, Any]]:
    """What is trained, by the name that the table has."""
    crosscoder = {"hooks": HOOKS, "d_sae": d_sae, "k": k}
    triple = {"hooks": HOOKS, "d_sae": 3 * d_sae, "k": 3 * k}
    return {
        **{f"SAE at {hook}": {"hook": hook, "d_sae": d_sae, "k": k} for hook in HOOKS},
        **{f"SAE at {hook}, lr 1.7e-3": {"hook": hook, "d_sae": d_sae, "k": k, "lr": 1.7e-3} for hook in HOOKS},
        f"crosscoder, {d_sae:,} latents, k = {k}": crosscoder,
        f"crosscoder, {3 * d_sae:,} latents, k = {3 * k}": triple,
        f"control: random decoder, {d_sae:,} latents, k = {k}": {**crosscoder, "frozen": "decoder"},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--d-sae", type=int, default=2304)
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--rows", type=int, default=1472)
    parser.add_argument("--epochs", type=int, default=1)
    given = parser.parse_args()
    environment = machine()
    saes, inputs = saes_of(given.d_sae, given.k), demo_inputs()
    train = {
        "stage": "train", "model": str(inputs.model), "tokens": str(inputs.tokens), "rows": given.rows,
        "epochs": given.epochs, "batch_rows": 8, "lanes": 2, "cache": {"dtype": "bf16"}, "saes": list(saes.values()),
    }  # fmt: skip
    with TemporaryDirectory() as folder:
        evaluate = Path(folder, "evaluate.yaml")
        Path(folder, "train.yaml").write_text(yaml.safe_dump(train))
        evaluate.write_text(
            yaml.safe_dump({"stage": "evaluate", "sae": "train.yaml", "rows": ROWS, "loss_rows": LOSS_ROWS})
        )
        evaluations = run_stage("evaluate", evaluate)
    figures, raw = [], {}
    for name, ref in zip(saes, evaluations, strict=True):
        files = inputs.store.files(parse_ref(ref, "evaluations"))
        metrics = json.loads(files.path("metrics.json").read_text())
        sae = load_sae(inputs.store.files(parse_ref(metrics["sae"], "saes")).directory())
        figures.append(Figure(name, _words(metrics)))
        keys = (
            "ev",
            "ev_of_hooks",
            "l0",
            "alive_share",
            "ce_score_zero",
            "kl_score_zero",
            "ce_score_mean",
            "kl_score_mean",
        )
        raw[name] = {key: metrics.get(key) for key in keys}
        if sae.is_crosscoder:
            raw[name]["shares"] = shares = _shares(sae)
            if not name.startswith("control"):
                figures.append(Figure(f"norm by block: {name}", ", ".join(f"{k} {v:.2f}" for k, v in shares.items())))
    settings = dict(vars(given))
    write_results("crosscoders", "Crosscoders", figures, settings, raw, environment)


def _words(metrics: dict[str, Any]) -> str:
    hooks = metrics.get("ev_of_hooks") or {}
    blocks = ", ".join(f"block {hook.split('.')[1]} {ev:.4f}" for hook, ev in hooks.items())
    each = f" ({blocks})" if hooks else ""
    scores = f"CE score {metrics['ce_score_zero']:.4f}, KL score {metrics['kl_score_zero']:.4f}"
    return f"EV {metrics['ev']:.4f}{each}, L0 {metrics['l0']:.1f}, {scores}, {100 * metrics['alive_share']:.1f}% alive"


def _shares(sae: Sae) -> dict[str, float]:
    """Mean share of the decoder's norm at each hook, and shares of latents that have most of it at one, or some at each."""
    norms = norms_of_hooks(sae.directions, sae.widths)
    share = norms / norms.sum(dim=1, keepdim=True)
    found = {f"mean at {hook.split('.')[1]}": float(own.mean()) for hook, own in zip(sae.hooks, share.T, strict=True)}
    most = share.amax(dim=1)
    return found | {
        "latents above 0.5 at one": float((most > 0.5).double().mean()),
        "latents above 0.2 at each": float((share.amin(dim=1) > 0.2).double().mean()),
    }


if __name__ == "__main__":
    main()
