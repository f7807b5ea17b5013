"""Headcounts: how many units each arm has, in all, by segment, by local day of exposure and by phase.

Takes tables of units and gives counts in the columns of statistics (without terms), so that both travel and merge alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sparkds.blocks import key_starts
from sparkds.days import microseconds
from sparkds.experiments.arrow import ABSENT, BIN, COUNTS, KEYS, OTHER, merge_kernel
from sparkds.experiments.experiment import ExperimentSet

QUARTER = 900_000_000
"""Microseconds in which no zone changes its day: a quarter of an hour."""
VARIANTS = ("exposed", "analysed", "n_crossover")
OWN = ("", "(day)", "(phase)")
"""Segments that are counted for every experiment, whatever is declared."""


class Headcounts:
    """Counts of units that come piece by piece."""

    def __init__(self, spec: ExperimentSet) -> None:
        self.spec, self.zone = spec, ZoneInfo(spec.time_zone)
        self.first_arm = pa.array([e.name for e in spec.experiments if e.crossover == "first"], pa.string())
        self.seen: list[pa.Table] = []

    def add(self, units: pa.Table) -> None:
        """Count more units; columns as in the unit table."""
        moved = pc.greater(units.column("n_arms"), 1)
        taken = pc.or_(pc.invert(moved), pc.is_in(units.column("experiment"), self.first_arm))
        analysed = pc.and_(units.column("anchor").is_valid(), taken)
        flags = {
            "exposed": pa.array(np.ones(units.num_rows, dtype=np.int64)),
            "analysed": pc.cast(analysed, "int64"),
            "n_crossover": pc.cast(moved, "int64"),
        }
        for segment, values in self._values(units).items():
            table = pa.table({"experiment": units.column("experiment"), "segment_value": values, "arm": units.column("arm"), **flags})
            counted = _summed(table, ("experiment", "segment_value", "arm"))
            self.seen.append(counted.append_column("segment", pa.repeat(pa.scalar(segment), counted.num_rows)))
        if len(self.seen) > 256:
            self.seen = [self._together()]

    def _values(self, units: pa.Table) -> dict[str, pa.Array]:
        first = units.column("first_exposure").cast(pa.int64()).to_numpy()
        experiment = units.column("experiment").combine_chunks().dictionary_encode()
        starts = {e.name: np.array([microseconds(s) for s, _ in e.weights_by_phase()]) for e in self.spec.experiments}
        code = experiment.indices.to_numpy(zero_copy_only=False)
        phase = np.zeros(units.num_rows, dtype=np.int64)
        for i, name in enumerate(experiment.dictionary.to_pylist()):
            mine = code == i
            phase[mine] = np.maximum(np.searchsorted(starts[name], first[mine], side="right") - 1, 0)
        found = {
            "": pa.repeat(pa.scalar(""), units.num_rows),
            "(day)": self._days(first),
            "(phase)": pa.array(phase).cast(pa.string()),
        }
        for name in self.spec.segments:
            declared = pa.array([e.name for e in self.spec.experiments if name in e.segments], pa.string())
            here = pc.is_in(units.column("experiment"), declared)
            found[name] = pc.if_else(here, pc.fill_null(units.column(f"segment_{name}"), ABSENT), pa.scalar(None, pa.string()))
        return found

    def _days(self, instants: npt.NDArray[np.int64]) -> pa.Array:
        quarter, place = np.unique(instants // QUARTER, return_inverse=True)
        days = [datetime.fromtimestamp(q * QUARTER // 1_000_000, UTC).astimezone(self.zone).date().isoformat() for q in quarter.tolist()]
        return pa.array(days, pa.string()).take(pa.array(place))

    def _together(self) -> pa.Table:
        return _summed(pa.concat_tables(self.seen), ("experiment", "segment", "segment_value", "arm"))

    def tables(self) -> Iterable[pa.Table]:
        """Rows in the columns of the statistics: no metric, the kind of count as variant, the count as ``n``."""
        if not self.seen:
            return
        counted = self._together()
        counted = counted.filter(counted.column("segment_value").is_valid())
        rows = counted.num_rows
        for variant in VARIANTS:
            nothing = pa.array(np.zeros(rows, dtype=np.int64))
            empty = pa.array([[]] * rows, pa.list_(pa.float64()))
            told = {name: counted.column(name) for name in KEYS if name in counted.column_names}
            told |= {"metric": pa.repeat(pa.scalar(""), rows), "variant": pa.repeat(pa.scalar(variant), rows)}
            numbers = {"n": counted.column(variant).cast(pa.int64()), **dict.fromkeys(COUNTS, nothing)}
            numbers |= {"mean": empty, "m2": empty, "bins": pa.array([[]] * rows, pa.list_(BIN))}
            yield pa.table({name: told[name] for name in KEYS} | numbers)


def _summed(table: pa.Table, keys: tuple[str, ...]) -> pa.Table:
    """Sums of the counts by keys, under the same names."""
    counted = table.group_by(list(keys)).aggregate([(variant, "sum") for variant in VARIANTS])
    return counted.rename_columns([name.removesuffix("_sum") for name in counted.column_names])


def headcounts_of(told: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Headcounts, a column for each, and the statistics of metrics, from rows that hold both."""
    counts = pc.equal(told.column("metric"), "")
    rows = told.filter(counts)
    keys = ("experiment", "segment", "segment_value", "arm")
    table = pa.table({name: rows.column(name) for name in keys})
    for variant in VARIANTS:
        mine = pc.equal(rows.column("variant"), variant)
        table = table.append_column(variant, pc.if_else(mine, rows.column("n"), 0))
    return _summed(table, keys), told.filter(pc.invert(counts))


def most_frequent(spec: ExperimentSet, counts: pa.Table) -> dict[tuple[str, str], tuple[str, ...]]:
    """Values of each segment with the most exposed units, at most ``top_segments`` of the experiment; of equals the smaller value."""
    total: dict[tuple[str, str], dict[str, int]] = {}
    for row in counts.to_pylist():
        by_value = total.setdefault((row["experiment"], row["segment"]), {})
        by_value[row["segment_value"]] = by_value.get(row["segment_value"], 0) + row["exposed"]
    found = {}
    for experiment in spec.experiments:
        for segment in experiment.segments:
            values = total.get((experiment.name, segment), {})
            ranked = sorted(values, key=lambda value: (-values[value], value))
            found[experiment.name, segment] = tuple(ranked[: experiment.top_segments])
    return found


def shown_only(table: pa.Table, shown: Mapping[tuple[str, str], tuple[str, ...]]) -> pa.Table:
    """Statistics or headcounts with the values of a segment that are not shown added up as ``(other)``."""
    experiment, segment, value = (table.column(name).to_pylist() for name in ("experiment", "segment", "segment_value"))
    kept = {key: set(values) for key, values in shown.items()}
    renamed = [v if s in OWN or v in kept.get((e, s), ()) else OTHER for e, s, v in zip(experiment, segment, value, strict=True)]
    at = table.column_names.index("segment_value")
    table = table.set_column(at, "segment_value", pa.array(renamed, pa.string()))
    if "metric" not in table.column_names:
        return _summed(table, ("experiment", "segment", "segment_value", "arm"))
    if OTHER not in renamed:
        return table
    table = table.sort_by([(name, "ascending") for name in KEYS]).combine_chunks()
    return pa.concat_tables(merge_kernel(table, key_starts(table, KEYS)))
