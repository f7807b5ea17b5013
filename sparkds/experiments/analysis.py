"""Analysis on Spark: the unit table in, statistics by metric, arm and segment out.

One pass over the unit table, or two when a cap is a percentile; units are reduced to moments on the workers, and what is
merged after one small exchange is a row per metric, arm and segment.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from sparkds import collect
from sparkds.blocks import map_blocks
from sparkds.days import known_at, microseconds
from sparkds.experiments.experiment import ExperimentSet
from sparkds.experiments.measures import Measure
from sparkds.experiments.metrics import AbsoluteCap, Metric, PercentileCap
from sparkds.experiments.statistics import ALL, Cell, Partial, Units, batch_statistics, merged_partials
from sparkds.instants import MICROSECONDS_A_DAY
from sparkds.sql import quoted
from sparkds.stats.log_histogram import CLUSTERS, bins, quantile

OTHER: Final = "(other)"
ABSENT: Final = "(null)"
CLUSTER: Final = "__cluster"

SCHEMA: Final = (
    "experiment string, metric string, variant string, segment string, segment_value string, arm string, n bigint, "
    "n_not_observed bigint, n_incomplete bigint, n_capped bigint, mean array<double>, m2 array<double>, "
    "bins array<struct<bin: bigint, n: bigint>>"
)
KEYS: Final = ("experiment", "metric", "variant", "segment", "segment_value", "arm")


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
    grouped = units.withColumn(CLUSTER, F.pmod(F.xxhash64("unit"), F.lit(CLUSTERS)))
    partial = grouped.mapInArrow(kernel, SCHEMA)
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


def percentile_caps(spec: ExperimentSet, units: DataFrame, *, as_of: date) -> dict[tuple[str, str], float]:
    """Percentile of every metric with a percentile cap, pooled over the arms; one pass over the units.

    The values are those of the whole set of analysed units; right within the relative error of the log histogram, and the same
    under any partitioning.
    """
    wanted = [(e, m) for e in spec.experiments for m in spec.metrics_of(e) if isinstance(m.cap, PercentileCap)]
    if not wanted:
        return {}
    uncapped = spec.model_copy(update={"metrics": tuple(dict.fromkeys(m for _, m in wanted))})
    kernel = CapKernel(uncapped, microseconds(known_at(as_of, ZoneInfo(spec.time_zone))))
    counted = (
        units.mapInArrow(kernel, "experiment string, metric string, bin bigint, n bigint")
        .groupBy("experiment", "metric", "bin")
        .agg(F.sum("n").alias("n"))
    )
    by_metric: dict[tuple[str, str], dict[int, int]] = {}
    for row in collect.small_rows(counted, most=2_000_000):
        by_metric.setdefault((row["experiment"], row["metric"]), {})[row["bin"]] = row["n"]
    found = {}
    for experiment, metric in wanted:
        counts = dict(sorted(by_metric.get((experiment.name, metric.name), {}).items()))
        assert isinstance(metric.cap, PercentileCap)
        if metric.cap.of == "nonzero":
            counts.pop(0, None)
        if counts:
            numbers, n = np.array(list(counts), dtype=np.int64), np.array(list(counts.values()), dtype=np.int64)
            found[experiment.name, metric.name] = quantile(numbers, n, metric.cap.share)
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


def _measure_columns(spec: ExperimentSet, batch: pa.RecordBatch, rows: pa.Array) -> dict[Measure, npt.NDArray[np.float64]]:
    return {m: batch.column(m.name).take(rows).to_numpy(zero_copy_only=False) for m in spec.measures if m.aggregate != "histogram"}


def _histograms(spec: ExperimentSet, batch: pa.RecordBatch, rows: pa.Array) -> dict[Measure, tuple[Any, Any, Any]]:
    """Unit, bin and count of every histogram of a batch."""
    found = {}
    for measure in spec.measures:
        if measure.aggregate == "histogram":
            column = batch.column(measure.name).take(rows)
            items = column.flatten()
            found[measure] = (
                pc.list_parent_indices(column).to_numpy(zero_copy_only=False).astype(np.int64),
                items.field("bin").to_numpy(zero_copy_only=False),
                items.field("n").to_numpy(zero_copy_only=False),
            )
    return found


def _taken_rows(spec: ExperimentSet, batch: pa.RecordBatch, number: int) -> pa.Array:
    """Rows of a batch that one experiment analyses."""
    experiment = spec.experiments[number]
    wanted = pc.and_(pc.equal(batch.column("experiment"), experiment.name), pc.is_valid(batch.column("anchor")))
    if experiment.crossover != "first":
        wanted = pc.and_(wanted, pc.equal(batch.column("n_arms"), 1))
    return pc.indices_nonzero(wanted)


@dataclass(frozen=True)
class StatisticsKernel:
    """Batches of units in, partial statistics out, once a partition."""

    spec: ExperimentSet
    as_of: int
    caps: dict[tuple[str, str], float]
    shown: dict[tuple[str, str], tuple[str, ...]]

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Merge what all batches of a partition say."""
        found: dict[Cell, list[Partial]] = {}
        for batch in batches:
            for number, experiment in enumerate(self.spec.experiments):
                rows = _taken_rows(self.spec, batch, number)
                if len(rows) == 0:
                    continue
                metrics = self.spec.metrics_of(experiment)
                caps = {m.name: self.caps[experiment.name, m.name] for m in metrics if (experiment.name, m.name) in self.caps}
                told = batch_statistics(
                    experiment.name,
                    tuple(experiment.arms),
                    metrics,
                    self._units(batch, rows, number),
                    as_of=self.as_of,
                    caps=caps,
                    novelty_days=experiment.novelty_days,
                )
                for cell, partial in told:
                    found.setdefault(cell, []).append(partial)
            found = {cell: [merged_partials(parts)] if len(parts) > 8 else parts for cell, parts in found.items()}
        if found:
            yield from _told([(cell, merged_partials(parts)) for cell, parts in found.items()]).to_batches()

    def _units(self, batch: pa.RecordBatch, rows: pa.Array, number: int) -> Units:
        experiment = self.spec.experiments[number]
        arms = {arm: i for i, arm in enumerate(experiment.arms)}
        arm = batch.column("arm").take(rows).dictionary_encode()
        arm_of = np.array([arms[name] for name in arm.dictionary.to_pylist()], dtype=np.int64)
        segments = {}
        for name in experiment.segments:
            column = pc.fill_null(batch.column(f"segment_{name}").take(rows), ABSENT).dictionary_encode()
            names = [str(v) for v in column.dictionary.to_pylist()]
            top = self.shown.get((experiment.name, name))
            as_shown = [v if top is None or v in top else OTHER for v in names]
            values = tuple(dict.fromkeys(as_shown))
            of_name = np.array([values.index(v) for v in as_shown], dtype=np.int64)
            segments[name] = of_name[column.indices.to_numpy()], values
        anchor = batch.column("anchor").take(rows).cast(pa.int64()).to_numpy()
        if experiment.phases:
            starts = np.array([microseconds(start) for start, _ in experiment.weights_by_phase()], dtype=np.int64)
            first = batch.column("first_exposure").take(rows).cast(pa.int64()).to_numpy()
            phase = np.maximum(np.searchsorted(starts, first, side="right") - 1, 0)
            segments["(phase)"] = phase.astype(np.int64), tuple(str(i) for i in range(len(starts)))
        attributes = {
            a: batch.column(f"attribute_{a}").take(rows).cast(pa.float64()).to_numpy(zero_copy_only=False) for a in self.spec.attributes
        }
        return Units(
            arm_of[arm.indices.to_numpy()],
            anchor,
            _measure_columns(self.spec, batch, rows),
            attributes,
            segments,
            _histograms(self.spec, batch, rows),
            batch.column(CLUSTER).take(rows).to_numpy(zero_copy_only=False).astype(np.int64),
        )


