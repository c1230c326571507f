"""Artifacts in the catalog: what is published, recorded from manifests, looked up, labelled and deleted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Select, and_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from cluster.catalog.artifact_index import index_evaluation, matching
from cluster.catalog.artifact_order import sort_key
from cluster.catalog.artifact_tables import ArtifactInput, ArtifactRow, ArtifactTag
from cluster.catalog.artifact_writing import write_artifact
from cluster.catalog.errors import InUse, NameTaken
from cluster.catalog.index_fields import Value
from cluster.catalog.job_tables import IS_LIVE, JobRow
from cluster.catalog.list_order import NEWEST_FIRST, Order, Place, Placed, in_order, placed
from cluster.catalog.names_and_tags import Labels, checked, labelled, set_name, set_tags
from cluster.catalog.transactions import Transactions
from configs.artifact_ids import ArtifactRef

_NAMED = 5  # referrers in a message; the error holds all of them


class Artifacts(Transactions):
    """Lists, records, labels and deletes artifacts."""

    def artifact(self, ref: ArtifactRef) -> ArtifactRow | None:
        """One artifact; None if none was published under that name."""
        with self._read() as session:
            return session.get(ArtifactRow, tuple(ref))

    def artifacts(
        self,
        kind: str | None = None,
        limit: int = 1000,
        *,
        project: str | None = None,
        name: str | None = None,
        tag: str | None = None,
        created_by: str | None = None,
        before: int | None = None,
        filters: Mapping[str, Value] | None = None,
    ) -> list[ArtifactRow]:
        """Artifacts, the newest first; those with a `seq` below `before`, to page on.

        `filters`: values of the kind's fields (index_fields.filters_of), for example {"hook": ..., "min_ev": 0.8} of
        "saes"; all must be met. Raises ValueError for a filter that the kind does not have.
        """
        columns = {"kind": kind, "project": project, "name": name, "created_by": created_by}
        query = _filtered(select(ArtifactRow), columns, tag, filters).order_by(ArtifactRow.seq.desc()).limit(limit)
        if before is not None:
            query = query.where(ArtifactRow.seq < before)
        with self._read() as session:
            return list(session.scalars(query))

    def sorted_artifacts(
        self,
        kind: str,
        order: Order,
        limit: int = 1000,
        *,
        project: str | None = None,
        name: str | None = None,
        tag: str | None = None,
        after: Place | None = None,
        filters: Mapping[str, Value] | None = None,
    ) -> list[Placed[ArtifactRow]]:
        """Artifacts of a kind in an order, those after a place of it. Without a value of what they are sorted by: at the end.

        Raises ValueError for what the kind cannot be sorted or filtered by (artifact_order.artifact_sorts).
        """
        if order == NEWEST_FIRST:
            before = None if after is None else after.seq
            own = {"project": project, "name": name, "tag": tag, "filters": filters}
            rows = self.artifacts(kind, limit, before=before, **own)  # type: ignore[arg-type]
            return [Placed(row, Place(row.seq, row.seq)) for row in rows]
        query = _filtered(select(ArtifactRow.seq), {"kind": kind, "project": project, "name": name}, tag, filters)
        query, key = sort_key(query, kind, order.by)
        query = query.add_columns(ArtifactRow.seq.label("place") if key is None else key)
        found = in_order(query, key, ArtifactRow.seq, order.descending, after).limit(limit)
        with self._read() as session:
            return placed(session, ArtifactRow, ArtifactRow.seq, found)

    def record_artifact(self, manifest: dict[str, Any]) -> ArtifactRow:
        """Takes an artifact into the catalog from its manifest (as JSON) alone, or brings its row up to date."""

        def record() -> ArtifactRow:
            with self._write("share") as session:
                return write_artifact(session, manifest, None)

        return self._settled(record)

    def delete_artifact(self, ref: ArtifactRef) -> None:
        """Takes an artifact out of the catalog; its files are the store's. Does nothing if it is not there.

        Raises InUse, which names them, while other artifacts were made from it or live jobs need it or make it.
        """
        with self._write("own") as session:
            row = session.get(ArtifactRow, tuple(ref))
            if row is None:
                return
            if referrers := referrers_of(session, ref):
                raise in_use(ref, referrers)
            session.delete(row)
            session.flush()
            index_evaluation(session, row)

    def referrers(self, ref: ArtifactRef) -> list[str]:
        """The artifacts that were made from an artifact (`kind/id`), and the live jobs that need it or make it."""
        with self._read() as session:
            return referrers_of(session, ref)

    def set_labels(
        self,
        what: str | ArtifactRef,
        *,
        name: str | None = None,
        tags: Sequence[str] | None = None,
        notes: str | None = None,
    ) -> JobRow | ArtifactRow:
        """Changes what people call a job (its id) or an artifact (its reference); None leaves a label, "" clears it.

        Raises NameTaken if the name belongs to another in the project (and of the kind, for an artifact), ValueError if
        a label cannot be one, CatalogError if there is no such job or artifact.
        """
        given = checked(Labels(name or None, tags or (), notes or ""))
        try:
            with self._write() as session:
                row = labelled(session, what)
                if name is not None:
                    set_name(session, row, given.name)
                if tags is not None:
                    set_tags(session, row, given.tags)
                if notes is not None:
                    row.notes = given.notes
                return row
        except IntegrityError as error:  # another took the name between our look and our write
            raise NameTaken(f"the name {name!r} has just been taken: take another", "") from error


def _filtered(
    query: Select[Any], columns: Mapping[str, str | None], tag: str | None, filters: Mapping[str, Value] | None
) -> Select[Any]:
    for column, value in columns.items():
        if value is not None:
            query = query.where(getattr(ArtifactRow, column) == value)
    if tag is not None:
        query = query.join(ArtifactTag, and_(ArtifactTag.seq == ArtifactRow.seq, ArtifactTag.tag == tag))
    for found in matching(columns["kind"], filters) if filters else ():
        query = query.where(ArtifactRow.seq.in_(found))
    return query


def referrers_of(session: Session, ref: ArtifactRef) -> list[str]:
    """What refers to an artifact: artifacts first, then live jobs."""
    made_from_it = select(ArtifactInput.kind, ArtifactInput.id).where(
        ArtifactInput.input_kind == ref.kind, ArtifactInput.input_id == ref.id
    )
    artifacts = sorted({f"{kind}/{id}" for kind, id in session.execute(made_from_it)})
    live = session.scalars(select(JobRow).where(IS_LIVE).order_by(JobRow.seq))
    jobs = [f"{job.stage} job {job.id}" for job in live if str(ref) in {*job.inputs.values(), *job.outputs}]
    return [*artifacts, *jobs]


def in_use(ref: ArtifactRef, referrers: list[str]) -> InUse:
    """Says who needs an artifact."""
    shown = ", ".join(referrers[:_NAMED])
    more = f" and {len(referrers) - _NAMED} more" if len(referrers) > _NAMED else ""
    return InUse(f"{ref} cannot be deleted: {shown}{more} need{'s' * (len(referrers) == 1)} it", referrers)
