"""Records: what the registry keeps of every version of a feature table, as rows and back, and how two versions differ.

Pure: takes and gives plain values; `ROW` is the schema of the table that keeps them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sparkds.errors import ConfigError, closest
from sparkds.features.registry.lineage import Source

ROW: Final = (
    "feature_table string, version int, `table` string, kind string, definition_hash string, declaration string, owner string, "
    "description string, keys array<string>, time_key string, "
    "columns array<struct<name:string,type:string,unit:string,comment:string,definition:string,"
    "sources:array<struct<table:string,column:string>>>>, "
    "sources array<struct<table:string,version:string>>, package_version string, created_at timestamp, updated_at timestamp, "
    "state_tables array<string>, selected array<string>, metrics array<struct<column:string,metric:string,value:double>>"
)
COMMENTS: Final[Mapping[str, str]] = {
    "feature_table": "name of the feature table, the same for all its versions",
    "version": "1 for the first definition, 1 more for each changed one; added columns keep it",
    "table": "table that holds the rows of this version",
    "kind": "stage of the feature job that writes it",
    "definition_hash": "hash of the declaration",
    "declaration": "the declaration as JSON",
    "keys": "columns that name the entity",
    "time_key": "instant from which a row is known",
    "columns": "features: name, type, unit, comment, hash of the definition, columns they follow from",
    "sources": "tables that it was made of, with their versions",
    "package_version": "sparkds that wrote it",
    "created_at": "when this version was registered",
    "updated_at": "when its record changed last",
    "state_tables": "tables of fitted states that it uses",
    "selected": "features that a selection kept; empty where none was made",
    "metrics": "figures of the profile, by column",
}


@dataclass(frozen=True)
class ColumnRecord:
    """A feature: its Spark type, unit, meaning, definition and sources."""

    name: str
    type: str
    unit: str = ""
    comment: str = ""
    definition: str = ""
    sources: tuple[Source, ...] = ()


@dataclass(frozen=True)
class FeatureRecord:
    """A version of a feature table.

    Attributes
    ----------
    feature_table : str
    version : int
    table : str
        That holds its rows.
    kind : str
        Stage that writes it.
    definition_hash : str
    declaration : mapping
    owner, description : str
    keys : tuple of str
    time_key : str
    columns : tuple of ColumnRecord
    sources : tuple of (table, version)
    package_version : str
    created_at, updated_at : datetime
        UTC.
    state_tables, selected : tuple of str
    metrics : tuple of (column, metric, value)
    """

    feature_table: str
    version: int
    table: str
    kind: str
    definition_hash: str
    declaration: Mapping[str, Any]
    owner: str
    description: str
    keys: tuple[str, ...]
    time_key: str
    columns: tuple[ColumnRecord, ...]
    sources: tuple[tuple[str, str], ...]
    package_version: str
    created_at: datetime
    updated_at: datetime
    state_tables: tuple[str, ...] = ()
    selected: tuple[str, ...] = ()
    metrics: tuple[tuple[str, str, float], ...] = field(default=())

    @property
    def label(self) -> str:
        """``name@version``."""
        return f"{self.feature_table}@{self.version}"

    def row(self) -> tuple[Any, ...]:
        """Values in the order of `ROW`."""
        columns = [(c.name, c.type, c.unit, c.comment, c.definition, [tuple(s) for s in c.sources]) for c in self.columns]
        return (
            self.feature_table, self.version, self.table, self.kind, self.definition_hash,
            json.dumps(self.declaration, sort_keys=True, ensure_ascii=False), self.owner, self.description, list(self.keys),
            self.time_key, columns, [tuple(s) for s in self.sources], self.package_version, self.created_at, self.updated_at,
            list(self.state_tables), list(self.selected), [tuple(m) for m in self.metrics],
        )  # fmt: skip

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; instants in ISO 8601."""
        return {
            "feature_table": self.feature_table, "version": self.version, "table": self.table, "kind": self.kind,
            "definition_hash": self.definition_hash, "owner": self.owner, "description": self.description, "keys": list(self.keys),
            "time_key": self.time_key,
            "columns": [
                {"name": c.name, "type": c.type, "unit": c.unit, "comment": c.comment, "definition": c.definition,
                 "sources": [".".join(s) for s in c.sources]}
                for c in self.columns
            ],
            "sources": [{"table": t, "version": v} for t, v in self.sources], "package_version": self.package_version,
            "created_at": self.created_at.isoformat(), "updated_at": self.updated_at.isoformat(),
            "state_tables": list(self.state_tables), "selected": list(self.selected),
            "metrics": [{"column": c, "metric": m, "value": v} for c, m, v in self.metrics], "declaration": dict(self.declaration),
        }  # fmt: skip


