"""Status: what a job says of its run, one JSON object on standard output.

Takes what a job did, or the error that ended it, and gives the object; every value of it is strict JSON.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, NamedTuple


class TableResult(NamedTuple):
    """A table after the run.

    Attributes
    ----------
    name : str
    version : int
        Newest version.
    rows : int
        Rows that this run wrote; 0 if it left the table as it was.
    """

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
        Further facts by name; they stand beside the keys that every status has and cannot replace them.
    values : mapping
        What later tasks of a workflow may ask for (task values); numbers, texts and truth values.
    """

    processed_items: int
    tables: list[TableResult]
    warnings: list[str] = field(default_factory=list)
    sections: Mapping[str, Any] = field(default_factory=dict)
    values: Mapping[str, str | int | bool] = field(default_factory=dict)


def completed(job: str, started: datetime, result: JobResult) -> dict[str, Any]:
    """Status object of a run that ended well."""
    told = _status("completed", job, started)
    told["processed_items"] = result.processed_items
    told["tables"] = [table._asdict() for table in result.tables]
    told["warnings"] = list(result.warnings)
    return {**told, **{name: fact for name, fact in result.sections.items() if name not in (*told, "error")}}


def failed(job: str, started: datetime, error: BaseException) -> dict[str, Any]:
    """Status object of a run that failed: `error` has the type and the message."""
    message = str(error) or type(error).__name__
    return {**_status("failed", job, started), "error": {"type": type(error).__name__, "message": message}}


def _status(status: str, job: str, started: datetime) -> dict[str, Any]:
    return {
        "status": status,
        "job": job,
        "start_time": _instant(started),
        "end_time": _instant(datetime.now(UTC)),
        "processed_items": 0,
        "tables": [],
        "warnings": [],
    }


def as_json(status: Mapping[str, Any]) -> str:
    """One line of strict JSON.

    Days and instants are written in ISO 8601, sets in order, what is not finite as null, anything else as its text.

    Examples
    --------
    >>> as_json({"as_of": date(2026, 6, 30), "share": float("nan")})
    '{"as_of": "2026-06-30", "share": null}'
    """
    return json.dumps(_plain(status), allow_nan=False, ensure_ascii=False)


def _plain(value: Any) -> Any:
    """Value made of what JSON knows."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(_plain(key)): _plain(below) for key, below in value.items()}
    if isinstance(value, AbstractSet):
        return sorted((_plain(below) for below in value), key=str)
    if isinstance(value, list | tuple):
        return [_plain(below) for below in value]
    if hasattr(value, "item"):  # a scalar of numpy
        return _plain(value.item())
    return str(value)


def _instant(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")
