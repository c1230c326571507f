"""The environment that every cluster of RayLens starts with, and why."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import MutableMapping
from pathlib import Path

from cluster.machines.paths import code_root

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

# For a cluster that stays.
_UP = {
    "RAY_TRAIN_ENABLE_STATE_TRACKING": "1",  # else the dashboard's page on Train stays empty
    "RAY_JOB_START_TIMEOUT_SECONDS": "60",  # a Ray job that cannot start fails; the default is 15 minutes
    # Nodes and drivers whose head is gone end after this time, for they cannot join the next one; the default is 60.
    "RAY_gcs_rpc_server_reconnect_timeout_s": "30",
}

# How Serve's processes take less of a request. Measured on two cores: a list of 50 jobs costs the proxy 5 ms of CPU instead
# of 9, and a replica 11 instead of 16. The proxy inherits them from the head; replicas are given them.
SERVE = {
    # No second event loop in each process: nothing here blocks the one that there is.
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
    # Request logs go to Serve's files only, a hundred lines at a time.
    "RAY_SERVE_LOG_TO_STDERR": "0",
    "RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "100",
}

CLUSTER = "RAYLENS_CLUSTER"  # in the environment of every process of such a cluster: the folder of its sockets and logs
_PATHS = ("RAYLENS_STORE", "RAYLENS_CACHE")

# For a cluster of one command, which has no dashboard. Ray's own processes take a third less CPU with these, which a
# training step on all cores of a small machine pays for: when one thread of a product waits, all do.
_TEMPORARY = {
    # Nobody looks at the statistics of nodes, tasks and event loops there.
    "REPORTER_UPDATE_INTERVAL_MS": "30000",
    "RAY_DASHBOARD_AGENT_CHECK_PARENT_INTERVAL_S": "4",
    "RAY_task_events_report_interval_ms": "5000",
    "RAY_event_stats": "0",
    "RAY_io_context_event_loop_lag_collection_interval_ms": "0",
    "RAY_enable_metrics_collection": "0",
    # Admission has refused what can never fit; what Ray itself finds infeasible is still reported within seconds.
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


def apply_up(environment: MutableMapping[str, str], home: Path, folder: Path) -> None:
    """What a node of a cluster that stays starts with; its workers, and jobs on it, inherit it.

    `home` becomes its RAYLENS_HOME. `folder` marks its processes, so that they can be distinguished from all others.
    """
    for name, value in (_UP | SERVE).items():
        environment.setdefault(name, value)
    apply_code(environment)
    environment["RAYLENS_HOME"] = str(home)
    environment[CLUSTER] = str(folder)
    for name in _PATHS:  # relative to where the command was started, not to where a worker stands
        if environment.get(name) and "://" not in environment[name]:
            environment[name] = str(Path(environment[name]).expanduser().absolute())
    # `python` in a job's entrypoint is the one that runs this, also where its environment was not activated.
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", os.defpath)])
    for name in ("RAY_ADDRESS", "RAY_JOB_CONFIG_JSON_ENV_VAR"):
        environment.pop(name, None)


def apply_temporary(environment: MutableMapping[str, str]) -> None:
    """What only a cluster of one command starts with. What the user set already stays."""
    for name, value in _TEMPORARY.items():
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
