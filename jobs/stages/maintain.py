"""maintain: removes what nothing refers to. It makes no artifact, so each request of it runs.

    python -m jobs maintain --config configs/presets/maintain.yaml [--set dry_run=false]

It reads the store and this machine's disk; the catalog says whether something is still needed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cluster.catalog import ENDED, Catalog, CatalogError, JobRow, open_catalog
from configs.artifact_ids import KINDS, ArtifactRef
from configs.base import StageConfig
from configs.maintain import MaintainConfig
from jobs.life.stage_context import JobContext, Output, Stopped
from jobs.stages import Stage

if TYPE_CHECKING:
    from cluster.store import Store

VERSION = 1
_DAY = 86_400.0
_PAGE = 1000


class Removal(NamedTuple):
    """One thing that may go: what it is, why, how to remove it, and whether it still may: jobs begin meanwhile."""

    what: str
    why: str
    remove: Callable[[], object]
    still: Callable[[], bool] = lambda: True


def inputs(config: MaintainConfig) -> dict[str, StageConfig | str]:
    """None."""
    return {}


def outputs(config: MaintainConfig, inputs: dict[str, list[ArtifactRef]], fp: str) -> list[Output]:
    """None."""
    return []


def run(job: JobContext) -> None:
    """Goes through everything; says each thing that goes, or would. Raises Stopped."""
    from cluster.machines.paths import raylens_home

    config: MaintainConfig = job.config
    with open_catalog() as catalog:
        removals = [
            *_logs(raylens_home(), catalog, config.log_days),
            *_unfinished(job.store, catalog, config.unfinished_days),
            *_temporary(raylens_home()),
            *_uploads(catalog, config.upload_days),
        ]
        _go_through(job, removals)


def _go_through(job: JobContext, removals: list[Removal]) -> None:
    dry = job.config.dry_run
    job.progress.start("dry run" if dry else "remove", len(removals), "things")
    gone = 0
    for number, removal in enumerate(removals, start=1):
        if job.stop_requested():
            raise Stopped(f"stopped after {number - 1} of {len(removals)} things")
        if removal.still():
            job.progress.log(f"{'would remove' if dry else 'removes'} {removal.what}: {removal.why}")
            gone += 1
            if not dry:
                removal.remove()
        else:
            job.progress.log(f"keeps {removal.what}: it is wanted again")
        job.progress.update(number)
    job.progress.log(f"{gone} things {'would go (dry_run: false removes them)' if dry else 'removed'}")


class Owners:
    """Which job an unfinished artifact or a checkpoint belongs to: a live one that makes it, else the newest."""

    def __init__(self, rows: Iterable[JobRow]) -> None:
        self._by_output: dict[str, JobRow] = {}
        self._by_fingerprint: dict[str, JobRow] = {}
        for row in sorted(rows, key=lambda row: (not row.live, -row.seq)):
            self._by_fingerprint.setdefault(row.fingerprint, row)
            for ref in row.outputs:
                self._by_output.setdefault(ref, row)

    def of(self, ref: ArtifactRef, run: str | None) -> JobRow | None:
        """The job, if this catalog knows it. `run`: the fingerprint that a checkpoint names."""
        if ref.kind != "checkpoints":
            return self._by_output.get(str(ref))
        if run is not None:
            return self._by_fingerprint.get(run)
        found = [row for fp, row in self._by_fingerprint.items() if fp == ref.id or fp[:8] == ref.id[:8]]
        return max(found, key=lambda row: (row.live, row.updated_at), default=None)


def _all_jobs(catalog: Catalog) -> Iterator[JobRow]:
    before = None
    while rows := catalog.jobs(before=before, limit=_PAGE):
        yield from rows
        before = rows[-1].seq


def _unfinished(store: Store, catalog: Catalog, days: float) -> Iterator[Removal]:
    """Checkpoints, and artifacts without a manifest, of jobs that ended long ago. What no job here made stays."""
    owners = Owners(_all_jobs(catalog))
    for kind in KINDS:
        for ref in store.list(kind, unfinished=True):
            manifest = store.manifest(ref)
            if manifest is not None and kind != "checkpoints":
                continue
            run = manifest.summary.get("run") if manifest is not None else None
            owner = owners.of(ref, run)
            if owner is None or not _over(owner, days):
                continue
            what = "checkpoint" if kind == "checkpoints" else "unfinished artifact"
            why = f"{owner.stage} job {owner.id} ended {owner.state}" + _ago(owner.updated_at)
            yield Removal(
                f"{what} {ref}", why, partial(store.delete, ref), partial(_still_over, catalog, owner, ref, run, days)
            )


def _over(owner: JobRow, days: float) -> bool:
    """True if a job will not go on from what it left: it has succeeded, or ended otherwise and long ago."""
    return not owner.live and (owner.state == "SUCCEEDED" or _old(owner.updated_at, days))


def _still_over(catalog: Catalog, owner: JobRow, ref: ArtifactRef, run: str | None, days: float) -> bool:
    """The same by rows as they are now: of the job, and of all that live."""
    now = Owners([catalog.job(owner.id), *(job for job, _ in catalog.live())]).of(ref, run)
    return now is not None and _over(now, days)


def _logs(home: Path, catalog: Catalog, days: float) -> Iterator[Removal]:
    """Logs of jobs that ended long ago, and curves beside them. The jobs' rows and events stay."""
    for log in sorted([*(home / "logs").glob("*-*.log"), *(home / "logs").glob("*-*.curves.json")]):
        try:
            row = catalog.job(log.name.partition(".")[0])
        except CatalogError:  # of no job that this catalog knows
            continue
        if _ended_long_ago(row, days):
            why = f"its job ended {row.state}" + _ago(row.updated_at)
            yield Removal(f"log {log.name}", why, log.unlink, lambda id=row.id: _ended_long_ago(catalog.job(id), days))  # type: ignore[misc]


def _ended_long_ago(row: JobRow, days: float) -> bool:
    return row.state in ENDED and _old(row.updated_at, days)


def _temporary(home: Path) -> Iterator[Removal]:
    import shutil

    from jobs.life.driver_setup import orphans

    for folder in orphans(home):
        yield Removal(f"folder {folder}", "its process is gone", lambda folder=folder: shutil.rmtree(folder, True))  # type: ignore[misc]


def _uploads(catalog: Catalog, days: float) -> Iterator[Removal]:
    """Uploads, finished or not, that did not change for long and that no live job reads; and what is left of removed ones."""
    import shutil

    from configs.settings import settings
    from jobs.upload_users import upload_users
    from sae.sources.uploads import UploadError, Uploads

    uploads = Uploads(settings().uploads_folder, settings().upload_bytes)

    def may_go(id: str) -> bool:
        try:
            return _old(uploads.get(id).changed_at, days) and id not in upload_users(catalog)
        except UploadError:  # it is gone
            return False

    for upload in uploads.all():
        id = upload.record.id
        if may_go(id):
            state = "finished" if upload.finished else "unfinished"
            why = f"{state}, last changed{_ago(upload.changed_at)}"
            yield Removal(f"upload {id}", why, partial(uploads.remove, id), partial(may_go, id))
    for folder in uploads.leftovers():
        yield Removal(f"folder {folder}", "its upload was removed", partial(shutil.rmtree, folder, True))


def _old(at: float, days: float) -> bool:
    """A clock that was set back makes nothing old."""
    return time.time() - at > days * _DAY


def _ago(at: float) -> str:
    days = max(0.0, time.time() - at) / _DAY
    return f" {days:.0f} days ago" if days >= 1 else " today"


STAGE = Stage(VERSION, inputs, outputs, run)
