"""Windows: daily tiles and feature snapshots of the job's events.

The stage tiles the days that are new or have changed, then writes the snapshots that are missing or that those days reach;
run again, or after it was killed, it ends in the same tables.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from sparkds import collect
from sparkds.commits import Commit
from sparkds.days import days_between, last_ended, ranges
from sparkds.errors import DataError, TableError, WindowError
from sparkds.features.feature_set import FeatureSet
from sparkds.features.registry.lineage import Origin, origins_of
from sparkds.features.rfm import MEASURES, RFM, Edges
from sparkds.features.schedule import Stored, checkpoint_day, days_to_compute
from sparkds.jobs import feature_tables
from sparkds.jobs.stages.feature_versions import Extension, feature_version
from sparkds.jobs.stages.stage import JOB, Place, Stage, StageResult
from sparkds.jobs.status import TableResult
from sparkds.locations import Between
from sparkds.predicates import predicate_column
from sparkds.sql import quoted
from sparkds.tables import TableSpec

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from sparkds.jobs.feature_engineering_pipeline import Config

LOG = logging.getLogger("sparkds")


class WindowsStage(Stage):
    """Tiles, snapshots, RFM edges and checkpoints of the job's own declaration (`keys`, `windows`, `aggregations`, `rfm` …)."""

    kind: Literal["windows"] = "windows"
    needs_features: ClassVar[bool] = True

    def tables_read(self, config: Config) -> tuple[str, ...]:
        """The events."""
        return (config.source,)

    def tables_written(self, config: Config) -> tuple[str, ...]:
        """Tiles, snapshots, checkpoints, edges."""
        return tuple(feature_tables.table_names(config.name).values())

    def state_tables(self, config: Config) -> tuple[str, ...]:
        """The RFM edges."""
        return (feature_tables.table_names(config.name)["edges"],) if config.rfm is not None else ()

    def origins(self, place: Place, table: str) -> Mapping[str, Origin]:
        """Features and RFM columns, from the events."""
        if table != place.config.name:
            return {}
        events = place.source.read(place.config.source, schema=place.config.source_schema)
        return origins_of(place.config.feature_set, place.config.source, events.columns)

    def hold(self, place: Place) -> None:
        """Columns and predicates of the events."""
        checked_events(place)

    def run(self, place: Place) -> StageResult:
        """Bring the feature tables up to a day."""
        return _Run(place).result()


def checked_events(place: Place) -> DataFrame:
    """Source rows, their columns and the predicates held against the declaration.

    Raises
    ------
    ColumnError, ConfigError, TableError
    """
    config = place.config
    spec = config.feature_set
    events = place.source.read(config.source, schema=config.source_schema)
    spec.check(dict(events.dtypes), f"table '{config.source}'")
    for where in sorted({state.where for state in spec.states if state.where is not None}):
        predicate_column(events, where)
    return events


