"""Says what a pipeline came to, and puts its report where people find it.

    python -m jobs pipeline --config configs/presets/pipeline.yaml | python -m jobs.report_summary

Reads the one line that `python -m jobs` writes, copies report.html and a completed report.json (with paths and seconds,
which the artifact cannot hold: they differ from run to run) to $RAYLENS_HOME/reports/ID/, and prints a table whose last
line is `report: PATH`. Exit status 1, with one line on standard error, if there is no report.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any, TextIO

from cluster.catalog import Catalog, CatalogError, State, open_catalog
from cluster.store import Store, StoreError
from configs.artifact_ids import ArtifactRef, parse_ref
from configs.settings import settings

HTML, JSON = "report.html", "report.json"
_RULE = "─" * 72
_KINDS = {"sae": "saes", "features": "features", "tokens": "tokens", "evaluation": "evaluations"}


class NoReport(ValueError):
    """There is nothing to sum up; the message says why."""


def main(stdin: TextIO = sys.stdin, stdout: TextIO = sys.stdout) -> int:
    """Reads the pipeline's line, writes the report's folder, prints the table. Gives the exit status."""
    try:
        reports = _reports(stdin.read())
        with open_catalog() as catalog:
            store = Store.open()
            for ref in reports:
                body = complete(store, catalog, ref)
                page = copy_report(store, ref, body)
                stdout.write(table(body) + f"report: {page}\n")
    except (NoReport, StoreError, CatalogError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def complete(store: Store, catalog: Catalog, ref: ArtifactRef) -> dict[str, Any]:
    """report.json with the paths of the artifacts and the seconds that each stage ran."""
    body: dict[str, Any] = json.loads(store.files(ref).path(JSON).read_text(encoding="utf-8"))
    refs = _ancestors(store, ref)
    for section, kind in _KINDS.items():
        found = [one for one in refs if one.kind == kind]
        own = body[section].get("id", str(found[0]) if len(found) == 1 else None)
        if own is not None:
            body[section]["path"] = _folder(store, parse_ref(own))
    body["report"] = {"id": str(ref), "path": _folder(store, ref)}
    body["seconds"] = seconds(catalog, refs)
    return body


def seconds(catalog: Catalog, refs: list[ArtifactRef]) -> dict[str, float]:
    """Seconds that the jobs which made these artifacts ran, by stage: all attempts, without the time they waited."""
    rows = [row for ref in refs if (row := catalog.artifact(ref)) is not None]
    total: dict[str, float] = {}
    made = {row.job_id: row.stage for row in sorted(rows, key=lambda row: row.created_at) if row.job_id is not None}
    for job_id, stage in made.items():
        moves = [event for event in catalog.events(job_id) if event.kind == "state" and event.state == State.RUNNING]
        began = {event.attempt: event.at for event in reversed(moves)}
        ended = {a.number: a.ended_at for a in catalog.attempts(job_id) if a.ended_at is not None}
        ran = sum(ended[number] - at for number, at in began.items() if number in ended)
        total[stage] = round(total.get(stage, 0.0) + ran, 1)
    return total


def copy_report(store: Store, ref: ArtifactRef, body: dict[str, Any]) -> Path:
    """Writes both files into $RAYLENS_HOME/reports/ID/ and gives the page's absolute path."""
    folder = settings().home / "reports" / ref.id
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / JSON, json.dumps(body, indent=2, sort_keys=True) + "\n")
    shutil.copyfile(store.files(ref).path(HTML), folder / f"{HTML}.part")
    os.replace(folder / f"{HTML}.part", folder / HTML)
    return folder / HTML


