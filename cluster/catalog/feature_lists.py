"""People's named lists of features. A list holds latents of any SAEs; like stars, they belong to no extraction."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import and_, delete, func, or_, select
from sqlalchemy.orm import Session

from cluster.catalog.artifact_tables import FeatureAnnotation
from cluster.catalog.errors import NameTaken, NotFound
from cluster.catalog.feature_annotations import check_latent
from cluster.catalog.list_tables import FeatureList, ListedFeature
from cluster.catalog.names_and_tags import checked_list_name
from cluster.catalog.transactions import Transactions
from configs.artifact_ids import ArtifactRef

MOST_FEATURES = 10_000  # of one list


class ListAndSize(NamedTuple):
    """A list, and how many features are on it."""

    row: FeatureList
    features: int


class FeatureAndNotes(NamedTuple):
    """A feature of a list, and its star and label, if anybody has annotated it."""

    row: ListedFeature
    annotation: FeatureAnnotation | None


class FeatureLists(Transactions):
    """Reads and writes lists of features."""

    def create_list(self, name: str, by: str) -> ListAndSize:
        """A new list without features. Raises NameTaken, ValueError for a name that cannot be one."""

        def create() -> ListAndSize:
            with self._write() as session:
                _check_free(session, name, None)
                row = FeatureList(id=secrets.token_hex(8), name=name, created_by=by, created_at=time.time())
                session.add(row)
                return ListAndSize(row, 0)

        checked_list_name(name)
        return self._settled(create)

    def rename_list(self, id: str, name: str) -> ListAndSize:
        """Names a list anew. Raises NotFound, NameTaken, ValueError."""

        def rename() -> ListAndSize:
            with self._write() as session:
                row = _locked(session, id)
                _check_free(session, name, id)
                row.name = name
                return ListAndSize(row, _size(session, id))

        checked_list_name(name)
        return self._settled(rename)

    def delete_list(self, id: str) -> None:
        """Deletes a list. Its features stay what they are. Raises NotFound."""
        with self._write() as session:
            session.delete(_locked(session, id))

    def feature_list(self, id: str) -> ListAndSize:
        """One list. Raises NotFound."""
        with self._read() as session:
            row = session.get(FeatureList, id)
            if row is None:
                raise _no_list(id)
            return ListAndSize(row, _size(session, id))

    def feature_lists(
        self, feature: tuple[ArtifactRef, int] | None = None, after: str = "", limit: int = 1000
    ) -> list[ListAndSize]:
        """Lists by name, those above `after`; with `feature`, only those that it is on."""
        size = select(func.count()).where(ListedFeature.list_id == FeatureList.id).correlate(FeatureList)
        query = select(FeatureList, size.scalar_subquery()).where(FeatureList.name > after)
        if feature is not None:
            sae, latent = feature
            on = select(ListedFeature.list_id).where(ListedFeature.sae == str(sae), ListedFeature.latent == latent)
            query = query.where(FeatureList.id.in_(on))
        with self._read() as session:
            return [ListAndSize(row, n) for row, n in session.execute(query.order_by(FeatureList.name).limit(limit))]

    def add_to_list(self, id: str, features: Sequence[tuple[ArtifactRef, int]], by: str) -> ListAndSize:
        """Puts features on a list; those that are on it already stay as they are. All or none.

        Raises NotFound for a list or SAE that is not there, ValueError for a latent that an SAE does not have or if the list
        would get too long.
        """

        def add() -> ListAndSize:
            with self._write() as session:
                row = _locked(session, id)
                for sae, latent in dict.fromkeys(features):
                    check_latent(session, sae, latent)
                    if session.get(ListedFeature, (id, str(sae), latent)) is None:
                        session.add(
                            ListedFeature(list_id=id, sae=str(sae), latent=latent, added_by=by, added_at=time.time())
                        )
                session.flush()
                size = _size(session, id)
                if size > MOST_FEATURES:
                    raise ValueError(f"a list may have at most {MOST_FEATURES:,} features: with these it has {size:,}")
                return ListAndSize(row, size)

        return self._settled(add)

    def remove_from_list(self, id: str, sae: ArtifactRef, latent: int) -> None:
        """Takes a feature off a list, if it is on it. Raises NotFound if there is no such list."""
        mine = (ListedFeature.list_id == id, ListedFeature.sae == str(sae), ListedFeature.latent == latent)
        with self._write() as session:
            _locked(session, id)
            session.execute(delete(ListedFeature).where(*mine))

    def listed_features(self, id: str, after: tuple[str, int] = ("", -1), limit: int = 1000) -> list[FeatureAndNotes]:
        """Features of a list by SAE and latent, those above `after`. Raises NotFound."""
        sae, latent = after
        above = or_(ListedFeature.sae > sae, and_(ListedFeature.sae == sae, ListedFeature.latent > latent))
        annotated = and_(FeatureAnnotation.sae == ListedFeature.sae, FeatureAnnotation.latent == ListedFeature.latent)
        query = (
            select(ListedFeature, FeatureAnnotation)
            .outerjoin(FeatureAnnotation, annotated)
            .where(ListedFeature.list_id == id, above)
            .order_by(ListedFeature.sae, ListedFeature.latent)
            .limit(limit)
        )
        with self._read() as session:
            if session.get(FeatureList, id) is None:
                raise _no_list(id)
            return [FeatureAndNotes(row, annotation) for row, annotation in session.execute(query)]


def _locked(session: Session, id: str) -> FeatureList:
    row = session.scalars(select(FeatureList).where(FeatureList.id == id).with_for_update()).one_or_none()
    if row is None:
        raise _no_list(id)
    return row


def _no_list(id: str) -> NotFound:
    return NotFound(f"there is no list {id} in the catalog")


def _size(session: Session, id: str) -> int:
    return session.scalar(select(func.count()).where(ListedFeature.list_id == id)) or 0


def _check_free(session: Session, name: str, own: str | None) -> None:
    holder = session.scalars(select(FeatureList.id).where(FeatureList.name == name)).one_or_none()
    if holder is not None and holder != own:
        raise NameTaken(f"the name {name!r} belongs to lists/{holder}: take another", f"lists/{holder}")
