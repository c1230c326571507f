"""`make chaos`: kills of every kind, counted. Seeded and resumable; results go to benchmarks/results/chaos.json.

python -m tests.chaos --kills 5 --seed 0
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import subprocess
import tempfile
from pathlib import Path

RESULTS = Path(__file__).resolve().parent.parent / "benchmarks" / "results" / "chaos.json"


def main() -> int:
    """Runs what the results file does not hold yet for this commit and seed. Exit status 1 if any kill changed a byte."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=5, help="kills of each kind")
    parser.add_argument("--seed", type=int, default=0, help="decides the moment of each kill")
    arguments = parser.parse_args()

    import ray

    import tests.conftest  # noqa: F401  (Ray's environment)
    from tests.artifacts import tiny_store
    from tests.kills import moment, prepare, run_case, timed
    from tests.tiny_model import cached

    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if (results.get("commit"), results.get("seed")) != (commit, arguments.seed):
        results = {"commit": commit, "seed": arguments.seed, "machine": platform.processor(), "kills": {}}
    os.environ["PYTHONPATH"] = str(RESULTS.parents[2])
    with tempfile.TemporaryDirectory(prefix="rc", dir="/tmp") as folder:
        ray.init(address="local", num_cpus=4, include_dashboard=False, _temp_dir=folder, log_to_driver=False)
        store = tiny_store(Path(folder), cached(Path(tempfile.gettempdir()) / "raylens-tests"), train_rows=256)
        for victim, case in prepare(store).items():
            undisturbed, _ = run_case(case, store)
            for number in range(arguments.kills):
                key = f"{victim}-{number}"
                if key in results["kills"]:
                    continue
                after = moment(case, random.Random(f"{arguments.seed}-{key}"))
                files, hit, seconds = timed(case, store, after)
                results["kills"][key] = {
                    "after": hit.after,
                    "equal": files == undisturbed,
                    "seconds": round(seconds, 1),
                }
                print(key, results["kills"][key], flush=True)
                RESULTS.write_text(json.dumps(results, indent=2) + "\n")
        ray.shutdown()
    wrong = [key for key, kill in results["kills"].items() if not kill["equal"]]
    print(f"{len(results['kills']) - len(wrong)} of {len(results['kills'])} kills left every byte as it was")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
