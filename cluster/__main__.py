"""Starts, ends and looks at the cluster.

python -m cluster up            start a head on this machine (loopback; `--host ADDRESS` to let others join)
python -m cluster join ADDRESS  add this machine to a head that runs on another one
python -m cluster down          end what `up` and `join` started on this machine, and nothing else
python -m cluster status        which cluster commands use, and its nodes
python -m cluster doctor        what would stop a job before it starts: for each stage, does it fit and why
python -m cluster reindex       rebuild the catalog's artifacts from the manifests in the store
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

from cluster.machines.down import down, end_only
from cluster.machines.errors import ClusterError
from cluster.machines.join import join
from cluster.machines.node_records import HeadRecord, NodeRecord
from cluster.machines.processes import is_local
from cluster.machines.ray_process import stay
from configs.resource_profiles import PROFILES
from configs.settings import SettingsError

_START_S = 120.0
_WITHOUT = {
    "dispatcher": "Jobs on it would wait for ever; run `python -m cluster up` again, or `python -m cluster down`",
    "HTTP API": "Try `python -m serve_app up`",
}


def main(arguments: list[str] | None = None) -> int:
    """Runs one command. Gives the exit status: 0, or 1 for an error and for what doctor finds."""
    given = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what is being started is ended, too
    commands = {"up": _up, "join": _join, "down": _down, "status": _status, "doctor": _doctor, "reindex": _reindex}
    try:
        return commands[given.command](given)
    except (ClusterError, SettingsError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
    except OSError as error:
        print(f"error: {error.filename or 'this machine'}: {error.strerror or error}", file=sys.stderr)
    except KeyboardInterrupt:
        return 130
    return 1


def _up(given: argparse.Namespace) -> int:
    from cluster.machines.up import up

    started = up(given.host, given.port, given.dashboard_port)
    serve = partial(_serve, started, given)
    return _stay(started, serve) if given.block else serve()


def _serve(started: HeadRecord, given: argparse.Namespace) -> int:
    """Says what is up, and starts what runs on it: the dispatcher, and the API unless it is not wanted."""
    from cluster.machines.up import exports

    print(f"a cluster is up at {started.address}, dashboard {started.dashboard}, process {started.pid}")
    print(f"Prometheus metrics of this node: http://127.0.0.1:{started.metrics_port}/metrics")
    if started.token is None:
        print(
            "warning: it wants no token (RAY_AUTH_MODE): whoever reaches its ports can run code here", file=sys.stderr
        )
    print("`python -m jobs ...` uses it as it is; for `ray job submit`:")
    print("".join(f"  export {name}={value}\n" for name, value in exports(started).items()), end="")
    commands = {"dispatcher": ["jobs", "dispatcher", "--start"]}
    if not given.no_api:
        commands["HTTP API"] = ["serve_app", "up", "--port", str(given.api_port)]
    with ExitStack() as running:  # side by side: each mostly imports, on a core of its own
        processes = {what: running.enter_context(_command(command)) for what, command in commands.items()}
        return max(_outcome(what, process) for what, process in processes.items())


def _stay(started: HeadRecord | NodeRecord, first: Callable[[], int]) -> int:
    """Ends with the node, and ends it: for what starts a command again when it ends, as systemd or a container.

    Only this one, for the machine may have others. Does something else `first`; if that fails, the node goes on.
    """
    try:
        if not is_local(started):
            raise ClusterError(f"the cluster runs on {started.machine}: leave out --block here")
        if failed := first():
            return failed
        stay(started)
    except KeyboardInterrupt:
        end_only(started)
        return 0
    print("error: its process has ended", file=sys.stderr)
    end_only(started)
    return 1


@contextmanager
def _command(arguments: list[str]) -> Iterator[subprocess.Popen[str]]:
    """A command on the cluster that is up, killed if it is not over: the machines know nothing of jobs and HTTP."""
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    command = [sys.executable, "-m", *arguments]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _outcome(what: str, process: subprocess.Popen[str]) -> int:
    """Waits for a command and says what came of it. Gives the exit status: 0, or 1 if it failed."""
    try:
        output, errors = process.communicate(timeout=_START_S)
        failed = process.returncode != 0
        said = (errors.strip() if failed else "") or output.strip() or "no output"
    except subprocess.TimeoutExpired:
        failed, said = True, f"no answer in {_START_S:g} s"
    if failed:
        fault = said.splitlines()[-1]
        print(f"error: the cluster is up, but its {what} did not start: {fault}. {_WITHOUT[what]}", file=sys.stderr)
    elif what != "dispatcher":
        print(said)
    return int(failed)


def _join(given: argparse.Namespace) -> int:
    labels = {}
    for text in given.labels:
        key, equals, value = text.partition("=")
        if not equals or key in labels:
            raise ValueError(f"--labels {text}: expected KEY=VALUE, each key once")
        labels[key] = value
    joined = join(given.address, labels, given.num_cpus, given.num_gpus)
    say = partial(_say_joined, joined)
    return _stay(joined, say) if given.block else say()


def _say_joined(joined: NodeRecord) -> int:
    carries = f", labels {', '.join(f'{key}={value}' for key, value in joined.labels.items())}" if joined.labels else ""
    print(
        f"this machine is a node of {joined.address} with {joined.cpus} CPU and {joined.gpus} GPU{carries}, "
        f"process {joined.pid}; `python -m cluster down` here ends it",
        flush=True,
    )
    return 0


def _down(given: argparse.Namespace) -> int:
    ended = down()
    print(f"ended {len(ended)} processes" if ended else "no cluster was up")
    return 0


def _status(given: argparse.Namespace) -> int:
    from cluster.status_and_doctor import status

    return status()


def _reindex(given: argparse.Namespace) -> int:
    from cluster.catalog import CatalogError, open_catalog
    from cluster.reindex import WrongStore, reindex
    from cluster.store import Store, StoreError

    try:
        with open_catalog() as catalog:
            found = reindex(catalog, Store.open(), given.empty)
    except (CatalogError, StoreError, WrongStore) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"recorded {found.recorded} artifacts; took out {found.removed} that the store does not have")
    for fault in found.faults:
        print(f"error: {fault}", file=sys.stderr)
    return 1 if found.faults else 0


def _doctor(given: argparse.Namespace) -> int:
    from cluster.status_and_doctor import doctor

    return doctor(given.profile)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m cluster", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="up | join | down | status | doctor | reindex"
    )
    up = commands.add_parser("up", help="start a head on this machine")
    up.add_argument("--host", default="127.0.0.1", help="address that other machines reach this one at")
    up.add_argument("--port", type=int, default=0, help="port of the GCS; by default 6379, or a free one")
    up.add_argument("--dashboard-port", type=int, default=0, help="by default 8265, or a free one")
    up.add_argument("--api-port", type=int, default=0, help="port of the HTTP API; by default 8000, or a free one")
    up.add_argument("--no-api", action="store_true", help="start no HTTP API; `python -m serve_app up` starts it later")
    join = commands.add_parser("join", help="add this machine to a running head")
    join.add_argument("address", metavar="ADDRESS", help="HOST:PORT of the head, as `up` printed it there")
    join.add_argument("--labels", nargs="+", default=[], metavar="KEY=VALUE", help="what jobs may ask this node by")
    join.add_argument("--num-cpus", type=int, help="CPUs of the node; by default those of the machine")
    join.add_argument("--num-gpus", type=int, help="GPUs of the node; by default those of the machine")
    for command in (up, join):
        command.add_argument("--block", action="store_true", help="stay until it ends, and end it on SIGTERM or Ctrl-C")
    commands.add_parser("down", help="end what was started on this machine")
    commands.add_parser("status", help="which cluster commands use, and its nodes")
    reindex = commands.add_parser("reindex", help="rebuild the catalog's artifacts from the store")
    reindex.add_argument(
        "--empty", action="store_true", help="also if the store is not there, or has nothing that the catalog knows"
    )
    doctor = commands.add_parser("doctor", help="what would stop a job before it starts")
    doctor.add_argument("--profile", choices=PROFILES, default="auto", help="whose stages to check")
    return parser


if __name__ == "__main__":
    sys.exit(main())
