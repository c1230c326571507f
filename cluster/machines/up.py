"""Starts a cluster that outlives the command, and ends exactly that one.

`ray stop` would end every Ray process of this user on the machine, also those of other clusters, so it is never used:
`up` starts `ray start --head --block`, which stays the parent of all of its processes, and `down` ends that tree.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cluster.machines import settings
from cluster.machines.discover import PlaceError, Up, answers, is_alive, read_up, up_file
from cluster.machines.home import raylens_home
from cluster.machines.offer import local_cpus, local_gpus

GCS_PORT, DASHBOARD_PORT = 6379, 8265


def up(host: str = "127.0.0.1", port: int = 0, dashboard_port: int = 0, wait: float = 60.0) -> Up:
    """Starts a head on this machine and records it. Gives the running one if there is one already.

    `host`: the address that other machines reach this one at. Ray's ports listen on all addresses whatever it is (the
    dashboard on loopback only), which is why the cluster wants a token. Ports: 0 takes Ray's usual one, or
    any free one if that is taken. Raises PlaceError if the head does not come up within `wait` seconds.
    """
    running = read_up()
    if running is not None:
        return running
    home = raylens_home()
    environment = dict(os.environ)
    settings.apply(environment)
    settings.apply_token_file(environment, home / "token")
    environment["RAYLENS_HOME"] = str(home)
    # `python` in a job's entrypoint is the one that runs this, also where its environment was not activated.
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", os.defpath)])
    for name in ("RAY_ADDRESS", "RAY_JOB_CONFIG_JSON_ENV_VAR"):
        environment.pop(name, None)
    port, dashboard_port = port or _free_port(GCS_PORT), dashboard_port or _free_port(DASHBOARD_PORT)
    folder = Path(tempfile.mkdtemp(prefix="raylens-up-", dir="/tmp"))
    log = home / "logs" / "cluster.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            _command(host, port, dashboard_port, folder),
            env=environment,
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    import psutil

    started = Up(
        address=f"{host}:{port}",
        dashboard=f"http://127.0.0.1:{dashboard_port}",
        pid=process.pid,
        created=psutil.Process(process.pid).create_time(),
        temp_dir=str(folder),
        token=environment.get("RAY_AUTH_TOKEN_PATH") if environment["RAY_AUTH_MODE"] == "token" else None,
    )
    # Written before the wait: what is started can be ended, whatever happens next.
    up_file().write_text(json.dumps(started._asdict(), indent=1) + "\n", encoding="utf-8")
    deadline = time.monotonic() + wait
    while not (answers(started.address, 0.5) and answers(f"127.0.0.1:{dashboard_port}", 0.5)):
        if process.poll() is not None or time.monotonic() > deadline:
            why = f"it ended with status {process.poll()}" if process.poll() is not None else f"no answer in {wait:g} s"
            tail = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-5:]
            down()
            raise PlaceError(f"the head did not start ({why}); the end of {log}:\n" + "\n".join(tail))
        time.sleep(0.2)
    return started


def down(wait: float = 20.0) -> list[int]:
    """Ends the cluster that `up` started, and nothing else. Gives the pids that were ended; none if it was not up."""
    import psutil

    try:
        started = Up(**json.loads(up_file().read_text(encoding="utf-8")))
    except FileNotFoundError:
        return []
    ended = []
    if is_alive(started):
        head = psutil.Process(started.pid)
        tree = [head, *head.children(recursive=True)]
        ended = [process.pid for process in tree]
        head.terminate()  # `ray start --block` ends its components in order
        _, left = psutil.wait_procs(tree, timeout=wait)
        for process in left:  # drivers and workers, which live in sessions of their own
            if process.is_running():
                process.kill()
        psutil.wait_procs(left, timeout=wait)
    shutil.rmtree(started.temp_dir, ignore_errors=True)
    up_file().unlink(missing_ok=True)
    return ended


def exports(started: Up) -> dict[str, str]:
    """What a shell must export so that `ray job submit` reaches the cluster."""
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": started.token} if started.token else {}
    return {"RAY_API_SERVER_ADDRESS": started.dashboard, **token}


def _command(host: str, port: int, dashboard_port: int, folder: Path) -> list[str]:
    return [
        *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats"),
        *("--port", str(port), *(() if host == "127.0.0.1" else ("--node-ip-address", host))),
        *("--dashboard-host", "127.0.0.1", "--dashboard-port", str(dashboard_port)),
        # Defaults of these are fixed numbers: a second head on the machine would fail on them.
        *("--dashboard-agent-listen-port", str(_free_port()), "--ray-client-server-port", str(_free_port())),
        *("--num-cpus", str(local_cpus()), "--num-gpus", str(local_gpus())),
        *("--object-store-memory", os.environ.get("RAYLENS_OBJECT_STORE_BYTES") or str(settings.OBJECT_STORE_BYTES)),
        *("--temp-dir", str(folder), "--labels", "raylens.io/role=head"),
    ]


def _free_port(preferred: int = 0) -> int:
    """The preferred port if nothing listens on it, else any free one."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise PlaceError("this machine has no free port")
