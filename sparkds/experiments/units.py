"""Units: exposures and facts in, one row per experiment and unit with its measures out, after one exchange.

Every table is scanned once whatever the number of experiments, metrics and segments; the rows of a unit are brought
together and the kernel answers all measures of all its exposures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from sparkds.blocks import map_blocks
from sparkds.days import instant_of, known_at, microseconds
from sparkds.errors import ColumnError, ConfigError
from sparkds.experiments.experiment import ExperimentSet, Facts
from sparkds.experiments.measures import ADDITIVE, Measure
from sparkds.experiments.unit_kernel import FactRows, FirstExposures, Ranges, first_exposures, histograms, measured, next_row, stored_rows
from sparkds.instants import MICROSECONDS_A_DAY, day_start_column
from sparkds.sql import finite, is_float, quoted

if TYPE_CHECKING:
    from pyspark.sql import Observation

FOREVER = 2**62
HISTOGRAM = "array<struct<bin: bigint, n: bigint>>"
STORED, FLAGGED = 126, 127
"""Kinds of rows in the exchange beside 0, the exposures, and 1 …, the facts."""


@dataclass(frozen=True)
class StoredUnits:
    """Unit table of an earlier day, from which the measures of additive kinds go on.

    Attributes
    ----------
    units : DataFrame
        As `units_frame` gave it for `through`.
    through : date
        Its ``as_of``.
    flagged : DataFrame, optional
        ``unit`` (string) of those whose exposures or facts up to `through` have changed since; they are computed from the facts.
    """

    units: DataFrame
    through: date
    flagged: DataFrame | None = None


def units_frame(
    spec: ExperimentSet,
    exposures: DataFrame,
    facts: Mapping[str, DataFrame],
    *,
    as_of: date,
    stored: StoredUnits | None = None,
    intake: Mapping[str, Observation] | None = None,
) -> DataFrame:
    """One row per experiment and exposed unit, with every measure.

    With `stored` only facts after its day, and as long before it as pre-periods reach, are read; the rows are those of a full
    computation, sums of doubles to rounding. Measures that `stored` lacks, and those that do not add (distinct, steps), are computed
    from all facts of their table.

    Parameters
    ----------
    spec : ExperimentSet
    exposures : DataFrame
        As ``spec.exposures`` says. Rows of experiments that are not declared are left out, as are exposures before an
        experiment's start or from its end on.
    facts : mapping of str to DataFrame
        Declared name to rows.
    as_of : date
        Last day that counts: everything before the midnight after it, in ``spec.time_zone``.
    stored : StoredUnits, optional
        Not with triggers, whose instant depends on all facts.
    intake : mapping of str to Observation, optional
        ``exposures`` and the names of facts to what receives the counts of rows that were left out.

    Returns
    -------
    DataFrame
        ``experiment``, ``unit`` (string), ``arm`` (of the first exposure), ``first_exposure``, ``anchor`` (timestamp: the first
        exposure, or the instant at which the trigger was met; null when it was not), ``n_exposures``, ``n_arms``,
        ``segment_*`` (string), ``attribute_*`` (double), and a double (of histograms, bins with counts) per measure.

    Raises
    ------
    ColumnError
        A column is missing or of the wrong type.
    """
    intake = intake or {}
    kernel = unit_kernel(spec, facts, as_of=as_of, stored=stored)
    rows = [_exposure_rows(spec, exposures, kernel, intake.get("exposures"))]
    flagged = None if stored is None else stored.flagged
    rows += [fact_rows(spec, kernel, source, facts[source.name], flagged, intake.get(source.name)) for source in spec.facts]
    if stored is not None:
        rows += _stored_rows(kernel, stored)
    names = list(dict.fromkeys(name for frame in rows for name, _ in frame.dtypes))
    types = {name: dtype for frame in rows for name, dtype in frame.dtypes}
    same = [frame.select(*(F.col(n) if n in frame.columns else F.lit(None).cast(types[n]).alias(n) for n in names)) for frame in rows]
    together = same[0]
    for frame in same[1:]:
        together = together.unionAll(frame)
    columns = ["experiment string", "unit string", "arm string", "first_exposure timestamp", "anchor timestamp"]
    columns += ["n_exposures bigint", "n_arms bigint"]
    columns += [f"{quoted(f'segment_{name}')} string" for name in spec.segments]
    columns += [f"{quoted(f'attribute_{name}')} double" for name in spec.attributes]
    columns += [f"{quoted(m.name)} {HISTOGRAM if m.aggregate == 'histogram' else 'double'}" for m in spec.measures]
    return map_blocks(together, keys=("unit",), order=("t", "kind"), kernel=kernel, schema=", ".join(columns))


def late_units_frame(spec: ExperimentSet, exposures: DataFrame, units: DataFrame, through: date) -> DataFrame:
    """Units whose first exposure up to the end of `through` is not the one that their stored row has, or that have no stored row.

    Parameters
    ----------
    spec : ExperimentSet
    exposures : DataFrame
        As they are now.
    units : DataFrame
        Stored units of `through`.
    through : date

    Returns
    -------
    DataFrame
        ``unit``; to be flagged in `StoredUnits`.
    """
    end = microseconds(known_at(through, ZoneInfo(spec.time_zone)))
    kernel = UnitKernel(
        experiments=tuple(e.name for e in spec.experiments),
        arms=(),
        ends=tuple(FOREVER if e.end is None else microseconds(e.end) for e in spec.experiments),
        triggers=(),
        segments=(),
        attributes=(),
        facts={},
        as_of=end,
        measures=(),
    )
    now = _exposure_rows(spec, exposures, kernel, None).groupBy("experiment", "unit").agg(F.min("t").alias("t"))
    (stored,) = _stored_rows(kernel, StoredUnits(units, through))
    return now.join(stored.select("experiment", "unit", "t"), ["experiment", "unit", "t"], "left_anti").select("unit").distinct()


@dataclass(frozen=True)
class FactColumns:
    """Prepared columns of one fact table in the exchanged rows.

    Attributes
    ----------
    kind : int
        Value of ``kind`` of its rows.
    where : dict of str to str
        Predicate to prepared column.
    values, codes : dict of str to str
        Fact column to prepared column with its numbers, or with a 64-bit digest of its value.
    scale : dict of str to float
        Fact column to the number by which its whole numbers are divided (decimals).
    measures : tuple of Measure
    """

    kind: int
    where: dict[str, str]
    values: dict[str, str]
    codes: dict[str, str]
    scale: dict[str, float]
    measures: tuple[Measure, ...]


@dataclass(frozen=True)
class UnitKernel:
    """Sorted rows of a block of units in, one row per unit and experiment out."""

    experiments: tuple[str, ...]
    arms: tuple[tuple[str, ...], ...]
    ends: tuple[int, ...]
    triggers: tuple[tuple[str, str] | None, ...]
    segments: tuple[str, ...]
    attributes: tuple[str, ...]
    facts: dict[str, FactColumns]
    as_of: int
    measures: tuple[Measure, ...]
    base: int | None = None
    continued: frozenset[Measure] = frozenset()

    def __call__(self, table: pa.Table, starts: npt.NDArray[np.int64]) -> Iterator[pa.Table]:
        """One table; empty when no unit of the block was exposed."""
        kind = table.column("kind").to_numpy()
        unit = np.repeat(np.arange(len(starts) - 1, dtype=np.int64), np.diff(starts))
        time = table.column("t").to_numpy()
        exposed = np.flatnonzero(kind == 0)
        if len(exposed) == 0:
            return
        exposures = table.take(pa.array(exposed))
        first = first_exposures(unit[exposed], exposures.column("experiment").to_numpy(), exposures.column("arm").to_numpy(), time[exposed])
        facts = {name: facts_of(table, kind, unit, time, columns) for name, columns in self.facts.items()}
        until = np.minimum(np.asarray(self.ends, dtype=np.int64)[first.experiment], self.as_of)
        anchor, anchored = self._anchors(first, facts, until)
        values: dict[Measure, npt.NDArray[np.float64]] = {}
        at, floor, before = self._stored(table, kind, unit, time, first)
        lists: dict[Measure, pa.Array] = {}
        for name, rows in facts.items():
            columns = self.facts[name]
            anew = Ranges(rows, first.unit, anchor, until)
            for measure in (m for m in columns.measures if m.aggregate == "histogram"):
                lists[measure] = _lists(histograms(rows, anew, measure, columns.scale.get(measure.column, 1.0)), len(first.unit))
            going_on = [m for m in columns.measures if m in self.continued]
            found = measured(rows, Ranges(rows, first.unit, anchor, until, floor), going_on) if going_on else {}
            found |= measured(rows, anew, [m for m in columns.measures if m not in self.continued])
            values |= {m: v / columns.scale.get(m.column, 1.0) if m.aggregate == "sum" else v for m, v in found.items()}
        for measure in self.continued:
            values[measure] = values[measure] + np.where(at >= 0, np.append(before[measure], 0.0)[at], 0.0)
        yield self._table(table, exposures, starts, first, anchor, anchored, values, lists)

    def _stored(
        self, table: pa.Table, kind: npt.NDArray[Any], unit: npt.NDArray[np.int64], time: npt.NDArray[np.int64], first: FirstExposures
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64] | None, dict[Measure, npt.NDArray[np.float64]]]:
        """Stored row of every exposure (-1 for none), the instant from which its facts count, and the stored measures."""
        if self.base is None:
            return np.full(len(first.unit), -1, dtype=np.int64), None, {}
        rows = np.flatnonzero(kind == STORED)
        taken = pa.array(rows)
        experiment = table.column("experiment").take(taken).to_numpy()
        at = stored_rows(unit[rows], experiment, time[rows], first)
        flagged = np.zeros(int(unit.max()) + 1, dtype=bool)
        flagged[unit[kind == FLAGGED]] = True
        lost = (at < 0) & (first.time < self.base) & ~flagged[first.unit]
        if lost.any():
            raise RuntimeError("an exposure before the stored day has no stored row and its unit is not flagged")
        floor = np.where(at >= 0, self.base, -FOREVER)
        return at, floor, {m: table.column(f"x{i}").take(taken).to_numpy() for i, m in enumerate(self._in_order())}

    def _in_order(self) -> tuple[Measure, ...]:
        return tuple(m for m in self.measures if m in self.continued)

    def _anchors(
        self, first: FirstExposures, facts: dict[str, FactRows], until: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Instant from which each unit's facts count, and whether there is one."""
        anchor, anchored = first.time.copy(), np.ones(len(first.time), dtype=bool)
        for number, trigger in enumerate(self.triggers):
            if trigger is None:
                continue
            name, where = trigger
            rows = facts[name]
            mine = np.flatnonzero(first.experiment == number)
            low, high = Ranges(rows, first.unit[mine], first.time[mine], until[mine]).whole()
            met = next_row(rows.where[where])[low]
            anchored[mine] = met < high
            at = np.append(rows.time, 0)[np.where(met < high, met, len(rows.time))]
            anchor[mine] = np.where(met < high, at, first.time[mine])
        return anchor, anchored

    def _table(
        self,
        table: pa.Table,
        exposures: pa.Table,
        starts: npt.NDArray[np.int64],
        first: FirstExposures,
        anchor: npt.NDArray[np.int64],
        anchored: npt.NDArray[np.bool_],
        values: dict[Measure, npt.NDArray[np.float64]],
        lists: dict[Measure, pa.Array],
    ) -> pa.Table:
        seen = exposures.take(pa.array(first.row))
        offsets = np.cumsum([0, *(len(arms) for arms in self.arms)])
        arm_names = pa.array([arm for arms in self.arms for arm in arms], pa.string())
        out: dict[str, Any] = {
            "experiment": pa.array(self.experiments, pa.string()).take(pa.array(first.experiment)),
            "unit": table.column("unit").combine_chunks().take(pa.array(starts[:-1][first.unit])),
            "arm": arm_names.take(pa.array(offsets[first.experiment] + first.arm)),
            "first_exposure": pa.array(first.time).cast(pa.timestamp("us", tz="UTC")),
            "anchor": pa.array(anchor, mask=~anchored).cast(pa.timestamp("us", tz="UTC")),
            "n_exposures": pa.array(first.n_exposures),
            "n_arms": pa.array(first.n_arms),
        }
        for i, name in enumerate(self.segments):
            out[f"segment_{name}"] = seen.column(f"s{i}").combine_chunks()
        for i, name in enumerate(self.attributes):
            out[f"attribute_{name}"] = seen.column(f"a{i}").combine_chunks()
        for measure in self.measures:
            out[measure.name] = lists[measure] if measure in lists else pa.array(values[measure])
        return pa.table(out)


