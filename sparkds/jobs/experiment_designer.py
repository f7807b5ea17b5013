"""Experiment designer: a declared design in, the plan of an experiment out, as tables, documents and a figure.

Baselines that are not typed are measured from fact tables in one pass; run again on the same design and facts, it changes nothing.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

from pydantic import Field

from sparkds import __version__, collect
from sparkds.config import as_yaml
from sparkds.days import last_ended
from sparkds.errors import ConfigError, DataError, WindowError
from sparkds.experiments.design import Design
from sparkds.experiments.metric_plan import Measured
from sparkds.experiments.plan import Plan, plan_of
from sparkds.experiments.plan_document import analysis_of, markdown
from sparkds.jobs import plan_tables
from sparkds.jobs.status import JobResult, TableResult
from sparkds.sql import quoted
from sparkds.tables import Tables

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

JOB = "experiment_designer"
HELP = "Sample size, duration, looks and plan of an experiment, from typed or measured baselines."
DOCUMENTS: Final = ("plan.yml", "plan.md", "power.png")

LOG = logging.getLogger("sparkds")


class Config(Design):
    """Configuration of the job: a design, and where its plan goes.

    Attributes
    ----------
    tables : str, optional
        First part of the names of the output tables; the experiment's name, with ``_`` for what a name cannot hold, if absent.
    documents : str, optional
        Directory for ``plan.yml``, ``plan.md`` and ``power.png``; ``plans/<tables>`` in the output if that is a directory of this machine.
    """

    tables: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="first part of the output tables' names")
    documents: str | None = Field(default=None, min_length=1, description="directory for the plan's documents")

    @property
    def design(self) -> Design:
        """The design alone."""
        return Design(**{field: getattr(self, field) for field in Design.model_fields})

    @property
    def prefix(self) -> str:
        """First part of the names of the output tables."""
        plain = re.sub(r"[^A-Za-z0-9_]", "_", self.name)
        return self.tables or (plain if re.match(r"[A-Za-z_]", plain) else f"_{plain}")

    @property
    def tables_read(self) -> tuple[str, ...]:
        """Tables of the input location that the job reads."""
        return tuple(dict.fromkeys(fact.table for fact in self.facts)) if self.design.needs_history else ()

    @property
    def tables_needed(self) -> tuple[str, ...]:
        """Tables of the output location that another job has written before."""
        return ()

    @property
    def tables_written(self) -> tuple[str, ...]:
        """Tables of the output location that the job writes."""
        return tuple(plan_tables.table_names(self.prefix).values())


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
    """Plan an experiment.

    Parameters
    ----------
    config : Config
    input, output : str
        Locations: a directory or ``catalog.schema``.
    spark : SparkSession
    as_of : date, optional
        Last day of the history; the last day that has ended if absent.
    start, end : date, optional
        Refused: a history ends on one day.
    allow_incomplete : bool
        Whether `as_of` may be a day that has not ended.
    rebuild : bool
        Write the tables again though nothing has changed.
    now : datetime, optional
        Instant that decides which days have ended; the clock's if absent.

    Raises
    ------
    ColumnError, ConfigError, DataError, TableError, WindowError
        Before anything is written.
    """
    if start is not None or end is not None:
        raise WindowError("a history ends on one day: give --as-of in place of --start and --end; its length stands below history.days")
    designer = _Run(config, Tables(spark, input), Tables(spark, output), now or datetime.now(UTC))
    return designer.result(as_of, allow_incomplete=allow_incomplete, rebuild=rebuild)


class _Run:
    """One run: what it measured, planned and wrote."""

    def __init__(self, config: Config, source: Tables, output: Tables, now: datetime) -> None:
        self.config, self.source, self.output, self.now = config, source, output, now
        self.design = config.design
        self.names = plan_tables.table_names(config.prefix)
        self.warnings: list[str] = []
        self.intake: dict[str, dict[str, int]] = {}

    def result(self, as_of: date | None, *, allow_incomplete: bool, rebuild: bool) -> JobResult:
        """Do everything and tell."""
        folder = self._folder()
        last = self._last_day(as_of, allow_incomplete=allow_incomplete)
        measured = self._measured(last)
        plan = plan_of(self.design, measured)
        if plan.reason:
            raise DataError(f"experiment '{self.design.name}' cannot be planned: {plan.reason}")
        self.warnings += plan.warnings
        balance = self._balance(last)
        tables = self._tables(plan, rebuild=rebuild)
        if balance is not None:
            tables.append(self._table("balance", balance, rebuild=rebuild))
        written = self._documents(plan, folder)
        sections = {"plan": _summary(plan), "documents": written, "input": self.intake}
        return JobResult(sum(counts["n_facts"] for counts in self.intake.values()), tables, self.warnings, sections)

    def _folder(self) -> Path:
        """Directory of the documents."""
        if self.config.documents is not None:
            return Path(self.config.documents)
        if not self.output.is_local:
            raise ConfigError(
                f"output '{self.output.location}' is no directory of this machine, so the plan's documents have no place there; "
                "set documents to a directory, e.g. /Volumes/main/experiments/plans/button"
            )
        return Path(self.output.location.removeprefix("file:")) / "plans" / self.config.prefix

    def _last_day(self, as_of: date | None, *, allow_incomplete: bool) -> date:
        """Last day of the history."""
        history = self.design.history
        if as_of is not None and not self.design.needs_history and (history is None or history.balance_alpha is None):
            self.warnings.append("everything is typed and nothing measured; --as-of has no effect")
            return as_of
        ended = last_ended(self.now, ZoneInfo(self.design.time_zone))
        if as_of is not None and as_of > ended and not allow_incomplete:
            zone = self.design.time_zone
            raise WindowError(f"{as_of} has not ended in {zone}; the latest possible day is {ended}, or give --allow-incomplete")
        return as_of or ended

    def _facts(self, names: Sequence[str]) -> dict[str, DataFrame]:
        """Rows of some declared fact tables."""
        facts = {}
        for fact in self.design.facts:
            if fact.name in names:
                columns = None if fact.columns is None else ", ".join(f"{quoted(name)} {dtype}" for name, dtype in fact.columns.items())
                facts[fact.name] = self.source.read(fact.table, schema=columns)
        return facts

    def _measured(self, last: date) -> Measured | None:
        """What the history says; None where everything is typed."""
        if not self.design.needs_history:
            return None
        from pyspark.sql import Observation

        from sparkds.experiments.history import fact_names, measured_history

        names = fact_names(self.design, self.design.measured_metrics)
        facts, intake = self._facts(names), {name: Observation(name) for name in names}
        found = measured_history(self.design, facts, last=last, intake=intake)
        if found.n_units == 0:
            assert self.design.history is not None
            eligible = self.design.history.eligible
            raise DataError(
                f"no unit was eligible from {found.first} to {found.last}: no row of '{eligible.fact}' meets {eligible.where!r}; "
                "look at the predicate, or give another --as-of"
            )
        # only now: where no row at all reaches the exchange, Spark drops the observations with the rest of the plan
        self.intake = {name: {what: int(n) for what, n in counts.get.items()} for name, counts in intake.items()}
        for name, counts in self.intake.items():
            for what, told in (("n_null_unit", "without a unit"), ("n_null_time", "without a time")):
                if counts[what]:
                    self.warnings.append(f"{counts[what]} rows of '{name}' {told} were left out")
        return found

    def _balance(self, last: date) -> list[tuple[Any, ...]] | None:
        """A/A test of the planned arms on the history; None where it is not asked for."""
        history = self.design.history
        if history is None or history.balance_alpha is None:
            return None
        from sparkds.experiments.history import fact_names, history_balance

        facts = self._facts(fact_names(self.design, self.design.planned))
        rows = collect.small_rows(history_balance(self.design, facts, last=last))
        for row in rows:
            if row["status"] in ("warn", "fail"):
                told = f"SMD {row['smd']:.3g}, p {row['pvalue']:.3g}"
                self.warnings.append(
                    f"arms '{row['arm']}' and '{self.design.control}' differ in '{row['covariate']}' before the start: {told}"
                )
        return [tuple(row) for row in rows]

    def _tables(self, plan: Plan, *, rebuild: bool) -> list[TableResult]:
        """Write the tables of the plan whose rows have changed."""
        commit = self.output.last_commit(self.names["plan"])
        if commit is not None and commit.metadata.get("definition_hash") != self.design.definition_hash:
            late = " though the experiment has begun: that is a deviation" if self.now >= self.design.start else ""
            self.warnings.append(f"the plan takes the place of another one of the same name{late}")
        return [self._table(what, plan_tables.rows_of(what, plan), rebuild=rebuild) for what in plan_tables.OF_PLAN]

    def _table(self, what: str, rows: list[tuple[Any, ...]], *, rebuild: bool) -> TableResult:
        """Write one table unless it has the same rows."""
        name, definition_hash = self.names[what], self.design.definition_hash
        digest = _digest(definition_hash, rows)
        commit = self.output.last_commit(name)
        if commit is not None and commit.metadata.get("rows_hash") == digest and not commit.changed_since and not rebuild:
            return TableResult(name, commit.version, 0)
        frame = self.output.spark.createDataFrame(rows, plan_tables.schema_of(what))
        metadata = {"job": JOB, "definition_hash": definition_hash, "rows_hash": digest, "experiment": self.design.name}
        commit = self.output.replace(name, frame, rows=None, metadata=metadata, spec=plan_tables.spec_of(what, self.design.name))
        return TableResult(name, commit.version, len(rows))

    def _documents(self, plan: Plan, folder: Path) -> list[str]:
        """Write the documents, each in one step; give their paths."""
        folder.mkdir(parents=True, exist_ok=True)
        head = f"# Plan of experiment {json.dumps(self.design.name, ensure_ascii=False)}, design {self.design.definition_hash}; "
        head += f"made by sparkds {__version__}.\n# The analysis takes it as it is: what is changed here is a deviation from the plan.\n"
        _write(folder / "plan.yml", (head + as_yaml(analysis_of(plan))).encode())
        _write(folder / "plan.md", markdown(plan).encode())
        written = [str(folder / name) for name in DOCUMENTS]
        try:
            _draw(plan, folder / "power.png")
        except ConfigError as error:
            self.warnings.append(f"no figure was drawn: {error}")
            return written[:-1]
        return written


def _digest(definition_hash: str, rows: list[tuple[Any, ...]]) -> str:
    """Digest of rows; the last digits of a number, which depend on the order of a sum, do not count."""
    told = [[f"{value:.10g}" if isinstance(value, float) else value for value in row] for row in rows]
    return hashlib.sha256(json.dumps([__version__, definition_hash, told]).encode()).hexdigest()[:16]


def _draw(plan: Plan, path: Path) -> None:
    import io

    import pandas as pd

    from sparkds.figures import power_curves

    figure = power_curves(pd.DataFrame(plan.curve), power=plan.design.power, n_total=plan.n_total)
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    _write(path, picture.getvalue())


def _write(path: Path, content: bytes) -> None:
    """Put a file in its place in one step, so that no reader finds half of it."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_bytes(content)
    part.replace(path)


def _summary(plan: Plan) -> dict[str, Any]:
    """What the status says of a plan."""
    primary = plan.metrics[0]
    told: dict[str, Any] = {"experiment": plan.design.name, "n": plan.n, "n_total": plan.n_total, "decided_by": plan.decided_by}
    told |= {"weeks": plan.weeks, "n_reached": plan.n_reached, "power": primary.power, "mde": primary.mde}
    told |= {"relative_mde": primary.relative_mde, "method": primary.method, "joint_power": plan.joint_power}
    told["looks"] = [look._asdict() for look in plan.looks]
    if plan.measured is not None:
        told["history"] = {"first": plan.measured.first, "last": plan.measured.last, "n_units": plan.measured.n_units}
    return told
