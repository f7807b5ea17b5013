"""The kernels against loops over rows, without Spark."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparkds.features.windows import LIFETIME, Block, range_fold, running

WINDOWS = (1, 3, 10, LIFETIME)


@st.composite
def blocks(draw):
    """Random entities with ascending days, and asked days."""
    starts, day = [0], []
    for _ in range(draw(st.integers(1, 5))):
        own = sorted(draw(st.sets(st.integers(0, 30), min_size=1, max_size=12)))
        day.extend(own)
        starts.append(len(day))
    days = sorted(draw(st.sets(st.integers(-2, 34), min_size=1, max_size=8)))
    return Block(np.array(starts), np.array(day, dtype=np.int64), np.array(days, dtype=np.int64))


def cells(block):
    """(entity, as_of, rows of the entity up to as_of) of every cell, by loops."""
    for entity in range(block.n_entities):
        rows = range(block.starts[entity], block.starts[entity + 1])
        for as_of in block.days:
            if any(block.day[r] <= as_of for r in rows):
                yield entity, as_of, [r for r in rows if block.day[r] <= as_of]


def inside(block, rows, as_of, window):
    return [r for r in rows if window is None or block.day[r] > as_of - window]


def naive(block, window, function):
    return [function(inside(block, rows, as_of, window)) for _, as_of, rows in cells(block)]


@settings(max_examples=150, deadline=None)
@given(blocks(), st.data())
def test_sums_of_whole_numbers_equal_the_loop_exactly(block, data):
    values = np.array(data.draw(st.lists(st.integers(-(2**61), 2**61), min_size=len(block.day), max_size=len(block.day))))
    got = block.add(values.astype(object), WINDOWS)
    for window in WINDOWS:
        assert list(got[window]) == naive(block, window, lambda rows: sum(int(values[r]) for r in rows))


@settings(max_examples=150, deadline=None)
@given(blocks(), st.data())
def test_sums_of_floats_equal_the_loop(block, data):
    values = np.array(data.draw(st.lists(st.floats(-1e6, 1e6), min_size=len(block.day), max_size=len(block.day))))
    got = block.add(values, WINDOWS)
    for window in WINDOWS:
        np.testing.assert_allclose(got[window], naive(block, window, lambda rows: math.fsum(values[r] for r in rows)), atol=1e-8)


def test_a_huge_float_does_not_poison_the_windows_after_it():
    block = Block(np.array([0, 3]), np.array([0, 5, 6]), np.array([6, 8]))
    got = block.add(np.array([1e300, 0.1, 0.2]), (3, LIFETIME))
    assert got[3].tolist() == [0.1 + 0.2, 0.2]
    assert got[LIFETIME].tolist() == [1e300, 1e300]


@settings(max_examples=150, deadline=None)
@given(blocks(), st.data())
def test_extremes_and_picked_rows_equal_the_loop(block, data):
    n = len(block.day)
    values = np.array(data.draw(st.lists(st.integers(-50, 50), min_size=n, max_size=n)))
    valid = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    low = block.least(values, WINDOWS, 99)
    high = block.greatest(values, WINDOWS, -99)
    for window in WINDOWS:
        assert low[window].tolist() == naive(block, window, lambda rows: min((values[r] for r in rows), default=99))
        assert high[window].tolist() == naive(block, window, lambda rows: max((values[r] for r in rows), default=-99))
        first, last = block.first_row(valid, window), block.last_row(valid, window)
        assert first.tolist() == naive(block, window, lambda rows: next((r for r in rows if valid[r]), -1))
        assert last.tolist() == naive(block, window, lambda rows: next((r for r in rows[::-1] if valid[r]), -1))


@settings(max_examples=150, deadline=None)
@given(blocks(), st.data())
def test_squared_deviation_equals_two_passes_over_all_values(block, data):
    samples = [data.draw(st.lists(st.floats(-1e3, 1e3), max_size=4)) for _ in block.day]
    n = np.array([len(s) for s in samples])
    total = np.array([math.fsum(s) for s in samples])
    m2 = np.array([sum((x - math.fsum(s) / len(s)) ** 2 for x in s) if s else 0.0 for s in samples])

    def two_passes(rows):
        pooled = [x for r in rows for x in samples[r]]
        mean = math.fsum(pooled) / len(pooled) if pooled else 0.0
        return math.fsum((x - mean) ** 2 for x in pooled)

    got = block.squared_deviation(n, total, m2, WINDOWS)
    for window in WINDOWS:
        np.testing.assert_allclose(got[window], naive(block, window, two_passes), rtol=1e-9, atol=1e-6)


def test_squared_deviation_keeps_small_spread_beside_a_large_mean():
    values = 1e9 + np.array([0.0, 1.0, 2.0])
    block = Block(np.array([0, 3]), np.array([0, 1, 2]), np.array([2]))
    ones, zeros = np.ones(3, dtype=np.int64), np.zeros(3)
    got = block.squared_deviation(ones, values, zeros, (2, 3, LIFETIME))
    assert [got[w][0] for w in (2, 3, LIFETIME)] == pytest.approx([0.5, 2.0, 2.0], abs=1e-6)


@st.composite
def occurrences(draw, block):
    rows = [r for r in range(len(block.day)) for _ in range(draw(st.integers(0, 3)))]
    items = [draw(st.integers(0, 4)) for _ in rows]
    return np.array(rows, dtype=np.int64), np.array(items, dtype=np.int64)


@settings(max_examples=150, deadline=None)
@given(blocks(), st.data())
def test_distinct_most_common_and_ranked_items_equal_the_loop(block, data):
    row, item = data.draw(occurrences(block))
    n = np.array([data.draw(st.integers(1, 3)) for _ in row], dtype=np.int64)

    def pooled(rows):
        return [int(i) for r, i, k in zip(row, item, n, strict=True) if r in rows for _ in range(k)]

    def most_common(rows):
        bag = pooled(rows)
        return min(bag, key=lambda i: (-bag.count(i), i), default=-1)

    def ranked(rows):
        bag = sorted(pooled(rows))
        return bag[math.floor(0.7 * (len(bag) - 1))] if bag else None

    different = block.distinct(row, item, WINDOWS)
    common = block.most_common(row, item, n, WINDOWS)
    at_rank = block.ranked(row, item, n, 0.7, WINDOWS)
    for window in WINDOWS:
        assert different[window].tolist() == naive(block, window, lambda rows: len(set(pooled(rows))))
        assert common[window].tolist() == naive(block, window, most_common)
        found, valid = at_rank[window]
        assert [f if v else None for f, v in zip(found.tolist(), valid.tolist(), strict=True)] == naive(block, window, ranked)


@settings(max_examples=60, deadline=None)
@given(blocks(), st.data())
def test_a_day_asked_alone_has_the_same_bits_as_among_others(block, data):
    n = len(block.day)
    values = np.array(data.draw(st.lists(st.floats(-1e9, 1e9), min_size=n, max_size=n)))
    ones = np.ones(n, dtype=np.int64)
    together_sum, together_m2 = block.add(values, WINDOWS), block.squared_deviation(ones, values, np.zeros(n), WINDOWS)
    for slot, day in enumerate(block.days):
        alone = Block(block.starts, block.day, np.array([day]))
        chosen = block.cell_slot == slot
        for window in WINDOWS:
            assert np.array_equal(alone.add(values, WINDOWS)[window], together_sum[window][chosen])
            assert np.array_equal(alone.squared_deviation(ones, values, np.zeros(n), WINDOWS)[window], together_m2[window][chosen])


def test_running_folds_each_entity_from_its_own_start():
    got = running(np.add, np.array([1.0, 2.0, 3.0, 10.0, 20.0]), np.array([0, 3, 5]))
    assert got.tolist() == [1.0, 3.0, 6.0, 10.0, 30.0]


def test_an_empty_range_gives_the_identity():
    got = range_fold(np.minimum, np.array([5, 2, 7]), np.array([0, 1, 3]), np.array([2, 1, 3]), 99)
    assert got.tolist() == [2, 99, 99]
