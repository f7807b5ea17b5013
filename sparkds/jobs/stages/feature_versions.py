"""Feature versions: which tables hold a declaration's features, and how a table is extended by columns that the declaration adds.

A declaration that redefines or drops a column gets tables of its own beside the earlier ones (``features_v2``); one that only adds columns
keeps the tables, and only the added columns are computed, for all days that are there.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from pydantic import ValidationError

from sparkds.commits import Commit
from sparkds.features.feature_set import FeatureSet
from sparkds.features.registry.definitions import Change, change, with_only
from sparkds.jobs import feature_tables
from sparkds.sql import quoted
from sparkds.tables import Tables

LOG = logging.getLogger("sparkds")
SAME = Change("same")


@dataclass(frozen=True)
class FeatureVersion:
    """Where the features of a declaration are.

    Attributes
    ----------
    number : int
    names : mapping
        Tables by what they hold: ``tiles snapshots checkpoints edges``.
    before : FeatureSet, optional
        Declaration of the table that is there; absent where there is none.
    change : Change
        What the declaration changes of it; ``same`` where there is no table.
    replaces : int or None
        Version beside which a new one is made, since a column is defined otherwise.
    """

    number: int
    names: Mapping[str, str]
    before: FeatureSet | None = None
    change: Change = SAME
    replaces: int | None = None


def feature_version(output: Tables, name: str, spec: FeatureSet) -> FeatureVersion:
    """Version of a feature table that has, or is to have, the features of a declaration.

    An existing version with the same columns and definitions is taken; else the newest one, if the declaration only adds columns to it;
    else the next number.
    """
    there: list[tuple[int, str, FeatureSet | None]] = []
    number = 1
    while output.exists(table := feature_tables.versioned(name, number)):
        if output.definition(table) == spec.definition_hash:
            return FeatureVersion(number, _names(output, name, number, spec), spec)
        there.append((number, table, declaration_of(output.last_commit(table))))
        number += 1
    if not there:
        return FeatureVersion(1, _names(output, name, 1, spec))
    for earlier, _, before in reversed(there):
        if before is not None and change(before, spec).kind == "same":
            return FeatureVersion(earlier, _names(output, name, earlier, spec), before)
    newest, newest_table, before = there[-1]
    if before is not None:
        found = change(before, spec)
        names = _names(output, name, newest, before)
        shared = names["tiles"] != feature_tables.table_names(newest_table)["tiles"]
        if found.kind == "extension" and not (shared and before.tile_hash != spec.tile_hash):  # another version reads these tiles
            return FeatureVersion(newest, names, before, found)
    return FeatureVersion(number, _names(output, name, number, spec), replaces=newest)


def declaration_of(commit: Commit | None) -> FeatureSet | None:
    """Declaration that a commit of snapshots was made by; None where it tells none that this package reads."""
    told = commit.metadata.get("declaration") if commit is not None else None
    if told is None:
        return None
    try:
        return FeatureSet.model_validate(told)
    except ValidationError:  # of a later package, or one that knows other kinds
        return None


def _names(output: Tables, name: str, number: int, spec: FeatureSet) -> dict[str, str]:
    """Tables of a version; its tiles are those of an earlier version where their states are the same."""
    names = feature_tables.table_names(feature_tables.versioned(name, number))
    if number > 1 and not output.exists(names["tiles"]):
        for earlier in range(number - 1, 0, -1):
            shared = feature_tables.table_names(feature_tables.versioned(name, earlier))
            if output.definition(shared["tiles"]) == spec.tile_hash:
                return {**names, "tiles": shared["tiles"], "checkpoints": shared["checkpoints"]}
    return names


@dataclass
class Extension:
    """Adds the columns of a declaration to the tables of an earlier one, tiles first, one commit each.

    Attributes
    ----------
    spec : FeatureSet
    version : FeatureVersion
        With an ``extension``.
    source, output : Tables
    events : str
        Table of events.
    source_columns : str or None
        Their schema, for files.
    """

    spec: FeatureSet
    version: FeatureVersion
    source: Tables
    output: Tables
    events: str
    source_columns: str | None

    def __post_init__(self) -> None:
        assert self.version.before is not None
        self.before = self.version.before
        self.only = with_only(self.spec, self.version.change.added)

    def tiles(self) -> Commit | None:
        """Give the tiles the states that they lack; None where they have all.

        The events are those of the version from which the tiles were made, where the source has versions.
        """
        from pyspark.sql import functions as F

        from sparkds.features.tiles import tiles_frame

        name = self.version.names["tiles"]
        stored = self.output.last_commit(name)
        if stored is None or self.output.definition(name) == self.spec.tile_hash:
            return None
        lacking = [state for state in self.spec.states if state not in self.before.states]
        at = str(stored.metadata["source_version"])
        if at.isdecimal():
            events = self.source.read(self.events, version=int(at))
        else:
            events = self.source.read(self.events, schema=self.source_columns)
        through = date.fromisoformat(stored.metadata["through"])
        old = self.output.read(name)
        keys = [*self.spec.keys, "day"]
        added = tiles_frame(self.only, events, last=through).select(*map(quoted, keys), *(quoted(s.name) for s in lacking))
        kept = old.select(*(quoted(c) for c in old.columns if c not in {s.name for s in lacking}))
        joined = kept.join(added, keys, "left")
        sums = {s.name for s in lacking if s.merge == "add"}
        types = dict(joined.dtypes)
        frame = joined.select(
            *(
                F.coalesce(F.col(quoted(c)), F.lit(0).cast(types[c])).alias(c) if c in sums else F.col(quoted(c))
                for c in (*kept.columns, *(s.name for s in lacking))
            )
        )
        spec = replace(feature_tables.tile_spec(self.spec, self.events), extends=(self.before.tile_hash,))
        metadata = {**_told(stored), "definition_hash": self.spec.tile_hash, "replaced": [], "added": [s.name for s in lacking]}
        commit = self.output.replace(name, frame, rows=None, metadata=metadata, spec=spec, evolve=True)
        self.output.redefine(name, spec)
        LOG.info("tiles: added %s", ", ".join(s.name for s in lacking))
        return commit

    def snapshots(self, tiles: Any, days: list[date], scored: Any) -> Commit | None:
        """Compute the added columns of all days that are there, beside the old ones; None where no day is.

        Parameters
        ----------
        tiles : DataFrame
            All tiles.
        days : list of date
            Days that the table holds.
        scored : callable
            Adds RFM scores to a frame of snapshots.
        """
        from sparkds.features.snapshots import snapshots_frame

        name = self.version.names["snapshots"]
        stored = self.output.last_commit(name)
        if stored is None or not days:
            return None
        added = list(self.version.change.added)
        new = snapshots_frame(self.only, tiles, days)
        if self.only.rfm is not None:
            new = scored(self.only.rfm, new)
        keys = [*self.spec.keys, "as_of"]
        old = self.output.read(name)
        kept = [c for c in old.columns if c not in added]
        frame = old.select(*map(quoted, kept)).join(new.select(*map(quoted, (*keys, *added))), keys, "left")
        frame = frame.select(*map(quoted, (*kept, *added)))
        spec = replace(feature_tables.snapshot_spec(self.spec, self.events), extends=(self.before.definition_hash,))
        metadata = {
            **_told(stored),
            "definition_hash": self.spec.definition_hash,
            "declaration": self.spec.model_dump(mode="json"),
            "added": added,
        }
        commit = self.output.replace(name, frame, rows=None, metadata=metadata, spec=spec, evolve=True)
        self.output.redefine(name, spec)
        LOG.info("%s: added %s", name, ", ".join(added))
        return commit


def _told(stored: Commit) -> dict[str, Any]:
    """What a commit said, without what every commit says of itself."""
    return {key: value for key, value in stored.metadata.items() if key not in ("run_id", "sparkds")}
