"""Analysis on Spark: the unit table in, statistics by metric, arm and segment out.

One pass over the unit table, or two when a cap is a percentile; units are reduced to moments on the workers, and what is
merged after one small exchange is a row per metric, arm and segment.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from sparkds import collect
from sparkds.blocks import map_blocks
from sparkds.days import known_at, microseconds
from sparkds.experiments.arrow import ABSENT, KEYS, OTHER, CapKernel, StatisticsKernel, merge_kernel, percentile_capped
from sparkds.experiments.experiment import ExperimentSet
from sparkds.experiments.metrics import AbsoluteCap, PercentileCap
from sparkds.experiments.statistics import ALL
from sparkds.instants import MICROSECONDS_A_DAY
from sparkds.sql import quoted
from sparkds.stats.log_histogram import quantile

SCHEMA: Final = (
    "experiment string, metric string, variant string, segment string, segment_value string, arm string, n bigint, "
    "n_not_observed bigint, n_incomplete bigint, n_capped bigint, mean array<double>, m2 array<double>, "
    "bins array<struct<bin: bigint, n: bigint>>"
)


def statistics_frame(
    spec: ExperimentSet,
    units: DataFrame,
    *,
    as_of: date,
    caps: Mapping[tuple[str, str], float] | None = None,
    shown: Mapping[tuple[str, str], tuple[str, ...]] | None = None,
) -> DataFrame:
    """Statistics of every metric by arm and segment.

    Parameters
    ----------
    spec : ExperimentSet
    units : DataFrame
        As `sparkds.experiments.units.units_frame` gives them, stored.
    as_of : date
    caps : mapping of (experiment, metric) to float, optional
        From `percentile_caps`.
    shown : mapping of (experiment, segment) to values, optional
        From `top_segments`; other values are counted as ``(other)``.

    Returns
    -------
    DataFrame
        One row per experiment, metric, variant, segment, value and arm; ``mean`` and ``m2`` (row by row) over the terms of the
        metric. Units in several arms are left out unless the experiment takes their first arm.
    """
    kernel = StatisticsKernel(
        spec=spec,
        as_of=microseconds(known_at(as_of, ZoneInfo(spec.time_zone))),
        caps=dict(caps or {}) | absolute_caps(spec),
        shown=dict(shown or {}),
    )
    partial = units.mapInArrow(kernel, SCHEMA)
    return map_blocks(partial, keys=KEYS, order=("n",), kernel=merge_kernel, schema=SCHEMA)


def counts_frame(spec: ExperimentSet, units: DataFrame, *, shown: Mapping[tuple[str, str], tuple[str, ...]] | None = None) -> DataFrame:
    """Units by arm: all that were exposed, and those that are analysed; in all, by segment, by local day of exposure and by phase.

    Returns
    -------
    DataFrame
        ``experiment``, ``variant`` (``exposed``, ``analysed``), ``segment`` (empty, a segment's name, ``(day)``, ``(phase)``),
        ``segment_value``, ``arm``, ``n``, ``n_crossover``.
    """
    day = F.date_from_unix_date(
        F.floor(F.unix_micros(F.from_utc_timestamp("first_exposure", spec.time_zone)) / F.lit(MICROSECONDS_A_DAY)).cast("int")
    )
    phase = F.lit("0")
    for experiment in spec.experiments:
        for number, (start, _) in enumerate(experiment.weights_by_phase()):
            if number:
                later = (F.col("experiment") == F.lit(experiment.name)) & (F.unix_micros("first_exposure") >= F.lit(microseconds(start)))
                phase = F.when(later, F.lit(str(number))).otherwise(phase)
    entries = [_entry("", F.lit("")), _entry("(day)", day.cast("string")), _entry("(phase)", phase)]
    for name in spec.segments:
        entries.append(_entry(name, _shown_column(spec, name, shown or {})))
    analysed = F.col("anchor").isNotNull() & (taken_column(spec))
    return (
        units.select("experiment", "arm", "n_arms", analysed.alias("analysed"), F.explode(F.array(*entries)).alias("at"))
        .groupBy("experiment", "arm", F.col("at.segment").alias("segment"), F.col("at.value").alias("segment_value"))
        .agg(
            F.count(F.lit(1)).alias("exposed"),
            F.count_if("analysed").alias("analysed"),
            F.count_if(F.col("n_arms") > 1).alias("n_crossover"),
        )
        .where(F.col("segment_value").isNotNull())
    )


def randomised_frame(spec: ExperimentSet, exposures: DataFrame) -> DataFrame:
    """What was randomised, against the units: one row per experiment with ``n_units``, ``n_randomised`` and ``n_split``.

    ``n_split`` counts what was randomised once but has units in several arms. Needs ``exposures.randomised_by``; one scan of the exposures.
    """
    source = spec.exposures
    assert source.randomised_by is not None
    seen = exposures.select(
        F.col(quoted(source.experiment)).cast("string").alias("experiment"),
        F.col(quoted(source.randomised_by)).alias("randomised"),
        F.col(quoted(source.unit)).alias("unit"),
        F.col(quoted(source.arm)).alias("arm"),
    ).where(F.col("experiment").isin([e.name for e in spec.experiments]))
    each = seen.groupBy("experiment", "randomised").agg(F.count_distinct("unit").alias("n_units"), F.count_distinct("arm").alias("n_arms"))
    return each.groupBy("experiment").agg(
        F.sum("n_units").alias("n_units"), F.count(F.lit(1)).alias("n_randomised"), F.count_if(F.col("n_arms") > 1).alias("n_split")
    )


def percentile_caps(spec: ExperimentSet, units: DataFrame) -> dict[tuple[str, str], float]:
    """Percentile of every metric with a percentile cap, pooled over the arms; one pass over the units.

    The values are those of the whole set of analysed units; right within the relative error of the log histogram, and the same
    under any partitioning.
    """
    wanted = percentile_capped(spec)
    if not wanted:
        return {}
    counted = (
        units.mapInArrow(CapKernel(spec, wanted), "experiment string, metric string, bin bigint, n bigint")
        .groupBy("experiment", "metric", "bin")
        .agg(F.sum("n").alias("n"))
    )
    by_metric: dict[tuple[str, str], dict[int, int]] = {}
    for row in collect.small_rows(counted, most=2_000_000):
        by_metric.setdefault((row["experiment"], row["metric"]), {})[row["bin"]] = row["n"]
    found = {}
    for experiment, metrics in wanted:
        for metric in metrics:
            counts = dict(sorted(by_metric.get((experiment, metric.name), {}).items()))
            assert isinstance(metric.cap, PercentileCap)
            if metric.cap.of == "nonzero":
                counts.pop(0, None)
            if counts:
                numbers, n = np.array(list(counts), dtype=np.int64), np.array(list(counts.values()), dtype=np.int64)
                found[experiment, metric.name] = quantile(numbers, n, metric.cap.share)
    return found


def absolute_caps(spec: ExperimentSet) -> dict[tuple[str, str], float]:
    """Caps that are declared as numbers."""
    return {(e.name, m.name): m.cap.upper for e in spec.experiments for m in spec.metrics_of(e) if isinstance(m.cap, AbsoluteCap)}


def top_segments(spec: ExperimentSet, units: DataFrame) -> dict[tuple[str, str], tuple[str, ...]]:
    """Most frequent values of every segment, at most ``top_segments`` of the experiment; one pass over the units."""
    entries = [_entry(name, F.coalesce(quoted(f"segment_{name}"), F.lit(ABSENT))) for name in spec.segments]
    if not entries:
        return {}
    counted = (
        units.select("experiment", F.explode(F.array(*entries)).alias("at"))
        .groupBy("experiment", F.col("at.segment").alias("segment"), F.col("at.value").alias("value"))
        .count()
    )
    from pyspark.sql import Window

    most = max(e.top_segments for e in spec.experiments)
    place = F.row_number().over(Window.partitionBy("experiment", "segment").orderBy(F.desc("count"), "value"))
    rows = collect.small_rows(counted.withColumn("place", place).where(F.col("place") <= most).orderBy("place"))
    limit = {e.name: (e.top_segments, e.segments) for e in spec.experiments}
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for row in rows:
        at_most, segments = limit[row["experiment"]]
        if row["segment"] in segments and row["place"] <= at_most:
            key = row["experiment"], row["segment"]
            found[key] = (*found.get(key, ()), row["value"])
    return found


def taken_column(spec: ExperimentSet) -> Column:
    """Whether a unit takes part although, or unless, it was seen in several arms."""
    first_arm = [e.name for e in spec.experiments if e.crossover == "first"]
    return (F.col("n_arms") == 1) | (F.col("experiment").isin(first_arm) if first_arm else F.lit(False))


def _entry(segment: str, value: Column) -> Column:
    return F.struct(F.lit(segment).alias("segment"), value.alias("value"))


def _shown_column(spec: ExperimentSet, name: str, shown: Mapping[tuple[str, str], tuple[str, ...]]) -> Column:
    """Value of a segment as it is shown; null in experiments without that segment."""
    value = F.coalesce(quoted(f"segment_{name}"), F.lit(ABSENT))
    told = F.lit(None).cast("string")
    for experiment in spec.experiments:
        if name in experiment.segments:
            top = list(shown.get((experiment.name, name), ()))
            here = F.when(value.isin(top), value).otherwise(F.lit(OTHER)) if top else value
            told = F.when(F.col("experiment") == F.lit(experiment.name), here).otherwise(told)
    return told


__all__ = [
    "ALL",
    "absolute_caps",
    "counts_frame",
    "percentile_caps",
    "randomised_frame",
    "statistics_frame",
    "taken_column",
    "top_segments",
]
