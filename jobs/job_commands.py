"""The commands of `python -m jobs` beside the stages: for jobs, and for looking at artifacts and removing them."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from cluster.catalog import DISPATCHER, Catalog, CatalogError, JobRow, State, open_catalog
from jobs.artifact_removal import gc, gc_arguments, rm, rm_arguments
from jobs.data_commands import rows, rows_arguments, samples, samples_arguments, statistics, statistics_arguments
from jobs.steer_command import steer, steer_arguments

POLL_S = 0.5


class Command(NamedTuple):
    """One command: its help, its arguments, what it does. It gives the line for standard output, or writes itself."""

    help: str
    arguments: Callable[[argparse.ArgumentParser], Any]
    run: Callable[[argparse.Namespace], dict[str, Any] | None]


def _job(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("job", metavar="JOB", help="the job's id")


def _list_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--stage", help="only this stage")
    parser.add_argument("--state", action="append", choices=[str(state) for state in State], help="only these states")
    parser.add_argument("--project", help="only this project")
    parser.add_argument("--limit", type=int, default=50, help="how many (default: 50)")


def _list(given: argparse.Namespace) -> None:
    with open_catalog() as catalog:
        rows = catalog.jobs(stage=given.stage, states=given.state, project=given.project, limit=given.limit)
        gone = {row.id: _gone(catalog, row) for row in rows}
        for row in rows:
            print(_line(row, gone[row.id]), file=sys.stderr)
        if not rows:
            print("no jobs", file=sys.stderr)
        _answer([_brief(row) | {"gone": gone[row.id]} for row in rows])


def _show(given: argparse.Namespace) -> None:
    with open_catalog() as catalog:
        row = catalog.job(given.job)
        shown = _brief(row) | {
            "gone": _gone(catalog, row),
            "profile": row.profile,
            "needs": row.requirement,
            "blocked": row.blocked if row.live else None,
            "deadline": row.deadline if row.live else None,
            "inputs": row.inputs,
            "attempts": [
                {"number": a.number, "state": a.state, "code": a.code, "message": a.message, "ray_job": a.ray_job}
                for a in catalog.attempts(row.id)
            ],
        }
        print(json.dumps(shown, indent=2), file=sys.stderr)
        _answer(shown)


def _logs(given: argparse.Namespace) -> None:
    from cluster.machines.paths import raylens_home
    from jobs.life.driver_setup import log_file
    from jobs.life.follow import LogTail

    with open_catalog() as catalog:
        catalog.job(given.job)
        tail = LogTail(log_file(raylens_home(), given.job), from_start=True)
        while True:
            live = catalog.job(given.job).live  # read before the log: what is written last is shown
            for line in tail.lines():
                print(line.decode(errors="replace"), flush=True)
            if not (given.follow and live):
                return
            time.sleep(POLL_S)


def _events(given: argparse.Namespace) -> None:
    with open_catalog() as catalog:
        for event in _all_events(catalog, given.job, given.after, given.follow):
            print(json.dumps(event), flush=True)


def _all_events(catalog: Catalog, job: str | None, after: int, follow: bool) -> Iterator[dict[str, Any]]:
    while True:
        live = follow and (job is None or catalog.job(job).live)
        found = catalog.events(job, after) if job else catalog.changes(after)
        for event in found:
            after = event.number if job else event.seq
            yield {
                "seq": event.seq,
                "job": event.job_id,
                "number": event.number,
                "attempt": event.attempt,
                "at": event.at,
                "kind": event.kind,
                "state": str(event.state),
                "message": event.message,
            }
        if not found:
            if not live:
                return
            time.sleep(POLL_S)


def _stop(given: argparse.Namespace) -> dict[str, Any]:
    from jobs.life.control import request_end

    return _state(request_end(open_catalog(), given.job, given.command))


def _resume(given: argparse.Namespace) -> dict[str, Any]:
    from jobs.life.control import resume

    return _state(resume(open_catalog(), given.job))


def _drive(given: argparse.Namespace) -> dict[str, Any]:
    from jobs.life.driver_process import drive

    ended = drive(given.job, given.attempt)
    return {"job": ended.job_id, "state": ended.state, "artifacts": ended.artifacts}


def _dispatcher(given: argparse.Namespace) -> dict[str, Any]:
    from jobs.life.dispatcher_actor import start_dispatcher

    return {"dispatcher": start_dispatcher(given.wait)}


def _events_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("job", metavar="JOB", nargs="?", help="the job's id; without it, events of all jobs")
    parser.add_argument("--after", type=int, default=0, help="only events with greater numbers")
    parser.add_argument("--follow", action="store_true", help="go on as they come")


def _logs_arguments(parser: argparse.ArgumentParser) -> None:
    _job(parser)
    parser.add_argument("--follow", action="store_true", help="go on until the job ends")


def _drive_arguments(parser: argparse.ArgumentParser) -> None:
    _job(parser)
    parser.add_argument("attempt", type=int, metavar="ATTEMPT")


def _dispatcher_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--start", action="store_true", required=True, help="start it, or find it")
    parser.add_argument("--wait", type=float, default=60.0, metavar="SECONDS", help="until it grants (default: 60)")


COMMANDS: dict[str, Command] = {
    "list": Command("the newest jobs", _list_arguments, _list),
    "show": Command("one job: its requirement, its state and why", _job, _show),
    "logs": Command("the log of a job and its workers", _logs_arguments, _logs),
    "events": Command("changes of state and messages, numbered; a JSON line each", _events_arguments, _events),
    "stop": Command("let a job write a checkpoint and end", _job, _stop),
    "cancel": Command("end a job now", _job, _stop),
    "resume": Command("let a stopped, cancelled or failed job go on from its last checkpoint", _job, _resume),
    "rm": Command("remove artifacts that nothing refers to any more", rm_arguments, rm),
    "gc": Command("remove all intermediate artifacts that nothing refers to", gc_arguments, gc),
    "samples": Command("documents of a dataset: paged, searched, filtered", samples_arguments, samples),
    "rows": Command("rows of tokens with roles and borders of documents: paged, searched", rows_arguments, rows),
    "steer": Command("a model's answer without and with a change of features", steer_arguments, steer),
    "statistics": Command("the counts, sizes and metrics of an artifact", statistics_arguments, statistics),
    # For the dispatcher and for `python -m cluster up`.
    "drive": Command(argparse.SUPPRESS, _drive_arguments, _drive),
    "dispatcher": Command(argparse.SUPPRESS, _dispatcher_arguments, _dispatcher),
}


def add_commands(stages: Any) -> None:
    """Adds all to the parser's commands."""
    for name, command in COMMANDS.items():
        hidden = {} if command.help is argparse.SUPPRESS else {"help": command.help}
        command.arguments(stages.add_parser(name, **hidden))


