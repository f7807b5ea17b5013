"""Rules at their equality cases, and the greedy pass over correlated columns."""

import math
import random

import pytest
from pydantic import ValidationError

from sparkds.features.select import ColumnDecision, FeatureSelection, Rules, selected_columns
from sparkds.features.select.decisions import COMMENTS, counts_by_rule
from sparkds.features.select.rules import ColumnFigures, correlated_drops, dropped_by

PLAIN = ColumnFigures("x", "int", n=1_000, n_null=0, n_distinct=50, top=100, second=90, single=False, qvalue=0.001)


def rule(rules=None, **changes):
    found = dropped_by(PLAIN._replace(**changes), rules or Rules())
    return found and found.rule


def test_a_column_that_meets_no_rule_is_kept():
    assert dropped_by(PLAIN, Rules()) is None


@pytest.mark.parametrize(("n_null", "wanted"), [(949, None), (950, None), (951, "null_share")])
def test_exactly_95_percent_nulls_are_kept(n_null, wanted):
    assert rule(n_null=n_null, n_distinct=3, top=10, second=9) == wanted


def test_nothing_but_nulls_is_dropped_even_with_the_rule_off():
    assert rule(Rules(null_share=None), n_null=1_000, n_distinct=0, top=0, second=0) == "null_share"
    assert rule(Rules(null_share=None), n_null=999, n_distinct=1, top=1, second=0, single=True) == "single_value"


def test_null_and_one_value_are_a_single_value_and_the_reason_says_what_to_do():
    found = dropped_by(PLAIN._replace(n_null=500, n_distinct=1, top=500, second=0, single=True), Rules())
    assert found.rule == "single_value"
    assert "derive a truth value" in found.reason
    assert "derive" not in dropped_by(PLAIN._replace(n_distinct=1, top=1_000, second=0, single=True), Rules()).reason


@pytest.mark.parametrize(
    ("top", "second", "n_distinct", "wanted"),
    [
        (950, 50, 2, None),  # exactly 95/5
        (951, 49, 2, "near_zero_variance"),
        (960, 40, 2, "near_zero_variance"),
        (901, 1, 100, None),  # exactly 10 % different values
        (902, 1, 99, "near_zero_variance"),
        (20, 1, 981, None),
    ],
)
def test_near_zero_variance_needs_both_thresholds_to_be_passed(top, second, n_distinct, wanted):
    assert rule(Rules(id_share=None), top=top, second=second, n_distinct=n_distinct) == wanted


@pytest.mark.parametrize(
    ("dtype", "n_distinct", "wanted"),
    [
        ("string", 900, "id_like"),
        ("bigint", 900, "id_like"),
        ("string", 899, None),
        ("double", 1_000, None),
        ("decimal(10,2)", 1_000, None),
        ("timestamp", 1_000, None),
        ("string", 1_030, "id_like"),  # an estimate can be above the rows
    ],
)
def test_texts_and_whole_numbers_are_ids_from_90_percent_different_values_on(dtype, n_distinct, wanted):
    assert rule(dtype=dtype, n_distinct=n_distinct, top=2, second=2) == wanted


def test_ids_are_judged_on_the_rows_with_a_value():
    assert rule(dtype="string", n_null=900, n_distinct=90, top=2, second=2) == "id_like"


@pytest.mark.parametrize(("qvalue", "wanted"), [(0.049, None), (0.05, "not_relevant"), (0.6, "not_relevant"), (math.nan, None)])
def test_a_qvalue_of_exactly_the_rate_is_dropped_and_one_that_is_none_is_not(qvalue, wanted):
    assert rule(qvalue=qvalue) == wanted


def test_every_rule_can_be_switched_off():
    off = Rules(null_share=None, frequency_ratio=None, id_share=None, false_discovery_rate=None, correlation=None)
    assert rule(off, n_null=990, n_distinct=10, top=9, second=1, dtype="string", qvalue=1.0) is None


def test_the_more_relevant_of_two_correlated_columns_stays_and_of_equals_the_earlier():
    pairs = {("a", "b"): 0.96}
    assert set(correlated_drops(["a", "b"], {"a": 0.1, "b": 0.2}, pairs, limit=0.95)) == {"a"}
    assert set(correlated_drops(["a", "b"], {"a": 0.2, "b": 0.2}, pairs, limit=0.95)) == {"b"}
    assert set(correlated_drops(["a", "b"], {"a": math.nan, "b": 0.0}, pairs, limit=0.95)) == {"a"}


def test_a_correlation_of_exactly_the_limit_drops_nothing_and_its_sign_does_not_matter():
    for r, wanted in ((0.95, set()), (-0.95, set()), (0.9500001, {"b"}), (-0.9500001, {"b"})):
        assert set(correlated_drops(["a", "b"], {"a": 1, "b": 0}, {("a", "b"): r}, limit=0.95)) == wanted


def test_spokes_stay_when_their_hub_goes():
    pairs = {("hub", "a"): 0.97, ("b", "hub"): 0.98, ("hub", "c"): 0.99}
    columns = ["hub", "a", "b", "c"]
    relevance = {"hub": 0.5, "a": 0.6, "b": 0.2, "c": 0.1}
    found = correlated_drops(columns, relevance, pairs, limit=0.95)
    assert found == {"hub": ("a", 0.97)}
    found = correlated_drops(columns, {**relevance, "hub": 0.9}, pairs, limit=0.95)
    assert {name: rival.column for name, rival in found.items()} == {"a": "hub", "b": "hub", "c": "hub"}
    found = correlated_drops(columns, relevance, pairs, limit=0.95, first=("hub",))
    assert set(found) == {"a", "b", "c"}


@pytest.mark.parametrize("seed", range(20))
def test_no_two_kept_columns_correlate_and_each_dropped_one_has_a_better_rival(seed):
    rng = random.Random(seed)
    columns = [f"c{i}" for i in range(12)]
    relevance = {name: rng.choice([0.0, 0.1, 0.2]) for name in columns}
    pairs = {(a, b): rng.uniform(-1, 1) for i, a in enumerate(columns) for b in columns[i + 1 :]}
    found = correlated_drops(columns, relevance, pairs, limit=0.6)
    kept = [name for name in columns if name not in found]
    assert all(abs(pairs[a, b]) <= 0.6 for i, a in enumerate(kept) for b in kept[i + 1 :])
    for name, rival in found.items():
        assert rival.column in kept
        assert (-relevance[rival.column], columns.index(rival.column)) < (-relevance[name], columns.index(name))


def test_the_feature_list_is_in_the_order_of_the_table_from_rows_or_mappings():
    rows = [ColumnDecision("b", 2, "int", True, "", ""), ColumnDecision("a", 1, "int", True, "", "")]
    rows.append(ColumnDecision("c", 0, "int", False, "correlated", ""))
    assert selected_columns(rows) == selected_columns([row._asdict() for row in rows]) == ("a", "b")
    assert counts_by_rule(rows) == {"correlated": 1}
    assert tuple(COMMENTS) == ColumnDecision._fields


@pytest.mark.parametrize(
    "given",
    [
        {"features": ["y"]},
        {"always_keep": ["y"]},
        {"features": ["a", "a"]},
        {"leave_out": ["a"], "features": ["a"]},
        {"rules": {"correlation": 1.5}},
        {"importance": {"folds": 1}},
        {"importance": {"measure": "gain"}},
        {"thresholds": {}},
    ],
)
def test_declarations_that_contradict_themselves_are_refused(given):
    with pytest.raises(ValidationError):
        FeatureSelection(label="y", **given)
