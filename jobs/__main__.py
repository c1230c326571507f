"""Runs one stage, and first the stages that make its missing inputs.

    python -m jobs STAGE --config FILE.yaml [--profile local|gpu|auto] [--set key.path=value ...]
    python -m jobs list [--stage S] [--state S] ...   the newest jobs
    python -m jobs show JOB        one job: its requirement, its state and why, its attempts
    python -m jobs logs JOB [--follow]
    python -m jobs events [JOB] [--after N] [--follow]
    python -m jobs stop JOB        finish the block, write a checkpoint, end; resumable
    python -m jobs cancel JOB      end now; the last checkpoint stays
    python -m jobs rm KIND/ID      remove an artifact; says what refers to it, if anything does
    python -m jobs gc --dry-run    which intermediate artifacts nothing refers to; without --dry-run they are removed
    python -m jobs samples datasets/ID [--contains TEXT] [--where COLUMN=VALUE] ...   documents of a dataset
    python -m jobs rows tokens/ID [--contains TEXT] [--token ID] ...    rows of tokens, with roles and borders of documents
    python -m jobs steer saes/ID --latent N --value V --text TEXT ...   a model's answer without and with a change of a feature
    python -m jobs statistics KIND/ID   the counts, sizes and metrics of an artifact
    python -m jobs resume JOB      a stopped, cancelled or failed job goes on from its last checkpoint

The same under `ray job submit --working-dir . -- python -m jobs ...`. Standard output carries one line, a JSON object
{"job": ..., "state": ..., "artifacts": [...]}; all else goes to standard error. Exit status: 0 if the job succeeded,
1 if it failed, 2 for a wrong command line, 130 if it was stopped or cancelled.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import traceback
from typing import Any

from configs.load import load_config
from configs.resource_profiles import PROFILES
from configs.stages import STAGES
from jobs.format_commands import SHORTCUTS, config_given, deliver
from jobs.job_commands import COMMANDS, add_commands, run_command

_STATUS = {"SUCCEEDED": 0, "FAILED": 1}  # else 130: cancelled, or no longer waiting for another process's job


def main(arguments: list[str] | None = None) -> int:
    """Runs one command. Gives the exit status."""
    given = _parser().parse_args(arguments)
    if given.command in COMMANDS:
        return _command(given)
    answer = _answer_stream()
    if getattr(given, "plan", False):
        from jobs.plan_command import plan

        return plan(given, answer)
    try:
        result, error = _run(given)
    except KeyboardInterrupt:
        result, error = {"job": None, "state": "CANCELLED", "artifacts": []}, "cancelled; the last checkpoint is kept"
    if error:
        print(f"error: {error}" if result["state"] == "FAILED" else error, file=sys.stderr, flush=True)
    with answer:
        answer.write(json.dumps(result) + "\n")
    return 0 if given.detach and not error else _STATUS.get(result["state"], 130)


def _command(given: argparse.Namespace) -> int:
    status, answer, error = run_command(given)
    if error:
        print(f"error: {error}", file=sys.stderr, flush=True)
    if answer is not None:
        print(json.dumps(answer), flush=True)
        status = status or (0 if given.command != "drive" else _STATUS.get(answer["state"], 130))
    return status


def _run(given: argparse.Namespace) -> tuple[dict[str, Any], str | None]:
    from jobs.life.driver_setup import StopFlag, install
    from jobs.life.outcome import failure_of

    stop = StopFlag()
    install(stop)
    try:
        config = config_given(given) or load_config(given.command, given.config, given.set)
        from jobs.life.follow import request
        from jobs.life.session import Session

        with Session(given.profile, given.wait, stop) as session:
            ended = request(session, config, given.detach)
            if ended.state == "SUCCEEDED":
                deliver(given, ended.artifacts, session.store)
    except Exception as error:  # noqa: BLE001 - rows say what they must; what is left is to say it in one message
        failure = failure_of(error)
        message = (
            failure.message if failure.expected else f"{failure.message} (this is a fault of RayLens; see {_trace()})"
        )
        return {"job": None, "state": "FAILED", "artifacts": []}, message
    result = {"job": ended.job_id, "state": ended.state, "artifacts": ended.artifacts}
    return result, ended.message or None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m jobs", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    stages = parser.add_subparsers(dest="command", required=True, metavar="STAGE", title="stages")
    for name, entry in STAGES.items():
        stage = stages.add_parser(name, help=entry.title)
        stage.add_argument(
            "--config",
            required=name not in SHORTCUTS,
            metavar="FILE.yaml",
            help="the stage's config, or - for standard input; see configs/presets/",
        )
        stage.add_argument(
            "--profile", choices=PROFILES, default="auto", help="which resources to require (default: auto)"
        )
        stage.add_argument(
            "--set", metavar="key.path=value", action="append", default=[], help="override one value; may be repeated"
        )
        stage.add_argument(
            "--wait",
            type=_seconds,
            default=None,
            metavar="SECONDS",
            help="how long it may wait for machines (default: 600; a day on a cluster that `up` started, where it is a row)",
        )
        stage.add_argument("--detach", action="store_true", help="on such a cluster: submit the job, do not follow it")
        if name == "train":
            stage.add_argument(
                "--plan",
                action="store_true",
                help="run nothing: say what the run will read and take and what looks wrong, after some seconds with its model",
            )
        if name in SHORTCUTS:
            SHORTCUTS[name].arguments(stage)
    add_commands(stages)
    return parser


def _seconds(text: str) -> float:
    from jobs.life.submit import checked_wait

    try:
        return checked_wait(float(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _answer_stream() -> Any:
    """Keeps standard output for the answer: whatever else writes there, Ray's workers too, goes to standard error."""
    sys.stdout.flush()
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")  # not inherited: a process left behind cannot hold a pipe open
    os.dup2(2, 1)
    return answer


def _trace() -> str:
    """Writes the traceback of the error being handled where it can be found."""
    from cluster.machines.paths import raylens_home

    log = raylens_home() / "logs" / "command.log"
    log.parent.mkdir(exist_ok=True)
    with log.open("a", encoding="utf-8") as file:
        file.write(traceback.format_exc())
    return str(log)


if __name__ == "__main__":
    sys.exit(main())