def table(body: dict[str, Any]) -> str:
    """The summary for a terminal."""
    sae, tokens, features = body["sae"], body["tokens"], body["features"]
    k = f", k {sae['k']:g}" if sae.get("k") else ""
    left_out = ", ".join(f"{name} {count:,}" for name, count in sorted(tokens["excluded"].items()) if count)
    spent = body["seconds"]
    rows = [
        ("SAE", f"{sae['architecture']}, {sae['d_sae']:,} latents{k} at {sae['hook']} of {body['model']['name']}"),
        ("explained variance", _number(sae["ev"], 3)),
        ("L0", _number(sae["l0"], 1)),
        ("alive", f"{sae['alive'] * 100:.1f}%  ({features['alive']:,} of {features['count']:,} features)"),
        ("CE score", _scores(sae, "ce")),
        ("KL score", _scores(sae, "kl")),
        *_card(body.get("card")),
        ("tokens", f"{tokens['tokens']:,} in {tokens['rows']:,} rows; left out: {left_out or 'none'}"),
        ("features", f"{features['count']:,}, {features['pages']:,} with a page of their own"),
        ("seconds", ", ".join(f"{stage} {s:,.1f}" for stage, s in spent.items()) + f"; all {sum(spent.values()):,.1f}"),
        ("SAE folder", str(sae.get("path"))),
    ]  # fmt: skip
    return "\n".join([_RULE, *(f"{name:<19} {value}" for name, value in rows), _RULE, ""])


def _reports(line: str) -> list[ArtifactRef]:
    try:
        result = json.loads(line)
        job, state, artifacts = result["job"], result["state"], result["artifacts"]
    except (ValueError, TypeError, KeyError):
        found = line.strip()[:200] or "nothing"
        raise NoReport(f"expected the line that `python -m jobs pipeline` writes to its output, got {found}") from None
    if state != State.SUCCEEDED:
        raise NoReport(f"there is no report: job {job or 'of the pipeline'} ended {state}; its message is above")
    reports = [ref for ref in map(parse_ref, artifacts) if ref.kind == "reports"]
    if not reports:
        raise NoReport(f"there is no report among what job {job} made: {', '.join(artifacts) or 'nothing'}")
    return reports


def _ancestors(store: Store, ref: ArtifactRef) -> list[ArtifactRef]:
    """An artifact and all that it was made from."""
    found, waiting = list[ArtifactRef](), [ref]
    while waiting:
        one = waiting.pop()
        if one in found or (manifest := store.manifest(one)) is None:
            continue
        found.append(one)
        waiting += [parse_ref(named) for named in manifest.inputs.values()]
    return found


def _folder(store: Store, ref: ArtifactRef) -> str:
    """The folder that holds an artifact's files under their own names; on S3 its URL."""
    files = store.files(ref)
    if not store.url.startswith("s3://"):
        return str(files.directory().absolute())
    bases = {file.path[: -len(file.name)].rstrip("/") for file in files.manifest.files}
    return store.location(ref, bases.pop() if len(bases) == 1 else "")


def _replace(path: Path, text: str) -> None:
    part = path.with_name(f"{path.name}.part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)


def _scores(sae: dict[str, Any], of: str) -> str:
    zero, mean = (_number(sae.get(f"{of}_score_{ablation}"), 3) for ablation in ("zero", "mean"))
    return f"{zero} (zero ablation), {mean} (mean ablation)"


def _card(card: dict[str, Any] | None) -> list[tuple[str, str]]:
    """EV less that of each control, and stability over seeds, as far as they were measured."""
    rows = []
    for figure in (card or {}).get("figures", []):
        if figure["figure"] in ("ev", "pw_mcc") and figure["controls"]:
            name = "EV above control" if figure["figure"] == "ev" else "PW-MCC"
            beside = ", ".join(
                f"{one['difference']['value']:+.3f} ({one['control']} {one['value']:.3f})" for one in figure["controls"]
            )
            rows.append((name, beside if name != "PW-MCC" else f"{figure['sae']['value']:.3f}, {beside}"))
    return rows


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


if __name__ == "__main__":
    # Ctrl-C reaches both ends of the pipe: the pipeline ends in its own time and says how, and that is summed up here.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(main())