@dataclass(frozen=True)
class CapKernel:
    """Batches of units in, log histograms of the metrics with a percentile cap out."""

    spec: ExperimentSet
    as_of: int

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """One row per experiment, metric and bin of each batch."""
        for batch in batches:
            for number, experiment in enumerate(self.spec.experiments):
                rows = _taken_rows(self.spec, batch, number)
                measures = _measure_columns(self.spec, batch, rows)
                for metric in _capped(self.spec, experiment.metrics):
                    x = metric.values[0].value(measures, metric.stretch)
                    at, n = np.unique(bins(x), return_counts=True)
                    same = pa.repeat(pa.scalar(experiment.name), len(at)), pa.repeat(pa.scalar(metric.name), len(at))
                    yield pa.RecordBatch.from_arrays([*same, pa.array(at), pa.array(n)], names=["experiment", "metric", "bin", "n"])


def _capped(spec: ExperimentSet, names: tuple[str, ...] | None) -> list[Metric]:
    return [m for m in spec.metrics if names is None or m.name in names]


def merge_kernel(table: pa.Table, starts: npt.NDArray[np.int64]) -> Iterator[pa.Table]:
    """Merge the partial statistics of each cell."""
    rows = table.to_pylist()
    told: list[tuple[Cell, Partial]] = []
    for low, high in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        cell = Cell(**{name: rows[low][name] for name in KEYS})
        told.append((cell, merged_partials([_partial_of(row) for row in rows[low:high]])))
    yield _told(told)


def _partial_of(row: dict[str, Any]) -> Partial:
    mean = np.array(row["mean"], dtype=np.float64)
    m2 = np.array(row["m2"], dtype=np.float64).reshape(len(mean), len(mean))
    sketch = {item["bin"]: item["n"] for item in row["bins"]}
    return Partial(row["n"], row["n_not_observed"], row["n_incomplete"], row["n_capped"], mean, m2, sketch)


def _told(parts: list[tuple[Cell, Partial]]) -> pa.Table:
    item = pa.struct([("bin", pa.int64()), ("n", pa.int64())])
    out: dict[str, Any] = {name: pa.array([getattr(cell, name) for cell, _ in parts], pa.string()) for name in KEYS}
    for name in ("n", "n_not_observed", "n_incomplete", "n_capped"):
        out[name] = pa.array([getattr(partial, name) for _, partial in parts], pa.int64())
    out["mean"] = pa.array([partial.mean.tolist() for _, partial in parts], pa.list_(pa.float64()))
    out["m2"] = pa.array([partial.m2.ravel().tolist() for _, partial in parts], pa.list_(pa.float64()))
    out["bins"] = pa.array([[{"bin": b, "n": n} for b, n in partial.bins.items()] for _, partial in parts], pa.list_(item))
    return pa.table(out)


__all__ = ["ALL", "absolute_caps", "counts_frame", "percentile_caps", "statistics_frame", "taken_column", "top_segments"]
