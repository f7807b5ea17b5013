import doctest
import math
import random
from collections import Counter
from fractions import Fraction
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import stats

from sparkds.errors import ConfigError, DataError
from sparkds.experiments import assignment
from sparkds.experiments.assignment import BUCKETS, Assignment, Holdout, Layer, bucket, overlapping, threshold, uniform

UNITS = [f"user-{i}" for i in range(100_000)]
HALF = {"control": 0.5, "treatment": 0.5}

# first 15 digits of: printf '%s\x1f%s' SALT UNIT | sha256sum
PINNED = [
    ("arm:checkout", "user-1", "cd4088878ab2c9d"),
    ("arm:checkout", 42, "0bf12ced2c57c1c"),
    ("coverage:checkout", "user-1", "81892ed628120ce"),
    ("s", "", "074ff679aa577b5"),
    ("arm:prüfung", "müller-€-😀", "c373af52b207b75"),
    ("layer:search", 9007199254740993, "3c886c9fee52790"),
]


@pytest.mark.parametrize(("salt", "unit", "digits"), PINNED)
def test_bucket_is_the_first_fifteen_digits_of_sha256sum(salt, unit, digits):
    assert bucket(unit, salt) == int(digits, 16)
    assert uniform(unit, salt) == pytest.approx(int(digits, 16) / 2**60, abs=2**-53)


def test_a_whole_number_is_its_decimal_text():
    for number in (0, 7, -7, 10**18, np.int64(7), np.int32(-7)):
        assert bucket(number, "s") == bucket(str(int(number)), "s")
    assert bucket("007", "s") != bucket(7, "s")


@pytest.mark.parametrize("unit", [None, 1.0, True, np.float64(3), b"user-1", math.nan])
def test_a_unit_whose_text_differs_between_languages_is_refused(unit):
    with pytest.raises(DataError, match="text or a whole number"):
        bucket(unit, "s")
    with pytest.raises(DataError, match="text or a whole number"):
        Assignment(experiment="e", arms=HALF, coverage=1.0).arm_of(unit)


def test_half_a_surrogate_pair_is_refused():
    with pytest.raises(DataError, match="not valid Unicode"):
        bucket("\ud800", "s")


def test_two_spellings_of_a_letter_are_two_units():
    assert bucket("é", "s") != bucket("e\u0301", "s")


def test_salt_and_unit_cannot_run_into_each_other():
    assert bucket("bc", "a") != bucket("c", "ab")
    with pytest.raises(ConfigError, match="separator 0x1F"):
        bucket("c", "a\x1fb")


def test_uniform_never_reaches_one(monkeypatch):
    monkeypatch.setattr(assignment, "bucket", lambda unit, salt: BUCKETS - 1)
    assert uniform("any", "s") < 1
    monkeypatch.setattr(assignment, "bucket", lambda unit, salt: 0)
    assert uniform("any", "s") == 0


def test_buckets_are_uniform_over_a_hundred_thousand_units():
    counts = np.bincount([bucket(unit, "arm:checkout") >> 50 for unit in UNITS], minlength=1024)
    assert stats.chisquare(counts).pvalue > 1e-3
    # the last bits too, so that no bit of the 60 is missing
    counts = np.bincount([bucket(unit, "arm:checkout") & 1023 for unit in UNITS], minlength=1024)
    assert stats.chisquare(counts).pvalue > 1e-3
    assert stats.kstest([uniform(unit, "arm:checkout") for unit in UNITS], "uniform").pvalue > 1e-3


def test_salts_are_independent_of_each_other():
    salts = ("arm:a", "arm:b", "coverage:a", "rank:a")
    parts = {salt: np.array([bucket(unit, salt) >> 57 for unit in UNITS]) for salt in salts}
    for i, one in enumerate(salts):
        for other in salts[i + 1 :]:
            table = np.bincount(parts[one] * 8 + parts[other], minlength=64).reshape(8, 8)
            assert stats.chi2_contingency(table).pvalue > 1e-3


