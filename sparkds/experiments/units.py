"""Units: exposures and facts in, one row per experiment and unit with its measures out, after one exchange.

Every table is scanned once whatever the number of experiments, metrics and segments; the rows of a unit are brought
together and the kernel answers all measures of all its exposures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from sparkds.blocks import map_blocks
from sparkds.days import instant_of, known_at, microseconds
from sparkds.errors import ColumnError, ConfigError
from sparkds.experiments.experiment import ExperimentSet, Facts
from sparkds.experiments.measures import ADDITIVE
from sparkds.experiments.unit_rows import FLAGGED, FOREVER, STORED, FactColumns, UnitKernel
from sparkds.instants import MICROSECONDS_A_DAY, day_start_column
from sparkds.sql import finite, is_float, quoted
from sparkds.stats.log_histogram import CLUSTERS

if TYPE_CHECKING:
    from pyspark.sql import Observation

EXCHANGE_KEYS, EXCHANGE_ORDER = ("unit",), ("t", "kind")
NUMBER = "__experiment"
BITS = 62
"""Predicates that are told in one whole number."""
HISTOGRAM = "array<struct<bin: bigint, n: bigint>>"


@dataclass(frozen=True)
class StoredUnits:
    """Unit table of an earlier day, from which the measures of additive kinds go on.

    Attributes
    ----------
    units : DataFrame
        As `units_frame` gave it for `through`.
    through : date
        Its ``as_of``.
    measures : tuple of str
        Names of its ``measures``, in their order.
    flagged : DataFrame, optional
        ``unit`` (string) of those whose exposures or facts up to `through` have changed since; they are computed from the facts.
    """

    units: DataFrame
    through: date
    measures: tuple[str, ...]
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
        ``segment_*`` (string), ``attribute_*`` (double), ``cluster`` (where there are histograms), ``measures`` (one double
        each, in the order of ``spec.numbers``; one column, since Spark takes twice as long over fifty), and bins with counts of
        every histogram.

    Raises
    ------
    ColumnError
        A column is missing or of the wrong type.
    """
    kernel = unit_kernel(spec, facts, as_of=as_of, stored=stored)
    together = exchanged_rows(spec, kernel, exposures, facts, stored=stored, intake=intake)
    columns = ["experiment string", "unit string", "arm string", "first_exposure timestamp", "anchor timestamp"]
    columns += ["n_exposures bigint", "n_arms bigint"]
    columns += [f"{quoted(f'segment_{name}')} string" for name in spec.segments]
    columns += [f"{quoted(f'attribute_{name}')} double" for name in spec.attributes]
    columns += ["measures array<double>", *(["cluster bigint"] if kernel.clustered else [])]
    columns += [f"{quoted(m.name)} {HISTOGRAM}" for m in spec.measures if m.aggregate == "histogram"]
    return map_blocks(together, keys=EXCHANGE_KEYS, order=EXCHANGE_ORDER, kernel=kernel, schema=", ".join(columns))


def exchanged_rows(
    spec: ExperimentSet,
    kernel: UnitKernel,
    exposures: DataFrame,
    facts: Mapping[str, DataFrame],
    *,
    stored: StoredUnits | None = None,
    intake: Mapping[str, Observation] | None = None,
) -> DataFrame:
    """Exposures, facts and stored units in the same columns: what the kernel takes, sorted by unit, instant and kind."""
    intake = intake or {}
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
    return together


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
    (stored,) = _stored_rows(kernel, StoredUnits(units, through, ()))
    return now.join(stored.select("experiment", "unit", "t"), ["experiment", "unit", "t"], "left_anti").select("unit").distinct()


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
            where={w: (f"w{number}_{i // BITS}", i % BITS) for i, w in enumerate(wheres)},
            values={c: f"v{number}_{i}" for i, c in enumerate(numbers)},
            codes={c: f"d{number}_{i}" for i, c in enumerate(coded)},
            scale={c: _scale(types[c], c, source.name) for c in numbers},
            measures=measures,
        )
    zone = ZoneInfo(spec.time_zone)
    there = {} if stored is None else {name: place for place, name in enumerate(stored.measures)}
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
        clustered=any(m.aggregate == "histogram" for m in spec.measures),
        n_stored=len(there),
        base=None if stored is None else microseconds(known_at(stored.through, zone)),
        continued={m: there[m.name] for m in spec.measures if m.aggregate in ADDITIVE and m.name in there},
    )


