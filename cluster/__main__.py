"""Starts, ends and looks at the cluster.

python -m cluster up        start a head on this machine (loopback; `--host ADDRESS` to let others join)
python -m cluster down      end exactly that one
python -m cluster status    which cluster commands use, and what it offers
python -m cluster doctor    what would stop a job before it starts
"""

from __future__ import annotations

import argparse
import sys

from cluster.machines.discover import PlaceError, discover


def main(arguments: list[str] | None = None) -> int:
    """Runs one command. Gives the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m cluster", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="up | down | status | doctor")
    up = commands.add_parser("up", help="start a head on this machine")
    up.add_argument("--host", default="127.0.0.1", help="address that other machines reach this one at")
    up.add_argument("--port", type=int, default=0, help="port of the GCS; by default 6379, or a free one")
    up.add_argument("--dashboard-port", type=int, default=0, help="by default 8265, or a free one")
    for name in ("down", "status", "doctor"):
        commands.add_parser(name)
    given = parser.parse_args(arguments)
    try:
        if given.command == "up":
            return _up(given.host, given.port, given.dashboard_port)
        return {"down": _down, "status": _status, "doctor": _doctor}[given.command]()
    except PlaceError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _up(host: str, port: int, dashboard_port: int) -> int:
    from cluster.machines.up import exports, up

    started = up(host, port, dashboard_port)
    print(f"a cluster is up at {started.address}, dashboard {started.dashboard}, process {started.pid}")
    print("`python -m jobs ...` uses it as it is; for `ray job submit`:")
    print("".join(f"  export {name}={value}\n" for name, value in exports(started).items()), end="")
    return 0


def _down() -> int:
    from cluster.machines.up import down

    ended = down()
    print(f"ended {len(ended)} processes" if ended else "no cluster was up")
    return 0


def _status() -> int:
    from cluster.machines.doctor import describe, nodes

    place = discover()
    print(describe(place))
    print(nodes(place))
    return 0


def _doctor() -> int:
    from cluster.machines.doctor import checks
    from cluster.store import Store

    bad = 0
    for fine, finding in checks(lambda: Store.open().check()):
        print(f"{'ok ' if fine else 'BAD'}  {finding}")
        bad += not fine
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
