"""Arrow at the borders of the experiments' kernels: unit rows to arrays, and statistics to rows and back.

Takes batches of the unit table and gives batches of statistics; what is computed in between stands in
`sparkds.experiments.statistics`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sparkds.days import microseconds
from sparkds.experiments.experiment import ExperimentSet
from sparkds.experiments.measures import Measure
from sparkds.experiments.metrics import Metric, PercentileCap
from sparkds.experiments.statistics import Sketch, Summaries, Summary, Units, added
from sparkds.stats.group_moments import GroupMoments, merged
from sparkds.stats.log_histogram import bins

OTHER: Final = "(other)"
ABSENT: Final = "(null)"
CLUSTER: Final = "cluster"
KEYS: Final = ("experiment", "metric", "variant", "segment", "segment_value", "arm")
COUNTS: Final = ("n_not_observed", "n_incomplete", "n_capped")
BIN: Final = pa.struct([("bin", pa.int64()), ("n", pa.int64())])
BYTES_HELD: Final = 64_000_000
"""Size of the unit rows that a worker looks at together."""

Ints = npt.NDArray[np.int64]


def chunks(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Batches put together, so that what is done once a chunk costs little."""
    held: list[pa.RecordBatch] = []
    for batch in batches:
        held.append(batch)
        if sum(b.nbytes for b in held) >= BYTES_HELD:
            yield pa.Table.from_batches(held).combine_chunks()
            held = []
    if held:
        yield pa.Table.from_batches(held).combine_chunks()


@dataclass(frozen=True)
class UnitReader:
    """Unit rows to arrays.

    Attributes
    ----------
    spec : ExperimentSet
    measures : tuple of Measure
        Of the set, asked for once.
    shown : dict of (experiment, segment) to values
        Values of a segment that are shown; others are ``(other)``.
    """

    spec: ExperimentSet
    measures: tuple[Measure, ...]
    shown: dict[tuple[str, str], tuple[str, ...]]

    def units(self, table: pa.Table) -> Units:
        """Units that are analysed, by experiment."""
        rows, experiment = self._taken(table)
        measures = self._measures(table, rows)
        taken = table.drop_columns(["measures"]).take(pa.array(rows)).combine_chunks()
        column = {name: taken.column(name).chunk(0) if len(rows) else taken.column(name).combine_chunks() for name in taken.column_names}
        arms = column["arm"].dictionary_encode()
        arm_of = np.full((len(self.spec.experiments), max(len(arms.dictionary), 1)), -1, dtype=np.int64)
        for e, one in enumerate(self.spec.experiments):
            known = {arm: i for i, arm in enumerate(one.arms)}
            arm_of[e, : len(arms.dictionary)] = [known.get(name, -1) for name in arms.dictionary.to_pylist()]
        return Units(
            experiment,
            arm_of[experiment, arms.indices.to_numpy(zero_copy_only=False)],
            column["anchor"].cast(pa.int64()).to_numpy(zero_copy_only=False),
            measures,
            {a: column[f"attribute_{a}"].cast(pa.float64()).to_numpy(zero_copy_only=False) for a in self.spec.attributes},
            self._segments(column, experiment),
            {m: _histogram(column[m.name]) for m in self.measures if m.aggregate == "histogram"},
            column[CLUSTER].to_numpy(zero_copy_only=False) if CLUSTER in column else None,
        )

    def _measures(self, table: pa.Table, rows: Ints) -> dict[Measure, npt.NDArray[np.float64]]:
        numbers = [m for m in self.measures if m.aggregate != "histogram"]
        flat = table.column("measures").combine_chunks().flatten().to_numpy(zero_copy_only=False)
        by_measure = np.ascontiguousarray(flat.reshape(table.num_rows, len(numbers))[rows].T)
        return dict(zip(numbers, by_measure, strict=True))

    def _taken(self, table: pa.Table) -> tuple[Ints, Ints]:
        """Rows that are analysed, sorted by the number of their experiment, and these numbers."""
        names = table.column("experiment").combine_chunks().dictionary_encode()
        known = {e.name: i for i, e in enumerate(self.spec.experiments)}
        of_name = np.array([known.get(name, -1) for name in names.dictionary.to_pylist()] or [-1], dtype=np.int64)
        experiment = of_name[names.indices.to_numpy(zero_copy_only=False)]
        first_arm = np.array([e.crossover == "first" for e in self.spec.experiments])
        one_arm = table.column("n_arms").to_numpy() == 1
        there = table.column("anchor").combine_chunks().is_valid().to_numpy(zero_copy_only=False)
        rows = np.flatnonzero((experiment >= 0) & there & (one_arm | first_arm[experiment]))
        rows = rows[np.argsort(experiment[rows], kind="stable")]
        return rows, experiment[rows]

    def _segments(self, column: dict[str, pa.Array], experiment: Ints) -> dict[str, tuple[Ints, tuple[str, ...]]]:
        found = {}
        for name in self.spec.segments:
            told = pc.fill_null(column[f"segment_{name}"], ABSENT).dictionary_encode()
            values = told.dictionary.to_pylist()
            place = {value: i for i, value in enumerate(values)}
            codes = np.full((len(self.spec.experiments), max(len(values), 1)), -1, dtype=np.int64)
            for e, one in enumerate(self.spec.experiments):
                top = self.shown.get((one.name, name))
                if name not in one.segments:
                    continue
                codes[e] = np.arange(max(len(values), 1)) if top is None else len(values)
                for value in top or ():
                    if value in place:
                        codes[e, place[value]] = place[value]
            found[name] = codes[experiment, told.indices.to_numpy(zero_copy_only=False)], (*values, OTHER)
        if any(e.phases for e in self.spec.experiments):
            found["(phase)"] = self._phases(column, experiment)
        return found

    def _phases(self, column: dict[str, pa.Array], experiment: Ints) -> tuple[Ints, tuple[str, ...]]:
        first = column["first_exposure"].cast(pa.int64()).to_numpy(zero_copy_only=False)
        phase = np.full(len(experiment), -1, dtype=np.int64)
        most = 0
        for e, one in enumerate(self.spec.experiments):
            if one.phases:
                starts = np.array([microseconds(start) for start, _ in one.weights_by_phase()], dtype=np.int64)
                mine = experiment == e
                phase[mine] = np.maximum(np.searchsorted(starts, first[mine], side="right") - 1, 0)
                most = max(most, len(starts))
        return phase, tuple(str(i) for i in range(most))


