"""The measurements of a plan, in a process like a training worker's: the same threads, priority and use of memory.

python -m jobs.plan_probe: reads one request as JSON, writes one answer as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import redirect_stdout
from typing import Any, NamedTuple

from configs.requirements import Requirement
from configs.train import TrainConfig
from sae.training.probe_figures import HookFigures, ProbeFigures, SaeFigures

_WORKER_NICENESS = 15  # of Ray's workers, unless RAY_worker_niceness says another


class PlanProbeError(ValueError):
    """What the process said, or that it ended without a word."""


class Probed(NamedTuple):
    """What was measured, and seconds from the process' start until everything that a worker imports was there."""

    figures: ProbeFigures
    import_seconds: float


def probe(config: TrainConfig, requirement: Requirement) -> Probed:
    """Runs the process. Raises PlanProbeError."""
    request = {
        "config": config.model_dump(mode="json"),
        "requirement": requirement.model_dump(mode="json"),
        "began": time.time(),
    }
    ran = subprocess.run(
        [sys.executable, "-m", "jobs.plan_probe"],
        input=json.dumps(request),
        stdout=subprocess.PIPE,
        text=True,
    )
    # Libraries may write to the standard output itself; the answer is its last line.
    return _probed(ran.stdout.rstrip().rpartition("\n")[2], ran.returncode)


def _probed(answer: str, status: int) -> Probed:
    found: dict[str, Any] = (
        json.loads(answer) if answer.strip() else {"error": f"the process that measures ended with status {status}"}
    )
    if "error" in found:
        raise PlanProbeError(found["error"])
    body = found["figures"]
    body["hooks"] = tuple(HookFigures(**one) for one in body["hooks"])
    body["saes"] = tuple(SaeFigures(**one) for one in body["saes"])
    return Probed(ProbeFigures(**body), found["import_seconds"])


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    from actors.worker_setup import set_up
    from cluster.store import Store
    from jobs.preflight import existing_cache, existing_inputs
    from sae.training.probe import probe_run

    # What a worker has imported before it loads a model.
    import ray.train  # isort: skip  # noqa: F401
    import transformers  # noqa: F401

    import_seconds = time.time() - request["began"]
    requirement = Requirement.model_validate(request["requirement"])
    set_up(requirement)
    config, store = TrainConfig.model_validate(request["config"]), Store.open()
    inputs, cache = existing_inputs(config, store), existing_cache(config, store)
    figures = probe_run(
        config,
        store.files(inputs["model"]),
        store.files(inputs["tokens"]),
        requirement.device,
        None if cache is None else store.files(cache),
    )
    body = figures._asdict()
    body |= {name: [one._asdict() for one in body[name]] for name in ("hooks", "saes")}
    return {"figures": body, "import_seconds": import_seconds}


def main() -> int:
    """Answers the request on standard input. Gives the exit status."""
    from jobs.life.outcome import failure_of

    niceness = int(os.environ.get("RAY_worker_niceness", _WORKER_NICENESS))  # noqa: SIM112
    os.nice(max(0, niceness - os.nice(0)))
    with redirect_stdout(sys.stderr):
        try:
            answer = _answer(json.load(sys.stdin))
        except Exception as error:  # noqa: BLE001 - the other process tells it
            answer = {"error": failure_of(error).message}
    print(json.dumps(answer))
    return 1 if "error" in answer else 0


if __name__ == "__main__":
    sys.exit(main())
