"""Cells on change points: the same bits as cells on all days, and no change between them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparkds.errors import ConfigError, DataError
from sparkds.features import RFM, Count, DaysSinceFirst, DaysSinceLast, FeatureSet, SeasonalityRatio
from sparkds.features.change_points import change_block, derived_days, last_days, stored_names, stored_value
from sparkds.features.feature_set import Feature
from sparkds.features.merged import MergedStates
from sparkds.features.reduced import Reduced
from sparkds.features.windows import LIFETIME, Block

WINDOWS = (1, 3, 10)
ALL = (*WINDOWS, LIFETIME)


@st.composite
def entities(draw):
    """Random entities with ascending days, and the covered days."""
    starts, day = [0], []
    for _ in range(draw(st.integers(1, 5))):
        own = sorted(draw(st.sets(st.integers(-4, 30), min_size=1, max_size=12)))
        day.extend(own)
        starts.append(len(day))
    first, last = draw(st.integers(-6, 12)), draw(st.integers(13, 45))
    return np.array(starts), np.array(day, dtype=np.int64), first, last


def both(drawn):
    """Block of change points, and block of all covered days."""
    starts, day, first, last = drawn
    n = len(starts) - 1
    few = change_block(starts, day, WINDOWS, np.full(n, first), np.full(n, last))
    return few, Block(starts, day, np.arange(first, last + 1))


def place(dense, few):
    """Cell of the dense block of each cell of the other."""
    number = {(int(e), int(d)): i for i, (e, d) in enumerate(zip(dense.cell_entity, dense.as_of, strict=True))}
    return np.array([number[int(e), int(d)] for e, d in zip(few.cell_entity, few.as_of, strict=True)], dtype=np.int64)


def answers(block, values, floats, valid, row, item, n):
    """What a block answers to everything that an aggregation may ask."""
    ones = np.ones(len(block.day), dtype=np.int64)
    told = {}
    for window in ALL:
        told["sum", window] = block.add(values, ALL)[window]
        told["float sum", window] = block.add(floats, ALL)[window]
        told["m2", window] = block.squared_deviation(ones, floats, np.zeros(len(floats)), ALL)[window]
        told["least", window] = block.least(values, ALL, 99)[window]
        told["greatest", window] = block.greatest(values, ALL, -99)[window]
        told["first", window] = block.first_row(valid, window)
        told["last", window] = block.last_row(valid, window)
        told["distinct", window] = block.distinct(row, item, ALL)[window]
        told["weighted", window] = block.distinct(row, item, ALL, item + 1)[window]
        told["common", window] = block.most_common(row, item, n, ALL)[window]
        ranked, known = block.ranked(row, item, n, 0.7, ALL)[window]
        told["ranked", window] = np.where(known, ranked, -1)
    return told


@settings(max_examples=120, deadline=None)
@given(entities(), st.data())
def test_each_cell_has_the_bits_of_the_same_day_among_all_days_and_nothing_changes_between_cells(drawn, data):
    few, dense = both(drawn)
    size = len(few.day)
    values = np.array(data.draw(st.lists(st.integers(-50, 50), min_size=size, max_size=size)), dtype=np.int64)
    floats = np.array(data.draw(st.lists(st.floats(-1e9, 1e9), min_size=size, max_size=size)))
    valid = np.array(data.draw(st.lists(st.booleans(), min_size=size, max_size=size)))
    row = np.array([r for r in range(size) for _ in range(data.draw(st.integers(0, 2)))], dtype=np.int64)
    item = np.array([data.draw(st.integers(0, 3)) for _ in row], dtype=np.int64)
    n = np.array([data.draw(st.integers(1, 3)) for _ in row], dtype=np.int64)
    assert len(few.cell) <= (len(WINDOWS) + 1) * size
    chosen = place(dense, few)
    carried = np.searchsorted(chosen, np.arange(len(dense.cell)), side="right") - 1  # last change point up to each day
    assert (carried >= 0).all()
    assert (dense.cell_entity[chosen][carried] == dense.cell_entity).all()
    everywhere = answers(dense, values, floats, valid, row, item, n)
    for what, got in answers(few, values, floats, valid, row, item, n).items():
        assert np.array_equal(got, everywhere[what][chosen]), what
        assert np.array_equal(got[carried], everywhere[what]), what


def test_a_block_without_a_covered_day_has_no_cell():
    block = change_block(np.array([0, 2]), np.array([20, 25]), WINDOWS, np.array([0]), np.array([10]))
    assert len(block.cell) == 0
    assert block.distinct(np.array([0]), np.array([0]), ALL)[3].tolist() == []


def test_a_row_holds_until_the_day_before_the_next_of_its_entity():
    block = change_block(np.array([0, 1, 2]), np.array([5, 7]), (3,), np.array([0, 0]), np.array([20, 20]))
    assert block.days.tolist() == [5, 8, 7, 10]
    last, closed = last_days(block, np.array([True, True, True, False]))
    assert (last[closed].tolist(), closed.tolist()) == ([7], [True, False, False])


BASE = {"keys": ("k",), "event_time": "t", "time_zone": "UTC", "windows": (7,)}


def test_what_moves_with_the_day_is_stored_as_its_day():
    spec = FeatureSet(
        **BASE,
        lifetime=True,
        aggregations=(Count(), DaysSinceLast(), DaysSinceFirst(windows=(), lifetime=True)),
        rfm=RFM(value="x", frequency="orders", monetary="sum"),
    )
    assert derived_days(spec) == {
        "days_since_last_7d": "days_since_last_7d_from",
        "days_since_last_lifetime": "days_since_last_lifetime_from",
        "days_since_first_lifetime": "days_since_first_lifetime_from",
        "recency_days": "recency_days_from",
        "clv_age_days": "clv_age_days_from",
    }
    assert stored_names(spec)[:2] == ("event_count_7d", "event_count_lifetime")
    assert "recency_days" not in stored_names(spec)


def test_a_feature_that_moves_without_saying_from_which_day_is_refused():
    class Age(Count):
        def value(self, of):
            return Reduced(of.as_of, of.as_of > 0)

    few, _ = both((np.array([0, 1]), np.array([3]), 0, 9))
    merged = MergedStates(few, {}, {})
    with pytest.raises(DataError, match="feature 'age_3d' moves from day to day without an event"):
        stored_value(Feature("age_3d", Age(), 3), merged.of(3))


@pytest.mark.parametrize("name", ["valid_to", "days_since_last_7d_from"])
def test_a_key_with_the_name_of_a_column_of_the_history_is_refused(name):
    spec = FeatureSet(**BASE | {"keys": (name,)}, aggregations=(DaysSinceLast(),))
    with pytest.raises(ConfigError, match=f"column '{name}' of the history has the name of a feature or key"):
        derived_days(spec)


def test_a_kind_that_changes_every_day_without_counting_from_one_is_refused():
    spec = FeatureSet(
        keys=("k",), event_time="t", time_zone="UTC", windows=(30,), aggregations=(Count(), SeasonalityRatio(period_days=7))
    )  # fmt: skip
    with pytest.raises(ConfigError, match=r"'event_seasonality_7_30d' \(seasonality_ratio\) changes from day to day"):
        derived_days(spec)
