"""What is continued from the day before and the tiles that entered and left is what all tiles give, to the bit."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sparkds.features import RFM, Count, DaysSinceFirst, DaysSinceLast, FeatureSet, Max, Mean, Min, Sum
from sparkds.features.change_points import change_block
from sparkds.features.merged import MergedStates, NumberColumn
from sparkds.features.signed_deltas import DeltaStates, held_columns
from sparkds.features.states import FirstDay, Largest, LastDay, Smallest, Total
from sparkds.features.windows import LIFETIME

WINDOWS = (1, 3, 10)
ALL = (*WINDOWS, LIFETIME)
WHOLE, DOUBLE, LOW, HIGH = Total("whole"), Total("double"), Smallest("whole"), Largest("whole")
ASKED = {WHOLE: ALL, DOUBLE: (LIFETIME,), LOW: (LIFETIME,), HIGH: (LIFETIME,), LastDay(): ALL, FirstDay(): (LIFETIME,)}
FIRST, LAST = 20, 24


@st.composite
def tiles(draw):
    """Entities with days, whole numbers up to the edge of 64 bits, doubles, and where there is a value."""
    starts, day = [0], []
    for _ in range(draw(st.integers(1, 5))):
        day.extend(sorted(draw(st.sets(st.integers(0, 26), min_size=1, max_size=12))))
        starts.append(len(day))
    n = len(day)
    whole = draw(st.lists(st.integers(-(2**62), 2**62), min_size=n, max_size=n))
    double = draw(st.lists(st.floats(-1e9, 1e9), min_size=n, max_size=n))
    valid = draw(st.lists(st.booleans(), min_size=n, max_size=n))
    return np.array(starts), np.array(day, dtype=np.int64), np.array(whole, dtype=np.int64), np.array(double) + 0.0, np.array(valid)


def columns_of(day, whole, double, valid):
    """Columns of the states: zero where there is no value."""
    amount = NumberColumn(np.where(valid, whole, 0), np.ones(len(day), dtype=bool))
    days = NumberColumn(day, valid)
    return {
        WHOLE: amount,
        DOUBLE: NumberColumn(np.where(valid, double, 0.0), np.ones(len(day), dtype=bool)),
        LOW: NumberColumn(np.where(valid, whole, 0), valid),
        HIGH: NumberColumn(np.where(valid, whole, 0), valid),
        LastDay(): days,
        FirstDay(): days,
    }


def told(reduced):
    """Values as Python objects, None where there is none."""
    return [v if ok else None for v, ok in zip(np.asarray(reduced.values).tolist(), reduced.valid.tolist(), strict=True)]


@settings(max_examples=250, deadline=None)
@given(tiles())
def test_continued_states_have_the_bits_of_states_from_all_tiles(drawn):
    starts, day, *rest = drawn
    n = len(starts) - 1
    entity = np.repeat(np.arange(n), np.diff(starts))
    columns = columns_of(day, *rest)
    block = change_block(starts, day, WINDOWS, np.full(n, FIRST - 1), np.full(n, LAST))
    every = MergedStates(block, columns, ASKED)

    moved = np.zeros(len(day), dtype=bool)
    for w in (0, *WINDOWS):
        moved |= (day + w >= FIRST) & (day + w <= LAST)
    moved &= day <= LAST
    there = np.array([bool((day[entity == e] < FIRST).any()) for e in range(n)])
    # rows: the tiles that move, and on the day before one row an entity that was there
    of = np.concatenate((entity[moved], np.flatnonzero(there)))
    days = np.concatenate((day[moved], np.full(int(there.sum()), FIRST - 1)))
    before = np.concatenate((np.zeros(int(moved.sum()), dtype=bool), np.ones(int(there.sum()), dtype=bool)))
    order = np.lexsort((days, of))
    of, days, before = of[order], days[order], before[order]
    kept = np.unique(of)
    few = change_block(
        np.append(np.searchsorted(of, kept), len(of)), days, WINDOWS, np.full(len(kept), FIRST - 1), np.full(len(kept), LAST)
    )

    def spread(column):
        """A tile column on the few rows."""
        values = np.concatenate((column.values[moved], np.zeros(int(there.sum()), dtype=column.values.dtype)))
        valid = np.concatenate((column.valid[moved], np.zeros(int(there.sum()), dtype=bool)))
        return NumberColumn(values[order], valid[order])

    held = {}
    place = {(int(e), int(d)): i for i, (e, d) in enumerate(zip(block.cell_entity, block.as_of, strict=True))}
    for state, windows in ASKED.items():
        for window in windows:
            values, valid, _ = every.of(window)(state)
            cell = [place[int(e), FIRST - 1] if b else 0 for e, b in zip(of, before, strict=True)]
            held[state, window] = NumberColumn(values[cell], valid[cell] & before)
    continued = DeltaStates(few, {state: spread(column) for state, column in columns.items()}, held, before, FIRST)

    asked = {(int(kept[e]), int(d)) for e, d in zip(few.cell_entity, few.as_of, strict=True)}
    assert {cell for cell in place if cell[1] >= FIRST} <= asked
    # the day of what was held makes cells of its own, in which nothing changes
    cells = [
        place[int(kept[e]), max(b for a, b in place if a == kept[e] and b <= d)] for e, d in zip(few.cell_entity, few.as_of, strict=True)
    ]
    wanted = few.as_of >= FIRST
    for state, windows in ASKED.items():
        for window in windows:
            full = told(every.of(window)(state))
            got = told(continued.of(window)(state))
            assert [g for g, w in zip(got, wanted, strict=True) if w] == [full[c] for c, w in zip(cells, wanted, strict=True) if w], state


BASE = {"keys": ("k",), "event_time": "t", "time_zone": "UTC", "windows": (7, 30)}


def test_a_set_is_continued_where_each_merge_stands_in_a_column_and_nothing_else_leaves_a_window():
    def held(aggregations, dtype="decimal(20,2)", **more):
        spec = FeatureSet(**BASE, **more, aggregations=aggregations)
        return held_columns(spec, dict.fromkeys(spec.states, dtype))

    mean = (Mean(column="x"), Sum(column="x"), Count(column="x"))
    assert set(held(mean).values()) == {f"x_{kind}_{w}d" for kind in ("sum", "count") for w in (7, 30)}
    assert held(mean[:2]) is None
    assert held((Sum(column="x"),), dtype="double") is None
    assert held((Sum(column="x", windows=(), lifetime=True),), dtype="double") is not None
    assert held((Min(column="x"),)) is None
    assert held((Max(column="x", windows=(), lifetime=True),)) is not None
    assert held((DaysSinceLast(),)) is not None
    assert held((DaysSinceFirst(),)) is None
    assert held((Count(),), rfm=RFM(value="x", frequency="orders", monetary="sum")) is None
