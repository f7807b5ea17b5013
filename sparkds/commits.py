"""Commits: what a table's history says of the writes that made it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sparkds import __version__

UPKEEP: Final = frozenset(
    {"OPTIMIZE", "VACUUM START", "VACUUM END", "SET TBLPROPERTIES", "UNSET TBLPROPERTIES", "CHANGE COLUMN", "CREATE TABLE", "CLUSTER BY"}
)
"""Operations that leave the rows as they are."""


@dataclass(frozen=True)
class Commit:
    """One commit of a table.

    Attributes
    ----------
    version : int
    operation : str
    metadata : dict
        What the writer said of it; empty when it said nothing.
    rows : int or None
        Rows that the commit wrote, without those it only copied.
    changed_since : bool
        Whether a later commit by another writer changed rows.
    """

    version: int
    operation: str
    metadata: dict[str, Any]
    rows: int | None = None
    changed_since: bool = False


def commit_metadata(told: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept with a commit: the given facts, the package version and a run id."""
    return {"sparkds": __version__, "run_id": uuid.uuid4().hex, **told}


def commit_of(row: Any) -> Commit:
    """Commit from a row of ``DESCRIBE HISTORY``."""
    try:
        metadata = json.loads(row["userMetadata"] or "{}")
    except ValueError:
        metadata = {}
    metrics = row["operationMetrics"] or {}
    written = metrics.get("numOutputRows", metrics.get("numTargetRowsInserted"))
    rows = None if written is None else int(written) - int(metrics.get("numCopiedRows", 0))
    if row["operation"] == "MERGE":
        rows = int(metrics.get("numTargetRowsInserted", 0)) + int(metrics.get("numTargetRowsUpdated", 0))
    ours = metadata if isinstance(metadata, dict) and "sparkds" in metadata else {}
    return Commit(row["version"], row["operation"], ours, rows)