def _lists(found: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]], n: int) -> pa.Array:
    """Histograms of n exposures as Arrow lists."""
    exposure, number, many = found
    offsets = pa.array(np.searchsorted(exposure, np.arange(n + 1)).astype(np.int32))
    return pa.ListArray.from_arrays(offsets, pa.StructArray.from_arrays([pa.array(number), pa.array(many)], names=["bin", "n"]))


def unit_kernel(spec: ExperimentSet, facts: Mapping[str, DataFrame], *, as_of: date, stored: StoredUnits | None = None) -> UnitKernel:
    """Kernel of a declaration, and the names of the prepared columns that it reads."""
    if stored is not None and any(e.trigger is not None for e in spec.experiments):
        raise ConfigError("a stored unit table cannot be continued when an experiment has a trigger; compute it anew")
    prepared = {}
    for number, source in enumerate(spec.facts):
        types = dict(facts[source.name].dtypes)
        measures = spec.measures_of(source.name)
        wheres = dict.fromkeys(w for m in measures for w in m.where)
        wheres |= dict.fromkeys(e.trigger.where for e in spec.experiments if e.trigger is not None and e.trigger.fact == source.name)
        numbers = dict.fromkeys(m.column for m in measures if m.aggregate in ("sum", "values", "histogram"))
        coded = dict.fromkeys(m.column for m in measures if m.aggregate == "distinct")
        for column in (source.unit, source.time, *numbers, *coded):
            if column not in types:
                raise ColumnError.missing(column, tuple(types), f"fact table '{source.name}'")
        prepared[source.name] = FactColumns(
            kind=1 + number,
            where={w: f"w{number}_{i}" for i, w in enumerate(wheres)},
            values={c: f"v{number}_{i}" for i, c in enumerate(numbers)},
            codes={c: f"d{number}_{i}" for i, c in enumerate(coded)},
            scale={c: _scale(types[c], c, source.name) for c in numbers},
            measures=measures,
        )
    zone = ZoneInfo(spec.time_zone)
    there = set() if stored is None else set(stored.units.columns)
    return UnitKernel(
        experiments=tuple(e.name for e in spec.experiments),
        arms=tuple(tuple(e.arms) for e in spec.experiments),
        ends=tuple(FOREVER if e.end is None else microseconds(e.end) for e in spec.experiments),
        triggers=tuple(None if e.trigger is None else (e.trigger.fact, e.trigger.where) for e in spec.experiments),
        segments=spec.segments,
        attributes=spec.attributes,
        facts=prepared,
        as_of=microseconds(known_at(as_of, zone)),
        measures=spec.measures,
        base=None if stored is None else microseconds(known_at(stored.through, zone)),
        continued=frozenset(m for m in spec.measures if m.aggregate in ADDITIVE and m.name in there),
    )


