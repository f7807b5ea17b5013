import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sparkds.errors import ConfigError
from sparkds.stats.paths import start
from sparkds.stats.sequential import Boundary, Spending, boundaries, group_sequential, inflation_factor, wang_tsiatis

OBF = Spending(kind="obrien-fleming")
POCOCK = Spending(kind="pocock")
FIFTHS = [0.2, 0.4, 0.6, 0.8, 1.0]


def box(times, lows, highs, drift=0.0):
    """Probability of a box of the statistics at the looks, by scipy's multivariate normal."""
    t = np.array(times)
    covariance = np.sqrt(np.minimum.outer(t, t) / np.maximum.outer(t, t))
    accuracy = {"maxpts": 2_000_000, "abseps": 1e-6, "releps": 1e-6}
    return stats.multivariate_normal.cdf(np.array(highs), drift * np.sqrt(t), covariance, lower_limit=np.array(lows), **accuracy)


class TestClassicalBoundaries:
    # Jennison, Turnbull (2000), table 2.1: Pocock's C for alpha 0.05, K = 1 … 10
    POCOCK = (1.960, 2.178, 2.289, 2.361, 2.413, 2.453, 2.485, 2.512, 2.535, 2.555)
    # table 2.3: O'Brien and Fleming's
    OBRIEN_FLEMING = (1.960, 1.977, 2.004, 2.024, 2.040, 2.053, 2.063, 2.072, 2.080, 2.087)

    @pytest.mark.parametrize("n_looks", range(1, 11))
    def test_constants_are_those_of_jennison_and_turnbull(self, n_looks):
        for shape, table in ((0.5, self.POCOCK), (0.0, self.OBRIEN_FLEMING)):
            found = wang_tsiatis(n_looks, alpha=0.05, sides=2, shape=shape)
            assert found.z[-1] == pytest.approx(table[n_looks - 1], abs=5.1e-4)
            assert found.z[0] == pytest.approx(found.z[-1] * n_looks ** (0.5 - shape))
            assert found.spent[-1] == pytest.approx(0.05, abs=1e-9)

    # Jennison, Turnbull (2000), tables 2.2 and 2.4, alpha 0.05: maximal over fixed sample size for power 0.8 and 0.9
    @pytest.mark.parametrize(
        ("n_looks", "shape", "at_80", "at_90"),
        [
            (2, 0.5, 1.110, 1.100),
            (3, 0.5, 1.166, 1.151),
            (4, 0.5, 1.202, 1.183),
            (5, 0.5, 1.229, 1.207),
            (10, 0.5, 1.301, 1.271),
            (2, 0.0, 1.008, 1.007),
            (3, 0.0, 1.017, 1.016),
            (4, 0.0, 1.024, 1.022),
            (5, 0.0, 1.028, 1.026),
            (10, 0.0, 1.040, 1.037),
        ],
    )
    def test_inflation_factors_are_those_of_jennison_and_turnbull(self, n_looks, shape, at_80, at_90):
        plan = wang_tsiatis(n_looks, alpha=0.05, sides=2, shape=shape)
        assert inflation_factor(plan, alpha=0.05, power=0.8) == pytest.approx(at_80, abs=6e-4)
        assert inflation_factor(plan, alpha=0.05, power=0.9) == pytest.approx(at_90, abs=6e-4)

    def test_one_look_costs_nothing(self):
        plan = boundaries([1.0], alpha=0.05, sides=2, spending=OBF)
        assert inflation_factor(plan, alpha=0.05, power=0.8) == pytest.approx(1, abs=1e-8)
        assert plan.z[0] == pytest.approx(1.959964, abs=1e-6)


