"""The environment that every cluster of RayLens starts with, and why."""

from __future__ import annotations

import os
import secrets
from collections.abc import MutableMapping
from pathlib import Path

from cluster.machines.home import code_root

OBJECT_STORE_BYTES = 512 << 20

# Set before Ray starts: its processes read them from their environment once.
_HEAD = {
    # Work that can never be placed raises in seconds instead of waiting for ever. The second is needed for the first:
    # the list of infeasible shapes comes from the v2 autoscaler's report.
    "RAY_enable_infeasible_task_early_exit": "1",
    "RAY_enable_autoscaler_v2": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_COLOR_PREFIX": "0",  # of worker lines: they may end in a log file
    # The autoscaler's tips would stand between the lines of our own progress.
    "RAY_SCHEDULER_EVENTS": "0",
    # `ray job stop` leaves a checkpoint: SIGINT first, and time to write it.
    "RAY_JOB_STOP_SIGNAL": "SIGINT",
    "RAY_JOB_STOP_WAIT_TIME_S": "60",
    # HAProxy binds all interfaces and breaks WebSockets.
    "RAY_SERVE_ENABLE_HA_PROXY": "0",
}

# For a cluster of one command, which has no dashboard. Ray's own processes take a third less CPU with these, which a
# training step on all cores of a small machine pays for: when one thread of a product waits, all do.
_OWN = {
    # Nobody looks at the statistics of nodes, tasks and event loops there.
    "REPORTER_UPDATE_INTERVAL_MS": "30000",
    "RAY_DASHBOARD_AGENT_CHECK_PARENT_INTERVAL_S": "4",
    "RAY_task_events_report_interval_ms": "5000",
    "RAY_event_stats": "0",
    "RAY_io_context_event_loop_lag_collection_interval_ms": "0",
    "RAY_enable_metrics_collection": "0",
    # The gate has refused what can never fit; what Ray itself finds infeasible is still said within seconds.
    "AUTOSCALER_UPDATE_INTERVAL_S": "10",
    "RAY_memory_monitor_refresh_ms": "1000",
    # New log files are looked for four times a second instead of ten.
    "RAY_LOG_MONITOR_MANY_FILES_THRESHOLD": "1",
    "LOG_NAME_UPDATE_INTERVAL_S": "0.25",
    # Every worker process wakes a hundred times a second, an idle one too: none is started before it is needed.
    "RAY_prestart_worker_first_driver": "0",
}


def apply(environment: MutableMapping[str, str]) -> None:
    """Puts the settings into an environment. What the user set already stays."""
    for name, value in _HEAD.items():
        environment.setdefault(name, value)


def apply_own(environment: MutableMapping[str, str]) -> None:
    """What only a cluster of one command starts with. What the user set already stays."""
    for name, value in _OWN.items():
        environment.setdefault(name, value)


def apply_code(environment: MutableMapping[str, str]) -> None:
    """Lets workers of this machine find RayLens' packages wherever the command was started."""
    paths = environment.get("PYTHONPATH", "").split(os.pathsep)
    if str(code_root()) not in paths:
        environment["PYTHONPATH"] = os.pathsep.join([str(code_root()), *filter(None, paths)])


def apply_own_token(environment: MutableMapping[str, str]) -> None:
    """Token authentication with a token that only this process and its children know.

    A cluster of one command needs no token file: the environment reaches all of its processes. Without a token anyone
    who reaches its ports, which Ray opens on all addresses, could run code on it while it lives. `RAY_AUTH_MODE` set
    by the user stays, so tests can turn it off.
    """
    if environment.setdefault("RAY_AUTH_MODE", "token") == "token" and "RAY_AUTH_TOKEN_PATH" not in environment:
        environment.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


def apply_token_file(environment: MutableMapping[str, str], token: Path) -> None:
    """Token authentication with the token of a file, made (mode 0600) if it is not there."""
    if environment.setdefault("RAY_AUTH_MODE", "token") != "token":
        return
    if not token.exists():
        descriptor = os.open(token, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(secrets.token_hex(32))
    environment.pop("RAY_AUTH_TOKEN", None)
    environment["RAY_AUTH_TOKEN_PATH"] = str(token)