def _exposure_rows(spec: ExperimentSet, exposures: DataFrame, kernel: UnitKernel, intake: Observation | None) -> DataFrame:
    """Exposures as rows of the exchange; an arm that is not declared is an error of the rows."""
    types, source = dict(exposures.dtypes), spec.exposures
    for column in (source.experiment, source.unit, source.arm, source.time, *spec.segments, *spec.attributes):
        if column not in types:
            raise ColumnError.missing(column, tuple(types), f"exposures '{source.table}'")
    t = day_start_column(source.time, _time_type(types, source.time, source.table), spec.time_zone)
    name, arm = F.col(quoted(source.experiment)).cast("string"), F.col(quoted(source.arm)).cast("string")
    experiment, arm_number = F.lit(None).cast("bigint"), F.lit(None).cast("bigint")
    start, end = F.lit(0).cast("bigint"), F.lit(0).cast("bigint")
    for number, declared in reversed(list(enumerate(spec.experiments))):
        mine = name == F.lit(declared.name)
        experiment = F.when(mine, F.lit(number).cast("bigint")).otherwise(experiment)
        start = F.when(mine, F.lit(microseconds(declared.start))).otherwise(start)
        end = F.when(mine, F.lit(kernel.ends[number])).otherwise(end)
        for position, arm_name in enumerate(declared.arms):
            arm_number = F.when(mine & (arm == F.lit(arm_name)), F.lit(position).cast("bigint")).otherwise(arm_number)
    unknown = F.concat(
        F.lit("arm '"), F.coalesce(arm, F.lit("null")), F.lit("' of experiment '"), name, F.lit("' is not declared; add it to its arms")
    )
    unit = F.col(quoted(source.unit)).cast("string")
    rows = exposures.select(
        unit.alias("unit"),
        t.alias("t"),
        F.lit(0).cast("tinyint").alias("kind"),
        experiment.alias("experiment"),
        arm_number.alias("arm"),
        unknown.alias("__unknown"),
        start.alias("__start"),
        end.alias("__end"),
        *(F.col(quoted(column)).cast("string").alias(f"s{i}") for i, column in enumerate(spec.segments)),
        *(F.expr(f"cast({finite(column, types[column])} as double)").alias(f"a{i}") for i, column in enumerate(spec.attributes)),
    )
    declared_here = F.col("experiment").isNotNull()
    inside = (F.col("t") >= F.col("__start")) & (F.col("t") < F.least(F.col("__end"), F.lit(kernel.as_of)))
    if intake is not None:
        rows = rows.observe(
            intake,
            F.count(F.lit(1)).alias("n_exposures"),
            F.count_if(~declared_here).alias("n_other_experiments"),
            F.count_if(declared_here & (F.col("unit").isNull() | F.col("t").isNull())).alias("n_null_unit_or_time"),
            F.count_if(declared_here & (F.col("t") < F.col("__start"))).alias("n_before_start"),
            F.count_if(declared_here & (F.col("t") >= F.col("__end"))).alias("n_after_end"),
        )
    known = F.coalesce(F.col("arm"), F.raise_error(F.col("__unknown")).cast("bigint"))
    return rows.where(declared_here & F.col("unit").isNotNull() & inside).withColumn("arm", known).drop("__unknown", "__start", "__end")