class TestSpending:
    # R ldbounds, commonrisks: ldBounds(t = 1:5/5, alpha = 0.05) two-sided, O'Brien-Fleming-type and Pocock-type
    @pytest.mark.parametrize(
        ("spending", "z"),
        [(OBF, (4.8769, 3.3569, 2.6803, 2.2898, 2.0310)), (POCOCK, (2.4380, 2.4268, 2.4101, 2.3966, 2.3859))],
        ids=["obf", "pocock"],
    )
    def test_boundaries_are_those_of_lan_and_demets(self, spending, z):
        found = boundaries(FIFTHS, alpha=0.05, sides=2, spending=spending)
        assert found.z == pytest.approx(z, abs=2e-4)

    # gsDesign(k = 3): one-sided 0.025, Hwang-Shih-DeCani with gamma -4, efficacy bounds 3.01, 2.55, 2.00
    def test_boundaries_are_those_of_gsdesign_by_default(self):
        spending = Spending(kind="hwang-shih-decani", parameter=-4.0)
        found = boundaries([1 / 3, 2 / 3, 1.0], alpha=0.025, sides=1, spending=spending)
        assert found.z == pytest.approx((3.0107, 2.5465, 1.9992), abs=1e-4)

    @pytest.mark.parametrize("alpha", [0.05, 1e-4])
    @pytest.mark.parametrize(
        "spending",
        [
            OBF,
            POCOCK,
            Spending(kind="power", parameter=2.0),
            Spending(kind="hwang-shih-decani", parameter=0.0),
            Spending(kind="hwang-shih-decani", parameter=-800.0),
            Spending(kind="hwang-shih-decani", parameter=3.0),
        ],
        ids=str,
    )
    def test_spending_rises_from_nothing_to_alpha_and_stays(self, spending, alpha):
        spent = [spending.spent(t, alpha=alpha) for t in np.linspace(0, 1, 101)]
        assert spent[0] == 0
        assert spent[-1] == alpha
        assert all(np.diff(spent) >= 0)
        assert spending.spent(0.999999, alpha=alpha) == pytest.approx(alpha, rel=2e-3)
        assert spending.spent(1.5, alpha=alpha) == alpha
        assert spending.spent(-1.0, alpha=alpha) == 0

    def test_formulas_are_those_of_the_papers(self):
        t, a = 0.3, 0.025
        assert OBF.spent(t, alpha=a) == pytest.approx(2 * stats.norm.sf(stats.norm.isf(a / 2) / math.sqrt(t)), rel=1e-12)
        assert POCOCK.spent(t, alpha=a) == pytest.approx(a * math.log(1 + (math.e - 1) * t), rel=1e-12)
        for gamma in (-4.0, 2.0):
            expected = a * (1 - math.exp(-gamma * t)) / (1 - math.exp(-gamma))
            assert Spending(kind="hwang-shih-decani", parameter=gamma).spent(t, alpha=a) == pytest.approx(expected, rel=1e-12)


class TestPaths:
    TIMES = (0.1, 0.35, 0.4, 1.0)

    @pytest.mark.parametrize("drift", [0.0, 2.5, -1.0])
    def test_crossing_probabilities_are_those_of_a_multivariate_normal(self, drift):
        z = (2.8, 2.1, 2.4, 2.0)
        above, below = Boundary(self.TIMES, z, (0.0,) * 4, 2).crossing(drift=drift)
        for k in range(4):
            inside = [[-bound for bound in z[:k]], list(z[:k])]
            expected = box(self.TIMES[: k + 1], [*inside[0], z[k]], [*inside[1], np.inf], drift)
            assert above[k] == pytest.approx(expected, abs=5e-6)
            expected = box(self.TIMES[: k + 1], [*inside[0], -np.inf], [*inside[1], -z[k]], drift)
            assert below[k] == pytest.approx(expected, abs=5e-6)

    def test_one_sided_paths_may_go_as_low_as_they_like(self):
        z = (2.8, 2.1, 2.4, 2.0)
        above, below = Boundary(self.TIMES, z, (0.0,) * 4, 1).crossing(drift=0.5)
        assert above.sum() == pytest.approx(1 - box(self.TIMES, [-np.inf] * 4, z, 0.5), abs=5e-6)
        assert np.all(below == 0)

    def test_nothing_is_lost_over_many_looks_close_together(self):
        times = [*np.linspace(0.002, 0.5, 60), 0.50002, *np.linspace(0.51, 1.0, 60)]
        path = start(times)
        for _ in times[:-1]:
            path = path.through(-math.inf, math.inf)
        assert path.above(-math.inf) == pytest.approx(1, abs=1e-11)
        assert path.above(1.5) == pytest.approx(stats.norm.sf(1.5), abs=1e-11)

    def test_a_look_that_spends_nothing_changes_nothing(self):
        z = boundaries([0.5, 1.0], alpha=0.05, sides=2, spending=POCOCK).z
        with_idle = Boundary((0.25, 0.5, 1.0), (math.inf, *z), (0.0,) * 3, 2)
        assert with_idle.crossing()[0].sum() == pytest.approx(0.025, abs=1e-10)

    def test_far_drift_is_certain_to_cross_at_once(self):
        above, below = boundaries(FIFTHS, alpha=0.05, sides=2, spending=OBF).crossing(drift=200.0)
        assert above[0] == pytest.approx(1)
        assert above.sum() == pytest.approx(1)
        assert below.sum() == pytest.approx(0, abs=1e-15)


