"""Status: what a job says of its run - one JSON object on standard output."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, NamedTuple


class TableResult(NamedTuple):
    """A table after the run: its name, newest version, and the rows that this run wrote (0 if it was left as it is)."""

    name: str
    version: int
    rows: int


@dataclass(frozen=True)
class JobResult:
    """What a job did.

    Attributes
    ----------
    processed_items : int
        Rows read from the source.
    tables : list of TableResult
    warnings : list of str
    sections : mapping
        Further facts by name.
    """

    processed_items: int
    tables: list[TableResult]
    warnings: list[str] = field(default_factory=list)
    sections: Mapping[str, Any] = field(default_factory=dict)


def completed(job: str, started: datetime, result: JobResult) -> dict[str, Any]:
    """Status object of a run that ended well."""
    return {
        "status": "completed",
        "job": job,
        "start_time": _instant(started),
        "end_time": _instant(datetime.now(UTC)),
        "processed_items": result.processed_items,
        "tables": [table._asdict() for table in result.tables],
        "warnings": result.warnings,
        **result.sections,
    }


def failed(job: str, started: datetime, error: BaseException) -> dict[str, Any]:
    """Status object of a run that failed."""
    return {
        "status": "failed",
        "job": job,
        "start_time": _instant(started),
        "end_time": _instant(datetime.now(UTC)),
        "processed_items": 0,
        "tables": [],
        "warnings": [],
        "error": {"type": type(error).__name__, "message": str(error)},
    }


def as_json(status: Mapping[str, Any]) -> str:
    """One line of JSON; days and instants in ISO 8601."""
    return json.dumps(status, default=lambda value: value.isoformat() if isinstance(value, date) else str(value))


def _instant(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")
