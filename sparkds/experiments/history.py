"""History on Spark: what the metrics of a design were without a treatment, in the days before it, in one pass.

Fact tables in, one row of central moments out: each table is scanned once, the rows of a unit are brought together once, and every
eligible unit is measured as if it had been exposed at its first eligible row, by the kernel of the analysis itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from sparkds import collect
from sparkds.blocks import map_blocks
from sparkds.days import microseconds, start_of_day
from sparkds.experiments.assignment_columns import assigned_frame
from sparkds.experiments.balance import balance_frame
from sparkds.experiments.design import Design
from sparkds.experiments.experiment import Experiment, ExperimentSet, FixedHorizon, Trigger
from sparkds.experiments.measures import MICROSECONDS_A_DAY, Measure
from sparkds.experiments.metric_plan import Measured
from sparkds.experiments.metrics import AbsoluteCap, Count, Metric, PrePeriod, Variant
from sparkds.experiments.statistics import Units, taking_part, vector
from sparkds.experiments.unit_kernel import Ranges, measured
from sparkds.experiments.unit_rows import UnitKernel, facts_of
from sparkds.experiments.units import fact_rows, unit_kernel
from sparkds.predicates import predicate_column
from sparkds.stats.group_moments import GroupMoments

if TYPE_CHECKING:
    from pyspark.sql import Observation

WEEK: Final = 7 * MICROSECONDS_A_DAY


def measured_history(
    design: Design, facts: Mapping[str, DataFrame], *, last: date, intake: Mapping[str, Observation] | None = None
) -> Measured:
    """Baselines, variances and covariances with the covariates, and traffic, of a design's history.

    Parameters
    ----------
    design : Design
        With a history.
    facts : mapping of str to DataFrame
        Declared name to rows, at least of ``fact_names(design, design.measured_metrics)``.
    last : date
        Last day of the history, in ``design.time_zone``.
    intake : mapping of str to Observation, optional
        Name of facts to what receives the counts of rows that were read and left out.

    Returns
    -------
    Measured

    Raises
    ------
    ColumnError, ConfigError
        A column is missing, or a predicate cannot be read; before anything is scanned.
    """
    assert design.history is not None
    metrics = design.measured_metrics
    frame = history_frame(design, facts, last=last, metrics=metrics, intake=intake)
    metrics = _measurable(metrics)
    n_weeks = design.history.days // 7
    wanted: list[Column] = [F.count(F.lit(1)).alias("n_units")]
    wanted += [F.count_if(F.col("week") < F.lit(week)).alias(f"week_{week}") for week in range(1, n_weeks + 1)]
    for i, metric in enumerate(metrics):
        terms = [F.col(f"m{i}_{j}") for j in range(len(metric.terms))]
        wanted.append(F.count(terms[0]).alias(f"n_{i}"))
        wanted += [F.avg(term).alias(f"mean_{i}_{j}") for j, term in enumerate(terms)]
        wanted += [F.covar_pop(terms[j], terms[k]).alias(f"cov_{i}_{j}_{k}") for j in range(len(terms)) for k in range(j, len(terms))]
    row = collect.one_row(frame.agg(*wanted))
    return Measured(
        first=last - timedelta(days=design.history.days - 1),
        last=last,
        n_units=int(row["n_units"]),
        units_by_week=tuple(int(row[f"week_{week}"]) for week in range(1, n_weeks + 1)),
        moments={metric.name: _moments(row, i, len(metric.terms)) for i, metric in enumerate(metrics)},
    )


def history_balance(design: Design, facts: Mapping[str, DataFrame], *, last: date) -> DataFrame:
    """A/A test of the planned arms on the history: the arms that units would have had, compared before there is a treatment.

    Parameters
    ----------
    design : Design
        With a history that has a ``balance_alpha``.
    facts : mapping of str to DataFrame
        Declared name to rows, at least of ``fact_names(design, design.planned)``.
    last : date

    Returns
    -------
    DataFrame
        As `sparkds.experiments.balance.balance_frame` gives it, one row per metric (or covariate of it) and treatment arm; ``covariate`` is
        the metric's name, followed by the term where that is not its value. Takes one pass of its own.

    Raises
    ------
    ColumnError, ConfigError, DataError
    """
    assert design.history is not None
    assert design.history.balance_alpha is not None
    terms = {
        f"m{i}_{j}": metric.name if term == "value" else f"{metric.name} {term}"
        for i, metric in enumerate(_measurable(design.planned))
        for j, term in enumerate(metric.terms)
    }
    frame = history_frame(design, facts, last=last, metrics=design.planned)
    units = assigned_frame(design.assignment, frame, unit="unit").select("arm", *(F.col(at).alias(name) for at, name in terms.items()))
    return balance_frame(units, arm="arm", control=design.control, covariates=list(terms.values()), alpha=design.history.balance_alpha)


def history_frame(
    design: Design,
    facts: Mapping[str, DataFrame],
    *,
    last: date,
    metrics: tuple[Metric, ...],
    intake: Mapping[str, Observation] | None = None,
) -> DataFrame:
    """One row per eligible unit of the history, with the values of some metrics.

    Parameters
    ----------
    design : Design
        With a history.
    facts : mapping of str to DataFrame
    last : date
    metrics : tuple of Metric
        Of the design; covariates that are columns of the exposures are left out, as there are none yet.
    intake : mapping of str to Observation, optional

    Returns
    -------
    DataFrame
        ``unit`` (string), ``week`` (int, from 0, of its first eligible row), and ``m<i>_<j>`` (double), term j of the i-th
        metric; null for a unit that would take no part in it.
    """
    assert design.history is not None
    intake = intake or {}
    zone = ZoneInfo(design.time_zone)
    start = start_of_day(last - timedelta(days=design.history.days - 1), zone)
    metrics = _measurable(metrics)
    declared = _as_experiment(design, metrics, start)
    kernel = unit_kernel(declared, facts, as_of=last)
    for source in declared.facts:
        for where in kernel.facts[source.name].where:
            predicate_column(facts[source.name], where)
    rows = [fact_rows(declared, kernel, source, facts[source.name], None, intake.get(source.name)) for source in declared.facts]
    types = {name: dtype for frame in rows for name, dtype in frame.dtypes}
    same = [
        frame.select(*(F.col(name) if name in frame.columns else F.lit(None).cast(dtype).alias(name) for name, dtype in types.items()))
        for frame in rows
    ]
    together = same[0]
    for frame in same[1:]:
        together = together.unionAll(frame)
    columns = ["unit string", "week int"]
    columns += [f"m{i}_{j} double" for i, metric in enumerate(metrics) for j in range(len(metric.terms))]
    eligible = design.history.eligible
    measuring = HistoryKernel(kernel, eligible.fact, eligible.where, microseconds(start), metrics)
    return map_blocks(together, keys=("unit",), order=("t", "kind"), kernel=measuring, schema=", ".join(columns))


def fact_names(design: Design, metrics: tuple[Metric, ...]) -> tuple[str, ...]:
    """Fact tables that a history of these metrics reads."""
    assert design.history is not None
    read = {value.fact for metric in metrics for value in metric.values} | {design.history.eligible.fact}
    return tuple(fact.name for fact in design.facts if fact.name in read)


@dataclass(frozen=True)
class HistoryKernel:
    """Sorted fact rows of a block of units in, one row per eligible unit out.

    Attributes
    ----------
    units : UnitKernel
        Names of the prepared columns, and the end of the history.
    fact, where : str
        Rows that make a unit eligible.
    start : int
        Microseconds; first instant of the history.
    metrics : tuple of Metric
    """

    units: UnitKernel
    fact: str
    where: str
    start: int
    metrics: tuple[Metric, ...]

    def __call__(self, table: pa.Table, starts: npt.NDArray[np.int64]) -> Iterator[pa.Table]:
        """One table."""
        kind, time = table.column("kind").to_numpy(), table.column("t").to_numpy()
        unit = np.repeat(np.arange(len(starts) - 1, dtype=np.int64), np.diff(starts))
        facts = {name: facts_of(table, kind, unit, time, columns) for name, columns in self.units.facts.items()}
        seen = facts[self.fact]
        at = np.flatnonzero(seen.where[self.where] & (seen.time >= self.start))
        at = at[np.diff(seen.unit[at], prepend=-1) != 0]  # the first of each unit
        exposed, anchor = seen.unit[at], seen.time[at]
        first_row = np.zeros(len(kind), dtype=bool)
        first_row[starts[:-1][exposed]] = True
        until = np.full(len(at), self.units.as_of, dtype=np.int64)
        values: dict[Measure, npt.NDArray[np.float64]] = {}
        for name, rows in facts.items():
            columns = self.units.facts[name]
            found = measured(rows, Ranges(rows, exposed, anchor, until), columns.measures)
            values |= {m: v / columns.scale.get(m.column, 1.0) if m.aggregate == "sum" else v for m, v in found.items()}
        units = Units(np.zeros(len(at), dtype=np.int64), np.zeros(len(at), dtype=np.int64), anchor, values)
        out: dict[str, Any] = {
            "unit": table.column("unit").filter(pa.array(first_row)),
            "week": pa.array(((anchor - self.start) // WEEK).astype(np.int32)),
        }
        for i, metric in enumerate(self.metrics):
            cap = metric.cap.upper if isinstance(metric.cap, AbsoluteCap) else None
            declared = Variant("declared", metric.stretch, cap is not None)
            _, observed = taking_part(metric, declared, units, self.units.as_of)
            x = vector(metric, declared, units, cap)
            for j in range(x.shape[1]):
                out[f"m{i}_{j}"] = pa.array(x[:, j], mask=~observed)
        yield pa.table(out)


def _measurable(metrics: tuple[Metric, ...]) -> tuple[Metric, ...]:
    """Metrics with the covariates that facts can tell."""
    return tuple(
        metric.model_copy(update={"covariates": tuple(c for c in metric.covariates if isinstance(c, PrePeriod))}) for metric in metrics
    )


def _as_experiment(design: Design, metrics: tuple[Metric, ...], start: Any) -> ExperimentSet:
    """The history as an experiment that began with its first day."""
    assert design.history is not None
    eligible: Trigger = design.history.eligible
    names = fact_names(design, metrics)
    began = Experiment(
        name=design.name,
        arms=design.arms,
        control=design.control,
        start=start,
        alpha=design.alpha,
        correction="none",
        peeking=FixedHorizon(),
        trigger=eligible,
    )
    return ExperimentSet.model_validate(
        {
            "time_zone": design.time_zone,
            "exposures": design.exposures,
            "facts": tuple(fact for fact in design.facts if fact.name in names),
            "metrics": metrics or (Count(name="rows", fact=eligible.fact),),
            "experiments": (began,),
        }
    )


def _moments(row: Any, metric: int, k: int) -> GroupMoments:
    """Moments of one metric from Spark's central aggregates; zeros where no unit has a value."""
    n = int(row[f"n_{metric}"])
    mean, m2 = np.zeros((1, k)), np.zeros((1, k, k))
    if n:
        for j in range(k):
            mean[0, j] = row[f"mean_{metric}_{j}"]
            for other in range(j, k):
                m2[0, j, other] = m2[0, other, j] = n * row[f"cov_{metric}_{j}_{other}"]
    return GroupMoments(np.array([n], dtype=np.int64), mean, m2)
