"""Text to packed rows on two logical nodes of one CPU each beside one such node: tokens a second of both passes.

    python -m benchmarks.tokenize_nodes [--text FOLDER] [--megabytes 200] [--rounds 3]

Text and tokenizer as in benchmarks/tokenize.py. Each round starts a Ray cluster of one node and then one of two, which a job
uses as it would use machines. Passes are timed from their first line of progress to their last; the whole command too.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from benchmarks.common import REPOSITORY, Figure, machine, median_ratio, write_results
from benchmarks.tokenize import ROW_TOKENS, inputs
from cluster.store import Store
from configs.artifact_ids import parse_ref

NODES = (1, 2)
TARGET = 1.8
# Nodes of one CPU that live until standard input is closed.
_NODES = """
import os, sys
from ray.cluster_utils import Cluster
os.makedirs("/tmp/ray", exist_ok=True)  # Ray writes the head's address there, whatever its temp_dir is
node = {"num_cpus": 1, "memory": 4 << 30}
cluster = Cluster(initialize_head=True, head_node_args={**node, "temp_dir": sys.argv[1], "include_dashboard": False})
for _ in range(int(sys.argv[2]) - 1):
    cluster.add_node(**node)
cluster.wait_for_nodes()
print(cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--text", type=Path, help="a folder with text files")
    given = parser.parse_args()
    place, store = machine(), Store.open()
    with tempfile.TemporaryDirectory(prefix="raylens-bench-") as scratch:
        folder = Path(scratch)
        model, large, size = inputs(folder / "text.jsonl", given.text, given.megabytes * 1_000_000)
        raw: dict[str, list[dict[str, float]]] = {str(nodes): [] for nodes in NODES}
        for n in range(given.rounds):
            settings = {
                "stage": "tokenize", "dataset": str(large), "model": str(model), "context_length": ROW_TOKENS,
                "seed": int(time.time()) + n,
            }  # fmt: skip
            for nodes in NODES:
                raw[str(nodes)].append(_tokenize(folder / "tokenize.yaml", settings, nodes))
                store.delete(parse_ref(str(raw[str(nodes)][-1].pop("ref"))))
    settings = {"text_bytes": size, "rounds": given.rounds, "row_tokens": ROW_TOKENS}
    write_results("tokenize_nodes", "Tokenizing on two nodes beside one", _figures(raw), settings, raw, place)


@contextmanager
def _cluster(nodes: int) -> Iterator[str]:
    """The address of a cluster of nodes of one CPU each."""
    with tempfile.TemporaryDirectory(prefix="rl", dir="/tmp", ignore_cleanup_errors=True) as folder:
        process = subprocess.Popen(
            [sys.executable, "-c", _NODES, folder, str(nodes)],
            env={**os.environ, "RAY_AUTH_MODE": "disabled"},
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.communicate(timeout=60)


def _tokenize(config: Path, settings: dict[str, Any], nodes: int) -> dict[str, Any]:
    """Seconds of the command and of its passes, and the tokens."""
    config.write_text(yaml.safe_dump({**settings, "resources": {"workers": nodes, "cpus": 1, "threads": 1}}))
    command = [sys.executable, "-m", "jobs", "tokenize", "--config", str(config)]
    with _cluster(nodes) as address:
        begin = time.perf_counter()
        environment = {**os.environ, "RAY_ADDRESS": address, "RAY_AUTH_MODE": "disabled"}
        seen: dict[str, list[float]] = {}
        with subprocess.Popen(
            command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stderr is not None and process.stdout is not None
            said = []
            for line in process.stderr:
                said.append(line)
                for phase in ("[tokenize]", "[pack]"):
                    if phase in line:
                        seen.setdefault(phase, []).append(time.perf_counter())
            answer = process.stdout.read()
        seconds = time.perf_counter() - begin
    if process.returncode:
        sys.exit("".join(said))
    ref = yaml.safe_load(answer)["artifacts"][0]
    passes = sum(times[-1] - times[0] for times in seen.values())
    tokens = Store.open().files(parse_ref(ref)).manifest.summary["tokens"]
    return {"seconds": seconds, "passes": passes, "tokens": tokens, "ref": ref}


def _figures(raw: dict[str, list[dict[str, float]]]) -> list[Figure]:
    figures = []
    for what, name in (("both passes", "passes"), ("the whole command", "seconds")):
        rates = {nodes: [one["tokens"] / one[name] for one in runs] for nodes, runs in raw.items()}
        figures += [
            Figure(f"{nodes} node{'s' if nodes != '1' else ''} of one CPU, {what}, tokens/s", f"{median(rate):,.0f}")
            for nodes, rate in rates.items()
        ]
        ratio = median_ratio(rates["2"], rates["1"])
        figures.append(Figure(f"two nodes over one, {what}", f"{ratio:.2f}", f"{TARGET:g}", ratio >= TARGET))
    return figures


if __name__ == "__main__":
    main()
