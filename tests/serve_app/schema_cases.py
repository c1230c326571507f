"""Runs schemathesis against a server of the API: all of its checks, generated, stateful, positive and negative cases.

    python -m tests.serve_app.schema_cases     # starts a server under Ray Serve for it; some 25,000 cases

Streams that do not end by themselves are left out: no client could tell a long answer from a hanging one. They have tests
of their own.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import httpx2

from tests.serve_app.sample_artifacts import SampleArtifacts
from tests.serve_app.served import served, temporary_samples

STREAMS = r".*/stream$"
# What a valid request may come to beside success: 422 for what only the server can know (a source, an input, a pattern of
# settings that do not go together), 409 for conflicts and for what does not fit, 503 for a hub that is away.
CONFIG = """
[output]
sanitization.enabled = false

[checks]
positive_data_acceptance.expected-statuses = ["2xx", 304, 401, 403, 404, 409, 422, 503]
negative_data_rejection.expected-statuses = [400, 401, 403, 404, 405, 406, 409, 413, 414, 415, 421, 422, 428]
not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", 503]

# A job's config nests stages in stages: to find examples, schemathesis would build one of each of 40,000 parts, which takes ten
# times what all the rest takes. Its cases are generated like all others; test_jobs.py reads its documented example.
[[operations]]
include-path-regex = '^/v1/jobs(/check)?$'
include-method = ['POST']
phases.examples.enabled = false
"""


class Cases(NamedTuple):
    """What a run came to."""

    status: int
    cases: int
    output: str


def known_ids(ids: dict[str, str]) -> str:
    """Settings that let cases reach what is there: `ids` by the resource's path. Deletions find what they make up.

    Only for valid cases: in an invalid one a good id would stand where a bad one is meant to be.
    """
    parts = []
    for resource, id in ids.items():
        where = rf"^/v1/{re.escape(resource)}/\{{id\}}"
        parts.append(
            f"[[operations]]\ninclude-path-regex = '{where}'\nexclude-method = ['DELETE']\n"
            f"parameters = {{ 'path.id' = '{id}' }}\n"
        )
    return "\n".join(parts)


def run(
    url: str, token: str, examples: int, *, ids: dict[str, str] | None = None, seed: int = 1, phases: str = ""
) -> Cases:
    """Runs it. `examples`: cases of an operation and kind, at most; `ids`: see known_ids, then with valid cases only."""
    with tempfile.TemporaryDirectory(prefix="raylens-cases-") as folder:
        (Path(folder) / "schemathesis.toml").write_text(CONFIG + known_ids(ids or {}))
        report = Path(folder) / "report.ndjson"
        command = [
            *(sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()"),
            *("--config-file", f"{folder}/schemathesis.toml", "run", f"{url}/openapi.json"),
            *("--checks", "all", "--header", f"Authorization: Bearer {token}", "--exclude-path-regex", STREAMS),
            *("--max-examples", str(examples), "--seed", str(seed), "--workers", "2", "--request-timeout", "60"),
            *("--max-response-time", "60", "--continue-on-failure", "--no-shrink", "--suppress-health-check", "all"),
            *("--report", "ndjson", "--report-ndjson-path", str(report), *(("--phases", phases) if phases else ())),
        ]
        environment = {**os.environ, "NO_COLOR": "1", "COLUMNS": "160"}
        ended = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        return Cases(ended.returncode, _count(report, ended.stdout), ended.stdout)


def _count(report: Path, output: str) -> int:
    found = re.search(r"([\d,]+) (?:test cases )?generated", output)
    if found is not None:
        return int(found[1].replace(",", ""))
    lines = report.read_text().splitlines() if report.exists() else []
    return sum(1 for line in lines if "ScenarioFinished" in json.loads(line))


def ids_of(samples: SampleArtifacts) -> dict[str, str]:
    """What a samples has, by the paths of the API."""
    return {ref.kind: ref.id for ref in samples.refs()}


def main() -> int:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=3, help="cases of an operation and kind, at most (default: 3)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--phases", default="", help="examples, coverage, fuzzing, stateful (default: all)")
    given = parser.parse_args()
    with temporary_samples() as samples, served(samples) as site:
        warm(site.url, site.token, samples)
        passes = [
            run(site.url, site.token, given.examples, ids=ids, seed=given.seed, phases=given.phases)
            for ids in (None, ids_of(samples))
        ]
    for found in passes:
        print(found.output)
    print(f"{sum(found.cases for found in passes)} cases, status {[found.status for found in passes]}")
    return max(found.status for found in passes)


def warm(url: str, token: str, samples: SampleArtifacts) -> None:
    """Asks the two things whose first answer takes seconds."""
    with httpx2.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=120) as client:
        for _ in range(4):  # on either replica
            client.get(f"/v1/models/{samples.refs()[1].id}").raise_for_status()
        client.post("/v1/text/features", json={"sae": str(samples.sae), "text": "warm"}).raise_for_status()


if __name__ == "__main__":
    sys.exit(main())