class TestBoundaries:
    @settings(max_examples=25, deadline=None)
    @given(
        st.lists(st.integers(1, 120), min_size=1, max_size=7, unique=True),
        st.sampled_from([OBF, POCOCK, Spending(kind="power", parameter=3.0), Spending(kind="hwang-shih-decani", parameter=-2.0)]),
        st.sampled_from([1, 2]),
        st.sampled_from([0.2, 0.05, 1e-4]),
    )
    def test_what_is_spent_is_what_is_crossed_at_any_times_of_looks(self, looks, spending, sides, alpha):
        times = sorted(look / 100 for look in looks)
        found = boundaries(times, alpha=alpha, sides=sides, spending=spending)
        above, below = found.crossing()
        assert np.cumsum(above) * sides == pytest.approx(found.spent, abs=1e-11)
        assert np.all(below == (above if sides == 2 else 0)) or below == pytest.approx(above, abs=1e-12)
        assert found.spent == pytest.approx([sides * spending.spent(t, alpha=alpha / sides) for t in times], abs=1e-15)

    def test_earlier_boundaries_do_not_depend_on_later_looks(self):
        short = boundaries([0.2, 0.5], alpha=0.05, sides=2, spending=OBF).z
        long = boundaries([0.2, 0.5, 0.7, 1.0], alpha=0.05, sides=2, spending=OBF).z
        assert long[:2] == pytest.approx(short, abs=1e-9)

    def test_a_last_look_past_the_plan_spends_the_rest_at_its_true_time(self):
        on_time = boundaries([0.5, 1.0], alpha=0.05, sides=2, spending=OBF)
        late = boundaries([0.5, 1.4], alpha=0.05, sides=2, spending=OBF)
        assert late.spent == on_time.spent
        assert late.crossing()[0].sum() == pytest.approx(0.025, abs=1e-11)
        assert late.z[-1] > on_time.z[-1] + 1e-4  # less correlated with the first look

    def test_a_look_after_all_is_spent_rejects_nothing(self):
        assert boundaries([0.5, 1.0, 1.2], alpha=0.05, sides=2, spending=OBF).z[-1] == math.inf

    def test_a_plan_that_ends_early_spends_the_rest_when_told(self):
        ended = boundaries([0.5, 0.9], alpha=0.05, sides=2, spending=OBF, final=True)
        assert ended.spent[-1] == pytest.approx(0.05)
        assert ended.z[-1] < boundaries([0.5, 0.9], alpha=0.05, sides=2, spending=OBF).z[-1]

    def test_a_look_too_early_to_spend_anything_has_a_bound_out_of_reach(self):
        found = boundaries([1e-4, 0.01, 1.0], alpha=0.05, sides=2, spending=OBF)
        assert found.z[0] == math.inf  # 1e-1000 or so
        assert 20 < found.z[1] < 25
        assert found.z[2] == pytest.approx(1.959964, abs=1e-5)

    def test_daily_looks_of_a_year_spend_alpha(self):
        found = boundaries([day / 365 for day in range(1, 366)], alpha=0.05, sides=2, spending=OBF)
        assert found.crossing()[0].sum() == pytest.approx(0.025, abs=1e-10)