def _stored_rows(kernel: UnitKernel, stored: StoredUnits) -> list[DataFrame]:
    """Stored units and the marks of flagged ones as rows of the exchange."""
    experiment = F.lit(None).cast("bigint")
    for number, name in enumerate(kernel.experiments):
        experiment = F.when(F.col("experiment") == F.lit(name), F.lit(number).cast("bigint")).otherwise(experiment)
    units = stored.units
    rows = []
    if stored.flagged is not None:
        flagged = stored.flagged.select("unit").distinct()
        units = units.join(flagged, "unit", "left_anti")
        rows.append(flagged.select("unit", F.lit(-FOREVER).alias("t"), F.lit(FLAGGED).cast("tinyint").alias("kind")))
    measures = kernel._in_order()
    known = units.withColumn("__experiment", experiment).where(F.col("__experiment").isNotNull())
    rows.append(
        known.select(
            "unit",
            F.unix_micros("first_exposure").alias("t"),
            F.lit(STORED).cast("tinyint").alias("kind"),
            F.col("__experiment").alias("experiment"),
            *(F.coalesce(F.col(quoted(m.name)), F.lit(0.0)).alias(f"x{i}") for i, m in enumerate(measures)),
        )
    )
    return rows


def fact_rows(
    spec: ExperimentSet, kernel: UnitKernel, source: Facts, facts: DataFrame, flagged: DataFrame | None, intake: Observation | None
) -> DataFrame:
    """Facts as rows of the exchange: those that no measure can reach, and those from the end of `as_of` on, are left out."""
    types, columns = dict(facts.dtypes), kernel.facts[source.name]
    t = day_start_column(source.time, _time_type(types, source.time, source.table), spec.time_zone)
    earliest = min(e.start for e in spec.experiments) - timedelta(days=spec.longest_pre_days)
    goes_on = kernel.base is not None and all(m in kernel.continued for m in columns.measures)
    if goes_on and flagged is None:
        earliest = max(earliest, instant_of(kernel.base or 0) - timedelta(days=spec.longest_pre_days))
    prepared: list[Column] = [
        F.col(quoted(source.unit)).cast("string").alias("unit"),
        t.alias("t"),
        F.lit(columns.kind).cast("tinyint").alias("kind"),
    ]
    prepared += [F.coalesce(F.expr(where), F.lit(False)).alias(name) for where, name in columns.where.items()]
    prepared += [_number_column(column, types[column]).alias(name) for column, name in columns.values.items()]
    prepared += [
        F.when(F.col(quoted(column)).isNotNull(), F.xxhash64(quoted(column))).alias(name) for column, name in columns.codes.items()
    ]
    if types[source.time] == "timestamp":  # the raw column, so that files and row groups can be skipped
        facts = facts.where(F.col(quoted(source.time)) >= F.lit(earliest))
    rows = facts.select(*prepared)
    if intake is not None:
        rows = rows.observe(
            intake,
            F.count(F.lit(1)).alias("n_facts"),
            F.count_if(F.col("unit").isNull()).alias("n_null_unit"),
            F.count_if(F.col("t").isNull()).alias("n_null_time"),
            F.count_if(F.col("t") >= F.lit(kernel.as_of)).alias("n_after_as_of"),
        )
    wanted = F.col("unit").isNotNull() & (F.col("t") >= F.lit(microseconds(earliest))) & (F.col("t") < F.lit(kernel.as_of))
    if not goes_on or flagged is None:
        return rows.where(wanted)
    recent = F.col("t") >= F.lit((kernel.base or 0) - round(spec.longest_pre_days * MICROSECONDS_A_DAY))
    marked = rows.where(wanted).join(F.broadcast(flagged.select("unit").distinct().withColumn("__flag", F.lit(True))), "unit", "left")
    return marked.where(recent | F.col("__flag").isNotNull()).drop("__flag")