def _exposure_rows(spec: ExperimentSet, exposures: DataFrame, kernel: UnitKernel, intake: Observation | None) -> DataFrame:
    """Exposures as rows of the exchange; an arm that is not declared is an error of the rows."""
    types, source = dict(exposures.dtypes), spec.exposures
    for column in (source.experiment, source.unit, source.arm, source.time, *spec.segments, *spec.attributes):
        if column not in types:
            raise ColumnError.missing(column, tuple(types), f"exposures '{source.table}'")
    t = day_start_column(source.time, _time_type(types, source.time, source.table), spec.time_zone)
    name, arm = F.col(quoted(source.experiment)).cast("string"), F.col(quoted(source.arm)).cast("string")
    experiment = _found(name, {declared.name: number for number, declared in enumerate(spec.experiments)})
    every_arm = dict.fromkeys(arm_name for declared in spec.experiments for arm_name in declared.arms)
    place = {arm_name: position for position, arm_name in enumerate(every_arm)}
    arm_of = [[list(e.arms).index(a) if a in e.arms else None for a in every_arm] for e in spec.experiments]
    numbered = F.array(*(F.array(*(F.lit(i).cast("bigint") for i in of_arm)) for of_arm in arm_of))
    arm_number = F.get(F.get(numbered, F.col(NUMBER)), _found(arm, place))
    start = F.get(F.array(*(F.lit(microseconds(e.start)) for e in spec.experiments)), F.col(NUMBER))
    end = F.get(F.array(*(F.lit(end) for end in kernel.ends)), F.col(NUMBER))
    unknown = F.concat(
        F.lit("arm '"), F.coalesce(arm, F.lit("null")), F.lit("' of experiment '"), name, F.lit("' is not declared; add it to its arms")
    )
    unit = F.col(quoted(source.unit)).cast("string")
    rows = exposures.withColumn(NUMBER, experiment).select(
        unit.alias("unit"),
        t.alias("t"),
        F.lit(0).cast("tinyint").alias("kind"),
        F.col(NUMBER).alias("experiment"),
        arm_number.alias("arm"),
        unknown.alias("__unknown"),
        start.alias("__start"),
        end.alias("__end"),
        *(F.col(quoted(column)).cast("string").alias(f"s{i}") for i, column in enumerate(spec.segments)),
        *(F.expr(f"cast({finite(column, types[column])} as double)").alias(f"a{i}") for i, column in enumerate(spec.attributes)),
        *([F.pmod(F.xxhash64(unit), F.lit(CLUSTERS)).alias("cluster")] if kernel.clustered else []),
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
    experiment = _found(F.col("experiment"), {name: number for number, name in enumerate(kernel.experiments)})
    units = stored.units
    rows = []
    if stored.flagged is not None:
        flagged = stored.flagged.select("unit").distinct()
        units = units.join(flagged, "unit", "left_anti")
        rows.append(flagged.select("unit", F.lit(-FOREVER).alias("t"), F.lit(FLAGGED).cast("tinyint").alias("kind")))
    known = units.withColumn(NUMBER, experiment).where(F.col(NUMBER).isNotNull())
    rows.append(
        known.select(
            "unit",
            F.unix_micros("first_exposure").alias("t"),
            F.lit(STORED).cast("tinyint").alias("kind"),
            F.col(NUMBER).alias("experiment"),
            *([F.col("measures").alias("stored")] if kernel.continued else []),
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
    prepared += _bit_columns(columns.where)
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


def _found(name: Column, numbers: Mapping[str, int]) -> Column:
    """Number of a name; null for a name that is not there, and for null."""
    pairs = [part for key, number in numbers.items() for part in (F.lit(key), F.lit(number).cast("bigint"))]
    return F.when(name.isNotNull(), F.try_element_at(F.create_map(*pairs), name))


def _bit_columns(where: Mapping[str, tuple[str, int]]) -> list[Column]:
    """Whole numbers whose bits say which predicates are true; null counts as false."""
    masks: dict[str, Column] = {}
    for predicate, (name, bit) in where.items():
        mask = F.when(F.expr(predicate), F.lit(1 << bit).cast("bigint")).otherwise(F.lit(0).cast("bigint"))
        masks[name] = masks[name].bitwiseOR(mask) if name in masks else mask
    return [mask.alias(name) for name, mask in masks.items()]


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