def test_arms_get_their_weights():
    weights = {"control": 0.7, "b": 0.2, "c": 0.1}
    counts = Counter(map(Assignment(experiment="checkout", arms=weights, coverage=1.0).arm_of, UNITS))
    assert set(counts) == set(weights)
    assert stats.chisquare([counts[arm] for arm in weights], [weights[arm] * len(UNITS) for arm in weights]).pvalue > 1e-3


def test_arm_edges_are_whole_numbers_anyone_can_check():
    edges = Assignment(experiment="e", arms={"c": 0.7, "a": 0.1, "b": 0.2}, coverage=1.0).arm_edges
    assert edges == (("a", 2**60 // 10), ("b", 2**60 * 3 // 10), ("c", 2**60))


def test_weights_a_little_off_one_end_at_the_last_bucket_and_keep_their_proportions():
    edges = Assignment(experiment="e", arms={"a": 0.3333333333, "b": 0.3333333333, "c": 0.3333333333}, coverage=1.0).arm_edges
    assert [edge.high for edge in edges] == [2**60 // 3, 2**61 // 3, 2**60]


def test_arms_do_not_depend_on_the_order_in_which_they_are_told():
    one = Assignment(experiment="e", arms={"a": 0.2, "b": 0.8}, coverage=1.0)
    other = Assignment(experiment="e", arms={"b": 0.8, "a": 0.2}, coverage=1.0)
    assert one.definition_hash == other.definition_hash
    assert list(map(one.arm_of, UNITS[:500])) == list(map(other.arm_of, UNITS[:500]))


@given(st.fractions(0, 1), st.fractions(0, 1))
def test_thresholds_keep_the_order_of_shares(a, b):
    assert 0 <= threshold(min(a, b)) <= threshold(max(a, b)) <= BUCKETS
    assert threshold(a) == math.floor(a * BUCKETS)


def test_a_threshold_takes_the_decimal_as_it_is_written():
    assert threshold(0.3) == BUCKETS * 3 // 10
    assert threshold(0.1) == threshold(Fraction(1, 10))
    assert (threshold(0.0), threshold(1.0)) == (0, BUCKETS)


@given(st.integers(0, BUCKETS - 1))
def test_every_place_belongs_to_exactly_one_arm(place):
    told = Assignment(experiment="e", arms={"a": 0.1, "b": 0.6, "c": 0.3}, coverage=1.0)
    low = 0
    owners = []
    for arm, high in told.arm_edges:
        owners += [arm] if low <= place < high else []
        low = high
    assert owners == [told._arm_at(place)]


def test_a_ramp_up_adds_units_and_moves_none():
    before: dict[str, str | None] = dict.fromkeys(UNITS[:20_000])
    for coverage in (0.01, 0.1, 0.5, 0.999, 1.0):
        ramp = Assignment(experiment="ramp", arms=HALF, coverage=coverage)
        now = {unit: ramp.arm_of(unit) for unit in before}
        assert all(now[unit] == arm for unit, arm in before.items() if arm is not None)
        share = sum(arm is not None for arm in now.values()) / len(now)
        assert abs(share - coverage) < 4 * math.sqrt(coverage * (1 - coverage) / len(now)) + 1e-12
        before = now
    assert None not in before.values()


def test_being_covered_says_nothing_about_the_arm():
    covered = Assignment(experiment="e", arms=HALF, coverage=0.2)
    counts = Counter(arm for arm in map(covered.arm_of, UNITS) if arm is not None)
    assert stats.binomtest(counts["control"], counts.total(), 0.5).pvalue > 1e-3


def test_experiments_with_ranges_of_one_layer_never_share_a_unit():
    ranges = [(0.0, 0.3), (0.3, 0.7), (0.7, 1.0)]
    told = [
        Assignment(experiment=f"e{i}", arms=HALF, coverage=1.0, layer=Layer(name="search", low=low, high=high))
        for i, (low, high) in enumerate(ranges)
    ]
    homes = [[one.includes(unit) for one in told] for unit in UNITS[:20_000]]
    assert all(sum(home) == 1 for home in homes)
    counts = np.sum(homes, axis=0)
    assert stats.chisquare(counts, [0.3 * 20_000, 0.4 * 20_000, 0.3 * 20_000]).pvalue > 1e-3


def test_two_layers_are_independent():
    told = [Assignment(experiment="e", arms=HALF, coverage=1.0, layer=Layer(name=name, low=0.0, high=0.5)) for name in ("x", "y")]
    table = Counter(tuple(one.includes(unit) for one in told) for unit in UNITS[:20_000])
    assert stats.chisquare(list(table.values())).pvalue > 1e-3
    assert len(table) == 4


def test_a_holdout_keeps_the_same_units_out_of_every_experiment():
    out = Holdout(name="global", share=0.05)
    told = [Assignment(experiment=name, arms=HALF, coverage=1.0, holdout=out) for name in ("a", "b")]
    absent = [{unit for unit in UNITS[:20_000] if one.arm_of(unit) is None} for one in told]
    assert absent[0] == absent[1]
    assert stats.binomtest(len(absent[0]), 20_000, 0.05).pvalue > 1e-3


def test_a_larger_holdout_takes_units_out_and_puts_none_in():
    few, many = (Assignment(experiment="a", arms=HALF, coverage=1.0, holdout=Holdout(name="global", share=share)) for share in (0.05, 0.2))
    assert all(few.arm_of(unit) == arm for unit in UNITS[:5_000] if (arm := many.arm_of(unit)) is not None)


def test_cuts_and_edges_are_all_that_another_language_needs():
    told = Assignment(
        experiment="checkout",
        arms={"control": 0.5, "treatment": 0.5},
        coverage=0.4,
        layer=Layer(name="search", low=0.25, high=0.75),
        holdout=Holdout(name="global", share=0.1),
    )
    assert told.cuts == (
        ("holdout:global", 2**60 // 10, 2**60),
        ("layer:search", 2**58, 3 * 2**58),
        ("coverage:checkout", 0, 2**60 * 2 // 5),
    )
    assert told.arm_salt == "arm:checkout"
    assert Assignment(experiment="e", arms=HALF, coverage=1.0).cuts == ()
    arms = Counter()
    for unit in UNITS[:5_000]:
        inside = all(low <= bucket(unit, salt) < high for salt, low, high in told.cuts)
        expected = next(arm for arm, high in told.arm_edges if bucket(unit, told.arm_salt) < high) if inside else None
        assert told.arm_of(unit) == expected
        arms[expected] += 1
    assert stats.binomtest(5_000 - arms[None], 5_000, 0.4 * 0.5 * 0.9).pvalue > 1e-3


class TestStrata:
    WEIGHTS: ClassVar = {"a": 0.5, "b": 0.3, "c": 0.2}

    def test_every_stratum_keeps_the_weights_to_within_rounding(self):
        rng = random.Random(1)
        strata = [rng.choice("pqrst") if rng.random() < 0.9 else f"small-{rng.randrange(300)}" for _ in UNITS[:5_000]]
        told = Assignment(experiment="strat", arms=self.WEIGHTS, coverage=1.0)
        arms = told.stratified_arms(UNITS[:5_000], strata)
        n = Counter(strata)
        counts = Counter(zip(strata, arms, strict=True))
        for stratum in n:
            for arm, weight in self.WEIGHTS.items():
                exact = n[stratum] * Fraction(str(weight))
                assert math.floor(exact) <= counts[stratum, arm] <= math.ceil(exact)

    def test_strata_of_one_unit_do_not_all_go_to_one_arm(self):
        told = Assignment(experiment="strat", arms=self.WEIGHTS, coverage=1.0)
        counts = Counter(told.stratified_arms(UNITS[:5_000], UNITS[:5_000]))
        assert stats.chisquare([counts[arm] for arm in self.WEIGHTS], [w * 5_000 for w in self.WEIGHTS.values()]).pvalue > 1e-3

    def test_the_order_of_the_list_does_not_matter(self):
        told = Assignment(experiment="strat", arms=self.WEIGHTS, coverage=0.8)
        strata = [i % 7 for i in range(1_000)]
        arms = dict(zip(UNITS[:1_000], told.stratified_arms(UNITS[:1_000], strata), strict=True))
        order = random.Random(2).sample(range(1_000), 1_000)
        shuffled = told.stratified_arms([UNITS[i] for i in order], [strata[i] for i in order])
        assert shuffled == [arms[UNITS[i]] for i in order]

    def test_units_outside_have_no_arm_and_take_no_place(self):
        told = Assignment(experiment="strat", arms=HALF, coverage=0.5)
        arms = told.stratified_arms(UNITS[:2_000], [0] * 2_000)
        inside = [told.includes(unit) for unit in UNITS[:2_000]]
        assert [arm is not None for arm in arms] == inside
        counts = Counter(arm for arm in arms if arm is not None)
        assert abs(counts["control"] - counts["treatment"]) <= 1

    def test_arm_and_stratum_start_vary_with_the_experiment(self):
        one, other = (Assignment(experiment=name, arms=HALF, coverage=1.0).stratified_arms(UNITS[:1_000], [0] * 1_000) for name in "ab")
        same = sum(x == y for x, y in zip(one, other, strict=True))
        assert 400 < same < 600

    def test_nothing_gives_nothing(self):
        assert Assignment(experiment="e", arms=HALF, coverage=1.0).stratified_arms([], []) == []

    @pytest.mark.parametrize(
        ("units", "strata", "told"),
        [
            (["a", "a"], [1, 1], "1 units are given twice"),
            (["1", 1], [1, 1], "1 units are given twice"),
            (["a"], [1, 2], "1 units and 2 strata"),
            (["a"], [None], "text or a whole number"),
            ([None], [1], "text or a whole number"),
        ],
    )
    def test_a_bad_list_is_refused(self, units, strata, told):
        with pytest.raises(DataError, match=told):
            Assignment(experiment="e", arms=HALF, coverage=1.0).stratified_arms(units, strata)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"arms": {"a": 0.5, "b": 0.4}}, "weights of the arms sum to 0.9; they must sum to 1"),
        ({"arms": {"a": 0.5, "b": 0.5 + 2e-9}}, "must sum to 1"),
        ({"arms": {"a": 1.0, "b": 0.0}}, "greater than 0"),
        ({"arms": {"a": 1.5, "b": -0.5}}, "less than or equal to 1"),
        ({"arms": {}}, "at least 1"),
        ({"arms": {"": 1.0}}, "should match pattern"),
        ({"coverage": 0.0}, "greater than 0"),
        ({"coverage": 1.1}, "less than or equal to 1"),
        ({"coverage": math.nan}, "finite"),
        ({"experiment": ""}, "should match pattern"),
        ({"experiment": "a\x1fb"}, "should match pattern"),
        ({"experiment": "a\n"}, "should match pattern"),
        ({"layer": {"name": "l", "low": 0.5, "high": 0.5}}, "give low below high"),
        ({"layer": {"name": "l", "low": -0.1, "high": 0.5}}, "greater than or equal to 0"),
        ({"holdout": {"name": "h", "share": 1.0}}, "less than 1"),
        ({"seed": 3}, "Extra inputs"),
    ],
)
def test_a_bad_declaration_is_refused(change, told):
    with pytest.raises(ValidationError, match=told):
        Assignment.model_validate({"experiment": "e", "arms": HALF, "coverage": 1.0} | change)


def test_overlapping_ranges_of_a_layer_are_found():
    def told(name, low, high, layer="l"):
        return Assignment(experiment=name, arms=HALF, coverage=1.0, layer=Layer(name=layer, low=low, high=high))

    free = Assignment(experiment="free", arms=HALF, coverage=1.0)
    assert overlapping([told("a", 0, 0.5), told("b", 0.5, 1), told("c", 0, 1, layer="m"), free]) == {}
    assert overlapping([told("a", 0, 0.9), told("b", 0.1, 0.2), told("c", 0.3, 1)]) == {("a", "b"): "l", ("a", "c"): "l"}


def test_the_examples_of_the_module_give_what_they_say():
    assert doctest.testmod(assignment).failed == 0