def _time_type(types: Mapping[str, str], column: str, table: str) -> str:
    if types[column] not in ("timestamp", "timestamp_ntz", "date"):
        raise ColumnError(f"column '{column}' of table '{table}' is {types[column]}; a time is a timestamp or a date")
    return types[column]


def _scale(dtype: str, column: str, table: str) -> float:
    if dtype.startswith("decimal("):
        digits, places = (int(part) for part in dtype[8:-1].split(","))
        return float(10**places) if digits <= 18 else 1.0
    if dtype not in ("tinyint", "smallint", "int", "bigint", "float", "double", "boolean"):
        raise ColumnError(f"column '{column}' of fact table '{table}' is {dtype}; a sum or a mean needs numbers")
    return 1.0


def _number_column(column: str, dtype: str) -> Column:
    """Values as bigint (decimals of up to 18 digits times a power of ten) or double; NaN and infinities are null."""
    if is_float(dtype) or (dtype.startswith("decimal(") and int(dtype[8:-1].split(",")[0]) > 18):
        return F.expr(f"cast({finite(column, dtype)} as double)")
    if dtype.startswith("decimal("):
        return (F.col(quoted(column)) * F.lit(int(_scale(dtype, column, "")))).cast("bigint")
    return F.col(quoted(column)).cast("bigint")


def facts_of(
    table: pa.Table, kind: npt.NDArray[Any], unit: npt.NDArray[np.int64], time: npt.NDArray[np.int64], columns: FactColumns
) -> FactRows:
    """Rows of one fact table in a block of exchanged rows."""
    rows = np.flatnonzero(kind == columns.kind)
    taken = pa.array(rows)

    def numbers(name: str) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        column = table.column(name).combine_chunks().take(taken)
        return column.fill_null(0).to_numpy(zero_copy_only=False), column.is_valid().to_numpy(zero_copy_only=False)

    return FactRows(
        unit[rows],
        time[rows],
        {
            where: table.column(name).combine_chunks().take(taken).to_numpy(zero_copy_only=False).astype(bool)
            for where, name in columns.where.items()
        },
        {column: numbers(name) for column, name in columns.values.items()},
        {column: numbers(name) for column, name in columns.codes.items()},
    )
