"""Makes `context_length` blocks in Ray tasks; every finished block is a part. Blocks from number N on wait while a file
`hold`, which says N, stands beside the source: so a test can stop the world where it wants.

`seed` chooses a fault: 13 raises in a task, 14 raises what no one foresaw, 15 says that it needs an exabyte.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from configs.artifact_ids import ArtifactRef
from configs.base import StageConfig
from configs.tokenize import TokenizeConfig
from jobs.life.stage_context import JobContext, Output, Stopped
from jobs.stages import Stage

if TYPE_CHECKING:
    from cluster.store import Store

VERSION = 1


class BadToken(ValueError):
    """What a worker may say."""

    __module__ = "sae.toy"


def inputs(config: TokenizeConfig) -> dict[str, StageConfig | str]:
    return {"dataset": config.dataset, "model": config.model}


def outputs(config: TokenizeConfig, inputs: dict[str, list[ArtifactRef]], fp: str) -> list[Output]:
    return [Output(ArtifactRef("tokens", fp), f"{config.context_length} blocks")]


def store_bytes(config: TokenizeConfig, inputs: dict[str, list[ArtifactRef]], store: Store) -> int:
    return 1 << 60 if config.seed == 15 else 1


def run(job: JobContext) -> None:
    import ray

    config, ref = job.config, job.outputs[0].ref
    block = ray.remote(num_cpus=job.requirement.cpus)(_block)
    blocks = [f"block-{i}" for i in range(config.context_length)]
    finished = {name: file for name, (file, _) in job.store.parts(ref).items()}
    job.progress.log(f"{len(finished)} blocks from before")
    job.progress.start("blocks", len(blocks), "blocks", len(finished))
    for name in blocks:
        if name not in finished:
            path = job.scratch / name
            path.write_text(ray.get(block.remote(name, config.seed, Path(config.dataset.source.path).parent / "hold")))
            finished[name] = job.store.put(ref, job.attempt, name, path, part=True)
            job.progress.update(len(finished))
        if job.stop_requested() and len(finished) < len(blocks):
            raise Stopped
    job.publish(job.outputs[0], [finished[name] for name in blocks], {"blocks": len(blocks)})


def _block(name: str, seed: int, hold: Path) -> str:
    print(f"a worker speaks of {name}")
    number = int(name.removeprefix("block-"))
    while hold.exists() and number >= int(hold.read_text() or 0):
        time.sleep(0.05)
    if seed == 13:
        raise BadToken(f"{name} holds a bad token: 13; use another seed")
    if seed == 14:
        raise KeyError(name)
    return f"{name} {seed}\n"


STAGE = Stage(VERSION, inputs, outputs, run, store_bytes=store_bytes)
