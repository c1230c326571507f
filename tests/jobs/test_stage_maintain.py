"""Maintenance: what nothing refers to goes, the rest stays, and a dry run removes nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from cluster.catalog import Catalog, open_catalog
from cluster.store import Manifest, Store
from configs.artifact_ids import ArtifactRef
from configs.maintain import MaintainConfig
from jobs.life.driver_setup import log_file
from jobs.life.stage_context import JobContext
from jobs.stages import maintain
from sae.sources.uploads import Uploads

DAY = 86_400.0


class Lines:
    """What a job says."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def start(self, phase: str, total: int, unit: str, done: int = 0) -> None: ...
    def update(self, done: int, durable: bool = True) -> None: ...
    def durable(self, done: int) -> None: ...
    def log(self, message: str) -> None:
        self.lines.append(message)


class World:
    """A home with jobs that ended in many ways, at many times, and what they left."""

    def __init__(self, home: Path) -> None:
        self.home, self.store = home, Store.open(str(home / "store"))
        self.url = f"sqlite:///{home}/catalog.db"
        self.catalog: Catalog = open_catalog(self.url)

    def job(self, fp: str, state: str | None, days_ago: float, makes: str | None = None) -> str:
        """A training run with an unfinished SAE (that of run `makes`, if it says one), a checkpoint and a log."""
        sae = ArtifactRef("saes", (makes or fp) * 16)
        job = self.catalog.submit(
            stage="train",
            fingerprint=fp * 16,
            config={},
            requirement={},
            outputs=[str(sae)],
            inputs={},
            created_by="ada",
        ).job_id
        self.catalog.progress(job, 1, state="RUNNING")
        self.part(sae)
        checkpoint = ArtifactRef("checkpoints", fp * 8 + "0" * 8)
        stored = self.part(checkpoint)
        self.store.commit(
            Manifest(
                kind="checkpoints", id=checkpoint.id, stage="train", stage_version=1, attempt=1, files=(stored,),
                summary={"run": fp * 16, "block": 1, "saes": [sae.id]},
            )
        )  # fmt: skip
        log_file(self.home, job).write_text("said\n")
        if state is not None:
            self.catalog.finish(job, 1, state)
            with create_engine(self.url).begin() as connection:
                at = time.time() - days_ago * DAY
                connection.execute(text("UPDATE jobs SET updated_at = :at WHERE id = :id"), {"at": at, "id": job})
        return job

    def part(self, ref: ArtifactRef):  # type: ignore[no-untyped-def]
        path = self.home / "part"
        path.write_text("half")
        return self.store.put(ref, 1, "part", path, part=True)

    def run(self, said: Lines | None = None, **config: object) -> list[str]:
        said = said or Lines()
        maintain.run(
            JobContext(config=MaintainConfig(**config), outputs=[], store=self.store, scratch=self.home, progress=said)  # type: ignore[arg-type]
        )
        return said.lines

    def left(self) -> set[str]:
        kinds = ("saes", "checkpoints")
        return {str(ref) for kind in kinds for ref in self.store.list(kind, unfinished=True)} | {
            path.name for path in (self.home / "logs").glob("*.log")
        }


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("RAYLENS_HOME", str(tmp_path))
    monkeypatch.delenv("RAYLENS_DATABASE_URL", raising=False)
    world = World(tmp_path)
    yield world
    world.catalog.close()


def test_what_is_old_or_done_goes_and_what_may_be_wanted_stays(world: World) -> None:
    jobs = {
        "live": world.job("a", None, 0),
        "fresh": world.job("b", "FAILED", 1),
        "old": world.job("c", "CANCELLED", 10),
        "older": world.job("d", "FAILED", 40),
        "done": world.job("e", "SUCCEEDED", 0),
    }
    world.part(ArtifactRef("saes", "f" * 16))  # of no job that this catalog knows
    before = world.left()
    said = world.run()
    assert world.left() == before
    assert sum("would remove" in line for line in said) == 7  # two of each of three jobs, one log
    said = world.run(dry_run=False)
    logs = {path.name for path in (world.home / "logs").glob("*.log")}
    assert logs == {f"{job}.log" for name, job in jobs.items() if name != "older"}
    unfinished = {ref.id[0] for ref in world.store.list("saes", unfinished=True)}
    assert unfinished == {"a", "b", "f"}
    runs = {ref.id[:8] for ref in world.store.list("checkpoints", unfinished=True)}
    assert runs == {"a" * 8, "b" * 8}
    assert any("7 things removed" in line for line in said)
    assert world.run(dry_run=False)[-1] == "0 things removed"