def _histogram(column: pa.Array) -> tuple[Ints, Ints, Ints]:
    """Unit, bin and count of a column of histograms."""
    items = column.flatten()
    return (
        pc.list_parent_indices(column).to_numpy(zero_copy_only=False).astype(np.int64),
        items.field("bin").to_numpy(zero_copy_only=False),
        items.field("n").to_numpy(zero_copy_only=False),
    )


@dataclass(frozen=True)
class StatisticsKernel:
    """Batches of units in, statistics out, once a partition."""

    spec: ExperimentSet
    as_of: int
    caps: dict[tuple[str, str], float]
    shown: dict[tuple[str, str], tuple[str, ...]]

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Summarise all batches of a partition."""
        fold = StatisticsFold(self.spec, self.as_of, self.caps, self.shown)
        for table in chunks(batches):
            fold.add(table)
        for told in fold.tables():
            yield from told.to_batches()


class StatisticsFold:
    """Tables of units in, rows of statistics out."""

    def __init__(
        self, spec: ExperimentSet, as_of: int, caps: dict[tuple[str, str], float], shown: dict[tuple[str, str], tuple[str, ...]]
    ) -> None:
        self.reader = UnitReader(spec, spec.measures, shown)
        self.summaries = Summaries(spec, as_of=as_of, caps=caps)

    def add(self, units: pa.Table) -> None:
        """Summarise more units."""
        self.summaries.add(self.reader.units(units))

    def tables(self) -> Iterator[pa.Table]:
        """Rows of the statistics table, metric by metric."""
        for summary in self.summaries.summaries():
            yield rows_of(summary)


def rows_of(summary: Summary) -> pa.Table:
    """Rows of the statistics table: the cells in which there is something."""
    counts = np.stack(summary.counts)
    kept = np.flatnonzero((summary.moments.n > 0) | counts.any(axis=0))
    cells = [summary.cells[i] for i in kept.tolist()]
    out: dict[str, Any] = {
        "experiment": pa.array([c.experiment for c in cells], pa.string()),
        "metric": pa.repeat(pa.scalar(summary.metric), len(cells)),
        "variant": pa.repeat(pa.scalar(summary.variant), len(cells)),
        "segment": pa.array([c.segment for c in cells], pa.string()),
        "segment_value": pa.array([c.segment_value for c in cells], pa.string()),
        "arm": pa.array([c.arm for c in cells], pa.string()),
    }
    place = np.full(len(summary.cells), -1, dtype=np.int64)
    place[kept] = np.arange(len(kept))
    sketch = summary.sketch
    sketched = None if sketch is None else Sketch(place[sketch.cell], sketch.bin, sketch.n)
    moments = GroupMoments(summary.moments.n[kept], summary.moments.mean[kept], summary.moments.m2[kept])
    return pa.table(out | _numbers(moments, counts[:, kept], sketched))


def _numbers(moments: GroupMoments, counts: Ints, sketch: Sketch | None) -> dict[str, Any]:
    """Columns of numbers; the cells of the sketch are rows, ascending by bin."""
    rows, k = moments.mean.shape
    out: dict[str, Any] = {"n": pa.array(moments.n), **{name: pa.array(n) for name, n in zip(COUNTS, counts, strict=True)}}
    for name, numbers, width in (("mean", moments.mean, k), ("m2", moments.m2, k * k)):
        offsets = pa.array(np.arange(rows + 1, dtype=np.int32) * width)
        out[name] = pa.ListArray.from_arrays(offsets, pa.array(np.ascontiguousarray(numbers).ravel()))
    if sketch is None:
        out["bins"] = pa.array([[]] * rows, pa.list_(BIN))
    else:
        order = np.argsort(sketch.cell, kind="stable")
        offsets = pa.array(np.searchsorted(sketch.cell[order], np.arange(rows + 1)).astype(np.int32))
        items = pa.StructArray.from_arrays([pa.array(sketch.bin[order]), pa.array(sketch.n[order])], fields=list(BIN))
        out["bins"] = pa.ListArray.from_arrays(offsets, items)
    return out


def merge_kernel(table: pa.Table, starts: Ints) -> Iterator[pa.Table]:
    """Merge the statistics of each cell; of metrics with the same number of terms together."""
    lengths = pc.list_value_length(table.column("mean")).to_numpy()
    cell_of_row = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    for k in np.unique(lengths).tolist():
        rows = np.flatnonzero(lengths == k)
        cells, into = np.unique(cell_of_row[rows], return_inverse=True)
        part = table.take(pa.array(rows)).combine_chunks()

        def column(name: str, part: pa.Table = part) -> Any:
            return part.column(name).combine_chunks()

        n = len(cells)
        mean = column("mean").flatten().to_numpy(zero_copy_only=False).reshape(len(rows), k)
        m2 = column("m2").flatten().to_numpy(zero_copy_only=False).reshape(len(rows), k, k)
        moments = merged(GroupMoments(column("n").to_numpy(zero_copy_only=False), mean, m2), into, n)
        counts = np.zeros((len(COUNTS), n), dtype=np.int64)
        for i, name in enumerate(COUNTS):
            np.add.at(counts[i], into, column(name).to_numpy(zero_copy_only=False))
        parent, number, many = _histogram(column("bins"))
        sketch = added([Sketch(into[parent], number, many)]) if len(parent) else None
        keys = table.select(list(KEYS)).take(pa.array(starts[:-1][cells]))
        yield pa.table({name: keys.column(name) for name in KEYS} | _numbers(moments, counts, sketch))


@dataclass(frozen=True)
class CapKernel:
    """Batches of units in, log histograms of the metrics with a percentile cap out."""

    spec: ExperimentSet
    metrics: tuple[tuple[str, tuple[Metric, ...]], ...]
    """Experiment to those of its metrics that have a percentile cap."""

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """One row per experiment, metric and bin of each chunk."""
        wanted = dict(self.metrics)
        names = [e.name for e in self.spec.experiments]
        reader = UnitReader(self.spec, self.spec.measures, {})
        for table in chunks(batches):
            units = reader.units(table)
            edges = np.searchsorted(units.experiment, np.arange(len(names) + 1))
            for number, experiment in enumerate(names):
                for metric in wanted.get(experiment, ()):
                    part = units.part(int(edges[number]), int(edges[number + 1]), metric)
                    at, n = np.unique(bins(metric.values[0].value(part.measures, metric.stretch)), return_counts=True)
                    same = pa.repeat(pa.scalar(experiment), len(at)), pa.repeat(pa.scalar(metric.name), len(at))
                    yield pa.RecordBatch.from_arrays([*same, pa.array(at), pa.array(n)], names=["experiment", "metric", "bin", "n"])


def percentile_capped(spec: ExperimentSet) -> tuple[tuple[str, tuple[Metric, ...]], ...]:
    """Experiment to those of its metrics that have a percentile cap; experiments without one are left out."""
    found = [(e.name, tuple(m for m in spec.metrics_of(e) if isinstance(m.cap, PercentileCap))) for e in spec.experiments]
    return tuple((name, metrics) for name, metrics in found if metrics)
