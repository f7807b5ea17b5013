"""Sketches of a column: laws of merging, and every number against numpy and scipy."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sparkds.features.profile.distinct import Distinct, bits_of, hashes_of, longs_of_xxhash64
from sparkds.features.profile.frequent import Frequent, tally
from sparkds.features.profile.moments import Central, Pairs, comoments
from sparkds.features.profile.row_sample import RowSample, priorities_of
from sparkds.features.profile.value_bins import RELATIVE_ERROR, BinCounts, bins_of, values_of

FINITE = st.floats(-1e6, 1e6, allow_nan=False).map(lambda x: x + 0.0)
LISTS = st.lists(FINITE, max_size=60)


def parts(values, cuts):
    """Values cut at some places."""
    bounds = [0, *sorted(min(cut, len(values)) for cut in cuts), len(values)]
    return [values[a:b] for a, b in pairwise(bounds)]


def total(states):
    whole = states[0]
    for state in states[1:]:
        whole = whole + state
    return whole


@settings(deadline=None)
@given(LISTS, st.lists(st.integers(0, 60), max_size=3))
def test_moments_of_any_split_are_those_of_the_whole(values, cuts):
    x = np.array(values)
    whole, merged = Central.of(x), total([Central.of(part) for part in parts(x, cuts)])
    assert merged.n == whole.n == len(x)
    for name in ("mean", "m2", "m3", "m4"):
        size = {"mean": 1, "m2": 2, "m3": 3, "m4": 4}[name]
        scale = np.abs(x).max(initial=1) ** size * max(len(x), 1)
        assert getattr(merged, name) == pytest.approx(getattr(whole, name), abs=1e-12 * scale)


def test_moments_are_those_of_scipy():
    x = np.random.default_rng(1).gamma(2, 3, 1000)
    found = Central.of(x[:300]) + Central.of(x[300:])
    assert found.mean == pytest.approx(x.mean())
    assert found.sd == pytest.approx(x.std(ddof=1))
    assert found.skewness == pytest.approx(stats.skew(x))
    assert found.kurtosis == pytest.approx(stats.kurtosis(x))
    assert np.isnan(Central.of(np.ones(4)).skewness)
    assert np.isnan(Central.of(np.ones(1)).sd)
    assert Central.of(np.zeros(0)) == Central()


def test_moments_far_from_zero_do_not_cancel():
    x = 1e9 + np.random.default_rng(2).normal(size=10_000)
    found = total([Central.of(part) for part in np.array_split(x, 7)])
    assert found.sd == pytest.approx(x.std(ddof=1), rel=1e-8)


@settings(deadline=None)
@given(LISTS, st.lists(st.integers(0, 60), max_size=3), st.floats(0.01, 0.99))
def test_quantiles_are_within_the_bound_and_bins_of_any_split_are_those_of_the_whole(values, cuts, share):
    x = np.array(values)
    whole = BinCounts.of(bins_of(x))
    merged = total([BinCounts.of(bins_of(part)) for part in parts(x, cuts)])
    assert merged.bins.tolist() == whole.bins.tolist()
    assert merged.counts.tolist() == whole.counts.tolist()
    if len(x):
        exact = np.quantile(x, share, method="inverted_cdf")
        found = values_of(whole.places((share,)))[0]
        assert abs(found - exact) <= RELATIVE_ERROR * abs(exact) + 1e-300


def test_bins_ascend_with_the_value_and_small_whole_numbers_are_exact():
    x = np.sort(np.concatenate((np.random.default_rng(3).normal(size=500) * 10.0 ** np.arange(-250, 250), [0.0, 5e-324, -5e-324, 1e308])))
    assert (np.diff(bins_of(x)) >= 0).all()
    whole = np.arange(-127, 128).astype(float)
    assert values_of(bins_of(whole), whole=True).tolist() == whole.tolist()
    wide = BinCounts.of(bins_of(np.array([-1e300, 1e300, 1.0])))
    assert wide.counts.tolist() == [1, 1, 1]


@settings(deadline=None)
@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=200))
def test_a_hash_gives_its_value_back(values):
    bits = np.array(values, np.int64)
    assert bits_of(hashes_of(bits)).view(np.int64).tolist() == values
    assert len(set(hashes_of(bits).tolist())) == len(set(values))


def test_the_longs_of_sparks_hashes_are_found_again():
    # select xxhash64(0L), xxhash64(1L), xxhash64(-123456789012345678L)
    hashes = np.array([-5252525462095825812, -7001672635703045582, 7700742269099517432], np.int64)
    assert longs_of_xxhash64(hashes).tolist() == [0, 1, -123456789012345678]


@settings(deadline=None)
@given(st.lists(st.integers(0, 300), max_size=300), st.lists(st.integers(0, 300), max_size=3))
def test_distinct_of_any_split_is_that_of_the_whole_and_order_does_not_matter(values, cuts):
    hashes = hashes_of(np.array(values, np.int64))
    states = [Distinct.none(64).add(part) for part in parts(hashes, cuts)]
    whole = Distinct.none(64).add(hashes)
    assert total(states).hashes.tolist() == whole.hashes.tolist() == total(states[::-1]).hashes.tolist()
    if len(set(values)) < 64:
        assert whole.estimate == len(set(values))
        assert whole.relative_error == 0


@pytest.mark.parametrize("kind", ["whole numbers", "cents", "powers", "repeated"])
def test_the_estimate_of_distinct_values_is_within_its_error(kind):
    n = 200_000
    values = {
        "whole numbers": np.arange(n),
        "cents": np.round(np.arange(n) / 100, 2),
        "powers": np.arange(n) * 2.0**20,
        "repeated": np.tile(np.arange(n // 10), 10),
    }[kind]
    state = Distinct.none(2048)
    for block in np.array_split(values, 5):
        state = state.add(hashes_of(block))
    truth = len(np.unique(values))
    assert abs(state.estimate / truth - 1) < 4 * state.relative_error
    assert state.relative_error == pytest.approx(0.0221, abs=1e-4)


@settings(deadline=None)
@given(st.lists(st.integers(0, 12), max_size=300), st.lists(st.integers(0, 300), max_size=3))
def test_counts_of_few_values_are_exact_and_of_any_split_those_of_the_whole(values, cuts):
    hashes = hashes_of(np.array(values, np.int64))
    states = []
    for part in parts(hashes, cuts):
        told = tally(part)
        states.append(Frequent.none(16).add(told.hashes, told.counts, told.error, {}))
    whole = total(states)
    assert whole.error == 0
    found, counts = np.unique(hashes, return_counts=True)
    assert whole.hashes.tolist() == found.tolist()
    assert whole.counts.tolist() == counts.tolist()


@settings(deadline=None)
@given(st.lists(st.integers(0, 60), max_size=400), st.lists(st.integers(0, 400), max_size=3))
def test_counts_of_many_values_keep_their_bounds_under_any_split(values, cuts):
    hashes = hashes_of(np.array(values, np.int64))
    states = []
    for part in parts(hashes, cuts):
        told = tally(part)
        states.append(Frequent.none(8).add(told.hashes, told.counts, told.error, {}))
    whole = total(states)
    stated = dict(zip(whole.hashes.tolist(), whole.counts.tolist(), strict=True))
    for value, count in zip(*(a.tolist() for a in np.unique(hashes, return_counts=True)), strict=True):
        assert stated.get(value, 0) <= count <= stated.get(value, 0) + whole.error


@pytest.mark.parametrize("distinct", [3, 700, 5_000, 30_000, 10**9])
def test_a_tally_of_a_large_block_is_exact_or_within_its_error(distinct):
    rng = np.random.default_rng(4)
    values = rng.integers(0, distinct, 60_000)
    values[rng.random(len(values)) < 0.05] = -1
    hashes = hashes_of(values)
    told = tally(hashes, preferred=np.arange(50_000, 60_000))
    truth = dict(zip(*(a.tolist() for a in np.unique(hashes, return_counts=True)), strict=True))
    assert len(set(told.hashes.tolist())) == len(told.hashes)
    assert (hashes[told.rows] == told.hashes).all()
    for value, count in zip(told.hashes.tolist(), told.counts.tolist(), strict=True):
        assert count == truth[value]
    left = set(truth) - set(told.hashes.tolist())
    assert max((truth[value] for value in left), default=0) <= told.error <= 60_000 / 512
    heavy = int(hashes_of(np.array([-1]))[0])
    assert heavy in told.hashes.tolist()
    assert told.rows[told.hashes.tolist().index(heavy)] >= 50_000


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(FINITE, FINITE, FINITE), min_size=1, max_size=40), st.lists(st.integers(0, 40), max_size=2), st.integers(0, 9))
def test_correlations_of_any_split_are_those_of_pandas(rows, cuts, holes):
    import pandas as pd

    x = np.array(rows).T
    x[np.random.default_rng(holes).random(x.shape) < holes / 20] = np.nan
    pieces = [piece.T for piece in parts(x.T, cuts) if len(piece)]
    merged = total([pairs_of(piece, 0) for piece in pieces])
    frame = pd.DataFrame(x.T)
    expected = frame.corr().to_numpy()
    for at, j in enumerate((1, 2)):
        both = frame[[0, j]].dropna()
        assert merged.values[0][at] == len(both)
        if len(both) > 2 and both.std().min() > 1e-6 * both.abs().max().max():
            assert merged.pearson[at] == pytest.approx(expected[0, j], abs=1e-7)


def pairs_of(x, i):
    present = ~np.isnan(x)
    n = present.sum(axis=1)
    shift = np.divide(np.where(present, x, 0).sum(axis=1), n, out=np.zeros(len(x)), where=n > 0)
    z = np.where(present, x - shift[:, None], 0)
    holed = np.flatnonzero(~present.all(axis=1))
    found = comoments(z, shift, holed, present[holed])
    others = [j for j in range(len(x)) if j != i]
    return Pairs(np.array(others), found[:, i, others])


def test_a_wide_matrix_in_blocks_is_that_of_numpy():
    x = np.random.default_rng(5).normal(size=(600, 50)) + 10
    shift = x.mean(axis=1)
    found = comoments(x - shift[:, None], shift, np.zeros(0, np.int64), np.zeros((0, 50), bool))
    np.testing.assert_allclose(found[5] / np.sqrt(found[3] * found[4]), np.corrcoef(x), atol=1e-12)


def test_a_sample_of_any_split_is_that_of_the_whole_and_depends_on_the_seed():
    values = np.random.default_rng(6).normal(size=(5000, 2))
    hashes = hashes_of(values[:, 0].copy())

    def sample(rows, seed=1, size=100):
        priorities = priorities_of(hashes[rows], seed=seed, block=0)
        order = np.argsort(priorities)
        return RowSample(size, np.uint64(2**64 - 1), priorities[order], values[rows][order]).cut(size)

    whole = sample(np.arange(5000))
    merged = total([sample(rows) for rows in np.array_split(np.arange(5000), 7)])
    assert merged.values.tolist() == whole.values.tolist()
    assert len(merged.priorities) == 100
    assert sample(np.arange(5000), seed=2).values.tolist() != whole.values.tolist()


def test_equal_rows_are_sampled_apart():
    hashes = hashes_of(np.repeat(np.arange(4), 5000))
    priorities = priorities_of(hashes, seed=0, block=0)
    smallest = np.argsort(priorities)[:400]
    counts = np.unique(hashes[smallest], return_counts=True)[1]
    assert len(counts) == 4
    assert counts.min() > 60
