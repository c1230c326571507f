"""Heads and nodes for tests: each in a home of its own, and what belongs to one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from cluster.machines.paths import code_root


def environment_of(home: Path, **more: str) -> dict[str, str]:
    """The environment of a user who set nothing but the home: token authentication is on."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "RAYLENS_"))}
    return {**kept, "RAYLENS_HOME": str(home), **more}


def python(code: str, environment: dict[str, str], timeout: float = 120) -> Any:
    """Runs code in a process of its own; gives what its last line of standard output says in JSON."""
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=code_root(), capture_output=True, text=True, timeout=timeout
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


def cluster(arguments: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Runs `python -m cluster`."""
    return subprocess.run(
        [sys.executable, "-m", "cluster", *arguments],
        env=environment,
        cwd=code_root(),
        capture_output=True,
        text=True,
        timeout=180,
    )


UP = "import json; from cluster.machines.up import up; print(json.dumps(up()._asdict()))"
DOWN = "import json; from cluster.machines.down import down; print(json.dumps(down()))"
REMAINS = (
    "import json; from cluster.machines.processes import processes_of; "
    "print(json.dumps([p.pid for p in processes_of({!r})]))"
)
CONNECTED = """
import json
from cluster.machines.discover import discover
from cluster.machines.connection import connected
with connected(discover(), bring_code=False):
    import ray
    {}
"""
