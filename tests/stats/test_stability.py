"""Stability of selections against the mean index of Kuncheva, and the smallest covering set against all sets."""

import math
from itertools import combinations

import numpy as np
import pytest

from sparkds.errors import ConfigError
from sparkds.stats.stability import covering_set, ranks, selection_stability


def kuncheva(sets, d):
    k = sets[0].sum()
    pairs = [((a & b).sum() - k * k / d) / (k - k * k / d) for a, b in combinations(sets, 2)]
    return float(np.mean(pairs))


@pytest.mark.parametrize("seed", range(5))
def test_stability_of_sets_of_one_size_is_the_mean_index_of_kuncheva(seed):
    rng = np.random.default_rng(seed)
    sets = np.zeros((6, 15), dtype=bool)
    for row in sets:
        row[rng.permutation(15)[:4]] = True
    assert selection_stability(sets) == pytest.approx(kuncheva(sets, 15), abs=1e-12)


def test_sets_by_chance_have_stability_near_zero_and_equal_sets_one():
    sets = np.random.default_rng(0).random((200, 50)) < 0.3
    assert abs(selection_stability(sets)) < 0.02
    assert selection_stability(np.tile(sets[:1], (3, 1))) == pytest.approx(1.0)


@pytest.mark.parametrize("sets", [[[True, False]], np.ones((3, 4)), np.zeros((3, 4)), np.zeros((2, 0))])
def test_stability_that_cannot_be_told_is_nan(sets):
    assert math.isnan(selection_stability(sets))


@pytest.mark.parametrize("seed", range(8))
def test_covering_set_is_the_smallest_of_all_sets_that_reach_the_share(seed):
    rng = np.random.default_rng(seed)
    importance = np.round(rng.normal(0.2, 1, 9), 2)
    positive = np.maximum(importance, 0)
    chosen = covering_set(importance, share=0.9)
    assert positive[chosen].sum() >= 0.9 * positive.sum() - 1e-9
    smaller = [set(c) for c in combinations(range(9), int(chosen.sum()) - 1)]
    assert all(positive[list(c)].sum() < 0.9 * positive.sum() for c in smaller)
    assert not chosen[importance <= 0].any()


def test_a_share_that_is_reached_exactly_is_enough_and_ties_go_to_the_earlier():
    assert covering_set([0.6, 0.3, 0.1], share=0.9).tolist() == [True, True, False]
    assert covering_set([0.1] * 10, share=0.9).tolist() == [True] * 9 + [False]
    assert covering_set([0.2, 0.5, 0.2, 0.1], share=0.7).tolist() == [True, True, False, False]
    assert covering_set([0.0, -1.0, math.nan], share=0.9).tolist() == [False] * 3
    assert covering_set([2.0, 0.0], share=1.0).tolist() == [True, False]
    with pytest.raises(ConfigError, match=r"share is 0; give a number in \(0, 1\]"):
        covering_set([1.0], share=0)


def test_ranks_put_the_earlier_of_equals_first_and_nan_last():
    assert ranks([math.nan, 1.0, 3.0, 1.0]).tolist() == [4, 2, 1, 3]
