"""Rates by group and disparities against fairlearn."""

import math

import fairlearn.metrics as fl
import numpy as np
import pytest
from sklearn import metrics as sk

from sparkds.stats.fairness import disparities, group_rates
from sparkds.stats.score_counts import counted, score_edges


def world(seed=1, n=3_000):
    rng = np.random.default_rng(seed)
    group = rng.choice(["a", "b", "c"], n, p=[0.6, 0.3, 0.1])
    score = np.clip(rng.beta(1, 2, n) + 0.1 * (group == "b"), 0, 1)
    label = (rng.random(n) < score * np.where(group == "c", 0.7, 1.0)).astype(int)
    return label, score, group


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("binned", [False, True])
def test_rates_and_disparities_equal_those_of_fairlearn(weighted, binned):
    y, s, g = world()
    w = np.random.default_rng(2).gamma(2, 1, len(y)) if weighted else None
    edges = score_edges(200, (0.4,)) if binned else None
    states = {v: counted(y[g == v], s[g == v], weight=None if w is None else w[g == v], edges=edges) for v in "abc"}
    selected = (s >= 0.4).astype(int)
    wanted = fl.MetricFrame(
        metrics={
            "selection_rate": fl.selection_rate,
            "recall": fl.true_positive_rate,
            "false_positive_rate": fl.false_positive_rate,
            "precision": sk.precision_score,
            "accuracy": sk.accuracy_score,
        },
        y_true=y,
        y_pred=selected,
        sensitive_features=g,
        sample_params=None
        if w is None
        else {name: {"sample_weight": w} for name in ("selection_rate", "recall", "false_positive_rate", "precision", "accuracy")},
    ).by_group
    for value, state in states.items():
        rates = group_rates(state, 0.4)
        for name in wanted.columns:
            assert rates[name].value == pytest.approx(wanted.loc[value, name], rel=1e-12)
            assert math.isnan(rates[name].low) == weighted
    found = disparities(states, 0.4)
    args = {"y_true": y, "y_pred": selected, "sensitive_features": g, "sample_weight": w}
    assert found["demographic_parity"].difference.value == pytest.approx(fl.demographic_parity_difference(**args), rel=1e-12)
    assert found["demographic_parity"].ratio.value == pytest.approx(fl.demographic_parity_ratio(**args), rel=1e-12)
    assert found["equal_opportunity"].difference.value == pytest.approx(fl.equal_opportunity_difference(**args), rel=1e-12)
    assert found["equal_opportunity"].ratio.value == pytest.approx(fl.equal_opportunity_ratio(**args), rel=1e-12)
    assert found["equalised_odds"].difference.value == pytest.approx(fl.equalized_odds_difference(**args), rel=1e-12)
    assert found["equalised_odds"].ratio.value == pytest.approx(fl.equalized_odds_ratio(**args), rel=1e-12)
    assert found["predictive_parity"].difference.value == pytest.approx(wanted["precision"].max() - wanted["precision"].min(), rel=1e-12)


def test_a_group_without_positives_is_undefined_and_left_out_by_name():
    states = {
        "a": counted([0, 1, 1, 1], [0.2, 0.8, 0.9, 0.4]),
        "b": counted([0, 1, 0, 0], [0.2, 0.8, 0.9, 0.4]),
        "none": counted([0, 0], [0.1, 0.9]),
    }
    rates = group_rates(states["none"], 0.5)
    assert math.isnan(rates["recall"].value)
    assert rates["recall"].reason == "there are no positives"
    assert rates["base_rate"].value == 0
    found = disparities(states, 0.5)
    assert found["equal_opportunity"].left_out == ("none",)
    assert (found["equal_opportunity"].highest, found["equal_opportunity"].lowest) == ("b", "a")
    assert found["equal_opportunity"].difference.value == pytest.approx(1 - 2 / 3)
    assert "1 groups left out" in found["equal_opportunity"].difference.method
    assert found["demographic_parity"].left_out == ()
    alone = disparities({"a": states["a"], "none": states["none"]}, 0.5)
    assert math.isnan(alone["equal_opportunity"].difference.value)
    assert "in 1 of 2 groups" in alone["equal_opportunity"].difference.reason
    assert "in 1 of 2 groups" in alone["equalised_odds"].ratio.reason


def test_small_groups_take_no_part_in_disparities():
    y, s, g = world()
    states = {v: counted(y[g == v], s[g == v]) for v in "abc"} | {"tiny": counted([1, 0], [0.0, 0.0])}
    assert disparities(states, 0.4)["demographic_parity"].lowest == "tiny"
    found = disparities(states, 0.4, least=30)["demographic_parity"]
    assert found.left_out == ("tiny",)
    assert 0 < found.difference.low < found.difference.value < found.difference.high


def test_no_selection_anywhere_has_no_ratio():
    states = {v: counted([0, 1], [0.1, 0.2]) for v in "ab"}
    found = disparities(states, 0.5)["demographic_parity"]
    assert found.difference.value == 0
    assert found.ratio.reason == "selection_rate is 0 in all groups"


def test_observed_by_expected_has_the_interval_of_the_positives():
    y, s, _ = world(3)
    rate = group_rates(counted(y, s), 0.5)["observed_by_expected"]
    assert rate.value == pytest.approx(y.sum() / s.sum())
    assert rate.low < rate.value < rate.high
    assert group_rates(counted([0], [0.0]), 0.5)["observed_by_expected"].reason == "all scores are 0"
    assert "outside [0, 1]" in group_rates(counted([0], [2.0]), 0.5)["observed_by_expected"].reason
