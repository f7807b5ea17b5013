"""Deviations from what was declared at the first analysis."""

from sparkds.experiments.deviations import deviations, recorded
from sparkds.experiments.metrics import Sum

from .test_effects import BOUGHT, REVENUE, experiment


def test_nothing_is_told_at_the_first_analysis_and_ok_while_it_stays():
    planned = experiment(peeking={"kind": "fixed", "planned_n": 100})
    assert deviations(planned, [REVENUE], None, n=50) == []
    (row,) = deviations(planned, [REVENUE], recorded(planned, [REVENUE]), n=50)
    assert row.status == "ok"


def test_every_bound_field_that_changed_is_named_with_both_values():
    before = recorded(experiment(), [REVENUE])
    rows = deviations(experiment(alpha=0.1, correction="none", arms={"c": 0.4, "t": 0.6}), [REVENUE], before, n=5)
    told = {row.variant: row.reason for row in rows}
    assert set(told) == {"alpha", "correction", "arms"}
    assert told["alpha"] == "alpha was 0.05 at the first analysis and is 0.1"
    assert {row.status for row in rows} == {"warn"}


def test_metrics_that_come_go_or_change_are_named():
    before = recorded(experiment(), [REVENUE, BOUGHT])
    other = Sum(name="revenue", fact="f", column="y", role="primary")
    late = Sum(name="late", fact="f", column="x", role="primary")
    told = {row.variant: row.reason for row in deviations(experiment(), [other, late], before, n=5)}
    assert "in another way" in told["revenue"]
    assert "not declared any more" in told["bought"]
    assert "was not there" in told["late"]


def test_a_fixed_horizon_that_was_passed_over_is_told():
    planned = experiment(peeking={"kind": "fixed", "planned_n": 100})
    (row,) = [r for r in deviations(planned, [REVENUE], None, n=150) if r.variant == "planned_units"]
    assert (row.value, row.status) == (1.5, "warn")
    assert deviations(planned, [REVENUE], None, n=105) == []


def test_the_kind_of_a_metric_is_part_of_its_definition():
    from sparkds.experiments.metrics import Count, Proportion

    before = recorded(experiment(), [Count(name="n", fact="f")])
    (row,) = deviations(experiment(), [Proportion(name="n", fact="f")], before, n=5)
    assert "in another way" in row.reason


def test_what_is_recorded_survives_json():
    import json

    phased = experiment(phases=[{"start": "2026-01-08T00:00Z", "weights": {"c": 0.1, "t": 0.9}}])
    before = json.loads(json.dumps(recorded(phased, [REVENUE])))
    assert [row.status for row in deviations(phased, [REVENUE], before, n=5)] == ["ok"]
