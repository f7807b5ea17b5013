"""Batch scorer: a table of features in, a model's outputs for every row out, one slice a day.

A run pins the model's version and the table's, checks columns, types and libraries before anything is scored, scores once into a
staging table, and merges it in one commit if few enough rows failed; run again, it ends in the same table.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import Field, model_validator

from sparkds import __version__, collect, tracking
from sparkds.days import days_between
from sparkds.declaration import Declaration
from sparkds.errors import ColumnError, ConfigError, DataError
from sparkds.jobs.status import JobResult, TableResult
from sparkds.locations import slice_predicate
from sparkds.models import environment
from sparkds.models.explanations import COLUMN as EXPLANATION
from sparkds.models.explanations import REFERENCE, Explained, explained
from sparkds.models.model_cache import Pinned, check_loadable
from sparkds.models.model_version import ModelVersion, downloaded, moved_to, resolve
from sparkds.models.predictions import CODE, MESSAGE
from sparkds.models.scoring import scored_frame
from sparkds.models.signature import Input, Output, check_columns, inputs_of, outputs_of
from sparkds.sessions import on_databricks
from sparkds.sql import quoted
from sparkds.tables import Tables, TableSpec

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

JOB: Final = "batch_scorer"
HELP: Final = "Score a table with a registered model, into a Delta table."
ABOUT: Final = ("model_name", "model_version", "run_id", "scored_at", "features_version")
STAGING: Final = "Rows of the last scoring, before they are merged; written over by every run"
PROGRESS: Final = "Version of the features up to which changes are scored, by model and declaration"
THRESHOLD_TAG: Final = "sparkds.threshold"

LOG = logging.getLogger("sparkds")


class Decision(Declaration):
    """A yes or no from a score.

    Attributes
    ----------
    score : str
        Output of the model.
    threshold : float, optional
        From which on it is yes; that of the model's tag ``sparkds.threshold`` if absent.
    """

    score: str = Field(description="output of the model")
    threshold: float | None = Field(default=None, description="yes from here on; the model's own threshold if absent")


class Explanations(Declaration):
    """Features that moved a row's score most (see `sparkds.models.explanations`); costs a prediction of every row per feature.

    Attributes
    ----------
    score : str, optional
        Output that is explained; that of the decision, or the last numeric one, if absent.
    most : int
    reference : dict, optional
        Usual value of every input; that which the model carries if absent.
    """

    score: str | None = Field(default=None, description="output that is explained; the decision's, or the last numeric one, if absent")
    most: int = Field(default=3, ge=1, le=100, description="features told of each row")
    reference: dict[str, float | str | None] | None = Field(default=None, description="usual value of every input; the model's if absent")


class Config(Declaration):
    """Configuration of the job.

    Attributes
    ----------
    model : str
        ``models:/name@alias``, ``models:/name/version``, ``runs:/run_id/path`` or ``models:/m-id``.
    table : str
        Features, one row per key (and day).
    columns : dict of str to str, optional
        Types of a CSV or JSON table.
    keys : tuple of str
    day : str, optional
        Date column of the features; the rows of the day asked for are scored. All rows if absent.
    output : str
        Table of scores.
    carry : tuple of str
        Further columns that are kept beside the scores.
    decision : Decision, optional
    explanations : Explanations, optional
        Column ``explanation``: the features that moved the score most.
    incremental : bool
        Score only rows that changed since the last run of the same version and declaration; the table must be Delta with a change feed.
        Its progress is kept in ``<output>_progress``.
    max_error_share : float
        Share of rows that may fail; beyond it nothing is written.
    road : {"arrow", "spark_udf"}
    env_manager : {"local", "virtualenv", "uv", "conda"}
        Of ``spark_udf``.
    environment : {"strict", "warn"}
        What a major or minor difference of Python, MLflow, scikit-learn or numpy means.
    tracking : str, optional
        Address of the model registry; ``MLFLOW_TRACKING_URI``, the workspace, or the store below the output directory if absent.
    """

    model: str = Field(min_length=1, description="models:/name@alias, models:/name/version, runs:/run_id/path or models:/m-id")
    table: str = Field(description="table of features")
    columns: dict[str, str] | None = Field(default=None, description="column: type, for CSV and JSON; inferred if absent")
    keys: tuple[str, ...] = Field(min_length=1, description="columns that name a row")
    day: str | None = Field(default=None, description="date column; rows of the day asked for are scored")
    output: str = Field(default="scores", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="table of scores")
    carry: tuple[str, ...] = Field(default=(), description="further columns that are kept")
    decision: Decision | None = Field(default=None, description="yes or no from a score")
    explanations: Explanations | None = Field(default=None, description="features that moved the score most, of each row")
    incremental: bool = Field(default=False, description="only rows that changed since the last run, by the table's change feed")
    max_error_share: float = Field(default=0.0, ge=0, lt=1, description="share of rows that may fail")
    road: Literal["arrow", "spark_udf"] = Field(default="arrow", description="how rows reach the model")
    env_manager: Literal["local", "virtualenv", "uv", "conda"] = Field(default="local", description="environment of spark_udf")
    environment: Literal["strict", "warn"] = Field(default="strict", description="what other versions of libraries mean")
    tracking: str | None = Field(default=None, description="address of the model registry")

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        if self.env_manager != "local" and self.road == "arrow":
            raise ValueError(f"env_manager {self.env_manager} rebuilds an environment, which only road: spark_udf can")
        if self.explanations is not None and self.road != "arrow":
            raise ValueError("explanations need road: arrow, as MLflow's UDF gives outputs only")
        twice = [name for name in self.kept if self.kept.count(name) > 1]
        if twice:
            raise ValueError(f"column '{twice[0]}' is named twice in keys, day and carry")
        return self

    @property
    def kept(self) -> tuple[str, ...]:
        """Columns that come out as they are."""
        return (*self.keys, *(() if self.day is None else (self.day,)), *self.carry)

    @property
    def tables_read(self) -> tuple[str, ...]:
        """Tables of the input location that the job reads."""
        return (self.table,)

    @property
    def tables_needed(self) -> tuple[str, ...]:
        """Tables of the output location that another job has written before."""
        return ()

    @property
    def tables_written(self) -> tuple[str, ...]:
        """Tables of the output location that the job writes."""
        return (self.output, f"{self.output}_staging", *((f"{self.output}_progress",) if self.incremental else ()))


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
) -> JobResult:
    """Score a day, a range of days, or the whole table.

    Parameters
    ----------
    config : Config
    input, output : str
        Locations: a directory or ``catalog.schema``.
    spark : SparkSession
    as_of : date, optional
        Day whose rows are scored; the newest in the table if absent.
    start, end : date, optional
        Days that are scored one after another.
    allow_incomplete : bool
        Without effect: a day that is in the table is scored.
    rebuild : bool
        Score although the same version has scored the same rows.

    Raises
    ------
    ColumnError, ConfigError, DataError, TableError
    """
    del allow_incomplete
    if config.day is None and (as_of or start or end):
        raise ConfigError("--as-of, --start and --end need the date column of the features: set day in the configuration")
    if config.incremental and (as_of or start or end):
        raise ConfigError("incremental scores what changed, of whatever day; leave --as-of, --start and --end out")
    store = tracking.store_of(output, uri=config.tracking, on_databricks=on_databricks())
    tracking.connect_store(store)
    model = resolve(config.model)
    source, target = Tables(spark, input), Tables(spark, output)
    with TemporaryDirectory(prefix="sparkds-model-") as folder:
        path = downloaded(model, folder)
        job = _Run(config, source, target, model, Pinned(model.uri, path, store.tracking_uri, store.registry_uri))
        if config.incremental:
            job.score_changes(rebuild=rebuild)
            return job.result()
        for day in job.days(as_of, start, end):
            job.score(day, rebuild=rebuild)
        return job.result()


@dataclass(frozen=True)
class _Slice:
    """What a day's scoring came to."""

    n: int
    n_failed: int


