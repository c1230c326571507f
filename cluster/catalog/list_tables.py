"""The tables of people's lists of features."""

from __future__ import annotations

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from cluster.catalog.common_tables import Base


class FeatureList(Base):
    """A named list of features. Its id is random; names are unique."""

    __tablename__ = "feature_lists"
    __table_args__ = (Index("feature_list_names", "name", unique=True),)

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    created_by: Mapped[str]
    created_at: Mapped[float]


class ListedFeature(Base):
    """One latent of an SAE (a reference) on a list. It outlives the SAE's files, as stars do."""

    __tablename__ = "listed_features"
    __table_args__ = (Index("listed_features_by_latent", "sae", "latent", "list_id"),)

    list_id: Mapped[str] = mapped_column(ForeignKey("feature_lists.id", ondelete="CASCADE"), primary_key=True)
    sae: Mapped[str] = mapped_column(primary_key=True)
    latent: Mapped[int] = mapped_column(primary_key=True)
    added_by: Mapped[str]
    added_at: Mapped[float]