class TestLooks:
    def test_p_value_is_the_probability_of_stopping_before_or_coming_as_far(self):
        times, errors = (0.3, 0.6, 1.0), (0.4, 0.28, 0.22)
        estimates = (0.5, 0.5, 0.49)
        looks = group_sequential(estimates, errors, information=times, alpha=0.05, sides=2, spending=OBF)
        z = [e / s for e, s in zip(estimates, errors, strict=True)]
        bounds = boundaries(times, alpha=0.05, sides=2, spending=OBF).z
        for k in range(3):
            inside = box(times[: k + 1], [-b for b in bounds[:k]] + [-abs(z[k])], [*bounds[:k], abs(z[k])])
            assert looks[k].pvalue == pytest.approx(1 - inside, abs=5e-6)
            assert looks[k].log10_pvalue == pytest.approx(math.log10(looks[k].pvalue), abs=1e-9)
            assert (looks[k].low, looks[k].high) == pytest.approx(
                (estimates[k] - bounds[k] * errors[k], estimates[k] + bounds[k] * errors[k])
            )
        assert [look.decision for look in looks] == ["continue", "continue", "reject"]

    def test_one_sided_p_value_counts_one_side(self):
        times = (0.5, 1.0)
        looks = group_sequential([1.0, 1.7], [1.0, 1.0], information=times, alpha=0.025, sides=1, spending=POCOCK)
        bounds = boundaries(times, alpha=0.025, sides=1, spending=POCOCK).z
        assert looks[0].pvalue == pytest.approx(stats.norm.sf(1.0))
        assert looks[1].pvalue == pytest.approx(1 - box(times, [-np.inf] * 2, [bounds[0], 1.7]), abs=5e-6)
        assert looks[1].high == math.inf
        against = group_sequential([-30.0], [1.0], information=[0.5], alpha=0.025, sides=1, spending=POCOCK)[0]
        assert against.pvalue == pytest.approx(1)

    @settings(max_examples=40, deadline=None)
    @given(st.lists(st.floats(-6, 6), min_size=1, max_size=5), st.sampled_from([1, 2]), st.sampled_from([OBF, POCOCK]))
    def test_interval_p_value_and_decision_agree_at_the_deciding_look(self, z, sides, spending):
        times = [(k + 1) / len(z) for k in range(len(z))]
        looks = group_sequential(z, [1.0] * len(z), information=times, alpha=0.05, sides=sides, spending=spending)
        first = next((look for look in looks if look.decision in ("reject", "accept")), looks[-1])
        assert first.decision != "continue"
        assert (first.decision == "reject") == (not first.low <= 0 <= first.high)
        assert (first.decision == "reject") == (first.pvalue <= 0.05 + 1e-12)
        after = looks[looks.index(first) + 1 :]
        assert all(look.decision == first.decision and "changes nothing" in look.reason for look in after)
        assert all(look.reason == "" for look in looks[: looks.index(first) + 1])
        if first.decision == "reject":
            assert all(look.pvalue == pytest.approx(first.pvalue, rel=1e-12) for look in after)

    def test_a_look_past_a_spent_plan_keeps_decision_and_interval(self):
        looks = group_sequential([0.5, 1.0, 9.0], [1.0, 1.0, 1.0], information=[0.5, 1.0, 1.3], alpha=0.05, sides=2, spending=OBF)
        assert [look.decision for look in looks] == ["continue", "accept", "accept"]
        assert (looks[2].low, looks[2].high) == (looks[1].low, looks[1].high)
        assert looks[2].pvalue >= 0.05 - 1e-12
        assert looks[2].boundary == math.inf
        assert looks[2].reason == "decided at information 1; this look changes nothing"

    def test_a_far_statistic_has_a_finite_log_p(self):
        look = group_sequential([60.0], [1.0], information=[0.5], alpha=0.05, sides=2, spending=OBF)[0]
        assert look.pvalue == 0
        assert look.log10_pvalue == pytest.approx((stats.norm.logsf(60.0) + math.log(2)) / math.log(10), rel=1e-12)
        second = group_sequential([0.1, 1e6], [1.0, 1.0], information=[1e-4, 0.5], alpha=0.05, sides=2, spending=OBF)[1]
        assert second.log10_pvalue == pytest.approx(-0.5e12 / math.log(10), rel=1e-6)

    def test_an_early_interval_may_be_everything(self):
        look = group_sequential([0.1], [1.0], information=[1e-4], alpha=0.05, sides=2, spending=OBF)[0]
        assert (look.low, look.high) == (-math.inf, math.inf)
        assert look.decision == "continue"

    @pytest.mark.parametrize(("value", "error"), [(math.nan, 1.0), (1.0, math.nan), (1.0, 0.0), (1.0, math.inf)])
    def test_a_look_without_a_standard_error_is_no_look(self, value, error):
        looks = group_sequential([value, 3.0], [error, 1.0], information=[0.5, 0.7], alpha=0.05, sides=2, spending=POCOCK)
        alone = group_sequential([3.0], [1.0], information=[0.7], alpha=0.05, sides=2, spending=POCOCK)
        assert looks[1] == alone[0]
        assert looks[0].decision == ""
        assert math.isnan(looks[0].pvalue)
        assert "wait for more units" in looks[0].reason

    def test_no_look_at_all_gives_nothing(self):
        assert group_sequential([], [], information=[], alpha=0.05, sides=2, spending=OBF) == []
        assert [x.decision for x in group_sequential([math.nan], [1.0], information=[0.1], alpha=0.05, sides=2, spending=OBF)] == [""]

    def test_a_margin_moves_the_null(self):
        moved = group_sequential([0.1], [0.1], information=[1.0], alpha=0.05, sides=1, spending=OBF, null=-0.2)[0]
        assert moved.z == pytest.approx(3)
        assert moved.decision == "reject"


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Spending(kind="linear"), "kind is 'linear'; allowed are"),
        (lambda: Spending(kind="power"), "needs a parameter"),
        (lambda: Spending(kind="power", parameter=0.0), "rho is 0"),
        (lambda: Spending(kind="hwang-shih-decani", parameter=math.nan), "gamma is nan"),
        (lambda: Spending(kind="pocock", parameter=1.0), "has none"),
        (lambda: boundaries([0.5, 0.5], alpha=0.05, sides=2, spending=OBF), "goes from 0.5 to 0.5"),
        (lambda: boundaries([0.5, 0.4], alpha=0.05, sides=2, spending=OBF), "goes from 0.5 to 0.4"),
        (lambda: boundaries([0.5, 0.5000001], alpha=0.05, sides=2, spending=OBF), "0.001 %"),
        (lambda: boundaries([], alpha=0.05, sides=2, spending=OBF), "information is"),
        (lambda: boundaries([math.nan], alpha=0.05, sides=2, spending=OBF), "information is"),
        (lambda: boundaries([0.0, 1.0], alpha=0.05, sides=2, spending=OBF), "information is"),
        (lambda: boundaries([1.0], alpha=0.0, sides=2, spending=OBF), "alpha is 0.0"),
        (lambda: boundaries([1.0], alpha=0.05, sides=3, spending=OBF), "sides is 3"),
        (lambda: wang_tsiatis(0, alpha=0.05, sides=2, shape=0.0), "n_looks is 0"),
        (lambda: wang_tsiatis(3, alpha=0.05, sides=2, shape=0.7), "shape is 0.7"),
        (lambda: inflation_factor(boundaries([0.5], alpha=0.05, sides=2, spending=OBF), alpha=0.05, power=0.8), "ends at 1"),
        (lambda: inflation_factor(boundaries([1.0], alpha=0.05, sides=2, spending=OBF), alpha=0.05, power=0.04), "power is 0.04"),
        (lambda: group_sequential([1.0], [1.0, 2.0], information=[1.0], alpha=0.05, sides=2, spending=OBF), "1 estimates, 2 standard"),
        (lambda: group_sequential([1.0], [-1.0], information=[1.0], alpha=0.05, sides=2, spending=OBF), "std_error is -1.0"),
    ],
)  # fmt: skip
def test_a_bad_argument_is_named_with_what_is_allowed(make, told):
    with pytest.raises(ConfigError, match=told):
        make()


@pytest.mark.slow
@pytest.mark.parametrize("spending", [OBF, POCOCK, Spending(kind="power", parameter=2.0)], ids=lambda s: s.kind)
def test_daily_looks_at_an_experiment_without_effect_reject_alpha_of_the_time(spending):
    rng = np.random.default_rng(11)
    arrivals = np.cumsum(rng.integers(50, 200, 28))  # units an arm by day; the plan is the last day's
    n_runs = 40_000
    rejected = np.zeros(n_runs, dtype=bool)
    totals = np.zeros((2, n_runs))
    before = 0
    z = boundaries(arrivals / arrivals[-1], alpha=0.05, sides=2, spending=spending).z
    for count, bound in zip(arrivals, z, strict=True):
        totals += rng.gamma(count - before, size=(2, n_runs))  # sums of exponentials, variance 1
        rejected |= np.abs(totals[1] - totals[0]) / math.sqrt(2 * count) >= bound
        before = count
    assert abs(rejected.mean() - 0.05) < 4 * math.sqrt(0.05 * 0.95 / n_runs)
