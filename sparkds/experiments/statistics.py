"""Statistics of metrics, on arrays: from the measures of a batch of units to moments by arm and segment.

Takes columns of unit rows and gives partial statistics that merge by addition of disjoint units; Spark only carries them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sparkds.experiments.measures import Measure, Stretch
from sparkds.experiments.metrics import Attribute, EventQuantile, Metric, PrePeriod, Quantile, Variant, variants
from sparkds.stats.group_moments import GroupMoments, grouped, merged
from sparkds.stats.log_histogram import bins, clustered_bins

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

ALL = ""
"""Segment name and value of all units together."""


class Cell(NamedTuple):
    """What a row of statistics is about."""

    experiment: str
    metric: str
    variant: str
    segment: str
    segment_value: str
    arm: str


@dataclass(frozen=True)
class Units:
    """Batch of units of one experiment.

    Attributes
    ----------
    arm : (n,) int64
    anchor : (n,) int64
        Microseconds.
    measures : mapping of Measure to (n,) float64
    attributes : mapping of str to (n,) float64
        NaN where null.
    segments : mapping of str to ((n,) int64, tuple of str)
        Segment to codes and the values that they stand for.
    histograms : mapping of Measure to (unit, bin, count) arrays
        Of all units together, `unit` its number in the batch.
    cluster : (n,) int64, optional
        One of `CLUSTERS` random groups of each unit.
    """

    arm: Ints
    anchor: Ints
    measures: Mapping[Measure, Array]
    attributes: Mapping[str, Array]
    segments: Mapping[str, tuple[Ints, tuple[str, ...]]]
    histograms: Mapping[Measure, tuple[Ints, Ints, Ints]] = field(default_factory=dict)
    cluster: Ints | None = None


def vector(metric: Metric, variant: Variant, units: Units, cap: float | None) -> Array:
    """Values and covariates of every unit, in the order of ``metric.terms``: (n, k).

    A cap lowers the value and its pre-period alike; of a ratio, the numerator.
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


@dataclass
class Partial:
    """Statistics of some units in one cell.

    Attributes
    ----------
    n, n_not_observed, n_incomplete, n_capped : int
        Units with an observation; without; whose window is not complete; above the cap.
    mean : (k,), m2 : (k, k)
    bins : dict of int to int
        Sketch of the first term, for quantiles.
    """

    n: int
    n_not_observed: int
    n_incomplete: int
    n_capped: int
    mean: Array
    m2: Array
    bins: dict[int, int]


def batch_statistics(
    experiment: str,
    arms: Sequence[str],
    metrics: Iterable[Metric],
    units: Units,
    *,
    as_of: int,
    caps: Mapping[str, float],
    novelty_days: int,
) -> Iterator[tuple[Cell, Partial]]:
    """Partial statistics of a batch of units, for all units and for every segment."""
    if len(units.arm) == 0:
        return
    groups = _Groups(units, len(arms))
    for metric in metrics:
        cap = caps.get(metric.name)
        for variant in variants(metric, novelty_days):
            allowed, observed = taking_part(metric, variant, units, as_of)
            x = vector(metric, variant, units, cap)
            over = observed & (x[:, 0] >= cap) if variant.capped and cap is not None else np.zeros(len(observed), dtype=bool)
            told = groups.counts(~allowed, allowed & ~observed, over)
            moments = groups.moments(x, observed)
            plain = variant.name == "declared"
            for slot, (segment, value, arm) in enumerate(groups.slots):
                if not plain and segment != ALL:
                    continue
                n = int(moments.n[slot])
                if n == 0 and not told[:, slot].any():
                    continue
                sketch = groups.sketch(x[:, 0], observed, slot) if isinstance(metric, Quantile) else {}
                if isinstance(metric, EventQuantile):
                    sketch = groups.events(units, metric.values[0].measures(variant.stretch)[-1], observed, slot)
                incomplete, absent, capped = (int(count) for count in told[:, slot])
                cell = Cell(experiment, metric.name, variant.name, segment, value, arms[arm])
                yield cell, Partial(n, absent, incomplete, capped, moments.mean[slot], moments.m2[slot], sketch)


class _Groups:
    """Arms crossed with each segment's values, all of them made from the finest cells once."""

    def __init__(self, units: Units, n_arms: int) -> None:
        code, size = units.arm.copy(), n_arms
        for codes, values in units.segments.values():
            code = code * len(values) + codes
            size *= len(values)
        self.finest, self.cell = np.unique(code, return_inverse=True)
        rest, parts = self.finest.copy(), {}
        for name, (_, values) in reversed(list(units.segments.items())):
            rest, parts[name] = np.divmod(rest, len(values))
        arm = rest
        self.slots: list[tuple[str, str, int]] = [(ALL, ALL, a) for a in range(n_arms)]
        self.into: list[Ints] = [arm]
        for name, (_, values) in units.segments.items():
            self.into.append(len(self.slots) + arm * len(values) + parts[name])
            self.slots += [(name, value, a) for a in range(n_arms) for value in values]

    def _spread(self, of_finest: Ints) -> Ints:
        found = np.zeros(len(self.slots), dtype=np.int64)
        for into in self.into:
            np.add.at(found, into, of_finest)
        return found

    def counts(self, *wanted: Bools) -> Ints:
        n = len(self.finest)
        return np.stack([self._spread(np.bincount(self.cell[rows], minlength=n)) for rows in wanted])

    def moments(self, x: Array, observed: Bools) -> GroupMoments:
        finest = grouped(x[observed], self.cell[observed], len(self.finest))
        times = len(self.into)
        repeated = GroupMoments(np.tile(finest.n, times), np.tile(finest.mean, (times, 1)), np.tile(finest.m2, (times, 1, 1)))
        return merged(repeated, np.concatenate(self.into), len(self.slots))

    def _units_of(self, slot: int) -> Bools:
        mine = np.zeros(len(self.finest), dtype=bool)
        for into in self.into:
            mine |= into == slot
        found: Bools = mine[self.cell]
        return found

    def events(self, units: Units, measure: Measure, observed: Bools, slot: int) -> dict[int, int]:
        """Histogram of the events of each cluster of units."""
        assert units.cluster is not None
        unit, number, n = units.histograms[measure]
        kept = (observed & self._units_of(slot))[unit]
        keys, place = np.unique(clustered_bins(units.cluster[unit[kept]], number[kept]), return_inverse=True)
        counts = np.bincount(place, weights=n[kept], minlength=len(keys)).astype(np.int64)
        return dict(zip(keys.tolist(), counts.tolist(), strict=True))

    def sketch(self, x: Array, observed: Bools, slot: int) -> dict[int, int]:
        number, n = np.unique(bins(x[observed & self._units_of(slot)]), return_counts=True)
        return dict(zip(number.tolist(), n.tolist(), strict=True))


def merged_partials(parts: Sequence[Partial]) -> Partial:
    """Statistics of the union of disjoint units."""
    moments = merged(
        GroupMoments(np.array([p.n for p in parts], dtype=np.int64), np.stack([p.mean for p in parts]), np.stack([p.m2 for p in parts])),
        np.zeros(len(parts), dtype=np.int64),
        1,
    )
    sketch: dict[int, int] = {}
    for part in parts:
        for number, n in part.bins.items():
            sketch[number] = sketch.get(number, 0) + n
    return Partial(
        int(moments.n[0]),
        sum(p.n_not_observed for p in parts),
        sum(p.n_incomplete for p in parts),
        sum(p.n_capped for p in parts),
        moments.mean[0],
        moments.m2[0],
        dict(sorted(sketch.items())),
    )