def run_command(given: argparse.Namespace) -> tuple[int, dict[str, Any] | None, str | None]:
    """Runs one; gives the exit status, the line for standard output (None: it wrote itself) and an error."""
    try:
        answer = COMMANDS[given.command].run(given)
    except KeyboardInterrupt:  # of one that follows
        return 130, None, None
    except BrokenPipeError:  # whoever read its output, `head` perhaps, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0, None, None
    except (CatalogError, RuntimeError, ValueError, OSError) as error:
        return 1, {"job": getattr(given, "job", None), "state": "FAILED", "artifacts": []}, str(error)
    return 0, answer, None


def _state(row: JobRow) -> dict[str, Any]:
    return {"job": row.id, "state": str(row.state), "artifacts": []}


def _answer(value: Any) -> None:
    print(json.dumps(value), flush=True)


def _brief(row: JobRow) -> dict[str, Any]:
    return {
        "job": row.id,
        "stage": row.stage,
        "state": str(row.state),
        "attempt": row.attempt,
        "phase": row.phase,
        "done": row.done,
        "total": row.total,
        "unit": row.unit,
        "rate": row.rate,
        "eta_s": row.eta_s,
        "durable": row.durable,
        "message": row.message,
        "code": row.code,
        "artifacts": row.outputs,
        "created_by": row.created_by,
        "created_at": row.created_at,
        "project": row.project,
        "name": row.name,
        "tags": row.tags,
    }


def _gone(catalog: Catalog, row: JobRow) -> str | None:
    """That the process of a live job is gone, and what goes on with the job. Its row is for others to end."""
    if not row.live or (why := catalog.dead_driver(catalog.attempts(row.id)[-1])) is None:
        return None
    lease = catalog.lease_row(DISPATCHER)
    if lease is not None and lease.held:
        return f"{why}; the dispatcher finds that within seconds"
    if catalog.attempts(row.id)[-1].ray_job is not None:
        return f"{why}; `python -m cluster up` goes on with it"
    return f"{why}; the same command (`python -m jobs {row.stage} --config FILE ...`) goes on with it"


def _line(row: JobRow, gone: str | None) -> str:
    if gone is not None:
        shown = gone
    elif row.live and row.total:
        shown = f"[{row.phase or ''}] {row.done or 0:,}/{row.total:,} {row.unit or ''}"
    else:
        shown = (row.message or ", ".join(row.outputs)).partition("\n")[0][:90]
    at = time.strftime("%Y-%m-%d %H:%M", time.localtime(row.created_at))
    return f"{at}  {row.id:<22} {row.state:<10} a{row.attempt:<3} {shown}"
