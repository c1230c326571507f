"""A catalog, a store and a dispatcher for tests: real rows; only the start of drivers is written down instead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cluster.catalog import Catalog, JobRow, open_catalog
from cluster.store import Store
from configs.artifact_ids import parse_ref
from configs.load import load_config
from configs.requirements import Capacity, Node, NodeType, Requirement
from jobs.life.dispatcher import Cluster, Dispatcher
from jobs.life.submit import Submitted, submit
from tests.jobs.command import Toy


class Starts:
    """Drivers that were asked for. `broken` ones never start."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.broken: dict[str, str] = {}

    def ready(self) -> bool:
        return True

    def ray_job(self, job: JobRow) -> str:
        return f"{job.id}-a{job.attempt}"

    def start(self, job: JobRow) -> None:
        self.started.append(f"{job.id}-a{job.attempt}")

    def stop(self, ray_job: str) -> None:
        self.broken[ray_job] = "stopped"

    def failed(self, ray_job: str) -> str | None:
        return self.broken.get(ray_job)


class World:
    """A catalog, a store, a dispatcher on a cluster of four CPUs, and requests for toy stages."""

    def __init__(self, folder: Path) -> None:
        self.toy = Toy(folder)
        self.store = Store.open(str(folder / "store"))
        self.url = f"sqlite:///{folder}/home/catalog.db"
        self.catalog: Catalog = open_catalog(self.url)
        self.starts = Starts()
        self.free = 4.0
        self.grown: list[list[Requirement]] = []
        self.node_types: tuple[NodeType, ...] = ()
        self.nodes: tuple[Node, ...] = ()  # beside the head
        self.dispatcher = self.another("one", "session-1")

    def another(self, name: str, session: str) -> Dispatcher:
        cluster = Cluster(session, "127.0.0.1:1", "http://127.0.0.1:2", self.capacity, self.grown.append)
        return Dispatcher(self.catalog, cluster, self.starts, name, self.store)

    def capacity(self) -> Capacity:
        head = Node(4, 0, 1 << 34, {}, self.free, 0, 1 << 34)
        return Capacity((head, *self.nodes), self.store.free_bytes(), self.node_types)

    def ask(self, *sets: str, config: Path | None = None, stage: str = "tokenize", **more: Any) -> Submitted:
        found = load_config(stage, config or self.toy.config, sets)
        return submit(self.catalog, self.store, found, created_by="ada", **{"profile": "local", **more})

    def do(self, job_id: str) -> None:
        """What a driver does: claims, makes the artifacts, ends."""
        row = self.catalog.claim(job_id, self.catalog.job(job_id).attempt)
        for ref in row.outputs:
            path = self.toy.folder / "made"
            path.write_text(ref)
            stored = self.store.put(parse_ref(ref), row.attempt, "made", path)
            from cluster.store import Manifest

            kind, _, name = ref.partition("/")
            manifest = Manifest(
                kind=kind, id=name, stage=row.stage, stage_version=1, attempt=row.attempt, files=(stored,)
            )
            self.catalog.publish(row.id, row.attempt, manifest.model_dump(mode="json"))
            self.store.commit(manifest)
        self.catalog.finish(row.id, row.attempt, "SUCCEEDED")

    def set(self, table: str, job_id: str, **values: Any) -> None:
        """Writes into a row what only another process, or another machine, would."""
        from sqlalchemy import create_engine, text

        column = "id" if table == "jobs" else "job_id"
        said = ", ".join(f"{name} = :{name}" for name in values)
        with create_engine(self.url).begin() as connection:
            connection.execute(
                text(f"UPDATE {table} SET {said} WHERE {column} = :job_id"), {**values, "job_id": job_id}
            )

    def set_lease_gone(self) -> None:
        """The process that leads is gone, without a word."""
        self.catalog._locks.release_all()

    def states(self, found: Submitted) -> list[str]:
        return [str(self.catalog.job(job).state) for job in found.jobs]
