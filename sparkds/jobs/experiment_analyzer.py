"""Experiment analyzer: exposures and facts in, units, statistics and results out, one slice a day.

A run brings the unit table up to a day (from the one of an earlier day where there is one), reduces it to statistics, and tests
them; run again, or after it was killed, it ends in the same tables.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple, fields
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from pydantic import Field, model_validator

from sparkds import collect, tracking
from sparkds.days import days_between, known_at, last_ended, microseconds
from sparkds.errors import ColumnError, DataError, WindowError
from sparkds.experiments.analysis import SCHEMA as STATISTICS
from sparkds.experiments.analysis import absolute_caps, counts_frame, percentile_caps, randomised_frame, statistics_frame, top_segments
from sparkds.experiments.checks import checks, randomised_checks
from sparkds.experiments.decisions import decisions
from sparkds.experiments.deviations import deviations, recorded
from sparkds.experiments.direct import direct_statistics
from sparkds.experiments.effects import effects, statistic_of
from sparkds.experiments.experiment import Experiment, ExperimentSet
from sparkds.experiments.metrics import PercentileCap
from sparkds.experiments.peeking import Look
from sparkds.experiments.readout import markdown
from sparkds.experiments.result_rows import Result
from sparkds.experiments.units import StoredUnits, late_units_frame, units_frame
from sparkds.instants import day_start_column
from sparkds.jobs import experiment_pictures, experiment_tables
from sparkds.jobs.experiment_tracking import log_readout
from sparkds.jobs.status import JobResult, TableResult
from sparkds.predicates import predicate_column
from sparkds.sessions import on_databricks
from sparkds.sql import quoted
from sparkds.tables import Tables
from sparkds.tracking import Tracking

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, Observation, SparkSession

    from sparkds.commits import Commit

JOB = "experiment_analyzer"
HELP = "Experiments: units, statistics, effects, checks and decisions into Delta tables."
MOST_RESULTS = 1_000_000
COUNTS = "experiment string, segment string, segment_value string, arm string, exposed bigint, analysed bigint, n_crossover bigint"

LOG = logging.getLogger("sparkds")


class Config(ExperimentSet):
    """Configuration of the job: experiments with their exposures, facts and metrics.

    Attributes
    ----------
    name : str
        Stem of the output tables ``<name>_units``, ``_statistics``, ``_counts``, ``_results``.
    readout : bool
        Write ``<name>_readout/<experiment>.md`` with pictures, where the output is a local directory.
    store_units : bool
        Keep ``<name>_units``, from which a later day goes on and without which no percentile cap can be found. Without it one pass gives
        the statistics, faster where experiments are analysed once, and every run reads all facts.
    tracking : Tracking, optional
        One MLflow run per experiment and day: readout, pictures, definition, effects, versions of all tables.
    redo_hours : float
        Facts and exposures may arrive this late: a day's run goes on from the units of that long before. Later ones are found when
        their table is Delta with a change feed.
    """

    name: str = Field(default="experiments", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="stem of the output tables")
    readout: bool = Field(default=True, description="write Markdown and pictures beside the tables, where the output is a local directory")
    store_units: bool = Field(default=True, description="keep the unit table, from which later days go on")
    tracking: Tracking | None = Field(default=None, description="MLflow experiment for the readouts; none are logged if absent")
    redo_hours: float = Field(default=48, ge=0, description="how late facts and exposures may arrive, in hours")

    @model_validator(mode="after")
    def _caps_can_be_found(self) -> Config:
        capped = [m.name for m in self.metrics if isinstance(m.cap, PercentileCap)]
        if capped and not self.store_units:
            raise ValueError(f"metric '{capped[0]}': a percentile cap needs the unit table; leave store_units out, or cap at a number")
        return self

    @property
    def experiment_set(self) -> ExperimentSet:
        """The declaration of the experiments alone."""
        return ExperimentSet(**{field: getattr(self, field) for field in ExperimentSet.model_fields})

    @property
    def tables_read(self) -> tuple[str, ...]:
        """Tables of the input location that the job reads."""
        return tuple(dict.fromkeys((self.exposures.table, *(fact.table for fact in self.facts))))

    @property
    def tables_needed(self) -> tuple[str, ...]:
        """Tables of the output location that another job has written before."""
        return ()

    @property
    def tables_written(self) -> tuple[str, ...]:
        """Tables of the output location that the job writes."""
        return tuple(name for what, name in experiment_tables.table_names(self.name).items() if self.store_units or what != "units")


def run(
    *,
    config: Config,
    input: str,
    output: str,
    spark: SparkSession,
    as_of: date | None = None,
    start: date | None = None,
    end: date | None = None,
    allow_incomplete: bool = False,
    rebuild: bool = False,
    now: datetime | None = None,
) -> JobResult:
    """Analyse the experiments as of a day, or of every day of a range.

    Parameters
    ----------
    config : Config
    input, output : str
        Locations: a directory or ``catalog.schema``.
    spark : SparkSession
    as_of : date, optional
        Last local day that counts; the last ended one if absent.
    start, end : date, optional
        Days that are analysed one after another.
    allow_incomplete : bool
        Also a day that has not ended.
    rebuild : bool
        Compute units from all facts, whatever is stored.
    now : datetime, optional
        Instant that decides which days have ended; the clock's if absent.

    Raises
    ------
    ColumnError, ConfigError, DataError, TableError, WindowError
    """
    ended = last_ended(now or datetime.now(UTC), ZoneInfo(config.time_zone))
    last = as_of or end or ended
    if last > ended and not allow_incomplete:
        raise WindowError(f"{last} has not ended in {config.time_zone}: the latest possible is {ended}; or give --allow-incomplete")
    job = _Run(config, Tables(spark, input), Tables(spark, output), rebuild)
    for day in days_between(start, last) if start else [last]:
        job.analyse(day)
    return job.result()


class _Run:
    """One run over one or several days."""

    def __init__(self, config: Config, source: Tables, output: Tables, rebuild: bool) -> None:
        self.config, self.source, self.output, self.rebuild = config, source, output, rebuild
        self.spec = config.experiment_set
        self.names = experiment_tables.table_names(config.name)
        self.exposures = self._read(self.spec.exposures.table, self.spec.exposures.columns)
        self.facts = {fact.name: self._read(fact.table, fact.columns) for fact in self.spec.facts}
        self._check_columns()
        self.versions = {table: self.source.source_version(table) for table in self._source_tables()}
        self.written: dict[str, int] = {}
        self.warnings: list[str] = []
        self.days: list[date] = []
        self.intake: dict[str, dict[str, int]] = {}
        self.decided: list[dict[str, str]] = []
        self.runs: list[dict[str, str]] = []
        self.store = None
        if config.tracking is not None:  # a store that is not there is an error before anything is written
            self.store = tracking.store_of(output.location, uri=config.tracking.uri, on_databricks=on_databricks())
            tracking.connect(self.store, config.tracking.experiment)

    def _source_tables(self) -> list[str]:
        return list(dict.fromkeys([self.spec.exposures.table, *(fact.table for fact in self.spec.facts)]))

    def _read(self, table: str, columns: Mapping[str, str] | None) -> DataFrame:
        declared = None if columns is None else ", ".join(f"{quoted(name)} {dtype}" for name, dtype in columns.items())
        return self.source.read(table, schema=declared)

    def _check_columns(self) -> None:
        """Hold every declared column and predicate against the tables before anything is scanned."""
        seen = self.spec.exposures
        coarser = () if seen.randomised_by is None else (seen.randomised_by,)
        for column in (seen.experiment, seen.unit, seen.arm, seen.time, *coarser, *self.spec.segments, *self.spec.attributes):
            if column not in self.exposures.columns:
                raise ColumnError.missing(column, self.exposures.columns, f"table '{seen.table}'")
        for fact in self.spec.facts:
            frame = self.facts[fact.name]
            measures = self.spec.measures_of(fact.name)
            for column in dict.fromkeys((fact.unit, fact.time, *(m.column for m in measures if m.column))):
                if column not in frame.columns:
                    raise ColumnError.missing(column, frame.columns, f"table '{fact.table}'")
            triggers = [e.trigger.where for e in self.spec.experiments if e.trigger is not None and e.trigger.fact == fact.name]
            for where in dict.fromkeys([w for m in measures for w in m.where] + triggers):
                predicate_column(frame, where)

    def _facts_of_run(self, day: date) -> dict[str, Any]:
        return {
            "job": JOB,
            "as_of": day.isoformat(),
            "definition_hash": self.spec.definition_hash,
            "experiments_hash": self._experiments_hash(),
            "sources": self.versions,
        }

    def _experiments_hash(self) -> str:
        """Hash of all that decides which units there are, and when their facts count."""
        about = [(e.name, sorted(e.arms), e.start.isoformat(), str(e.end), str(e.trigger)) for e in self.spec.experiments]
        told = self.spec.exposures, [(f.name, f.table, f.unit, f.time) for f in self.spec.facts], self.spec.time_zone, about
        from hashlib import sha256

        return sha256(repr(told).encode()).hexdigest()[:16]

    def analyse(self, day: date) -> None:
        """Bring all tables to one day, unless they say the same already."""
        facts = self._facts_of_run(day)
        done = [c for c in self.output.commits(self.names["results"]) if c.metadata.get("as_of") == day.isoformat()]
        if done and not self.rebuild and all(done[0].metadata.get(key) == value for key, value in facts.items()):
            LOG.info("%s is there already, from the same sources and definition", day)
            return
        statistics, counted = self._by_stored_units(day, facts) if self.config.store_units else self._directly(day)
        if any(experiment.crossover == "error" for experiment in self.spec.experiments):  # before a row of this day is written
            self._refuse_crossover(collect.small_rows(counted, most=MOST_RESULTS))
        self._write("counts", _dated(counted, day), day, facts, experiment_tables.counts_spec())
        counts = collect.small_rows(self._slice("counts", day), most=MOST_RESULTS)
        self._write("statistics", statistics, day, facts, experiment_tables.statistics_spec())
        results = self._results(day, counts)
        told = self.source.spark.createDataFrame([(*_for_table(result), day) for result in results], experiment_tables.RESULT_SCHEMA)
        declared = {e.name: recorded(e, self.spec.metrics_of(e)) for e in self.spec.experiments}
        self._write("results", told, day, {**facts, "declared": declared}, experiment_tables.results_spec())
        self.days.append(day)
        if self.store is not None or (self.config.readout and self.output.is_local):
            self._read_out(day, results, counts, self.output.read(self.names["results"]))

    def _by_stored_units(self, day: date, facts: dict[str, Any]) -> tuple[DataFrame, DataFrame]:
        """Statistics and counts by way of the unit table."""
        units = self._units(day, facts)
        shown = top_segments(self.spec, units)
        caps = percentile_caps(self.spec, units)
        statistics = statistics_frame(self.spec, units, as_of=day, caps=caps, shown=shown)
        return self._described(statistics, caps, day), counts_frame(self.spec, units, shown=shown)

    def _directly(self, day: date) -> tuple[DataFrame, DataFrame]:
        """Statistics and counts in one pass over the sources."""
        from pyspark.sql import Observation

        intake: dict[str, Observation] = {name: Observation(f"intake {name}") for name in ("exposures", *self.facts)}
        direct = direct_statistics(self.spec, self.exposures, self.facts, as_of=day, intake=intake)
        self._told(direct.counts.num_rows > 0, intake, day)
        statistics, counts = self._frame(direct.statistics, STATISTICS), self._frame(direct.counts, COUNTS)
        return self._described(statistics, {}, day), counts

    def _frame(self, table: Any, schema: str) -> DataFrame:
        """Arrow table as a DataFrame; Connect takes none without rows."""
        return self.source.spark.createDataFrame(table if table.num_rows else [], None if table.num_rows else schema)

    def _write(self, what: str, frame: DataFrame, day: date, facts: dict[str, Any], spec: Any) -> None:
        commit = self.output.replace(self.names[what], frame, rows={"as_of": [day]}, metadata=facts, spec=spec)
        self.written[what] = self.written.get(what, 0) + (commit.rows or 0)

    def _slice(self, what: str, day: date) -> DataFrame:
        from pyspark.sql import functions as F

        return self.output.read(self.names[what]).where(F.col("as_of") == F.lit(day))

    def _units(self, day: date, facts: dict[str, Any]) -> DataFrame:
        """Unit table of the day, written whole in one commit."""
        from pyspark.sql import Observation

        stored = None if self.rebuild else self._stored(day)
        intake: dict[str, Observation] = {name: Observation(f"intake {name}") for name in ("exposures", *self.facts)}
        frame = units_frame(self.spec, self.exposures, self.facts, as_of=day, stored=stored, intake=intake)
        told = {
            **facts,
            "continues": None if stored is None else stored.through.isoformat(),
            "measures": [m.name for m in self.spec.numbers],
        }
        spec = experiment_tables.unit_spec(self.spec)
        commit = self.output.replace(self.names["units"], frame, rows=None, metadata=told, spec=spec, evolve=True)
        self.written["units"] = self.written.get("units", 0) + (commit.rows or 0)
        self._told(bool(commit.rows), intake, day)
        return self.output.read(self.names["units"], version=commit.version)

    def _told(self, units: bool, intake: Mapping[str, Observation], day: date) -> None:
        """Take over what was observed, if there were units; Spark drops it together with an exchange that turns out empty."""
        if units:
            self.intake = {name: {key: int(n) for key, n in observation.get.items()} for name, observation in intake.items()}
            self._tell_intake()
        else:
            self.warnings.append(f"no unit was exposed up to {day}; look at the names, starts and ends of the experiments")

    def _stored(self, day: date) -> StoredUnits | None:
        """Newest unit table that is old enough for everything late to lie behind it; None to compute all anew."""
        if any(e.trigger is not None for e in self.spec.experiments):
            return None
        newest = day - timedelta(days=math.ceil(self.config.redo_hours / 24))
        same = self._experiments_hash()
        commits = self.output.commits(self.names["units"])
        known = [c for c in commits if c.metadata.get("experiments_hash") == same and "measures" in c.metadata]
        usable = [commit for commit in known if date.fromisoformat(commit.metadata["as_of"]) <= newest]
        if not usable:
            return None
        base = max(usable, key=lambda commit: (commit.metadata["as_of"], commit.version))
        through = date.fromisoformat(base.metadata["as_of"])
        units = self.output.read(self.names["units"], version=base.version)
        return StoredUnits(units, through, tuple(base.metadata["measures"]), self._changed_units(base, units, through))

    def _changed_units(self, base: Commit, units: DataFrame, through: date) -> DataFrame:
        """Units with an exposure or fact up to `through` that came, went or changed after `base`.

        Exposures are compared with the stored units, whatever their format. Facts are found in the change feed of a Delta table; of other
        tables what is later than ``redo_hours`` is not seen, as declared.
        """
        from pyspark.sql import functions as F

        end = microseconds(known_at(through, ZoneInfo(self.spec.time_zone)))
        before: Mapping[str, str] = base.metadata["sources"]
        changed: list[DataFrame] = []
        if before.get(self.spec.exposures.table) != self.versions[self.spec.exposures.table]:
            changed.append(late_units_frame(self.spec, self.exposures, units, through))
        for fact in self.spec.facts:
            since, now = str(before.get(fact.table)), self.versions[fact.table]
            changes = None
            if since != now and since.isdecimal() and now.isdecimal():
                changes = self.source.changes(fact.table, since=int(since), until=int(now))
            if changes is None:
                continue
            at = day_start_column(fact.time, dict(changes.dtypes)[fact.time], self.spec.time_zone)
            changed.append(
                changes.where(at < F.lit(end)).select(F.col(quoted(fact.unit)).cast("string").alias("unit")).where("unit is not null")
            )
        flagged = self.source.spark.createDataFrame([], "unit string")
        for frame in changed:
            flagged = flagged.unionAll(frame)
        return flagged.distinct()

    def _described(self, statistics: DataFrame, caps: Mapping[tuple[str, str], float], day: date) -> DataFrame:
        """Statistics with the terms, cap and definition of their metric."""
        from pyspark.sql import functions as F

        known = dict(caps) | absolute_caps(self.spec)
        about = [
            (e.name, m.name, list(m.terms), known.get((e.name, m.name)), m.definition_hash)
            for e in self.spec.experiments
            for m in self.spec.metrics_of(e)
        ]
        schema = "experiment string, metric string, terms array<string>, cap double, definition_hash string"
        declared = self.source.spark.createDataFrame(about, schema)
        return _dated(statistics.join(F.broadcast(declared), ["experiment", "metric"]), day)

    def _read_out(self, day: date, results: Sequence[Result], counts: Sequence[Any], earlier: DataFrame) -> None:
        """Markdown and pictures of every experiment; a picture that has nothing to show, or no matplotlib, is left out."""
        with TemporaryDirectory() as scratch:
            keeps = self.config.readout and self.output.is_local
            folder = Path(self.output.path(f"{self.config.name}_readout").removeprefix("file:")) if keeps else Path(scratch)
            folder.mkdir(parents=True, exist_ok=True)
            series = experiment_pictures.series_frame(earlier, day)
            for experiment in self.spec.experiments:
                metrics = self.spec.metrics_of(experiment)
                pictures = experiment_pictures.draw(experiment, metrics, results, counts, folder, series=series)
                text = markdown(experiment, results, as_of=day, pictures=pictures)
                name = f"{experiment_pictures.file_name(experiment.name)}.md"
                (folder / name).write_text(text, encoding="utf-8")
                self._track(experiment, results, day, folder, [name, *pictures.values()])
            if keeps:
                LOG.info("readout in %s", folder)

    def _track(self, experiment: Experiment, results: Sequence[Result], day: date, folder: Path, files: Sequence[str]) -> None:
        """Log the readout, where tracking is on."""
        if self.config.tracking is None or self.store is None:
            return
        written = {name: self.output.version(name) for name in self.names.values() if self.output.exists(name)}
        run_id = log_readout(
            self.store, self.config.tracking.experiment, experiment, self.spec, results, as_of=day, folder=folder, files=files,
            versions={**self.versions, **written},
        )  # fmt: skip
        self.runs.append({"experiment": experiment.name, "as_of": day.isoformat(), "run_id": run_id})

    def _results(self, day: date, counts: Sequence[Any]) -> list[Result]:
        """Effects, checks and decisions of every experiment."""
        rows = collect.small_rows(self._slice("statistics", day), most=MOST_RESULTS)
        results: list[Result] = []
        first = self._first_declared()
        randomised = collect.small_rows(randomised_frame(self.spec, self.exposures)) if self.spec.exposures.randomised_by else []
        for experiment in self.spec.experiments:
            mine = [statistic_of(row) for row in rows if row["experiment"] == experiment.name]
            metrics = self.spec.metrics_of(experiment)
            ended = experiment.end is not None and known_at(day, ZoneInfo(self.spec.time_zone)) >= experiment.end
            found = effects(experiment, metrics, mine, ended=ended, earlier=self._earlier(experiment, day))
            checked = checks(experiment, metrics, mine, counts, found, intake=self.intake.get("exposures"))
            n = sum(row["analysed"] for row in counts if row["experiment"] == experiment.name and row["segment"] == "")
            checked += randomised_checks(experiment, randomised)
            checked += deviations(experiment, metrics, first.get(experiment.name), n=n)
            decided = decisions(experiment, metrics, found, checked)
            self._tell(experiment, day, checked, decided)
            results += [*found, *checked, *decided]
        return results

    def _first_declared(self) -> dict[str, Any]:
        """How each experiment was declared when it was first analysed."""
        found: dict[str, Any] = {}
        if self.output.exists(self.names["results"]):
            for commit in sorted(self.output.commits(self.names["results"]), key=lambda c: c.version):
                for name, told in commit.metadata.get("declared", {}).items():
                    found.setdefault(name, told)
        return found

    def _earlier(self, experiment: Experiment, day: date) -> dict[tuple[str, str, str], list[Look]]:
        """What earlier days of a sequential experiment saw."""
        from pyspark.sql import functions as F

        if experiment.peeking.kind == "fixed" or not self.output.exists(self.names["results"]):
            return {}
        seen = self.output.read(self.names["results"]).where(
            (F.col("as_of") < F.lit(day))
            & (F.col("experiment") == F.lit(experiment.name))
            & (F.col("kind") == "effect")
            & (F.col("variant") == "declared")
            & (F.col("segment") == "")
        )
        found: dict[tuple[str, str, str], list[Look]] = {}
        for row in collect.small_rows(seen.select("name", "arm", "scale", "n_units", "value", "std_error")):
            if row["value"] is not None and math.isfinite(row["value"]) and math.isfinite(row["std_error"]):
                found.setdefault((row["name"], row["arm"], row["scale"]), []).append(Look(row["n_units"], row["value"], row["std_error"]))
        return found

    def _refuse_crossover(self, counts: Sequence[Any]) -> None:
        for experiment in self.spec.experiments:
            n = sum(r["n_crossover"] for r in counts if r["experiment"] == experiment.name and r["segment"] == "")
            if experiment.crossover == "error" and n:
                raise DataError(
                    f"{n} units of experiment '{experiment.name}' were seen in several arms, which it declares as an error (crossover); "
                    "mend the assignment, or declare exclude or first"
                )

    def _tell_intake(self) -> None:
        told = {
            "n_null_unit_or_time": "exposures without unit or time were left out",
            "n_before_start": "exposures before their experiment's start were left out",
            "n_after_end": "exposures from their experiment's end on were left out",
            "n_null_unit": "facts without a unit were left out",
            "n_null_time": "facts without a time were left out",
        }
        for source, counts in self.intake.items():
            for name, sentence in told.items():
                if counts.get(name):
                    self.warnings.append(f"{source}: {counts[name]} {sentence}")

    def _tell(self, experiment: Experiment, day: date, checked: Sequence[Result], decided: Sequence[Result]) -> None:
        for row in checked:
            if row.status == "fail":
                about = f" {row.variant}" if row.variant else ""
                self.warnings.append(f"{experiment.name}: check {row.name}{about} fails: {row.reason or row.method}; {row.action}")
        for row in decided:
            if row.name == "(all metrics)":
                about_row = {"experiment": experiment.name, "as_of": day.isoformat(), "arm": row.arm}
                self.decided.append({**about_row, "decision": row.status, "reason": row.reason})

    def result(self) -> JobResult:
        """What the run did."""
        tables = []
        for what, name in self.names.items():
            if self.output.exists(name):
                tables.append(TableResult(name, self.output.version(name), self.written.get(what, 0)))
        n = sum(counts.get("n_facts", 0) + counts.get("n_exposures", 0) for counts in self.intake.values())
        told = {"input": self.intake, "days": self.days, "decisions": self.decided}
        return JobResult(n, tables, self.warnings, told | ({"runs": self.runs} if self.store is not None else {}))


def _dated(frame: DataFrame, day: date) -> DataFrame:
    from pyspark.sql import functions as F

    return frame.withColumn("as_of", F.lit(day))


def _for_table(result: Result) -> tuple[Any, ...]:
    """Values of a row; what does not apply is null, what is not computable stays NaN."""
    keeps_nan = {"value", "std_error", "low", "high", "statistic", "pvalue", "log10_pvalue"} if result.kind == "effect" else set()
    told: list[Any] = []
    for field, value in zip(fields(result), astuple(result), strict=True):
        if isinstance(field.default, float):
            told.append(None if math.isnan(value) and field.name not in keeps_nan else float(value))
        else:
            told.append(int(value) if isinstance(field.default, int) else value)
    return tuple(told)