class _Run:
    """One run: what it found, decided and wrote."""

    def __init__(self, place: Place) -> None:
        self.config, self.source, self.output, self.asked = place.config, place.source, place.output, place
        self.spec = self.config.feature_set
        self.version = feature_version(self.output, self.config.name, self.spec)
        self.names = self.version.names
        self.ended = last_ended(place.now, self.spec.zone)
        self.warnings: list[str] = []
        self.intake: dict[str, int] = {}
        self.written: dict[str, int] = {}
        self.newest: dict[str, Commit | None] = {}

    def _newest(self, what: str) -> Commit | None:
        """Newest commit of this job in an output table; asked once, then known from the run's own writes."""
        if what not in self.newest:
            self.newest[what] = self.output.last_commit(self.names[what])
        return self.newest[what]

    def _write(self, what: str, frame: DataFrame, *, rows: Any, metadata: dict[str, Any], spec: TableSpec, evolve: bool = False) -> None:
        """Replace a slice of an output table."""
        told = {"job": JOB, **metadata}
        commit = self.output.replace(self.names[what], frame, rows=rows, metadata=told, spec=spec, evolve=evolve)
        self.newest[what] = commit
        self.written[what] = commit.rows or 0

    def result(self) -> StageResult:
        """Do everything and tell."""
        events = checked_events(self.asked)
        self._hold_definitions()
        self._extend()
        tiles_commit = self._newest("tiles")
        last, complete_through = self._last_day(events, tiles_commit)
        self._tile(events, tiles_commit, last, complete_through)
        days = self._snapshot(last, complete_through)
        if self.asked.first is None and len(days) < 32:
            self._checkpoint(last)
        commits = {what: self._newest(what) for what in self.names}
        tables = [
            TableResult(self.names[what], commit.version, self.written.get(what, 0))
            for what, commit in commits.items()
            if commit is not None
        ]
        section = {"input": self.intake, "as_of": last, "days": days, "version": self.version.number, "table": self.names["snapshots"]}
        return StageResult(tables, section, self.warnings, processed_items=self.intake.get("n_events", 0))

    def _hold_definitions(self) -> None:
        """Refuse tiles of another definition before anything is scanned; say that a version is made."""
        version, tiles = self.version, self.names["tiles"]
        before = self.spec if version.before is None else version.before
        found = self.output.definition(tiles)
        if found is not None and found not in (before.tile_hash, self.spec.tile_hash):
            raise TableError(
                f"table '{tiles}' in {self.output.location} exists with another definition ({found}, now {self.spec.tile_hash}); "
                "give the features another name, or drop the table"
            )
        if version.replaces is not None:
            self.warnings.append(
                f"the declaration defines columns of '{feature_tables.versioned(self.config.name, version.replaces)}' otherwise, or drops "
                f"some: version {version.number} is made beside it, in '{self.names['snapshots']}'"
            )

    def _extend(self) -> None:
        """Add the columns that the declaration adds, for all days that are there."""
        from sparkds.features.rfm_scores import with_scores

        if self.version.change.kind != "extension":
            if self.version.before is not None and self.output.definition(self.names["snapshots"]) != self.spec.definition_hash:
                spec = feature_tables.snapshot_spec(self.spec, self.config.source)
                self.output.redefine(self.names["snapshots"], spec)  # the same columns, said otherwise; or a run ended before this
            return
        extension = Extension(self.spec, self.version, self.source, self.output, self.config.source, self.config.source_schema)
        self.newest["tiles"] = extension.tiles() or self._newest("tiles")
        commit = self._newest("snapshots")
        days = sorted(self._stored(self.names["snapshots"], commit).days)

        def scored(rfm: RFM, frame: DataFrame) -> DataFrame:
            edges = self._edges(days[-1])
            assert edges is not None
            return with_scores(rfm, frame, edges)

        commit = extension.snapshots(self.output.read(self.names["tiles"]), days, scored)
        if commit is not None:
            self.newest["snapshots"] = commit
            self.written["snapshots"] = commit.rows or 0
        self.warnings.append(f"added to '{self.names['snapshots']}', for {len(days)} days: {', '.join(self.version.change.added)}")

    def _last_day(self, events: DataFrame, tiles: Commit | None) -> tuple[date, date]:
        """Newest asked day, and the last day whose data are complete."""
        day = _local_day(self.spec, events)
        known = date.fromisoformat(tiles.metadata["complete_through"]) if tiles is not None else None
        asked = self.asked.last
        from_day = min(d for d in (known, asked) if d is not None) if (known or asked) else None
        newest = collect.largest_day(_from(self.spec, events, from_day), day, until=self.ended)
        if newest is None and from_day is not None:
            newest = collect.largest_day(events, day, until=self.ended)
        if newest is None:
            raise DataError(
                f"table '{self.config.source}' in {self.source.location} has no event with a time up to {self.ended}; "
                "there is nothing to compute"
            )
        complete = newest if known is None else max(known, newest)
        if asked is None:
            return complete, complete
        if asked > complete and not self.asked.allow_incomplete:
            raise WindowError(
                f"{asked} is later than the last complete day: the latest possible is {complete} "
                f"(last event on {newest}, last ended day in {self.spec.time_zone} {self.ended}); "
                "wait for the data, or give --allow-incomplete to compute and mark the rows"
            )
        return asked, complete

    def _tile(self, events: DataFrame, stored: Commit | None, last: date, complete_through: date) -> None:
        """Write the tiles of the days that are new or may have changed."""
        from pyspark.sql import Observation
        from pyspark.sql import functions as F

        from sparkds.features.tiles import intake_frame, tiles_frame

        version = self.source.source_version(self.config.source)
        days = self._days_to_tile(events, stored, last, version)
        if days is not None and not days:
            return
        first, tile_last = (None, last) if days is None else (days[0], max(days[-1], last))
        intake, copies = Observation("intake"), Observation("copies")
        tiles = tiles_frame(self.spec, events, first=first, last=tile_last, intake=intake, copies=copies)
        whole = days is None or days == days_between(days[0], days[-1])
        if days is not None and not whole:
            tiles = tiles.where(F.col("day").isin(days))
        rows = None if days is None else {"day": Between(days[0], days[-1]) if whole else days}
        self._write(
            "tiles",
            tiles,
            rows=rows,
            metadata={
                "definition_hash": self.spec.tile_hash,
                "source": self.config.source,
                "source_version": version,
                "through": max(last, _through(stored) or last).isoformat(),
                "complete_through": complete_through.isoformat(),
                "replaced": "all" if days is None else [[a.isoformat(), b.isoformat()] for a, b in ranges(days)],
            },
            spec=feature_tables.tile_spec(self.spec, self.config.source),
        )
        if self.written["tiles"]:
            self._tell_intake(intake.get, copies.get if self.spec.deduplicate else {})
        else:  # Spark drops what it observed together with an exchange that turns out empty
            counts = collect.one_row(intake_frame(self.spec, events, first=first, last=tile_last))
            self._tell_intake(counts.asDict(), {"n_kept": counts["n_taken"]} if self.spec.deduplicate else {})

    def _days_to_tile(self, events: DataFrame, stored: Commit | None, last: date, version: str) -> list[date] | None:
        """Days whose tiles are to be written; None for all days up to `last`."""
        through = _through(stored)
        if stored is None or through is None or stored.changed_since:
            if stored is not None:
                self.warnings.append("the tiles were changed by another writer; all days are tiled again")
            return None
        if self.asked.rebuild:
            return days_between(self.asked.first, last) if self.asked.first else None
        days = set(days_between(through + timedelta(days=1), last))
        complete = date.fromisoformat(stored.metadata["complete_through"])
        days.update(days_between(complete + timedelta(days=1), through))
        if version != stored.metadata["source_version"]:
            days.update(self._late_days(stored, through, version))
        return sorted(days)

    def _late_days(self, stored: Commit, through: date, version: str) -> Sequence[date]:
        """Tiled days that a changed source may have changed."""
        before = str(stored.metadata["source_version"])
        if before.isdecimal() and version.isdecimal():
            changes = self.source.changes(self.config.source, since=int(before), until=int(version))
            if changes is not None:
                return [day for day in collect.days_in(changes, _local_day(self.spec, changes)) if day <= through]
        return days_between(through - timedelta(days=self.config.lateness_days - 1), through)

    def _tell_intake(self, counts: Mapping[str, Any], kept: Mapping[str, Any]) -> None:
        self.intake = {name: int(n) for name, n in counts.items()}
        if kept:
            self.intake["n_duplicates"] = self.intake["n_taken"] - int(kept["n_kept"])
        told = {
            "n_null_key": "events with a null key were dropped",
            "n_null_time": "events without a time were dropped",
            "n_future": "events after the last day were left out",
            "n_before_first_day": "events before first_day were left out",
            "n_duplicates": "copies of events were dropped",
        }
        for name, sentence in told.items():
            if self.intake.get(name):
                self.warnings.append(f"{self.intake[name]} {sentence}")
        for name, n in self.intake.items():
            if name.startswith("n_no_value.") and n:
                self.warnings.append(f"{n} events have no value in column '{name.removeprefix('n_no_value.')}' and were skipped there")

    def _touched_from(self, since: Any, until: date) -> date | None:
        """First day up to `until` whose tiles differ from those of version `since`; None when none does."""
        name = self.names["tiles"]
        now = self._newest("tiles")
        assert now is not None
        if since is None or now.changed_since:
            return date.min
        if now.version == since:
            return None
        replaced = self.output.replaced_since(name, int(since))
        if replaced is None:
            return date.min
        days = [(date.fromisoformat(low), min(date.fromisoformat(high), until)) for low, high in replaced]
        days = [(low, high) for low, high in days if low <= high]
        if not days:
            return None
        try:
            before = self.output.read(name, version=int(since))
        except TableError:
            return min(low for low, _ in days)
        return collect.first_changed_day(before, self.output.read(name).select(*map(quoted, before.columns)), days)

    def _snapshot(self, last: date, complete_through: date) -> list[date]:
        """Write the snapshots that are missing or that changed tiles reach; give their days."""
        from pyspark.sql import functions as F

        from sparkds.features.rfm_scores import with_scores
        from sparkds.features.snapshots import snapshots_frame

        name = self.names["snapshots"]
        commit = self._newest("snapshots")
        stored = self._stored(name, commit)
        first = self.asked.first or min(stored.days, default=last)
        wanted = self.config.schedule.days(min(first, last), last)
        touched_from = self._touched_from(commit.metadata.get("tiles_version"), max(stored.days)) if commit and stored.days else None
        days = days_to_compute(wanted, stored, touched_from=touched_from, rebuild=wanted if self.asked.rebuild else ())
        if not days:
            if self.config.refit_rfm_edges:
                self._edges(last)
            return []
        if min(days) != wanted[0] or set(days) - set(wanted):
            LOG.info("snapshots to write: %s", ", ".join(map(str, days)))
        frame = snapshots_frame(self.spec, self._tiles_for(min(days)), days)
        edges = self._edges(last)
        if edges is not None:
            assert self.spec.rfm is not None
            frame = with_scores(self.spec.rfm, frame, edges)
        complete = (F.col("as_of") <= F.lit(complete_through)).alias("complete")
        lead = len(self.spec.keys) + 2
        columns = [F.col("`" + c.replace("`", "``") + "`") for c in frame.columns]
        frame = frame.select(*columns[:lead], complete, *columns[lead:])
        held = stored.days | set(days)
        incomplete = (stored.incomplete - set(days)) | {d for d in days if d > complete_through}
        tiles = self._newest("tiles")
        assert tiles is not None
        self._write(
            "snapshots",
            frame,
            rows={"as_of": days},
            metadata={
                "definition_hash": self.spec.definition_hash,
                "declaration": self.spec.model_dump(mode="json"),
                "as_of": [d.isoformat() for d in days],
                "held": [[a.isoformat(), b.isoformat()] for a, b in ranges(held)],
                "incomplete": [d.isoformat() for d in sorted(incomplete)],
                "tiles_version": tiles.version,
                "source": self.config.source,
                "source_version": tiles.metadata["source_version"],
                "rfm_edges_version": edges.version if edges else None,
            },
            spec=feature_tables.snapshot_spec(self.spec, self.config.source),
        )
        return days

    def _stored(self, name: str, commit: Commit | None) -> Stored:
        """Days that the snapshot table holds, by its last commit, or by its rows when someone else changed them."""
        if commit is None:
            return Stored(frozenset(), frozenset())
        held = {d for a, b in commit.metadata["held"] for d in days_between(date.fromisoformat(a), date.fromisoformat(b))}
        if commit.changed_since:
            from pyspark.sql import functions as F

            held &= set(collect.days_in(self.output.read(name), F.col("as_of")))
        return Stored(frozenset(held), frozenset(date.fromisoformat(d) for d in commit.metadata["incomplete"]) & frozenset(held))

    def _tiles_for(self, first: date) -> DataFrame:
        """Tiles from which snapshots from `first` on follow: a checkpoint and the tiles after it, or all tiles."""
        from pyspark.sql import functions as F

        tiles = self.output.read(self.names["tiles"])
        through = self._checkpoint_through()
        if through is None or through > first - timedelta(days=self.spec.longest_window):
            return tiles
        later = tiles.where(F.col("day") > F.lit(through))
        return self.output.read(self.names["checkpoints"]).select(*(f"`{c}`" for c in later.columns)).unionByName(later)

    def _checkpoint_through(self) -> date | None:
        """Day of the stored checkpoint; None when there is none, or when tiles below it have changed since."""
        commit = self._newest("checkpoints")
        if commit is None or commit.changed_since or commit.metadata["definition_hash"] != self.spec.tile_hash:
            return None
        through = date.fromisoformat(commit.metadata["through"])
        return through if self._touched_from(commit.metadata["tiles_version"], through) is None else None

    def _checkpoint(self, last: date) -> None:
        """Keep the merged state of all days up to a month-end that no later run's window reaches."""
        from sparkds.features.snapshots import checkpoints_frame

        wanted = checkpoint_day(last, self.spec.longest_window, self.config.lateness_days)
        stored = self._checkpoint_through()
        if stored is not None and stored >= wanted:
            return
        tiles = self._newest("tiles")
        assert tiles is not None
        older = self.output.definition(self.names["checkpoints"])
        checkpoint = replace(feature_tables.checkpoint_spec(self.spec), extends=(older,) if older else ())
        self._write(
            "checkpoints",
            checkpoints_frame(self.spec, self._tiles_for(wanted + timedelta(days=self.spec.longest_window)), wanted),
            rows=None,
            metadata={"definition_hash": self.spec.tile_hash, "through": wanted.isoformat(), "tiles_version": tiles.version},
            spec=checkpoint,
            evolve=True,
        )
        if older is not None and older != self.spec.tile_hash:
            self.output.redefine(self.names["checkpoints"], checkpoint)

    def _edges(self, fitted_as_of: date) -> Edges | None:
        """Stored RFM edges, or newly fitted ones, kept before they are used."""
        from pyspark.sql import functions as F

        from sparkds.features.rfm_scores import fitted_edges
        from sparkds.features.snapshots import snapshots_frame

        rfm, name = self.spec.rfm, self.names["edges"]
        if rfm is None:
            return None
        latest: Edges | None = None
        if self.output.exists(name):
            rows = collect.small_rows(self.output.read(name).where(F.col("definition_hash") == rfm.definition_hash))
            newest = max((row["version"] for row in rows), default=0)
            kept = {row["measure"]: tuple(row["edges"]) for row in rows if row["version"] == newest}
            latest = Edges(newest, *(kept[m] for m in MEASURES)) if kept else None
            if latest is not None and not self.config.refit_rfm_edges:
                return latest
        version = 1 + (latest.version if latest else 0)
        snapshot = snapshots_frame(self.spec, self._tiles_for(fitted_as_of), [fitted_as_of])
        edges = fitted_edges(rfm, snapshot, version=version)
        rows = [
            (version, measure, [float(edge) for edge in getattr(edges, measure)], fitted_as_of, rfm.definition_hash) for measure in MEASURES
        ]
        schema = "version int, measure string, edges array<double>, fitted_as_of date, definition_hash string"
        self._write(
            "edges",
            self.output.spark.createDataFrame(rows, schema),
            rows={"version": [version]},
            metadata={"definition_hash": rfm.definition_hash, "version": version},
            spec=feature_tables.edges_spec(),
        )
        return edges


def _local_day(spec: FeatureSet, events: DataFrame) -> Any:
    from sparkds.instants import local_day_column

    return local_day_column(spec.event_time, dict(events.dtypes)[spec.event_time], spec.time_zone, spec.event_time_zone)


def _from(spec: FeatureSet, events: DataFrame, first: date | None) -> DataFrame:
    from sparkds.features.tiles import not_before

    return events if first is None else events.where(not_before(spec, dict(events.dtypes)[spec.event_time], first))


def _through(tiles: Commit | None) -> date | None:
    return date.fromisoformat(tiles.metadata["through"]) if tiles is not None else None
