"""What reading a source finds beside its documents. What its chunks find adds up in their order."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from sae.text.row_content import ContentCounts


@dataclass
class SourceFindings:
    """Rows that were no documents; splits that the source gave; columns that are not kept; names of all columns.

    `columns`: beside the text, as the source names them, in the order in which they came; SourceDocuments bounds them.
    """

    counts: ContentCounts = field(default_factory=ContentCounts)
    source_splits: set[str] = field(default_factory=set)
    left_out: set[str] = field(default_factory=set)
    columns: list[str] = field(default_factory=list)

    def add(self, later: SourceFindings) -> None:
        """Takes what the next chunk found."""
        self.counts.add(later.counts)
        self.source_splits |= later.source_splits
        self.left_out |= later.left_out
        self.columns = list(dict.fromkeys([*self.columns, *later.columns]))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, for from_json."""
        return {
            "counts": asdict(self.counts),
            "source_splits": sorted(self.source_splits),
            "left_out": sorted(self.left_out),
            "columns": self.columns,
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> SourceFindings:
        """What to_json was given."""
        return cls(
            ContentCounts(**value["counts"]), set(value["source_splits"]), set(value["left_out"]), value["columns"]
        )
