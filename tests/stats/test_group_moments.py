"""Moments of groups against numpy, and laws of their merge."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparkds.stats.group_moments import grouped, merged


def rows(seed, n=60, k=3, g=5, offset=0.0):
    rng = np.random.default_rng(seed)
    return rng.normal(offset, 1, (n, k)), rng.integers(0, g, n)


def test_groups_have_the_moments_that_numpy_gives():
    x, group = rows(1)
    found = grouped(x, group, 6)
    for g in range(5):
        mine = x[group == g]
        assert found.n[g] == len(mine)
        np.testing.assert_allclose(found.mean[g], mine.mean(axis=0), rtol=1e-13)
        np.testing.assert_allclose(found.m2[g], np.cov(mine.T, ddof=0) * len(mine), rtol=1e-12, atol=1e-12)
    assert (found.n[5], found.mean[5].tolist(), found.m2[5].sum()) == (0, [0, 0, 0], 0)


@given(st.integers(0, 10_000), st.integers(1, 7))
def test_any_split_of_the_rows_gives_the_whole(seed, parts):
    x, group = rows(seed)
    part = np.random.default_rng(seed + 1).integers(0, parts, len(x))
    by_part = grouped(x, group * parts + part, 5 * parts)
    found = merged(by_part, np.repeat(np.arange(5), parts), 5)
    whole = grouped(x, group, 5)
    assert found.n.tolist() == whole.n.tolist()
    np.testing.assert_allclose(found.mean, whole.mean, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(found.m2, whole.m2, rtol=1e-11, atol=1e-11)


def test_a_large_offset_costs_no_digits():
    x, group = rows(2, n=1000, g=4, offset=1e9)
    part = np.arange(1000) % 10
    found = merged(grouped(x, group * 10 + part, 40), np.repeat(np.arange(4), 10), 4)
    exact = grouped(x - 1e9, group, 4)
    np.testing.assert_allclose(found.m2, exact.m2, rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize("n_groups", [1, 3])
def test_no_rows_give_empty_groups(n_groups):
    found = grouped(np.zeros((0, 2)), np.zeros(0, dtype=np.int64), n_groups)
    assert found.n.tolist() == [0] * n_groups
    assert merged(found, np.zeros(n_groups, dtype=np.int64), 1).n.tolist() == [0]
