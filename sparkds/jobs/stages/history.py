"""History: the job's features as change points, one row per entity and day on which a value changes.

The stage computes all days once from the tiles, then only the entities that a new day or a late event touches, in one merge; before that
a seeded sample of the entities is computed again from all tiles. Run again, or after it was killed, it ends in the same table.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from sparkds import collect
from sparkds.commits import Commit
from sparkds.days import ONE_DAY, days_between
from sparkds.declaration import Declaration
from sparkds.errors import DataError, TableError, WindowError
from sparkds.features.change_points import derived_days, has_lifetime
from sparkds.features.feature_set import FeatureSet
from sparkds.features.registry.definitions import change
from sparkds.features.registry.lineage import Origin, origins_of
from sparkds.jobs import feature_tables, history_tables
from sparkds.jobs.stages.feature_versions import declaration_of, feature_version
from sparkds.jobs.stages.stage import JOB, Place, Stage, StageResult
from sparkds.jobs.status import TableResult
from sparkds.sql import quoted

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from sparkds.jobs.feature_engineering_pipeline import Config

LOG = logging.getLogger("sparkds")


class Sample(Declaration):
    """Entities whose history is computed again from all tiles in every run, as an alarm.

    Attributes
    ----------
    share : float
        Of the entities, in [0, 1]; 0 checks none.
    seed : int
        Together with the last day it decides which entities: each day others, the same ones in a repeated run.
    """

    share: float = Field(default=0.01, ge=0, le=1, description="share of the entities in [0, 1]; 0 checks none")
    seed: int = Field(default=1, description="decides, with the last day, which entities")


class HistoryStage(Stage):
    """Change points of the job's features beside the snapshots: `<name>_history`.

    Attributes
    ----------
    table : str, optional
        ``<name>_history`` if absent.
    first : date, optional
        First day that the history covers; the first day with an event if absent.
    sample : Sample
    """

    kind: Literal["history"] = "history"
    table: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="<name>_history if absent")
    first: date | None = Field(default=None, description="first covered day; that of the first event if absent")
    sample: Sample = Field(default=Sample(), description="entities that are computed again in each run, as an alarm")
    needs_features: ClassVar[bool] = True

    def table_name(self, config: Config, version: int = 1) -> str:
        """Name of the history of a version of the features."""
        if self.table is not None:
            return feature_tables.versioned(self.table, version)
        return f"{feature_tables.versioned(config.name, version)}_history"

    def tables_needed(self, config: Config) -> tuple[str, ...]:
        """The tiles."""
        return (feature_tables.table_names(config.name)["tiles"],)

    def tables_written(self, config: Config) -> tuple[str, ...]:
        """The history, and the rows of its last step."""
        name = self.table_name(config)
        return (name, history_tables.step_name(name))

    def origins(self, place: Place, table: str) -> Mapping[str, Origin]:
        """Features, and the days from which they count, from the events."""
        if table != self.table_name(place.config):
            return {}
        events = place.source.read(place.config.source, schema=place.config.source_schema)
        spec = place.config.feature_set
        days = derived_days(spec)
        return {days.get(name, name): o for name, o in origins_of(spec, place.config.source, events.columns).items()}

    def run(self, place: Place) -> StageResult:
        """Bring the history up to a day."""
        return _Run(self, place).result()


@dataclass(frozen=True)
class _Stored:
    """What the history says of itself."""

    first: date | None
    through: date
    tiles_version: int

    @property
    def told(self) -> dict[str, Any]:
        """The same as commits tell it."""
        first = None if self.first is None else self.first.isoformat()
        return {"first": first, "through": self.through.isoformat(), "tiles_version": self.tiles_version}


class _Run:
    """One run: what it found, decided and wrote."""

    def __init__(self, stage: HistoryStage, place: Place) -> None:
        self.stage, self.output, self.asked, self.config = stage, place.output, place, place.config
        self.spec: FeatureSet = self.config.feature_set
        self.version = feature_version(self.output, self.config.name, self.spec)
        self.tiles_name, self.checkpoints_name = self.version.names["tiles"], self.version.names["checkpoints"]
        self.name = stage.table_name(self.config, self.version.number)
        self.step_name = history_tables.step_name(self.name)
        self.warnings: list[str] = []
        self.section: dict[str, Any] = {}
        self.rows = 0
        self.extends: tuple[str, ...] = ()
        self.through: date | None = None

    def result(self) -> StageResult:
        """Do everything and tell."""
        derived_days(self.spec)
        tiles_commit = self._tiles_commit()
        self._hold_definitions()
        last = self._last_day(tiles_commit)
        stored = self._stored()
        if self.through is not None:  # the history never becomes shorter
            last = max(last, self.through)
        self.output.keep_changes(self.tiles_name)
        self.tiles_version = self.output.version(self.tiles_name)
        self.tiles = self.output.read(self.tiles_name, version=self.tiles_version)
        changes = self._changes(stored)
        if stored is None or changes is None:
            self._compute_all(last)
        else:
            self._step(stored, changes, last)
        version = self.output.version(self.name)
        section = {"table": self.name, "as_of": last, "first": self.stage.first, "rows": self.rows, **self.section}
        return StageResult([TableResult(self.name, version, self.rows)], section, self.warnings)

    def _tiles_commit(self) -> Commit:
        commit = self.output.last_commit(self.tiles_name)
        if commit is None:
            raise TableError(
                f"the history '{self.name}' is made from the tiles '{self.tiles_name}', which are not in {self.output.location}; "
                "put the stage {kind: windows} before {kind: history}, or run it first"
            )
        return commit

    def _hold_definitions(self) -> None:
        """Refuse tiles and a history of another definition before anything is scanned; a history that only lacks columns is made again."""
        before = self.version.before or self.spec
        tiles = self.output.definition(self.tiles_name)
        if tiles not in (None, self.spec.tile_hash) and (tiles != before.tile_hash or self.version.change.kind != "same"):
            raise self._of_another_definition(self.tiles_name, tiles, self.spec.tile_hash)
        found = self.output.definition(self.name)
        if found in (None, self.spec.definition_hash):
            return
        made_by = declaration_of(self.output.last_commit(self.name))
        if made_by is None or change(made_by, self.spec).kind == "changed":
            raise self._of_another_definition(self.name, found, self.spec.definition_hash)
        self.extends = (str(found),)

    def _of_another_definition(self, name: str, found: str | None, wanted: str) -> TableError:
        return TableError(
            f"table '{name}' in {self.output.location} exists with another definition ({found}, now {wanted}); "
            "run the stage {kind: windows} first, give the features or the history another name, or drop the table"
        )

    def _last_day(self, tiles: Commit) -> date:
        """Last day to cover: the asked one, and none whose data are not complete."""
        complete = date.fromisoformat(tiles.metadata["complete_through"])
        last = min(self.asked.last or complete, complete)
        first = self.stage.first
        if first is not None and first > last:
            raise WindowError(f"the history '{self.name}' would begin on {first}, after its last day {last}; give a first day up to {last}")
        return last

    def _stored(self) -> _Stored | None:
        """State of the history; None when it is to be computed whole."""
        commit = self.output.last_commit(self.name)
        if commit is None or "through" not in commit.metadata:
            return None
        merged = self._merged_without_metadata() if commit.changed_since else None
        self.through = date.fromisoformat((merged or commit.metadata)["through"])
        if self.asked.rebuild:
            return None
        if self.extends:
            self.warnings.append(f"the declaration adds to '{self.name}'; the history is computed again")
            return None
        told = commit.metadata
        if commit.changed_since:
            if merged is None:
                self.warnings.append(f"'{self.name}' was changed by another writer; the history is computed again")
                return None
            told = merged
        first = None if told["first"] is None else date.fromisoformat(told["first"])
        if first != self.stage.first:
            self.warnings.append(f"'{self.name}' began on another day; the history is computed again")
            return None
        return _Stored(first, self.through, int(told["tiles_version"]))

    def _merged_without_metadata(self) -> dict[str, Any] | None:
        """Facts of a merge on compute where a session cannot give it any: those of the step, or of what it was made onto if it waits."""
        step = self.output.last_commit(self.step_name)
        if step is None or step.changed_since:
            return None
        later = self.output.commits_since(self.name, int(step.metadata["onto"]))
        if not later:
            before: dict[str, Any] = step.metadata["before"]
            return before
        merged = len(later) == 1 and later[0].operation == "MERGE" and not later[0].metadata
        return step.metadata if merged else None

    def _changes(self, stored: _Stored | None) -> DataFrame | None:
        """Rows of the tiles that were written or removed since the history was; None when that is not known."""
        if stored is None:
            return None
        if stored.tiles_version == self.tiles_version:
            return self.tiles.where("false").selectExpr("*", "'' as _change_type")
        changes = None
        if stored.tiles_version < self.tiles_version:
            changes = self.output.changes(self.tiles_name, since=stored.tiles_version, until=self.tiles_version)
        if changes is None:
            self.warnings.append(
                f"the change feed of '{self.tiles_name}' does not reach back to version {stored.tiles_version}; "
                "the history is computed again"
            )
        return changes

    def _facts(self, last: date) -> dict[str, Any]:
        return {
            "job": JOB,
            "definition_hash": self.spec.definition_hash,
            "declaration": self.spec.model_dump(mode="json"),
            "sources": {self.tiles_name: self.tiles_version},
            "first": None if self.stage.first is None else self.stage.first.isoformat(),
            "through": last.isoformat(),
            "tiles_version": self.tiles_version,
            "days_since": derived_days(self.spec),
        }

    def _compute_all(self, last: date) -> None:
        """Write the history of all days up to `last`."""
        from pyspark.sql import functions as F

        from sparkds.features.history import history_frame

        begun = collect.one_row(self.tiles.agg(F.min("day").alias("day")))["day"]
        if begun is None or begun > last:
            raise WindowError(
                f"the history '{self.name}' would end on {last}, before the first tile of '{self.tiles_name}' ({begun or 'it has none'}); "
                "ask for a later day"
            )
        spec = replace(history_tables.history_spec(self.spec, self.config.source), extends=self.extends)
        frame = history_frame(self.spec, self.tiles, last=last, first=self.stage.first)
        metadata = self._facts(last)
        commit = self.output.replace(self.name, frame, rows=None, metadata=metadata, spec=spec, evolve=bool(self.extends))
        if self.extends:
            self.output.redefine(self.name, spec)
        self.rows = commit.rows or 0
        self.section = {"road": "all days", "days": [begun, last]}

    def _step(self, stored: _Stored, changes: DataFrame, last: date) -> None:
        """Merge what new days and late events change."""
        from pyspark.sql import functions as F

        from sparkds.features import history_step
        from sparkds.features.history import FROM_DAY

        days = days_between(stored.through + ONE_DAY, last)
        parts = [history_step.late_frame(self.spec, changes, first=stored.first, through=stored.through)]
        if days:
            parts.append(history_step.moved_frame(self.spec, self.tiles, days[0], last))
        affected = history_step.affected_frame(self.spec, parts)
        late = F.col(history_step.LATE_TILES)
        found = collect.one_row(
            affected.agg(
                F.count(F.lit(1)).alias("n"),
                F.min(FROM_DAY).alias("begin"),
                F.coalesce(F.sum(late), F.lit(0)).alias("late_tiles"),
                F.count_if(late > 0).alias("late"),
                F.min(F.when(late > 0, F.col(FROM_DAY))).alias("late_from"),
            )
        )
        history = self.output.read(self.name)
        self.section = {
            "road": "step" if found["n"] else "unchanged",
            "days": [days[0], last] if days else [],
            "changed_entities": found["n"],
            "tile_days": sum((b - a).days + 1 for a, b in history_step.tile_days(self.spec, days[0], last)) if days else 0,
            "late": {"tiles": found["late_tiles"], "entities": found["late"], "from": found["late_from"]},
        }
        if found["late_tiles"]:
            LOG.info("%s late tiles of %s entities from %s on are repaired", found["late_tiles"], found["late"], found["late_from"])
        if not found["n"]:
            self._check(history, stored.through)
            return
        facts = self._facts(last)
        step = self.output.replace(
            self.step_name,
            self._step_frame(stored, found, history, affected, last),
            rows=None,
            metadata={**facts, "onto": self.output.version(self.name), "before": stored.told},
            spec=history_tables.step_spec(self.spec, self.name),
            evolve=True,
        )
        staged = self.output.read(self.step_name, version=step.version)
        by_change = {row["change"]: row["count"] for row in collect.small_rows(staged.groupBy("change").count())}
        kinds = (history_step.NEW, history_step.ENDED, history_step.GONE)
        self.section["rows_by_change"] = {kind: by_change.get(kind, 0) for kind in kinds}
        self._check(history_step.stepped_frame(self.spec, history, staged), last)
        columns = [F.col(quoted(name)) for name in history.columns]
        self.output.merge(
            self.name,
            staged.select(*columns, (F.col(history_step.CHANGE) == F.lit(history_step.GONE)).alias("__gone")),
            keys=[*self.spec.keys, "valid_from"],
            metadata=facts,
            spec=history_tables.history_spec(self.spec, self.config.source),
            gone="__gone",
        )
        self.rows = by_change.get(history_step.NEW, 0) + by_change.get(history_step.ENDED, 0)

    def _step_frame(self, stored: _Stored, found: Any, history: DataFrame, affected: DataFrame, last: date) -> DataFrame:
        """Rows of the history that change: by signed deltas where they continue all states, else from the tiles of the longest window."""
        from pyspark.sql import functions as F

        from sparkds.features.history_deltas import continues, delta_step_frame
        from sparkds.features.history_step import LATE_TILES, step_frame

        parts = []
        begin = found["begin"]
        late = F.col(LATE_TILES) > 0
        if found["n"] > found["late"] and continues(self.spec, self.tiles):
            moved = affected.where(~late)
            parts.append(delta_step_frame(self.spec, self.tiles, history, moved, first=stored.through + ONE_DAY, last=last))
            affected, begin = affected.where(late), found["late_from"]
        self.section["by_signed_deltas"] = found["n"] - found["late"] if parts else 0
        if not parts or found["late"]:
            base, since = self._base(begin)
            if not has_lifetime(self.spec) and (stored.first is None or begin > stored.first):
                since = begin - timedelta(days=self.spec.longest_window)
            self.section["tiles_since"] = since
            parts.append(step_frame(self.spec, base, history, affected, begin=begin, first=stored.first, last=last))
        return parts[0] if len(parts) == 1 else parts[0].unionByName(parts[1])

    def _base(self, begin: date) -> tuple[DataFrame, date | None]:
        """Tiles from which rows from `begin` on follow, and their first day if not all: a checkpoint where lifetime windows have one."""
        from pyspark.sql import functions as F

        if not has_lifetime(self.spec):
            return self.tiles, None
        through = self._checkpoint_through()
        if through is None or through > begin - ONE_DAY - timedelta(days=self.spec.longest_window):
            return self.tiles, None
        later = self.tiles.where(F.col("day") > F.lit(through))
        base = self.output.read(self.checkpoints_name).select(*(quoted(c) for c in later.columns)).unionByName(later)
        return base, through + ONE_DAY

    def _checkpoint_through(self) -> date | None:
        """Day of the stored checkpoint; None when there is none, or when tiles up to it may have changed since."""
        commit = self.output.last_commit(self.checkpoints_name)
        if commit is None or commit.changed_since:
            return None
        through = date.fromisoformat(commit.metadata["through"])
        replaced = self.output.replaced_since(self.tiles_name, int(commit.metadata["tiles_version"]))
        if replaced is None or any(date.fromisoformat(low) <= through for low, _ in replaced):
            return None
        return through

    def _check(self, history: DataFrame, last: date) -> None:
        """Hold a sample of the history, as it is to be, against a computation from all tiles.

        Raises
        ------
        DataError
            They differ; the history is left as it was.
        """
        from sparkds.features.history_check import history_difference

        sample = self.stage.sample
        if not sample.share:
            return
        salt = f"history:{sample.seed}:{last.isoformat()}"
        found = history_difference(self.spec, history, self.tiles, first=self.stage.first, last=last, share=sample.share, salt=salt)
        self.section["sample"] = {"share": sample.share, "seed": sample.seed, "entities": found.n_entities, "different": found.n_different}
        if found.n_different:
            raise DataError(
                f"history '{self.name}': {found.n_different} of {found.n_entities} sampled entities (share {sample.share}, seed "
                f"{sample.seed}, day {last}) differ from a computation from the tiles '{self.tiles_name}' in {', '.join(found.columns)}; "
                "nothing was written. Find out who changed the tables, then run with --rebuild"
            )
