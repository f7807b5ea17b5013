"""Unit rows on Arrow: sorted exposures, facts and stored rows of whole units in, one row per unit and experiment out.

Takes the rows that `sparkds.experiments.units` exchanges and hands their arrays to the kernel.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sparkds.experiments.measures import Measure
from sparkds.experiments.unit_kernel import FactRows, FirstExposures, Ranges, first_exposures, histograms, measured, next_row, stored_rows

FOREVER = 2**62
STORED, FLAGGED = 126, 127
"""Kinds of rows in the exchange beside 0, the exposures, and 1 …, the facts."""


@dataclass(frozen=True)
class FactColumns:
    """Prepared columns of one fact table in the exchanged rows.

    Attributes
    ----------
    kind : int
        Value of ``kind`` of its rows.
    where : dict of str to (str, int)
        Predicate to prepared column and the bit in it that says whether the predicate is true.
    values, codes : dict of str to str
        Fact column to prepared column with its numbers, or with a 64-bit digest of its value.
    scale : dict of str to float
        Fact column to the number by which its whole numbers are divided (decimals).
    measures : tuple of Measure
    """

    kind: int
    where: dict[str, tuple[str, int]]
    values: dict[str, str]
    codes: dict[str, str]
    scale: dict[str, float]
    measures: tuple[Measure, ...]


@dataclass(frozen=True)
class UnitKernel:
    """Sorted rows of a block of units in, one row per unit and experiment out.

    Attributes
    ----------
    clustered : bool
        Whether a unit's random group is passed on.
    base : int, optional
        Instant from which facts are added to stored measures.
    n_stored : int
        Stored measures of a unit.
    continued : dict of Measure to int
        Measures that go on from a stored one, and its place.
    """

    experiments: tuple[str, ...]
    arms: tuple[tuple[str, ...], ...]
    ends: tuple[int, ...]
    triggers: tuple[tuple[str, str] | None, ...]
    segments: tuple[str, ...]
    attributes: tuple[str, ...]
    facts: dict[str, FactColumns]
    as_of: int
    measures: tuple[Measure, ...]
    clustered: bool = False
    base: int | None = None
    n_stored: int = 0
    continued: dict[Measure, int] = field(default_factory=dict)

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
        if not self.continued:
            return at, floor, {}
        stored = (
            table.column("stored").take(taken).combine_chunks().flatten().to_numpy(zero_copy_only=False).reshape(len(rows), self.n_stored)
        )
        return at, floor, {m: stored[:, place] for m, place in self.continued.items()}

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
        numbers = [values[m] for m in self.measures if m not in lists]
        offsets = np.arange(len(anchor) + 1, dtype=np.int32) * len(numbers)
        side_by_side = np.stack(numbers, axis=1).ravel() if numbers else np.zeros(0)
        out["measures"] = pa.ListArray.from_arrays(pa.array(offsets), pa.array(side_by_side))
        if self.clustered:
            out["cluster"] = seen.column("cluster").combine_chunks()
        out |= {m.name: lists[m] for m in self.measures if m in lists}
        return pa.table(out)


def _lists(found: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]], n: int) -> pa.Array:
    """Histograms of n exposures as Arrow lists."""
    exposure, number, many = found
    offsets = pa.array(np.searchsorted(exposure, np.arange(n + 1)).astype(np.int32))
    return pa.ListArray.from_arrays(offsets, pa.StructArray.from_arrays([pa.array(number), pa.array(many)], names=["bin", "n"]))


def facts_of(
    table: pa.Table, kind: npt.NDArray[Any], unit: npt.NDArray[np.int64], time: npt.NDArray[np.int64], columns: FactColumns
) -> FactRows:
    """Rows of one fact table in a block of exchanged rows."""
    rows = np.flatnonzero(kind == columns.kind)
    taken = pa.array(rows)

    def numbers(name: str) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        column = table.column(name).combine_chunks().take(taken)
        return column.fill_null(0).to_numpy(zero_copy_only=False), column.is_valid().to_numpy(zero_copy_only=False)

    masks = {name: numbers(name)[0] for name in dict.fromkeys(name for name, _ in columns.where.values())}
    return FactRows(
        unit[rows],
        time[rows],
        {where: (masks[name] >> bit) & 1 == 1 for where, (name, bit) in columns.where.items()},
        {column: numbers(name) for column, name in columns.values.items()},
        {column: numbers(name) for column, name in columns.codes.items()},
    )
