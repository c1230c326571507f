"""One training run of SAELens for a benchmark, run by the peers' python; prints one JSON line.

    .venv-peers/bin/python benchmarks/peers/saelens_run.py SPEC.json

SPEC: {"model": folder, "rows": .npy of token ids [n, L], "length": L, "saes": [{"hook": module path, "d_sae", "k"}],
"d_in", "tokens", "batch", "lr", "warmup", "decay", "lm_rows", "threads", "out": folder, and what _options() reads}. One
SAE goes through LanguageModelSAETrainingRunner, several through MultiSAETrainingRunner.

The language model is the Hugging Face model itself (model_class_name AutoModelForCausalLM): its pass ends at the hook
and uses torch's fused attention, and it loads a local folder; TransformerLens' own implementation does neither. Rows are
tokenized before. Position 0, the attention sink, is dropped by seqpos_slice. Inputs are scaled to unit mean square
(normalize_activations expected_average_only_in). Nothing is logged or evaluated, and no checkpoint is written. Its
use_sparse_activations does not run on CPU (aten::view has no SparseCPU kernel in torch 2.13), so activations are dense.

The seconds are those of the training loop alone, after loading the model and estimating the norm: of the clock, of this
process on all CPUs (cpu_seconds), and of all processes on all CPUs (busy_seconds).
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

STARTED = time.monotonic()
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("WANDB_MODE", "disabled")
os.environ.setdefault("TQDM_DISABLE", "1")


def main(path: str) -> None:
    spec = json.loads(Path(path).read_text())
    warnings.simplefilter("ignore")
    import torch

    torch.set_num_threads(spec["threads"])
    several = len(spec["saes"]) > 1
    runner = _many(spec) if several else _one(spec)
    clock = _time_loop(several)
    runner.run()
    out = Path(spec["out"])
    folders = sorted(str(p.parent) for p in out.rglob("sae_weights.safetensors"))
    steps = spec["tokens"] // spec["batch"] + bool(spec["tokens"] % spec["batch"])
    tokens = steps * spec["batch"]
    report = {
        **clock,
        "tokens": tokens,
        "tokens_per_second": tokens / clock["seconds"],
        "whole_seconds": time.monotonic() - STARTED,
        "saes": folders,
    }
    print(json.dumps(report))


def _options(spec: dict[str, Any]) -> dict[str, Any]:
    """What both runners' configs share. A step that is not whole would cost a batch that the other side has not."""
    steps = spec["tokens"] // spec["batch"]
    return {
        "model_name": spec["model"],
        "model_class_name": "AutoModelForCausalLM",
        "model_from_pretrained_kwargs": {"dtype": spec.get("lm_dtype", "float32"), "attn_implementation": "sdpa"},
        "dataset_path": "raylens-tokens",
        "streaming": False,
        "context_size": spec["length"],
        "seqpos_slice": (1, None),
        "prepend_bos": False,
        "n_batches_in_buffer": spec.get("buffer_rows", 64),
        "store_batch_size_prompts": spec["lm_rows"],
        "train_batch_size_tokens": spec["batch"],
        "training_tokens": spec["tokens"],
        "activations_mixing_fraction": 0.5,
        "prefetch_llm_batches": spec.get("prefetch", False),
        "compile_llm": spec.get("compile_llm", False),
        "autocast": spec.get("autocast", False),
        "autocast_lm": spec.get("autocast_lm", False),
        "n_batches_for_norm_estimate": 2,
        "lr": spec["lr"],
        "lr_end": 0.0,
        "lr_warm_up_steps": spec["warmup"],
        "lr_decay_steps": int(spec["decay"] * steps),
        "dtype": "float32",
        "device": "cpu",
        "seed": spec.get("seed", 0),
        "n_checkpoints": 0,
        "checkpoint_path": None,
        "output_path": spec["out"],
    }


def _sae(spec: dict[str, Any], sae: dict[str, Any]) -> Any:
    from sae_lens import TopKTrainingSAEConfig

    return TopKTrainingSAEConfig(
        d_in=spec["d_in"],
        d_sae=sae["d_sae"],
        k=sae["k"],
        normalize_activations="expected_average_only_in",
        use_sparse_activations=False,
        dtype="float32",
        device="cpu",
    )


def _one(spec: dict[str, Any]) -> Any:
    from sae_lens import LanguageModelSAERunnerConfig, LanguageModelSAETrainingRunner, LoggingConfig

    sae = spec["saes"][0]
    config = LanguageModelSAERunnerConfig(
        sae=_sae(spec, sae),
        hook_name=sae["hook"],
        compile_sae=spec.get("compile_sae", False),
        verbose=False,
        logger=LoggingConfig(log_to_wandb=False),
        **_options(spec),
    )
    return LanguageModelSAETrainingRunner(config, override_dataset=_rows(spec))


def _many(spec: dict[str, Any]) -> Any:
    from sae_lens import LoggingConfig
    from sae_lens.multi_sae_training_runner import MultiSAETrainingRunner, MultiSAETrainingRunnerConfig

    names = [f"sae-{i}" for i in range(len(spec["saes"]))]
    config = MultiSAETrainingRunnerConfig(
        saes={name: _sae(spec, sae) for name, sae in zip(names, spec["saes"])},
        hook_names={name: sae["hook"] for name, sae in zip(names, spec["saes"])},
        logger=LoggingConfig(log_to_wandb=False),
        **_options(spec),
    )
    return MultiSAETrainingRunner(config, override_dataset=_rows(spec))


def _rows(spec: dict[str, Any]) -> Any:
    import numpy as np
    from datasets import Dataset

    return Dataset.from_dict({"input_ids": np.load(spec["rows"])})


def _time_loop(several: bool) -> dict[str, float]:
    """Starts the clock when the norm has been estimated and stops it after the last step."""
    from sae_lens.training.multi_sae_trainer import MultiSAETrainer
    from sae_lens.training.sae_trainer import SAETrainer

    clock: dict[str, float] = {}
    start: list[dict[str, float]] = []
    kind = MultiSAETrainer if several else SAETrainer
    first = "_maybe_log_sparsity" if several else "maybe_reset_sparsity"
    last = "_maybe_log_sparsity" if several else "full_sparsity_window_log"
    begin, end = getattr(kind, first), getattr(kind, last)

    def read() -> None:
        if start:
            now = _now()
            clock.update({name: now[name] - start[0][name] for name in now})

    def started(self: Any, *arguments: Any, **named: Any) -> Any:
        if not start:
            start.append(_now())
        read()
        return begin(self, *arguments, **named)

    def ended(self: Any, *arguments: Any, **named: Any) -> Any:
        read()
        return end(self, *arguments, **named)

    setattr(kind, first, started)
    if last != first:
        setattr(kind, last, ended)
    return clock


def _now() -> dict[str, float]:
    user, nice, system, _, _, irq, softirq = map(int, Path("/proc/stat").read_text().split()[1:8])
    busy = (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")
    return {"seconds": time.monotonic(), "cpu_seconds": time.process_time(), "busy_seconds": busy}


if __name__ == "__main__":
    main(sys.argv[1])