class _Run:
    """One run: pinned model, pinned table, checked columns."""

    def __init__(self, config: Config, source: Tables, target: Tables, model: ModelVersion, pinned: Pinned) -> None:
        from mlflow.models import Model

        self.config, self.source, self.target, self.model, self.pinned = config, source, target, model, pinned
        self.version = source.source_version(config.table)
        declared = None if config.columns is None else ", ".join(f"{quoted(name)} {dtype}" for name, dtype in config.columns.items())
        at = int(self.version) if self.version.isdecimal() else None
        self.frame = source.read(config.table, version=at, schema=declared)
        self.spark = source.spark
        logged = Model.load(pinned.path)
        self.inputs: tuple[Input, ...] = inputs_of(logged.signature, model.uri)
        self.outputs: tuple[Output, ...] = outputs_of(logged.signature, model.uri)
        self.explained = self._explained((logged.metadata or {}).get(REFERENCE))
        self.changed: dict[str, Any] | None = None
        self.warnings: list[str] = []
        self.written = 0
        self.scored: list[dict[str, Any]] = []
        self._check()
        self.threshold = self._threshold()

    def _check(self) -> None:
        """Columns, names and libraries, before a row is read."""
        types = dict(self.frame.dtypes)
        for name in self.config.kept:
            if name not in types:
                raise ColumnError.missing(name, tuple(types), f"table '{self.config.table}'")
        if self.config.day is not None and types[self.config.day] != "date":
            raise ColumnError(f"day '{self.config.day}' of table '{self.config.table}' is {types[self.config.day]}; it must be a date")
        check_columns(self.inputs, types, uri=self.model.uri, table=self.config.table)
        reserved = {*ABOUT, CODE, MESSAGE, "decision", EXPLANATION}
        for name in (*self.config.kept, *(one.name for one in self.outputs)):
            if name in reserved or (name in self.config.kept and name in {one.name for one in self.outputs}):
                raise ConfigError(f"column '{name}' would stand twice in table '{self.config.output}'; rename it")
        found = environment.differences(
            environment.versions_of_model(self.pinned.path), environment.versions_here(), environment.versions_of_workers(self.spark)
        )
        if found and self.config.environment == "strict" and self.config.env_manager == "local":
            raise ConfigError(f"model {self.model.uri}: {'; '.join(found)}; or take environment: warn")
        self.warnings += found
        if self.config.env_manager == "local":
            check_loadable(self.pinned)

    def _explained(self, carried: dict[str, Any] | None) -> Explained | None:
        wish, decision = self.config.explanations, self.config.decision
        if wish is None:
            return None
        numbers = [one.name for one in self.outputs if one.type == "double"]
        score = wish.score or (decision.score if decision is not None else numbers[-1] if numbers else "")
        return explained(score, wish.most, wish.reference or carried, self.inputs, self.outputs, self.model.uri)

    def _threshold(self) -> float | None:
        decision = self.config.decision
        if decision is None:
            return None
        names = [one.name for one in self.outputs if one.type == "double"]
        if decision.score not in names:
            raise ColumnError.missing(decision.score, names, f"the outputs of model {self.model.uri}")
        if decision.threshold is not None:
            return decision.threshold
        if THRESHOLD_TAG not in self.model.tags:
            raise ConfigError(f"model {self.model.uri} has no tag '{THRESHOLD_TAG}'; give decision.threshold")
        return float(self.model.tags[THRESHOLD_TAG])

    def days(self, as_of: date | None, start: date | None, end: date | None) -> Sequence[date | None]:
        """Days to score: those asked for, or the newest in the table."""
        if self.config.day is None:
            return [None]
        from pyspark.sql import functions as F

        if start is not None:
            newest = end or as_of or collect.largest_day(self.frame, F.col(quoted(self.config.day)), until=date.max)
            return days_between(start, newest) if newest is not None else []
        day = as_of or end or collect.largest_day(self.frame, F.col(quoted(self.config.day)), until=date.max)
        if day is None:
            self.warnings.append(f"table '{self.config.table}' has no day")
            return []
        return [day]

    def _facts(self, day: date | None) -> dict[str, Any]:
        return {
            "job": JOB,
            "definition_hash": self.config.definition_hash,
            "model": self.model.uri,
            "as_of": None if day is None else day.isoformat(),
            "sources": {self.config.table: self.version},
        }

    def score_changes(self, *, rebuild: bool) -> None:
        """Score the rows that changed since the last run of the same version and declaration; all rows on the first."""
        from pyspark.sql import functions as F

        if not self.version.isdecimal() or self.source.properties(self.config.table).get("delta.enableChangeDataFeed") != "true":
            raise ConfigError(
                f"incremental needs the change feed of table '{self.config.table}': it must be Delta with delta.enableChangeDataFeed = true"
            )
        name, until = f"{self.config.output}_progress", int(self.version)
        mine = {"model": [self.model.uri], "definition_hash": [self.config.definition_hash]}
        since = None
        if not rebuild and self.target.exists(name):
            stored = self.target.read(name).where(slice_predicate(mine)).select("features_version")
            since = next((int(row[0]) for row in collect.small_rows(stored)), None)
        if since is not None and since > until:
            raise DataError(
                f"table '{self.config.table}' is at version {until}, but {since} was scored; was it replaced? Run with --rebuild"
            )
        rows = self.frame
        self.changed = {"since": since, "until": until, "deleted": 0}
        if since is not None and since < until:
            feed = self.source.changes(self.config.table, since=since, until=until)
            if feed is None:
                self.warnings.append(
                    f"the change feed of '{self.config.table}' no longer reaches back to version {since}; all rows are scored"
                )
                self.changed["since"] = None
            else:
                keys = [*self.config.keys, *([] if self.config.day is None else [self.config.day])]
                touched = feed.where(F.col("_change_type") != F.lit("update_preimage")).select(*map(quoted, keys)).distinct()
                rows = self.frame.join(touched, keys, "left_semi")
                gone = touched.join(self.frame.select(*map(quoted, keys)), keys, "left_anti")
                self.changed["deleted"] = int(collect.one_row(gone.agg(F.count(F.lit(1)).alias("n")))["n"])
        if since != until:
            self._score_rows(rows, None, self._facts(None) | {"since": since})
        if self.changed["deleted"]:
            self.warnings.append(f"{self.changed['deleted']} rows were deleted from '{self.config.table}'; their scores stay in the output")
        values = [(self.model.uri, self.config.definition_hash, self.config.table, until)]
        told = self.source.spark.createDataFrame(values, "model string, definition_hash string, table string, features_version bigint")
        self.target.replace(name, told, rows=mine, metadata=self._facts(None), spec=TableSpec(comment=PROGRESS))

    def score(self, day: date | None, *, rebuild: bool) -> None:
        """Score the rows of a day, unless the same is there already."""
        facts = self._facts(day)
        if not rebuild and any(
            all(c.metadata.get(k) == v for k, v in facts.items()) for c in self.target.commits(self.config.output) if c.metadata
        ):
            LOG.info("%s is scored already by %s from the same rows", day or "the table", self.model.uri)
            return
        from pyspark.sql import functions as F

        rows = self.frame if day is None else self.frame.where(F.col(quoted(self.config.day or "")) == F.lit(day))
        self._score_rows(rows, day, facts)

    def _score_rows(self, rows: DataFrame, day: date | None, facts: dict[str, Any]) -> None:
        """Score, hold against the share of failing rows, and merge."""
        staged = self._staged(rows, facts)
        found = self._slice_of(staged)
        self._refuse(found, staged, day)
        if found.n == 0:
            self.warnings.append(f"{day or 'the table'}: there is no row to score")
        elif found.n_failed:
            self.warnings.append(f"{day or 'the table'}: {found.n_failed} of {found.n} rows have no score; look at {CODE}")
        if found.n:
            by = [*self.config.keys, *([] if self.config.day is None else [self.config.day]), "model_name", "model_version"]
            self.target.merge(self.config.output, staged, keys=by, metadata=facts, spec=self._spec(tuple(by)))
        self.written += found.n
        self.scored.append({"as_of": None if day is None else day.isoformat(), "rows": found.n, "failed": found.n_failed})

    def _staged(self, rows: DataFrame, facts: dict[str, Any]) -> DataFrame:
        """Scored rows in a staging table: the model runs once, whatever is asked of the result."""
        from pyspark.sql import functions as F

        config = self.config
        scored = scored_frame(
            rows,
            self.pinned,
            self.inputs,
            self.outputs,
            carry=config.kept,
            road=config.road,
            env_manager=config.env_manager,
            table=config.table,
            explained=self.explained,
        )
        about = [
            F.lit(self.model.name).alias("model_name"),
            F.lit(self.model.version).cast("bigint").alias("model_version"),
            F.lit(self.model.run_id).alias("run_id"),
            F.lit(datetime.now(UTC)).alias("scored_at"),
            F.lit(self.version).alias("features_version"),
        ]
        columns = [F.col(quoted(name)) for name in scored.columns]
        if self.threshold is not None and config.decision is not None:
            columns.append((F.col(quoted(config.decision.score)) >= F.lit(self.threshold)).alias("decision"))
        staging = f"{config.output}_staging"
        told = scored.select(*columns, *about)
        commit = self.target.replace(staging, told, rows=None, metadata=facts, spec=TableSpec(comment=STAGING), evolve=True)
        return self.target.read(staging, version=commit.version)

    def _slice_of(self, staged: DataFrame) -> _Slice:
        from pyspark.sql import functions as F

        told = collect.one_row(staged.agg(F.count(F.lit(1)).alias("n"), F.count(CODE).alias("n_failed")))
        return _Slice(int(told["n"]), int(told["n_failed"]))

    def _refuse(self, found: _Slice, staged: DataFrame, day: date | None) -> None:
        """Too many rows without a score."""
        from pyspark.sql import functions as F

        if found.n == 0 or found.n_failed <= self.config.max_error_share * found.n:
            return
        failed = staged.where(F.col(CODE).isNotNull()).groupBy(CODE)
        worst = collect.small_rows(failed.agg(F.count(F.lit(1)).alias("n"), F.min(MESSAGE).alias("message")).orderBy(F.desc("n")).limit(3))
        told = "; ".join(f"{row['n']} x {row[CODE]}" + (f" ({row['message']})" if row["message"] else "") for row in worst)
        share = f"{found.n_failed} of {found.n} rows have no score, more than max_error_share {self.config.max_error_share:g}"
        raise DataError(f"{day or 'the table'}: {share}: {told}; nothing was written")

    def _spec(self, keys: tuple[str, ...]) -> TableSpec:
        columns = {
            CODE: "why there is no score; null for a score",
            MESSAGE: "what the model said",
            "model_version": "version that the address meant when the run began",
            "scored_at": "instant of the run",
            "features_version": "version of the table of features",
        }
        if self.explained is not None:
            columns[EXPLANATION] = "features that moved the score most: score minus that with the feature at its reference value"
        if self.threshold is not None:
            columns["decision"] = "whether the score reaches the threshold"
        return TableSpec(comment=f"Scores of model {self.model.name or self.model.uri}", columns=columns, keys=keys)

    def result(self) -> JobResult:
        """What the run did."""
        now = moved_to(self.model)
        if now is not None:
            where = f"version {now}" if now else "nothing"
            self.warnings.append(
                f"alias '{self.model.alias}' has moved to {where} meanwhile; these scores are of version {self.model.version}"
            )
        tables = []
        if self.target.exists(self.config.output):
            tables.append(TableResult(self.config.output, self.target.version(self.config.output), self.written))
        changes = {} if self.changed is None else {"changes": self.changed}
        told = {"name": self.model.name, "version": self.model.version, "run_id": self.model.run_id, "uri": self.model.uri}
        return JobResult(self.written, tables, self.warnings, {"model": told, "scored": self.scored, **changes, "package": __version__})
