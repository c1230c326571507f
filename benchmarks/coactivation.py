"""Counts of features that are active together: seconds and memory for SAEs of several widths, and equality with brute force.

    python -m benchmarks.coactivation [--features 16384 131072] [--positions 1000000] [--k 32] [--threads 2]

Codes are drawn: each position has k features, a few of them frequent and most of them rare (a power law of 0.7).
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from typing import Any

import numpy as np

from benchmarks.common import Figure, machine, write_results
from sae.features.coactivation import LEAST_JOINT, Coactivation, count_coactivation
from sae.labels.activations import Activations, by_feature

_MOST, _CHECKED = 20, 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, nargs="+", default=[16384, 131072])
    parser.add_argument("--positions", type=int, default=1_000_000)
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--one", action="store_true", help="measure one width in this process, and print it")
    given = parser.parse_args()
    if given.one:
        print(*_measure(given.features[0], given).values())
        return
    environment, figures, raw = machine(), [], {}
    for features in given.features:
        options = ["--features", features, "--positions", given.positions, "--k", given.k, "--threads", given.threads]
        command = [sys.executable, "-m", "benchmarks.coactivation", "--one", *map(str, options)]
        printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()
        seconds, codes, peak, different = (float(one) for one in printed)
        raw[str(features)] = {"seconds": seconds, "codes_mib": codes, "peak_mib": peak, "different": different}
        what = f"{features:,} features, {given.positions:,} positions, k {given.k}"
        met = seconds <= 60 if features == 16384 else None
        figures += [
            Figure(f"{what}: top {_MOST} of each", f"{seconds:.1f} s", "<= 60 s" if met is not None else "", met),
            Figure(f"{what}: peak memory, of it before counting", f"{peak:.0f} MiB, {codes:.0f} MiB"),
            Figure(
                f"{what}: different from brute force, of {_CHECKED} features", f"{different:.0f}", "0", different == 0
            ),
        ]
    settings = {"positions": given.positions, "k": given.k, "threads": given.threads}
    write_results("coactivation", "Features that are active together", figures, settings, raw, environment)


def _measure(features: int, given: argparse.Namespace) -> dict[str, Any]:
    active = _codes(features, given.positions, given.k)
    before = _peak()
    start = time.perf_counter()
    found = count_coactivation(
        active.starts, active.positions, np.ones(given.positions, np.bool_), _MOST, given.threads
    )
    seconds, peak = time.perf_counter() - start, _peak()
    checked = range(0, features, features // _CHECKED)[:_CHECKED]
    different = sum(not _equal(feature, active, found) for feature in checked)
    return {"seconds": seconds, "before": before, "peak": peak, "different": different}


def _codes(features: int, positions: int, k: int) -> Activations:
    random = np.random.default_rng(0)
    share = 1 / np.arange(10, features + 10) ** 0.7
    drawn = np.sort(random.choice(features, (positions, k), p=share / share.sum()), 1)
    new = np.ones(drawn.shape, np.bool_)
    new[:, 1:] = drawn[:, 1:] != drawn[:, :-1]
    position = np.broadcast_to(np.arange(positions)[:, None], drawn.shape)[new]
    return by_feature(drawn[new], position, np.ones(int(new.sum()), np.float32), features)


def _equal(feature: int, active: Activations, found: Coactivation) -> bool:
    """Whether the partners of a feature are those of a count over all codes."""
    here = np.zeros(int(active.positions.max()) + 1, np.bool_)
    here[active.of(feature)] = True
    owner = np.repeat(np.arange(active.features), np.diff(active.starts))
    joint = np.bincount(owner[here[active.positions]], minlength=active.features)
    joint[feature] = 0
    others = np.flatnonzero(joint >= LEAST_JOINT)
    n, count = found.positions, len(active.of(feature))
    shares = joint[others] / n
    score = np.log(shares / (count / n * found.counts[others] / n)) / -np.log(shares)
    mine = slice(found.starts[feature], found.starts[feature + 1])
    best = np.sort(score)[::-1][:_MOST]
    same = np.array_equal(found.joint[mine], joint[found.partner[mine]])
    return bool(same and len(best) == len(found.npmi[mine]) and np.allclose(found.npmi[mine], best, atol=1e-6))


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


if __name__ == "__main__":
    main()
