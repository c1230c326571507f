"""People's stars, labels and notes on features. They belong to one latent of an SAE, never to one extraction."""

from __future__ import annotations

import time

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from cluster.catalog.artifact_tables import AnnotationVersion, ArtifactRow, FeatureAnnotation
from cluster.catalog.errors import NotFound
from cluster.catalog.transactions import Transactions
from configs.artifact_ids import ArtifactRef

LABEL_CHARACTERS = 500
NOTES_CHARACTERS = 10_000


class FeatureAnnotations(Transactions):
    """Reads and writes annotations."""

    def annotate_feature(
        self,
        sae: ArtifactRef,
        latent: int,
        by: str,
        *,
        starred: bool | None = None,
        label: str | None = None,
        notes: str | None = None,
    ) -> FeatureAnnotation:
        """Changes the annotation of a latent; None leaves a part as it is, "" clears it.

        Raises NotFound if the SAE is not in the catalog, ValueError if it has no such latent or a text is too long.
        """
        _check(label or "", "label", LABEL_CHARACTERS)
        _check(notes or "", "notes", NOTES_CHARACTERS)
        changes = {"starred": starred, "label": label, "notes": notes}

        def annotate() -> FeatureAnnotation:
            with self._write() as session:
                check_latent(session, sae, latent)
                mine = (FeatureAnnotation.sae == str(sae), FeatureAnnotation.latent == latent)
                row = session.scalars(select(FeatureAnnotation).where(*mine).with_for_update()).one_or_none()
                if row is None:
                    row = FeatureAnnotation(sae=str(sae), latent=latent, starred=False, label="", notes="")
                    session.add(row)
                before = (row.label, row.notes)
                for name, value in changes.items():
                    if value is not None:
                        setattr(row, name, value)
                row.updated_by, row.updated_at = by, time.time()
                if (row.label, row.notes) != before:
                    _keep_version(session, row)
                return row

        return self._settled(annotate)

    def feature_annotations(
        self, sae: ArtifactRef, starred: bool | None = None, after: int = -1, limit: int = 1000
    ) -> list[FeatureAnnotation]:
        """Annotations of an SAE by latent, those above `after`; only the starred, or only the others."""
        query = select(FeatureAnnotation).where(FeatureAnnotation.sae == str(sae), FeatureAnnotation.latent > after)
        if starred is not None:
            query = query.where(FeatureAnnotation.starred == starred)
        with self._read() as session:
            return list(session.scalars(query.order_by(FeatureAnnotation.latent).limit(limit)))

    def annotation_versions(self, sae: ArtifactRef, latent: int, limit: int = 100) -> list[AnnotationVersion]:
        """What label and notes of a latent were after each change, the newest first."""
        query = select(AnnotationVersion).where(AnnotationVersion.sae == str(sae), AnnotationVersion.latent == latent)
        with self._read() as session:
            return list(session.scalars(query.order_by(AnnotationVersion.version.desc()).limit(limit)))


def _keep_version(session: Session, row: FeatureAnnotation) -> None:
    """Keeps the annotation as it is now. Its row is locked, so no two changes get one number."""
    mine = (AnnotationVersion.sae == row.sae, AnnotationVersion.latent == row.latent)
    last = session.scalar(select(func.max(AnnotationVersion.version)).where(*mine)) or 0
    session.add(
        AnnotationVersion(
            sae=row.sae,
            latent=row.latent,
            version=last + 1,
            label=row.label,
            notes=row.notes,
            written_by=row.updated_by,
            written_at=row.updated_at,
        )
    )


def _check(text: str, what: str, most: int) -> None:
    if len(text) > most or "\0" in text:
        raise ValueError(f"a feature's {what} may have at most {most:,} characters, and none of them NUL")


def check_latent(session: Session, sae: ArtifactRef, latent: int) -> None:
    """Raises NotFound if the SAE is not in the catalog, ValueError if it has no such latent."""
    row = session.get(ArtifactRow, tuple(sae)) if sae.kind == "saes" else None
    if row is None:
        raise NotFound(f"there is no SAE {sae} in the catalog")
    width = row.fields.get("d_sae")
    if latent < 0 or (isinstance(width, int) and latent >= width):
        last = width - 1 if isinstance(width, int) else "?"
        raise ValueError(f"{sae} has no latent {latent}: its latents are 0 to {last}")
