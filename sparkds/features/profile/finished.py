"""Finished profiles: states of a column over all slices merged and read on the workers, and the small rows that come of it put together.

Takes rows of states and gives one row a column; only such rows, with a bounded sample, are seen by the driver.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from datetime import date
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sparkds.features.profile.arrow import UNDATED, state_of
from sparkds.features.profile.column_state import NUMERIC
from sparkds.features.profile.declaration import Profile
from sparkds.features.profile.kernel import Channel
from sparkds.features.profile.results import (
    Bar,
    ColumnProfile,
    QuantileValue,
    TableProfile,
    TopValue,
    column_profile,
    correlations_of,
)

FINISHED_SCHEMA: Final = (
    "`column` string, n_slices bigint, undated bigint, profile string, others binary, pearson binary, priorities binary, sample binary"
)
MERGED_COUNTERS: Final = 4096
ARROW_SCHEMA: Final = pa.schema(
    [
        ("column", pa.string()),
        ("n_slices", pa.int64()),
        ("undated", pa.int64()),
        ("profile", pa.string()),
        *((name, pa.binary()) for name in ("others", "pearson", "priorities", "sample")),
    ]
)


@dataclass(frozen=True)
class FinishKernel:
    """Rows of states of a column, by day, in; one row with its profile out."""

    spec: Profile

    def __call__(self, table: pa.Table, starts: npt.NDArray[np.int64]) -> Iterator[pa.Table]:
        """Finish a block of whole columns."""
        rows = table.to_pylist()
        found = [self._finished(rows[low:high]) for low, high in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)]
        yield pa.Table.from_pylist(found, schema=ARROW_SCHEMA)

    def _finished(self, rows: list[Any]) -> dict[str, Any]:
        days = [row["day"] for row in rows if row["day"] not in (None, UNDATED)]
        states = [state_of(row) for row in rows]
        if len(states) > 1:  # so that no more is lost than the slices have lost
            states = [replace(state, frequent=replace(state.frequent, size=MERGED_COUNTERS)) for state in states]
        state = states[0]
        for other in states[1:]:
            state = state + other
        undated = sum(row["n"] for row in rows if row["day"] == UNDATED)
        last = rows[-1] if rows[-1]["day"] != UNDATED or len(rows) == 1 else rows[-2]
        profile = column_profile(
            self.spec,
            state,
            column=last["column"],
            position=last["position"],
            dtype=last["type"],
            days=(min(days, default=None), max(days, default=None)),
        )
        sample = _sample(states, self.spec.most_sampled)
        return {
            "column": profile.column,
            "n_slices": len({row["day"] for row in rows}),
            "undated": undated,
            "profile": as_text(profile),
            "others": state.pairs.others.astype("<i8").tobytes(),
            "pearson": np.stack((state.pairs.pearson, state.pairs.values[0])).astype("<f8").tobytes(),
            "priorities": sample[0].astype("<u8").tobytes(),
            "sample": sample[1].astype("<f8").tobytes(),
        }


def _sample(states: list[Any], most: int) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.float64]]:
    """Sampled rows of all slices together: as many as may be said to be drawn alike."""
    whole = states[0].sample.cut(max(most, states[0].sample.size))
    for state in states[1:]:
        whole = whole + state.sample
    whole = whole.cut(most)
    return whole.priorities, whole.values[:, 0]


def as_text(profile: ColumnProfile) -> str:
    """Profile as JSON; NaN is written as such."""
    return json.dumps(asdict(profile) | {name: value and value.isoformat() for name, value in _days(profile)}, ensure_ascii=False)


def of_text(told: str) -> ColumnProfile:
    """Profile of its JSON."""
    found = json.loads(told)
    for name in ("first_day", "last_day"):
        found[name] = found[name] and date.fromisoformat(found[name])
    for name, kind in (("quantiles", QuantileValue), ("top", TopValue), ("histogram", Bar)):
        found[name] = tuple(kind(*row) for row in found[name])
    found["findings"] = tuple(found["findings"])
    return ColumnProfile(**{one.name: found[one.name] for one in fields(ColumnProfile)})


def _days(profile: ColumnProfile) -> tuple[tuple[str, date | None], ...]:
    return ("first_day", profile.first_day), ("last_day", profile.last_day)


def table_profile(table: pa.Table, spec: Profile) -> TableProfile:
    """Put the finished columns of a table together."""
    rows = table.to_pylist()
    profiles = {row["column"]: of_text(row["profile"]) for row in rows}
    by_name = {row["column"]: row for row in rows}
    columns = sorted(profiles.values(), key=lambda profile: (profile.position, profile.column))
    numbers = {name: Channel(name, "", "number", 0).number for name in profiles}
    pearson = {}
    for name, row in by_name.items():
        others, values = np.frombuffer(row["others"], "<i8"), np.frombuffer(row["pearson"], "<f8").reshape(2, -1)
        pearson[name] = {int(o): (float(r), int(n)) for o, r, n in zip(others, *values, strict=True)}
    paired = {number for told in pearson.values() for number in told}
    numeric = [c.column for c in columns if c.kind in NUMERIC and (pearson[c.column] or numbers[c.column] in paired)]
    return TableProfile(
        columns=tuple(columns),
        correlations=correlations_of(numeric, numbers, pearson, _matrix([by_name[name] for name in numeric])),
        n_slices=max((row["n_slices"] for row in rows), default=0),
        undated=max((row["undated"] for row in rows), default=0),
    )


def _matrix(rows: list[Any]) -> npt.NDArray[np.float64]:
    """Sampled values of columns side by side, row by row of the same priority: (k, q)."""
    priorities = [np.frombuffer(row["priorities"], "<u8") for row in rows]
    every = np.unique(np.concatenate(priorities)) if rows else np.zeros(0, np.uint64)
    found = np.full((len(every), len(rows)), np.nan)
    for i, row in enumerate(rows):
        found[np.searchsorted(every, priorities[i]), i] = np.frombuffer(row["sample"], "<f8")
    return found
