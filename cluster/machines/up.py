"""Starts a cluster that outlives the command: `ray start --head --block`, the parent of all of its processes.

`ray stop` would end every Ray process of this user on the machine, also those of other clusters, so it is never used:
cluster/machines/down.py ends exactly what was started here.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from cluster.machines import ray_environment
from cluster.machines.capacity import local_cpus, local_gpus
from cluster.machines.errors import ClusterError
from cluster.machines.node_records import (
    HeadRecord,
    head_file,
    may_live,
    recorded_head,
    records_locked,
    running_head,
    write_record,
)
from cluster.machines.paths import raylens_home
from cluster.machines.ports import LOOPBACK, answers, asked_port, free_ports, own_address
from cluster.machines.processes import end_processes, has_parts, host_name, is_alive, is_local, new_folder, processes_of
from cluster.machines.ray_process import RAY_START, head_log, identity_of, is_started, start, wait_until
from configs.settings import settings

GCS_PORT, DASHBOARD_PORT = 6379, 8265
PATIENCE_S = 10.0  # for a head that lives but is not whole: it is about to end
LOOK_AGAIN_S = 0.4
_PORT_TAKEN = "port is already used", "is trying to use a port number"  # what Ray says of it, among much else
_PARTS = {"gcs_server", "raylet"}


def up(host: str = LOOPBACK, port: int = 0, dashboard_port: int = 0, wait: float = 120.0) -> HeadRecord:
    """Starts a head on this machine and records it. Gives the running one if there is one already.

    `host`: the address that other machines reach this one at. Ray's ports listen on all addresses whatever it is (the
    dashboard on loopback only), which is why the cluster wants a token. Ports: 0 takes Ray's usual one, or
    any free one if that is taken. What a head that was killed left here is ended and removed first.

    Raises ClusterError if the head does not come up within `wait` seconds, or if what was asked for cannot be.
    """
    host = own_address(host)
    with records_locked():
        running = _running()
        if running is not None:
            _check_same(running, host, port, dashboard_port)
            return running
        _clear()
        try:
            return _start(host, port, dashboard_port, wait)
        except ClusterError as error:
            # Another cluster that starts at this moment took the usual ports between our look and our start.
            if port or dashboard_port or not any(said in str(error) for said in _PORT_TAKEN):
                raise
            port, dashboard_port = free_ports(2)
            return _start(host, port, dashboard_port, wait)


def exports(started: HeadRecord) -> dict[str, str]:
    """What a shell must export so that `ray job submit` reaches the cluster."""
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": started.token} if started.token else {}
    return {"RAY_API_SERVER_ADDRESS": started.dashboard, **token}


def _running() -> HeadRecord | None:
    """The recorded cluster if it is whole, and still is a moment later: one that was just killed looks alive at first.

    One that is not whole gets some time to end by itself.
    """
    deadline = time.monotonic() + PATIENCE_S
    while (head := recorded_head()) is not None:
        if not is_local(head):
            return running_head()
        if not is_alive(head) or time.monotonic() > deadline:
            return None
        seen = 0
        while seen < 2 and has_parts(head, _PARTS) and running_head() == head:
            seen += 1
            time.sleep(LOOK_AGAIN_S)
        if seen == 2:
            return head
        time.sleep(LOOK_AGAIN_S)
    return None


def _check_same(running: HeadRecord, host: str, port: int, dashboard_port: int) -> None:
    has_host, _, has_port = running.address.rpartition(":")
    asked = {
        f"--host {host}": host not in (LOOPBACK, has_host),
        f"--port {port}": port not in (0, int(has_port)),
        f"--dashboard-port {dashboard_port}": dashboard_port not in (0, int(running.dashboard.rpartition(":")[2])),
    }
    if different := [name for name, differs in asked.items() if differs]:
        raise ClusterError(
            f"a cluster is up already at {running.address}, dashboard {running.dashboard}, and {', '.join(different)} "
            "is not how it was started: run `python -m cluster down` first, or leave it out"
        )


def _clear() -> None:
    """Ends and removes what a head that is gone left on this machine."""
    old = recorded_head()
    if old is None:
        return
    if not is_local(old) and may_live(old):
        raise ClusterError(
            f"{head_file()} says that a cluster was started on {old.machine}, and this is {host_name()}: run "
            f"`python -m cluster down` there, or set RAYLENS_HOME to a folder of this machine; if {old.machine} is "
            "gone for good, remove that file"
        )
    left = is_alive(old) or processes_of(old.temp_dir) or Path(old.temp_dir).exists()
    ended = end_processes(old)
    head_file().unlink(missing_ok=True)
    if left:
        print(f"removed what an earlier head left: {len(ended)} processes and {old.temp_dir}", file=sys.stderr)


def _start(host: str, port: int, dashboard_port: int, wait: float) -> HeadRecord:
    home, environment = raylens_home(), dict(os.environ)
    ray_environment.apply(environment)
    ray_environment.apply_token_file(environment, home / "token")
    with_token = environment["RAY_AUTH_MODE"] == "token"
    if host != LOOPBACK and not with_token:
        raise ClusterError(
            f"--host {host} lets other machines in, and RAY_AUTH_MODE={environment['RAY_AUTH_MODE']} would let them run "
            "anything here without a token: unset RAY_AUTH_MODE"
        )
    other_port, other_dashboard_port, metrics_port, agent_port, client_port = free_ports(5)
    port = asked_port(port, GCS_PORT, other_port, "--port")
    dashboard_port = asked_port(dashboard_port, DASHBOARD_PORT, other_dashboard_port, "--dashboard-port")
    # Defaults of these are fixed numbers: a second head on the machine would fail on them.
    others = [*("--metrics-export-port", str(metrics_port)), *("--dashboard-agent-listen-port", str(agent_port))]
    others += ["--ray-client-server-port", str(client_port)]
    folder, log = new_folder(), head_log()
    ray_environment.apply_up(environment, home, folder)
    process = start([*_command(host, port, dashboard_port, folder), *others], environment, log)
    started = HeadRecord(
        address=f"{host}:{port}",
        dashboard=f"http://{LOOPBACK}:{dashboard_port}",
        pid=process.pid,
        temp_dir=str(folder),
        token=environment.get("RAY_AUTH_TOKEN_PATH") if with_token else None,
        metrics_port=metrics_port,
        machine=host_name(),
        identity=identity_of(process),
    )
    # Written before the wait: what is started can be ended, whatever happens next.
    write_record(head_file(), started._asdict())
    try:
        # Jobs go to the node's agent, which starts last: before, the dashboard refuses each with "no available agent".
        ports = started.address, f"{LOOPBACK}:{dashboard_port}", f"{LOOPBACK}:{agent_port}"
        wait_until(lambda: is_started(log) and all(answers(one, 0.5) for one in ports), process, log, "the head", wait)
    except BaseException:
        end_processes(started)
        head_file().unlink(missing_ok=True)
        raise
    started = started._replace(session=(folder / "session_latest").resolve().name)
    write_record(head_file(), started._asdict())
    return started


def _command(host: str, port: int, dashboard_port: int, folder: Path) -> list[str]:
    return [
        *(*RAY_START, "--head", "--disable-usage-stats", "--temp-dir", str(folder), "--labels", "raylens.io/role=head"),
        *("--port", str(port), *(() if host == LOOPBACK else ("--node-ip-address", host))),
        *("--dashboard-host", LOOPBACK, "--dashboard-port", str(dashboard_port)),
        *("--num-cpus", str(local_cpus()), "--num-gpus", str(local_gpus())),
        *("--object-store-memory", str(settings().object_store_bytes)),
    ]
