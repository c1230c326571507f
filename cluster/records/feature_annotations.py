"""What people say about features. A mark belongs to one latent of an SAE, never to one extraction."""

from __future__ import annotations

import time
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from cluster.records.artifact_index_tables import SAES
from cluster.records.artifact_tables import Artifact, FeatureMark
from cluster.records.errors import NotFound
from cluster.records.rows import plain
from cluster.records.transactions import Transactions
from configs.identity import ArtifactRef

LABEL_CHARACTERS = 500
NOTES_CHARACTERS = 10_000


@dataclass(frozen=True)
class MarkRow:
    """What people say about one latent: whether it is starred, what it is called, notes; who said so last."""

    sae: str
    latent: int
    starred: bool
    label: str
    notes: str
    updated_by: str
    updated_at: float


class Marks(Transactions):
    """mark_feature, feature_marks."""

    def mark_feature(
        self,
        sae: ArtifactRef,
        latent: int,
        by: str,
        *,
        starred: bool | None = None,
        label: str | None = None,
        notes: str | None = None,
    ) -> MarkRow:
        """Changes what is said about a latent; None leaves a word as it is, "" clears it.

        Raises RecordsError if the SAE is not in the catalog, ValueError if it has no such latent or a text is too long.
        """
        _check(label or "", "label", LABEL_CHARACTERS)
        _check(notes or "", "notes", NOTES_CHARACTERS)
        given = {"starred": starred, "label": label, "notes": notes}
        return self._settled(lambda: self._mark(sae, latent, by, given))

    def _mark(self, sae: ArtifactRef, latent: int, by: str, given: dict[str, bool | str | None]) -> MarkRow:
        with self._write() as session:
            _check_latent(session, sae, latent)
            query = select(FeatureMark).where(FeatureMark.sae == str(sae), FeatureMark.latent == latent)
            mark = session.scalars(query.with_for_update()).one_or_none()
            if mark is None:
                mark = FeatureMark(sae=str(sae), latent=latent, starred=False, label="", notes="")
                session.add(mark)
            for name, value in given.items():
                if value is not None:
                    setattr(mark, name, value)
            mark.updated_by, mark.updated_at = by, time.time()
            return plain(MarkRow, mark)

    def feature_marks(self, sae: ArtifactRef, starred: bool | None = None) -> list[MarkRow]:
        """What is said about the latents of an SAE, in their order; only those that are starred, or that are not."""
        query = select(FeatureMark).where(FeatureMark.sae == str(sae)).order_by(FeatureMark.latent)
        if starred is not None:
            query = query.where(FeatureMark.starred == starred)
        with self._read() as session:
            return [plain(MarkRow, mark) for mark in session.scalars(query)]


def _check(text: str, what: str, most: int) -> None:
    if len(text) > most or "\0" in text:
        raise ValueError(f"a feature's {what} may have at most {most:,} characters, and none of them NUL")


def _check_latent(session: Session, sae: ArtifactRef, latent: int) -> None:
    if sae.kind != "saes" or session.get(Artifact, tuple(sae)) is None:
        raise NotFound(f"there is no SAE {sae} in the catalog")
    width = session.scalars(select(SAES.c.d_sae).where(SAES.c.id == sae.id)).one_or_none()
    if latent < 0 or (width is not None and latent >= width):
        raise ValueError(f"{sae} has no latent {latent}: its latents are 0 to {'?' if width is None else width - 1}")
