"""Training set: features as they were known at each row of a spine, with what happens afterwards as the label.

The stage reads a spine or makes one of cut-off days, joins the feature tables to it and writes the rows and their statistics;
with the same declaration and the same tables a second run writes nothing.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from sparkds import collect, tracking
from sparkds.days import checked_zone, last_ended
from sparkds.declaration import Declaration
from sparkds.errors import ConfigError, DataError, TableError
from sparkds.features.labels import AnyLabel, Cutoffs, Events
from sparkds.features.point_in_time import FeatureTable, ResolvedTable, Spine, TrainingSet
from sparkds.jobs import training_set_tables
from sparkds.jobs.stages.stage import JOB, Place, Stage, StageResult
from sparkds.jobs.status import TableResult
from sparkds.sessions import on_databricks
from sparkds.tracking import Tracking

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from sparkds.features.training_set_statistics import FeatureStatistics, SpineFacts
    from sparkds.jobs.feature_engineering_pipeline import Config

LOG = logging.getLogger("sparkds")
Location = Literal["input", "output"]


class StoredFeatures(FeatureTable):
    """Feature table, and where it is.

    Attributes
    ----------
    location : {"input", "output"}, optional
        Input for the job's source, else output if absent.
    """

    location: Location | None = Field(default=None, description="input or output; input for the job's source, else output if absent")


class Entities(Declaration):
    """Table that says which entities there are, and from which day on; the job's source if absent.

    Attributes
    ----------
    table : str, optional
    location : {"input", "output"}, optional
    time : str, optional
        Its timestamp or date; the job's `event_time` for its source, else required.
    event_time_zone : str, optional
    """

    table: str | None = Field(default=None, description="events, tiles or snapshots; the job's source if absent")
    location: Location | None = Field(default=None, description="input or output")
    time: str | None = Field(default=None, description="timestamp or date column; the job's event_time for its source")
    event_time_zone: str | None = Field(default=None, description="IANA zone of timestamps without zone")


class SpineOfTable(Declaration):
    """Spine that is there: a table with keys, a time and, for training, a label.

    Attributes
    ----------
    table : str
    location : {"input", "output"}, optional
    keys : tuple of str, optional
        The job's keys if absent.
    time : str
    label : str, optional
        Column of the label.
    """

    kind: Literal["table"] = "table"
    table: str = Field(description="table with keys, time and, for training, a label")
    location: Location | None = Field(default=None, description="input or output; input for the job's source, else output if absent")
    keys: tuple[str, ...] | None = Field(default=None, min_length=1, description="the job's keys if absent")
    time: str = Field(description="timestamp or date column")
    label: str | None = Field(default=None, description="column of the label")


class SpineOfCutoffs(Cutoffs):
    """Spine that is made: every entity seen up to a cut-off day, at the midnight after it.

    Attributes
    ----------
    entities : Entities
    """

    kind: Literal["cutoffs"] = "cutoffs"
    entities: Entities = Field(default=Entities(), description="which entities there are, and from which day on")


AnySpine = Annotated[SpineOfTable | SpineOfCutoffs, Field(discriminator="kind")]


class TrainingSetStage(Stage):
    """Rows of a spine with the features that were known at their instant.

    Attributes
    ----------
    name : str
        Table that is written; its statistics are ``<name>_statistics``.
    spine : SpineOfTable or SpineOfCutoffs
    features : tuple of StoredFeatures
    label : EventWithin, EventCount or EventSum, optional
        Made of events after t; absent where the spine has one, and for inference.
    keep_order : bool
    tracking : Tracking, optional
        MLflow run with the versions, the spine's hash and the match rates.
    """

    kind: Literal["training_set"] = "training_set"
    name: str = Field(default="training_set", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="table that is written")
    spine: AnySpine = Field(description="rows that the training set shall have")
    features: tuple[StoredFeatures, ...] = Field(min_length=1, description="tables whose last known row is taken")
    label: AnyLabel | None = Field(default=None, description="what happens after t; absent for inference")
    keep_order: bool = Field(default=False, description="rows in the order of the spine; one more exchange")
    tracking: Tracking | None = Field(default=None, description="MLflow run of the training set")

    @model_validator(mode="after")
    def _one_label(self) -> TrainingSetStage:
        if isinstance(self.spine, SpineOfTable) and self.spine.label is not None and self.label is not None:
            raise ValueError("the spine has a label column and a label is declared; give one of both")
        labels = [table.label for table in self.features]
        for label in labels:
            if labels.count(label) > 1:
                raise ValueError(f"two feature tables have the name '{label}'; give one of them a name of its own")
        return self

    def read_at(self, config: Config) -> dict[tuple[str, str], None]:
        """Location and name of every table that it reads, in order."""
        asked: list[tuple[str, Location | None]] = []
        if isinstance(self.spine, SpineOfTable):
            asked.append((self.spine.table, self.spine.location))
        else:
            asked.append((self.spine.entities.table or config.source, self.spine.entities.location))
        asked += [(table.table, table.location) for table in self.features]
        if self.label is not None:
            asked.append((self.label.table or config.source, None))
        return dict.fromkeys((_location(config, name, given), name) for name, given in asked)

    def tables_read(self, config: Config) -> tuple[str, ...]:
        """Tables of the input location."""
        return tuple(name for location, name in self.read_at(config) if location == "input")

    def tables_needed(self, config: Config) -> tuple[str, ...]:
        """Tables of the output location."""
        return tuple(name for location, name in self.read_at(config) if location == "output")

    def tables_written(self, config: Config) -> tuple[str, ...]:
        """The rows, and their statistics."""
        return tuple(training_set_tables.table_names(self.name).values())

    def run(self, place: Place) -> StageResult:
        """Make the training set.

        Raises
        ------
        ColumnError, ConfigError, DataError, TableError, WindowError
            Before anything is written.
        """
        return _Run(self, place).result()


def _location(config: Config, table: str, given: Location | None) -> Location:
    return given or ("input" if table == config.source else "output")


@dataclass
class _Run:
    """One run: the pinned tables, and what is made of them."""

    stage: TrainingSetStage
    place: Place
    warnings: list[str] = field(default_factory=list)
    sources: dict[str, str] = field(default_factory=dict)
    cutoffs: list[date] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.config = self.place.config
        self.names = training_set_tables.table_names(self.stage.name)
        self.frames: dict[tuple[str, str], DataFrame] = {}
        ended = last_ended(self.place.now, self.config.zone)
        self.until = ended if self.place.last is None else min(ended, self.place.last)
        self.complete_through: date | None = None

    def result(self) -> StageResult:
        """Do everything and tell."""
        from sparkds.features.training_set_statistics import spine_facts

        stage = self.stage
        store = None
        if stage.tracking is not None:
            store = tracking.store_of(self.place.output.location, uri=stage.tracking.uri, on_databricks=on_databricks())
            tracking.connect(store, stage.tracking.experiment)
        tables = {table.label: self._read(table.table, table.location) for table in stage.features}
        spine, frame = self._spine()
        spec = TrainingSet(spine=spine, features=tuple(_alone(table) for table in stage.features), keep_order=stage.keep_order)
        resolved = spec.resolved(dict(frame.dtypes), {label: dict(table.dtypes) for label, table in tables.items()})
        self._hold_table()
        features = self._feature_facts(resolved)
        identity = self._identity(features)
        known = None if self.place.rebuild else self._known(identity)
        if known is not None:
            LOG.info("table '%s' is of the same declaration and tables", stage.name)
            return self._told(known, {})
        joined = spec.frame(frame, tables)  # every check of columns, before the spine is looked at
        facts = spine_facts(spine, frame)
        joined = spec.frame(frame, tables, times=(facts.first, facts.last))
        section = {"rows": facts.n_rows, "spine_hash": facts.spine_hash, "cutoffs": [day.isoformat() for day in self.cutoffs]}
        told = {"job": JOB, "identity": identity, "definition_hash": self._definition_hash(), "sources": self.sources, "features": features}
        told |= {"spine_hash": facts.spine_hash, "declaration": stage.model_dump(mode="json")}
        commit = self.place.output.replace(
            self.names["rows"],
            joined,
            rows=None,
            metadata={**told, "section": section},
            spec=self._table_spec(spine, resolved),
            evolve=True,
        )
        if commit.rows != facts.n_rows:
            raise DataError(
                f"the spine had {facts.n_rows} rows and table '{stage.name}' version {commit.version} has {commit.rows}: "
                "the spine changed while it was read; give it a table of its own, and run again"
            )
        statistics = self._statistics(spine, resolved, commit.version)
        rates = {row.feature_table: row.match_rate for row in statistics}
        section = {**section, "match_rate": rates, "features": features}
        if store is not None:
            section["run_id"] = self._log(store, section, statistics, commit.version)
        self._warn(facts, rates, features)
        rows = self.place.spark.createDataFrame([tuple(row) for row in statistics], _statistics_schema())
        done = self.place.output.replace(
            self.names["statistics"],
            rows,
            rows=None,
            metadata={**told, "training_set_version": commit.version, "section": section, "warnings": self.warnings},
            spec=training_set_tables.statistics_spec(),
        )
        return self._told(section, {self.names["rows"]: commit.rows or 0, self.names["statistics"]: done.rows or 0})

    def _told(self, section: Mapping[str, Any], written: Mapping[str, int]) -> StageResult:
        tables = [TableResult(name, self.place.output.version(name), written.get(name, 0)) for name in self.names.values()]
        return StageResult(tables, section, self.warnings)

    def _hold_table(self) -> None:
        """Refuse a table of that name that was made in another way, and may have other columns."""
        name, output = self.names["rows"], self.place.output
        if output.exists(name) and output.definition(name) is None:
            raise TableError(
                f"table '{name}' in {output.location} was not made by this stage; give the stage another name, or drop the table"
            )

    # -- what is read

    def _read(self, name: str, given: Location | None = None) -> DataFrame:
        """Table at one version, the same for everybody who reads it in this run."""
        location = _location(self.config, name, given)
        if (location, name) in self.frames:
            return self.frames[location, name]
        at = self.place.source if location == "input" else self.place.output
        version = at.source_version(name)
        declared = self.config.source_schema if name == self.config.source else None
        frame = at.read(name, version=int(version) if version.isdecimal() else None, schema=declared)
        self.sources[name if location == "output" else f"input:{name}"] = version
        self.frames[location, name] = frame
        return frame

    def _spine(self) -> tuple[Spine, DataFrame]:
        """Declaration and rows of the spine, with its label."""
        stage, zone = self.stage, self.config.time_zone
        given = stage.spine
        if isinstance(given, SpineOfTable):
            frame = self._read(given.table, given.location)
            spine = Spine(keys=given.keys or self.config.keys, time=given.time, time_zone=zone, label=given.label)
            spine.check(dict(frame.dtypes), f"spine '{given.table}'")
        else:
            spine, frame = self._cutoff_spine(given)
        if stage.label is None:
            return spine, frame
        return self._labelled(spine, frame)

    def _cutoff_spine(self, given: SpineOfCutoffs) -> tuple[Spine, DataFrame]:
        from sparkds.features.label_columns import cutoff_spine_frame, event_days

        table = given.entities.table or self.config.source
        is_source = table == self.config.source
        time = given.entities.time or (self.config.event_time if is_source else None)
        if time is None:
            raise ConfigError(f"spine.entities: say with `time` which column of table '{table}' has the day or instant of an entity's rows")
        zone = given.entities.event_time_zone or (self.config.event_time_zone if is_source else None)
        events = Events(keys=self.config.keys, time=time, time_zone=self.config.time_zone, event_time_zone=checked_zone(zone))
        frame = self._read(table, given.entities.location)
        first, newest = event_days(frame, events, until=self.until)
        days = given.between(first, newest)
        if self.stage.label is not None:
            through = newest if self._label_is_of(table, time) else self._events_through()
            self.complete_through = through
            days, left = given.over(days, horizon_days=self.stage.label.horizon_days, complete_through=through)
            if left:
                self.warnings.append(f"{len(left)} cut-offs from {left[0]} on were left out: their horizon is not over on {through}")
        if not days:
            raise ConfigError(f"spine: no cut-off of every: {given.every} lies in {first} … {newest}; choose other bounds, or give days")
        self.cutoffs = days
        spine = Spine(keys=self.config.keys, time="known_at", time_zone=self.config.time_zone)
        return spine, cutoff_spine_frame(frame, events, days, self.config.time_zone)

    def _label_is_of(self, table: str, time: str) -> bool:
        label = self.stage.label
        assert label is not None
        return (label.table or self.config.source, self._label_time()) == (table, time) and not label.where

    def _label_time(self) -> str:
        label = self.stage.label
        assert label is not None
        if label.event_time is None and (label.table or self.config.source) != self.config.source:
            raise ConfigError(f"label: say with `event_time` which column of table '{label.table}' has the time of its events")
        return label.event_time or self.config.event_time

    def _label_events(self) -> tuple[DataFrame, str, str | None]:
        """Events of the label, their time, and its zone."""
        label = self.stage.label
        assert label is not None
        table = label.table or self.config.source
        zone = label.event_time_zone or (self.config.event_time_zone if table == self.config.source else None)
        return self._read(table), self._label_time(), zone

    def _events_through(self) -> date:
        """Newest day that the label's table knows events of."""
        from sparkds.instants import local_day_column

        events, time, zone = self._label_events()
        types = dict(events.dtypes)
        Events(keys=(time,), time=time, time_zone=self.config.time_zone, event_time_zone=zone).check(types, "the events of the label")
        day = local_day_column(time, types[time], self.config.time_zone, zone)
        newest = collect.largest_day(events, day, until=self.until)
        if newest is None:
            raise DataError(f"the table of the label has no event up to {self.until}; there is nothing to predict")
        return newest

    def _labelled(self, spine: Spine, frame: DataFrame) -> tuple[Spine, DataFrame]:
        from sparkds.features.label_columns import labelled_frame

        label = self.stage.label
        assert label is not None
        events, time, zone = self._label_events()
        if self.complete_through is None:
            self.complete_through = self._events_through()
        told = label if label.event_time_zone or zone is None else label.model_copy(update={"event_time_zone": zone})
        labelled = labelled_frame(frame, spine, told, events, event_time=time, complete_through=self.complete_through)
        return spine.model_copy(update={"label": label.name}), labelled

    # -- what is told

    def _feature_facts(self, tables: tuple[ResolvedTable, ...]) -> dict[str, Any]:
        """Versions and definitions of the feature tables, and of what they were made of."""
        facts: dict[str, Any] = {}
        for table, given in zip(tables, self.stage.features, strict=True):
            location = _location(self.config, given.table, given.location)
            at = self.place.source if location == "input" else self.place.output
            commit = at.last_commit(given.table) if location == "output" else None
            told = commit.metadata if commit is not None else {}
            facts[table.spec.label] = {
                "table": given.table,
                "version": self.sources[given.table if location == "output" else f"input:{given.table}"],
                "definition_hash": at.definition(given.table),
                "sources": told.get("sources", told.get("source_version")),
                "through": told.get("through"),
                "columns": [feature.name for feature in table.features],
            }
        return facts

    def _definition_hash(self) -> str:
        """Hash of what the columns mean; which cut-offs there are is not in it."""
        rows: dict[str, Any] = {
            "spine": {"days", "every", "first", "last"},
            "tracking": True,
            "title": True,
            "keep_order": True,
            "name": True,
        }
        told = self.stage.model_dump(mode="json", exclude=rows)
        told |= {"keys": self.config.keys, "time_zone": self.config.time_zone, "source": self.config.source}
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]

    def _identity(self, features: Mapping[str, Any]) -> str:
        """Hash of all that decides the rows."""
        told = {
            "definition": self._definition_hash(),
            "keep_order": self.stage.keep_order,
            "tracking": None if self.stage.tracking is None else self.stage.tracking.model_dump(mode="json"),
            "sources": self.sources,
            "features": features,
            "cutoffs": [day.isoformat() for day in self.cutoffs],
            "complete_through": str(self.complete_through),
        }
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:32]

    def _known(self, identity: str) -> Mapping[str, Any] | None:
        """Section of the run that has written the same, if both tables are as it left them."""
        last = [self.place.output.last_commit(name) for name in self.names.values()]
        if any(commit is None or commit.changed_since or commit.metadata.get("identity") != identity for commit in last):
            return None
        rows, statistics = last
        assert rows is not None
        assert statistics is not None
        if statistics.metadata.get("training_set_version") != rows.version:
            return None
        self.warnings = list(statistics.metadata.get("warnings", []))
        section: Mapping[str, Any] = statistics.metadata["section"]
        return section

    def _table_spec(self, spine: Spine, tables: tuple[ResolvedTable, ...]) -> Any:
        made = isinstance(self.stage.spine, SpineOfCutoffs)
        comments = {"as_of": f"cut-off day: the last local day ({spine.time_zone}) that the row may know of"} if made else {}
        label = self.stage.label
        if label is not None:
            what = {"event_within": "whether there is an event", "event_count": "number of events"}.get(label.kind, f"sum of {label.value}")
            comments[label.name] = f"{what} of {label.table or self.config.source} on the {label.horizon_days} days from t on"
            comments["label_until"] = "last day that the label looks at"
        return training_set_tables.training_set_spec(
            spine,
            tables,
            keys=(*spine.keys, "as_of") if made else (),
            comments=comments,
            definition_hash=self._definition_hash(),
        )

    def _statistics(self, spine: Spine, tables: tuple[ResolvedTable, ...], version: int) -> list[FeatureStatistics]:
        from sparkds.features.training_set_statistics import feature_statistics

        return feature_statistics(spine, tables, self.place.output.read(self.names["rows"], version=version))

    def _warn(self, facts: SpineFacts, rates: Mapping[str, float], features: Mapping[str, Any]) -> None:
        ended = last_ended(facts.last, self.config.zone)
        for name, told in features.items():
            if told["through"] is not None and ended > date.fromisoformat(told["through"]):
                self.warnings.append(
                    f"feature table '{name}' is known through {told['through']} and the spine goes on to the day after {ended}: "
                    "its last rows are taken as they were then; bring it up to date first"
                )
        if facts.n_null_key:
            self.warnings.append(f"{facts.n_null_key} rows of the spine have a null key; they are kept, without features of that key")
        if facts.n_null_label:
            self.warnings.append(f"{facts.n_null_label} rows of the spine have no label")
        self.warnings += [f"no row of the spine finds a row of feature table '{table}'" for table, rate in rates.items() if not rate]

    def _log(self, store: tracking.Store, section: Mapping[str, Any], statistics: list[FeatureStatistics], version: int) -> str:
        """One MLflow run with versions, hash, match rates and statistics; that of the same spine and version is written over."""
        import mlflow

        assert self.stage.tracking is not None
        tags = {"sparkds.job": JOB, "sparkds.stage": "training_set", "sparkds.spine_hash": section["spine_hash"]}
        tags |= {"sparkds.definition_hash": self._definition_hash(), "sparkds.training_set": f"{self.names['rows']} version {version}"}
        tags |= {f"table.{name}": told for name, told in self.sources.items()}
        identity = f"training_set/{self.names['rows']}/{version}/{section['spine_hash']}"
        with tracking.tracked(store, self.stage.tracking.experiment, name=self.names["rows"], tags=tags, identity=identity) as run:
            mlflow.log_metrics({"rows": section["rows"], **{f"match_rate.{name}": rate for name, rate in section["match_rate"].items()}})
            mlflow.log_dict({"declaration": self.stage.model_dump(mode="json"), "sources": self.sources, **section}, "training_set.json")
            mlflow.log_dict({"features": [row._asdict() for row in statistics]}, "training_set_statistics.json")
            run_id: str = run.info.run_id
        return run_id


def _alone(table: StoredFeatures) -> FeatureTable:
    """Declaration of a feature table without its place."""
    return FeatureTable(**{name: getattr(table, name) for name in FeatureTable.model_fields})


def _statistics_schema() -> str:
    from sparkds.features.training_set_statistics import STATISTICS_SCHEMA

    return STATISTICS_SCHEMA
