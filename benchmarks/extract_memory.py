"""Memory and bytes of extraction and evaluation as the tokens grow tenfold, on a small trained SAE.

    python -m benchmarks.extract_memory [--tokens 2000000 20000000]

A GPT-2 of 3 layers and d 48 reads rows of a small grammar; an SAE of 512 latents is trained for a minute on its second
block. Extraction and evaluation then run over each number of tokens, in a process of their own, with the code of the stages
and their workers in that one process. Memory is the process' largest resident set.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.common import Figure, machine, write_results
from cluster.store import Store
from configs.artifact_ids import ArtifactRef
from configs.evaluate import EvaluateConfig
from configs.extract import ExtractConfig
from configs.requirements import Requirement
from configs.train import TrainConfig
from jobs.life.stage_context import JobContext
from jobs.stages import evaluate, extract
from sae.calibration import calibrate, data_mask
from sae.formats.sae_folder import write_sae
from sae.formats.tokens import Role, Segments, TokensInfo, TokensReader, shard_name, write_shard
from sae.language_model import LanguageModel, load_tokenizer
from sae.row_activations import activations_of_rows, calibration_batches
from sae.training.sae_trainer import SaeTrainer
from tests.actors.extract_world import bytes_written, inline, put_artifact
from tests.tiny_model import cached, documents

LENGTH, LATENTS, K, HOOK, SHARD = 128, 512, 8, "blocks.1.hook_resid_post", 4096
MODEL, TOKENS, SAE = (ArtifactRef(kind, "0" * 16) for kind in ("models", "tokens", "saes"))
STEPS, BATCH_ROWS = 600, 32
REQUIREMENT = Requirement(workers=1, cpus=1, threads=1)


def main() -> None:
    """Measures each size and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--tokens", type=int, nargs=2, default=[2_000_000, 20_000_000], help="fewer and more tokens")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        stage, folder, tokens = given.child
        print(json.dumps(_measure(stage, Path(folder), int(tokens))))
        return
    before = machine()
    with tempfile.TemporaryDirectory() as temporary:
        raw = {}
        for tokens in given.tokens:
            folder = Path(temporary, f"{tokens}")
            _make_inputs(folder, -(-tokens // LENGTH))
            for stage in ("extract", "evaluate"):
                command = [
                    sys.executable,
                    "-m",
                    "benchmarks.extract_memory",
                    "--child",
                    stage,
                    str(folder),
                    str(tokens),
                ]
                ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                raw[f"{stage} {tokens}"] = json.loads(ran.stdout.splitlines()[-1])
                print(stage, tokens, raw[f"{stage} {tokens}"], file=sys.stderr, flush=True)
    settings = {
        "latents": LATENTS,
        "k": K,
        "context_length": LENGTH,
        "rows_per_chunk": ExtractConfig(sae=str(SAE)).rows_per_chunk,
    }
    write_results(
        "extract_memory",
        "Memory and bytes of extraction and evaluation",
        _figures(raw, given.tokens),
        settings,
        raw,
        before,
    )


def _figures(raw: dict[str, Any], tokens: list[int]) -> list[Figure]:
    found = []
    for stage in ("extract", "evaluate"):
        few, many = (raw[f"{stage} {n}"] for n in tokens)
        growth = many["peak_bytes"] / few["peak_bytes"]
        peaks = " and ".join(f"{one['peak_bytes'] / 2**20:.0f} MiB" for one in (few, many))
        sizes = " and ".join(f"{n / 1e6:g}M" for n in tokens)
        found.append(Figure(f"{stage}: peak memory at {sizes} tokens", peaks, "ratio <= 1.1", growth <= 1.1))
        for n, one in zip(tokens, (few, many), strict=True):
            name = f"{stage}, {n / 1e6:g}M tokens"
            if stage == "extract":
                each = one["written"] / LATENTS / one["chunks"]
                found.append(
                    Figure(f"{name}: bytes written per latent and row chunk", f"{each:.0f}", "<= 100", each <= 100)
                )
            ratio = one["predicted"] / one["written"]
            found.append(
                Figure(f"{name}: store_bytes / bytes written", f"{ratio:.2f}", "0.8 to 1.2", 0.8 <= ratio <= 1.2)
            )
    return found


def _measure(stage: str, folder: Path, tokens: int) -> dict[str, Any]:
    store, rows = Store.open(str(folder / "store")), -(-tokens // LENGTH)
    scratch = folder / stage
    scratch.mkdir()
    common = {"sae": str(SAE), "split": "train", "rows": rows, "lm_dtype": "fp32"}
    with pytest.MonkeyPatch.context() as patch:
        inline(patch)
        written = bytes_written(patch)
        inputs = {"sae": [SAE]}
        module: Any = extract if stage == "extract" else evaluate
        config: Any = ExtractConfig(**common) if stage == "extract" else EvaluateConfig(**common, rows_per_chunk=128)
        job = JobContext(config, module.outputs(config, inputs, ""), store, scratch, inputs, requirement=REQUIREMENT)
        predicted = module.store_bytes(config, inputs, store)
        start = time.monotonic()
        module.run(job)
    return {
        "seconds": round(time.monotonic() - start, 1),
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "written": sum(written),
        "files": len(written),
        "predicted": predicted,
        "chunks": -(-rows // config.rows_per_chunk),
    }


def _make_inputs(folder: Path, rows: int) -> None:
    """A store with model, tokens and SAE below `folder`."""
    store = Store.open(str(folder / "store"))
    shutil.copytree(cached(folder.parent / "models"), folder / "model")
    put_artifact(store, MODEL, folder / "model")
    model = store.files(MODEL).directory()
    _write_tokens(folder / "tokens", load_tokenizer(model), rows)
    put_artifact(store, TOKENS, folder / "tokens")
    _train(store, LanguageModel.load(model), TokensReader(store.files(TOKENS), "train"), folder / "sae")


def _write_tokens(folder: Path, tokenizer: Any, rows: int) -> None:
    """Rows of BOS and consecutive tokens from a random position of a text."""
    folder.mkdir(parents=True)
    text = np.array([t for text in documents(6000) for t in [*tokenizer(text)["input_ids"], 0]], np.int32)
    rng = np.random.default_rng(0)
    for shard, first in enumerate(range(0, rows, SHARD)):
        n = min(SHARD, rows - first)
        begin = rng.integers(0, len(text) - LENGTH, n)
        ids = text[begin[:, None] + np.arange(LENGTH)]
        ids[:, 0] = 0
        roles = np.where(ids == 0, np.uint8(Role.SEPARATOR), np.uint8(Role.DATA))
        roles[:, 0] = Role.BOS
        edges, zeros = np.arange(n + 1), np.zeros(n, np.int64)
        segments = Segments(edges, edges[:-1] + first, zeros.astype(np.int32), zeros)
        write_shard(folder / shard_name("train", shard), "train", ids, roles, segments)
    counts = {"rows": rows, "tokens": rows * LENGTH, "roles": {}, "documents": rows, "shards": -(-rows // SHARD)}
    info = TokensInfo(LENGTH, "row", "eos", True, SHARD, tokenizer.vocab_size, 0, 0, 0, {"train": counts})
    info.save(folder / "tokens.json")


def _train(store: Store, model: LanguageModel, tokens: TokensReader, folder: Path) -> None:
    config = TrainConfig.model_validate(
        {"model": str(MODEL), "tokens": str(TOKENS), "lm_dtype": "fp32", "autocast": "off", "batch_rows": BATCH_ROWS,
         "saes": [{"hook": HOOK, "d_sae": LATENTS, "k": K, "dead_after_tokens": 100_000}]}
    )  # fmt: skip
    hook = model.hook(HOOK)
    calibration = calibrate(HOOK, calibration_batches(model, tokens, hook, 64, BATCH_ROWS), config.policy)
    trainer = SaeTrainer(config.saes[0], calibration, STEPS)
    for step in range(STEPS):
        start = step * BATCH_ROWS % (tokens.n_rows - BATCH_ROWS)
        acts, roles = activations_of_rows(model, tokens, [hook], start, start + BATCH_ROWS)
        values = acts[HOOK]
        trainer.step(values[data_mask(roles, values.norm(dim=-1), calibration, config.policy)])
    metadata = {"hook_name": HOOK, "hf_hook_name": hook.module_path, "raylens": {"target_l0": K}}
    write_sae(folder, config.saes[0].architecture, trainer.export(), metadata, calibration, {})
    inputs = {"model": str(MODEL), "tokens": str(TOKENS)}
    put_artifact(store, SAE, folder, config=config.model_dump(mode="json"), inputs=inputs)


if __name__ == "__main__":
    main()
