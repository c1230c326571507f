"""One training run of RayLens for a benchmark, in a process of its own; prints one JSON line.

    python -m benchmarks.ours SPEC.json

SPEC: {"config": a train config with ids, "mode": "ray" | "plain", "threads": n, "scratch": folder, "store": url}.
`ray` is the train stage itself: Ray Train with one worker, checkpoints, artifacts. `plain` is the same loop in this
process without Ray. The seconds are those of the loop alone, after loading the model and calibrating; `whole_seconds`
begin with the process and end with the SAEs on disk.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

STARTED = time.monotonic()


def main(path: str) -> None:
    spec = json.loads(Path(path).read_text())
    print(json.dumps(_ray(spec) if spec["mode"] == "ray" else _plain(spec)))


def _ray(spec: dict[str, Any]) -> dict[str, Any]:
    # First, before anything imports Ray: the cluster is the one that `python -m jobs` starts for itself.
    from cluster.machines.connection import connected, prepare
    from cluster.machines.discover import ClusterTarget

    prepare(ClusterTarget(None, "benchmark"))
    import actors.train_launcher
    from cluster.store import Store
    from configs.artifact_ids import ArtifactRef
    from configs.requirements import Requirement
    from configs.train import TrainConfig
    from jobs.life.planner import Planner, resolve_auto
    from jobs.life.stage_context import JobContext

    config = resolve_auto(TrainConfig.model_validate(spec["config"]), "cpu")
    step = Planner().step(config)
    scratch = Path(spec["scratch"])
    store = _store_beside(Store(spec["store"]), scratch)
    clock = scratch / "loop.json"
    os.environ["RAYLENS_BENCHMARK_CLOCK"] = str(clock)
    actors.train_launcher.train_worker = timed_worker
    (scratch / "job").mkdir()
    with connected(ClusterTarget(None, "benchmark")):
        job = JobContext(
            config=config,
            outputs=step.outputs,
            store=store,
            scratch=scratch / "job",
            inputs=step.inputs,
            fingerprint=step.fingerprint,
            requirement=Requirement(workers=1, cpus=1, threads=spec["threads"]),
        )
        from jobs.stages import train

        train.run(job)
    loop = json.loads(clock.read_text())
    folders, tokens = [], 0
    for output in step.outputs:
        assert isinstance(output.ref, ArtifactRef)
        files = store.files(output.ref)
        folders.append(str(files.directory()))
        tokens = json.loads(files.path("training.json").read_text())["positions"]["data"]
    return _report(loop["seconds"], tokens, folders)


def timed_worker(settings: dict[str, Any]) -> None:
    """The training worker, with a clock around its loop."""
    import actors.trainer as trainer

    loop = trainer.train

    def timed(*arguments: Any) -> bool:
        start = time.monotonic()
        finished = loop(*arguments)
        seconds = {"seconds": time.monotonic() - start}
        Path(os.environ["RAYLENS_BENCHMARK_CLOCK"]).write_text(json.dumps(seconds))
        return finished

    trainer.train = timed
    try:
        trainer.train_worker(settings)
    finally:
        trainer.train = loop


def _plain(spec: dict[str, Any]) -> dict[str, Any]:

    from actors.worker_setup import set_up
    from cluster.store import Store
    from configs.artifact_ids import parse_ref
    from configs.requirements import Requirement
    from configs.train import TrainConfig
    from jobs.life.planner import resolve_auto
    from sae.formats.sae_folder import write_sae
    from sae.training.build import build_run
    from sae.training.collectives import LocalCollective
    from sae.training.loop import AfterBlock, train

    set_up(Requirement(threads=spec["threads"]))  # as every worker does
    config = resolve_auto(TrainConfig.model_validate(spec["config"]), "cpu")
    store, collective = Store(spec["store"]), LocalCollective()
    model, tokens = (store.files(parse_ref(str(ref))) for ref in (config.model, config.tokens))
    run = build_run(config, list(range(len(config.saes))), model, tokens, None, collective, "cpu")
    start = time.monotonic()
    train(
        run,
        collective,
        0,
        lambda step: None,
        lambda block: AfterBlock(False, False),
        lambda block: None,
    )
    seconds = time.monotonic() - start
    folders, positions = [], 0
    for number, trainer in run.trainers.items():
        folder, metadata = Path(spec["scratch"]) / f"sae-{number}", {"hook_name": trainer.config.hook}
        write_sae(folder, trainer.config.architecture, trainer.export(), metadata, trainer.calibration, {})
        folders.append(str(folder))
        positions = int(sum(point.tokens for point in trainer.curve()))
    return _report(seconds, positions, folders)


def _store_beside(store: Any, scratch: Path) -> Any:
    """A store that reads the model and tokens of `store` and keeps what is trained to itself."""
    from cluster.store import Store

    own = scratch / "store"
    own.mkdir()
    for kind in ("models", "tokens", "datasets"):
        if (Path(store.url) / kind).is_dir():
            (own / kind).symlink_to(Path(store.url) / kind)
    return Store(str(own), str(scratch / "cache"))


def _report(seconds: float, tokens: int, folders: list[str]) -> dict[str, Any]:
    return {
        "seconds": seconds,
        "tokens": tokens,
        "tokens_per_second": tokens / seconds,
        "whole_seconds": time.monotonic() - STARTED,
        "saes": folders,
    }


if __name__ == "__main__":
    main(sys.argv[1])
