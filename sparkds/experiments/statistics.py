"""Statistics of metrics, on arrays: from the measures of units to moments by experiment, arm and segment.

Takes columns of unit rows and gives statistics that merge by addition of disjoint units; Spark only carries them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from sparkds.experiments.experiment import ExperimentSet
from sparkds.experiments.measures import Measure, Stretch
from sparkds.experiments.metrics import Attribute, EventQuantile, Metric, PrePeriod, Quantile, Variant, variants
from sparkds.stats.group_moments import GroupMoments, grouped, merged
from sparkds.stats.log_histogram import bins, clustered_bins

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

ALL: Final = ""
"""Segment name and value of all units together."""
PARTS_HELD: Final = 16
"""Partial moments of a metric that are kept apart before they are merged."""


@dataclass(frozen=True)
class Units:
    """Some units, each in one experiment.

    Attributes
    ----------
    experiment : (n,) int64
        Number of the experiment in its set, ascending.
    arm : (n,) int64
        Number of the arm in its experiment.
    anchor : (n,) int64
        Microseconds.
    measures : mapping of Measure to (n,) float64
    attributes : mapping of str to (n,) float64
        NaN where null.
    segments : mapping of str to ((n,) int64, tuple of str)
        Segment to codes and the values that they stand for; -1 in an experiment without that segment.
    histograms : mapping of Measure to (unit, bin, count) arrays
        Of all units together, `unit` its number, ascending.
    cluster : (n,) int64, optional
        One of `CLUSTERS` random groups of each unit.
    """

    experiment: Ints
    arm: Ints
    anchor: Ints
    measures: Mapping[Measure, Array]
    attributes: Mapping[str, Array] = field(default_factory=dict)
    segments: Mapping[str, tuple[Ints, tuple[str, ...]]] = field(default_factory=dict)
    histograms: Mapping[Measure, tuple[Ints, Ints, Ints]] = field(default_factory=dict)
    cluster: Ints | None = None

    def part(self, low: int, high: int, metric: Metric) -> Units:
        """Units ``low:high`` with what one metric may need; no copies."""
        if (low, high) == (0, len(self.arm)):
            return self
        here = slice(low, high)
        histograms = {}
        for measure, (unit, number, n) in self.histograms.items():
            mine = slice(*np.searchsorted(unit, (low, high)).tolist())
            histograms[measure] = unit[mine] - low, number[mine], n[mine]
        return Units(
            self.experiment[here],
            self.arm[here],
            self.anchor[here],
            {m: x[here] for m, x in self.measures.items()},
            {c: self.attributes[c][here] for c in self.attributes},
            {},
            histograms if isinstance(metric, EventQuantile) else {},
            None if self.cluster is None else self.cluster[here],
        )


def vector(metric: Metric, variant: Variant, units: Units, cap: float | Array | None) -> Array:
    """Values and covariates of every unit, in the order of ``metric.terms``: (n, k).

    A cap, one or one a unit, lowers the value and its pre-period alike; of a ratio, the numerator.
    """

    def capped(x: Array, position: int) -> Array:
        return np.minimum(x, cap) if variant.capped and cap is not None and position == 0 else x

    columns = [capped(value.value(units.measures, variant.stretch), i) for i, value in enumerate(metric.values)]
    for covariate in metric.covariates:
        if isinstance(covariate, PrePeriod):
            before = Stretch.before(covariate.days)
            columns += [capped(value.value(units.measures, before), i) for i, value in enumerate(metric.values)]
            seen = np.any([value.observed(units.measures, before) for value in metric.values], axis=0)
            columns.append(1.0 - seen)
        elif isinstance(covariate, Attribute):
            x = units.attributes[covariate.column]
            columns += [np.where(np.isnan(x), 0.0, x), np.isnan(x).astype(np.float64)]
    return np.stack(columns, axis=1)


def taking_part(metric: Metric, variant: Variant, units: Units, as_of: int) -> tuple[Bools, Bools]:
    """Units whose window allows them to take part, and of these the ones with an observation: (n,) each."""
    allowed = np.ones(len(units.arm), dtype=bool)
    end = variant.stretch.end
    if end is not None and (metric.complete_only or variant.name.startswith("day_")):
        allowed &= units.anchor + end <= as_of
    observed = allowed.copy()
    if metric.absent == "not_observed":
        for value in metric.values:
            observed &= value.observed(units.measures, variant.stretch)
    return allowed, observed


class Counts(NamedTuple):
    """Units of every cell that have no observation, an incomplete window, or a value at or above the cap: (n_cells,) each."""

    n_not_observed: Ints
    n_incomplete: Ints
    n_capped: Ints


class Sketch(NamedTuple):
    """Counts of bins by cell, without repetition, ascending by cell and bin: (n,) each."""

    cell: Ints
    bin: Ints
    n: Ints


class Cell(NamedTuple):
    """Units that are summarised together."""

    experiment: str
    segment: str
    segment_value: str
    arm: str


@dataclass(frozen=True)
class Summary:
    """Statistics of one metric and variant in all cells.

    Attributes
    ----------
    metric, variant : str
    cells : tuple of Cell
    moments : GroupMoments of n_cells groups
    counts : Counts
    sketch : Sketch, optional
        For quantiles.
    """

    metric: str
    variant: str
    cells: tuple[Cell, ...]
    moments: GroupMoments
    counts: Counts
    sketch: Sketch | None


class _Column:
    """One metric and variant, and what has been seen of it."""

    def __init__(self, spec: ExperimentSet, metric: Metric, variant: Variant, caps: Mapping[tuple[str, str], float]) -> None:
        self.metric, self.variant = metric, variant
        self.cap = np.array([caps.get((e.name, metric.name), np.inf) for e in spec.experiments]) if variant.capped else None
        taken = [metric in spec.metrics_of(e) and variant in variants(metric, e.novelty_days) for e in spec.experiments]
        edges = np.flatnonzero(np.diff([False, *taken, False]))
        self.runs = [(int(low), int(high)) for low, high in edges.reshape(-1, 2)]
        """Neighbouring experiments that have the metric, as ranges of their numbers."""
        self.by_segment = variant.name == "declared"
        self.moments: list[tuple[Ints, GroupMoments]] = []
        self.counts: list[tuple[Ints, Ints]] = []
        self.sketches: list[Sketch] = []


class Summaries:
    """Statistics of units that come piece by piece.

    Parameters
    ----------
    spec : ExperimentSet
    as_of : int
        Microseconds; windows that end later are incomplete.
    caps : mapping of (experiment, metric) to float
    """

    def __init__(self, spec: ExperimentSet, *, as_of: int, caps: Mapping[tuple[str, str], float]) -> None:
        self.as_of = as_of
        self.experiments = [(e.name, tuple(e.arms)) for e in spec.experiments]
        longest = max(e.novelty_days for e in spec.experiments)
        self.columns = [_Column(spec, metric, variant, caps) for metric in spec.metrics for variant in variants(metric, longest)]
        self.cells: dict[Cell, int] = {}

    def add(self, units: Units) -> None:
        """Summarise more units."""
        if len(units.arm) == 0:
            return
        groups = _Groups(units, self.experiments, self.cells)
        edges = np.searchsorted(units.experiment, np.arange(len(self.experiments) + 1))
        for column in self.columns:
            for first, last in column.runs:
                low, high = int(edges[first]), int(edges[last])
                if low < high:
                    self._add(column, units.part(low, high, column.metric), groups, low, high)

    def _add(self, column: _Column, units: Units, groups: _Groups, low: int, high: int) -> None:
        metric, variant = column.metric, column.variant
        cap = None if column.cap is None else column.cap[units.experiment]
        allowed, observed = taking_part(metric, variant, units, self.as_of)
        x = vector(metric, variant, units, cap)
        cell, all_there = groups.cell[low:high], bool(observed.all())
        finest = grouped(x, cell, groups.n) if all_there else grouped(x[observed], cell[observed], groups.n)
        told = [allowed & ~observed, ~allowed, observed & (x[:, 0] >= cap) if cap is not None else np.zeros(0, dtype=bool)]
        counts = np.stack([np.bincount(cell[rows], minlength=groups.n) if rows.any() else np.zeros(groups.n, np.int64) for rows in told])
        seen = (finest.n > 0) | counts.any(axis=0)
        sketch = _sketch(metric, variant, units, x, observed, cell)
        for into in groups.into if column.by_segment else groups.into[:1]:
            kept = np.flatnonzero(seen & (into >= 0))
            column.moments.append((into[kept], GroupMoments(finest.n[kept], finest.mean[kept], finest.m2[kept])))
            column.counts.append((into[kept], counts[:, kept]))
            if sketch is not None:
                inside = into[sketch.cell] >= 0
                column.sketches.append(Sketch(into[sketch.cell][inside], sketch.bin[inside], sketch.n[inside]))
        if len(column.moments) > PARTS_HELD:
            self._merge(column)

    def _merge(self, column: _Column) -> None:
        n = len(self.cells)
        cell = np.concatenate([into for into, _ in column.moments])
        told = [part for _, part in column.moments]
        parts = GroupMoments(*(np.concatenate([part[i] for part in told]) for i in range(len(GroupMoments._fields))))
        column.moments = [(np.arange(n), merged(parts, cell, n))]
        counts = np.zeros((3, n), dtype=np.int64)
        for into, rows in column.counts:
            counts += np.stack([np.bincount(into, weights=row, minlength=n).astype(np.int64) for row in rows])
        column.counts = [(np.arange(n), counts)]
        if column.sketches:
            column.sketches = [added(column.sketches)]

    def summaries(self) -> Iterator[Summary]:
        """Statistics of all units so far, metric by metric."""
        cells = tuple(self.cells)
        for column in self.columns:
            if column.moments:
                self._merge(column)
                sketch = column.sketches[0] if column.sketches else None
                moments, counts = column.moments[0][1], Counts(*column.counts[0][1])
                yield Summary(column.metric.name, column.variant.name, cells, moments, counts, sketch)


def _sketch(metric: Metric, variant: Variant, units: Units, x: Array, observed: Bools, cell: Ints) -> Sketch | None:
    """Log histogram of the values of each cell, or of the events of each cluster of its units."""
    if isinstance(metric, Quantile):
        return added([Sketch(cell[observed], bins(x[observed, 0]), np.ones(int(observed.sum()), dtype=np.int64))])
    if isinstance(metric, EventQuantile):
        assert units.cluster is not None
        unit, number, n = units.histograms[metric.values[0].measures(variant.stretch)[-1]]
        kept = observed[unit]
        unit = unit[kept]
        return added([Sketch(cell[unit], clustered_bins(units.cluster[unit], number[kept]), n[kept])])
    return None


def added(sketches: Sequence[Sketch]) -> Sketch:
    """Sum of sketches of different rows."""
    cell, number, n = (np.concatenate([getattr(s, name) for s in sketches]).astype(np.int64) for name in Sketch._fields)
    order = np.lexsort((number, cell))
    cell, number, n = cell[order], number[order], n[order]
    new = np.ones(len(cell), dtype=bool)
    new[1:] = (cell[1:] != cell[:-1]) | (number[1:] != number[:-1])
    start = np.flatnonzero(new)
    return Sketch(cell[start], number[start], np.add.reduceat(n, start) if len(start) else n)


class _Groups:
    """The finest groups of some units, experiment by arm by all segments, and the cells that each belongs to.

    Attributes
    ----------
    cell : (n_units,) int64
        Finest group of each unit.
    n : int
        Number of finest groups.
    into : list of (n,) int64
        For all units and for each segment, the number of the cell of each finest group, -1 for none.
    """

    def __init__(self, units: Units, experiments: Sequence[tuple[str, tuple[str, ...]]], cells: dict[Cell, int]) -> None:
        most = max(len(arms) for _, arms in experiments)
        code = units.experiment * most + units.arm
        _, first, self.cell = np.unique(code, return_index=True, return_inverse=True)
        for codes, values in units.segments.values():  # renumbered at each step, so that numbers stay small
            _, first, self.cell = np.unique(self.cell * (len(values) + 1) + codes + 1, return_index=True, return_inverse=True)
        self.n = len(first)
        experiment, arm = units.experiment[first].tolist(), units.arm[first].tolist()
        self.into: list[Ints] = []
        all_units: Any = (np.zeros(len(units.arm), dtype=np.int64), (ALL,))
        for segment, (codes, values) in {ALL: all_units, **units.segments}.items():
            numbers = []
            for e, a, value in zip(experiment, arm, codes[first].tolist(), strict=True):
                name, arms = experiments[e]
                cell = Cell(name, segment, values[value], arms[a]) if value >= 0 else None
                numbers.append(-1 if cell is None else cells.setdefault(cell, len(cells)))
            self.into.append(np.array(numbers, dtype=np.int64))


__all__ = ["ALL", "Cell", "Counts", "Sketch", "Summaries", "Summary", "Units", "added", "taking_part", "vector"]