def test_what_a_live_job_makes_stays_whatever_became_of_a_newer_one(world: World) -> None:
    world.job("a", None, 0)
    world.job("b", "CANCELLED", 8, makes="a")
    world.run(dry_run=False)
    assert {ref.id[0] for ref in world.store.list("saes", unfinished=True)} == {"a"}


def test_what_is_wanted_again_while_others_go_stays(world: World) -> None:
    letters = {world.job("c", "CANCELLED", 40): "c", world.job("d", "FAILED", 40): "d"}
    first, second = sorted(letters)  # their logs go in this order
    letter = letters[second]

    class Resuming(Lines):
        """Somebody resumes the second job as soon as something goes that was the first one's."""

        def log(self, message: str) -> None:
            super().log(message)
            if not world.catalog.job(second).live:
                world.catalog.resume(second, "ada")

    said = world.run(Resuming(), dry_run=False)
    assert world.left() == {f"saes/{letter * 16}", f"checkpoints/{letter * 8}{'0' * 8}", f"{second}.log"}
    assert f"keeps log {second}.log: it is wanted again" in said
    assert said[-1] == "3 things removed"
    assert not world.catalog.job(first).live


def test_folders_of_dead_processes_go_and_those_of_live_ones_stay(world: World) -> None:
    import os

    dead, mine = world.home / "scratch" / "train-x-a1-4194304", world.home / "scratch" / f"train-x-a2-{os.getpid()}"
    for folder in (dead, mine):
        folder.mkdir(parents=True)
    assert any(str(dead) in line for line in world.run())
    assert dead.exists()
    world.run(dry_run=False)
    assert not dead.exists()
    assert mine.exists()


def test_uploads_that_nobody_reads_go_after_some_days(world: World) -> None:
    uploads = Uploads(world.home / "uploads", 1 << 20)
    ids = {}
    for name, days_ago in (("fresh", 1), ("old", 40), ("read", 40), ("continued", 40)):
        id = ids[name] = uploads.create(name, "ada").record.id
        with uploads.piece(id, "a.txt", 0) as piece:
            piece.write(b"text")
        record = world.home / "uploads" / id / "upload.json"
        at = time.time() - days_ago * DAY
        record.write_text(uploads.get(id).record.model_copy(update={"created_at": at}).model_dump_json())
        if name != "continued":
            os.utime(uploads.files_folder(id) / "a.txt", (at, at))
    source = {"type": "upload", "upload": ids["read"], "files": []}
    world.catalog.submit(
        stage="pipeline", fingerprint="9" * 16, config={"stages": [{"dataset": {"source": source}}]}, requirement={},
        outputs=[], inputs={}, created_by="ada",
    )  # fmt: skip
    (world.home / "uploads" / ".removed-0123456789abcdef").mkdir()
    said = world.run(upload_days=30)
    assert [line for line in said if "upload" in line] == [
        f"would remove upload {ids['old']}: unfinished, last changed 40 days ago",
        f"would remove folder {world.home}/uploads/.removed-0123456789abcdef: its upload was removed",
    ]
    world.run(upload_days=30, dry_run=False)
    assert {upload.record.name for upload in uploads.all()} == {"fresh", "read", "continued"}
    assert uploads.leftovers() == []
    world.run(upload_days=0.5, dry_run=False)
    assert {upload.record.name for upload in uploads.all()} == {"read", "continued"}
