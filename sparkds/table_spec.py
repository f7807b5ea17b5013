"""Table specification: what a table is beside its rows - comments, keys, layout, definition - and the properties that follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from sparkds import __version__
from sparkds.sql import quoted

HASH_PROPERTY: Final = "sparkds.definition_hash"
KEYS_PROPERTY: Final = "sparkds.primary_key"


@dataclass(frozen=True)
class TableSpec:
    """What a table is, beside its rows.

    Attributes
    ----------
    comment : str
    columns : mapping of column to comment, with the unit
    keys : tuple of str
        Columns that name a row; kept as the property ``sparkds.primary_key``.
    cluster_by : tuple of str
        Liquid clustering columns.
    definition_hash : str, optional
        Rows of another definition are refused.
    extends : tuple of str
        Definitions that this one only adds columns to; a table of one of them is taken, and is given this one by `Tables.redefine`.
    change_feed : bool
    deletion_vectors : bool
        Whether an update marks rows instead of writing their files again.
    facts : mapping
        Further properties that readers of the table look up.
    """

    comment: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    keys: tuple[str, ...] = ()
    cluster_by: tuple[str, ...] = ()
    definition_hash: str | None = None
    extends: tuple[str, ...] = ()
    change_feed: bool = False
    deletion_vectors: bool = False
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def properties(self) -> dict[str, str]:
        """Table properties that follow; skipping statistics are kept for keys and clustering columns only."""
        told = {KEYS_PROPERTY: ",".join(self.keys), "sparkds.version": __version__}
        if self.definition_hash:
            told[HASH_PROPERTY] = self.definition_hash
        if self.change_feed:
            told["delta.enableChangeDataFeed"] = "true"
        if self.deletion_vectors:
            told["delta.enableDeletionVectors"] = "true"
        told.update(self.facts)
        skipping = dict.fromkeys((*self.cluster_by, *self.keys))
        if skipping:
            told["delta.dataSkippingStatsColumns"] = ",".join(quoted(name) for name in skipping)
        return told