def record_of(row: Mapping[str, Any], *, created_at: datetime, updated_at: datetime) -> FeatureRecord:
    """Record from a row of the registry's table; instants are given apart, since Spark's depend on the session's zone."""
    columns = tuple(
        ColumnRecord(
            c["name"],
            c["type"],
            c["unit"] or "",
            c["comment"] or "",
            c["definition"] or "",
            tuple(Source(s["table"], s["column"]) for s in c["sources"] or ()),
        )
        for c in row["columns"] or ()
    )
    return FeatureRecord(
        row["feature_table"], row["version"], row["table"], row["kind"], row["definition_hash"], json.loads(row["declaration"] or "{}"),
        row["owner"] or "", row["description"] or "", tuple(row["keys"] or ()), row["time_key"] or "", columns,
        tuple((s["table"], s["version"]) for s in row["sources"] or ()), row["package_version"], created_at, updated_at,
        tuple(row["state_tables"] or ()), tuple(row["selected"] or ()),
        tuple((m["column"], m["metric"], m["value"]) for m in row["metrics"] or ()),
    )  # fmt: skip


def found(records: Sequence[FeatureRecord], label: str) -> FeatureRecord:
    """Record of ``name@version``, or the newest version of ``name``.

    Raises
    ------
    ConfigError
        There is none; the message tells the nearest name, or the versions.
    """
    name, at, number = label.partition("@")
    of_name = sorted((r for r in records if r.feature_table == name), key=lambda r: r.version)
    if not of_name:
        names = sorted({r.feature_table for r in records})
        known = f" (registered: {', '.join(names)})" if names else "; nothing is registered"
        raise ConfigError(f"feature table '{name}' is not registered{closest(name, names)}{known}")
    if not at:
        return of_name[-1]
    for record in of_name:
        if str(record.version) == number.removeprefix("v"):
            return record
    raise ConfigError(f"feature table '{name}' has no version {number!r} (versions: {', '.join(str(r.version) for r in of_name)})")


def difference(one: FeatureRecord, other: FeatureRecord) -> list[tuple[str, str, str, str]]:
    """How two versions differ: (what, name, in the first, in the second), columns first.

    ``added`` and ``dropped`` columns, ``redefined`` (another definition), ``retyped`` (another type), then facts of the table that differ.
    """
    before, after = {c.name: c for c in one.columns}, {c.name: c for c in other.columns}
    told = [("dropped", name, before[name].comment or before[name].type, "") for name in before if name not in after]
    told += [("added", name, "", after[name].comment or after[name].type) for name in after if name not in before]
    for name in after:
        if name in before and before[name].definition != after[name].definition:
            told.append(("redefined", name, before[name].comment or before[name].definition, after[name].comment or after[name].definition))
        elif name in before and before[name].type != after[name].type:
            told.append(("retyped", name, before[name].type, after[name].type))
    facts = ("table", "kind", "owner", "description", "keys", "time_key", "state_tables", "selected", "package_version", "sources")
    for fact in facts:
        a, b = getattr(one, fact), getattr(other, fact)
        if a != b:
            told.append(("fact", fact, _text(a), _text(b)))
    return told


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(_text(v) if not isinstance(v, tuple) else " ".join(map(str, v)) for v in value)
    return str(value)
