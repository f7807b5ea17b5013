"""Baselines measured by Spark against naive loops, and what the pass costs."""

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from scipy import stats

from sparkds import collect
from sparkds.days import known_at, start_of_day
from sparkds.errors import ColumnError, ConfigError
from sparkds.experiments.design import Design
from sparkds.experiments.history import fact_names, history_balance, history_frame, measured_history
from sparkds.experiments.metrics import PrePeriod
from sparkds.experiments.plan import plan_of
from tests.experiments.designs import design
from tests.experiments.worlds import SPEC, frames, values_of, world

LAST, DAYS = date(2026, 3, 11), 10
ZONE = ZoneInfo("Europe/Berlin")
ELIGIBLE = {"fact": "views", "where": "page in ('a', 'x')"}
NOT_HERE = ("top_capped", "median_revenue")


def declared(**changes) -> Design:
    metrics = [{**m, "role": "guardrail", "margin": 0.1} for m in SPEC["metrics"] if m["name"] not in NOT_HERE]
    metrics[0] = {**metrics[0], "role": "primary", "margin": None}
    told = {"facts": SPEC["facts"], "metrics": metrics, "baselines": {}, "history": {"days": DAYS, "eligible": ELIGIBLE}}
    return design(**{**told, "traffic_per_day": None, **changes})


def naive(given, planned: Design):
    """Metric -> vectors of its units, and unit -> instant from which it is eligible."""
    start, end = start_of_day(LAST - timedelta(days=DAYS - 1), ZONE), known_at(LAST, ZONE)
    anchors: dict[str, datetime] = {}
    for unit, at, page, _ in given[2]:
        if page in ("a", "x") and start <= at < end:
            anchors[unit] = min(at, anchors.get(unit, at))
    vectors = {m.name: [] for m in planned.planned}
    for unit, anchor in anchors.items():
        for metric in planned.planned:
            low = anchor + timedelta(microseconds=metric.stretch.start)
            high = end if metric.stretch.end is None else anchor + timedelta(microseconds=metric.stretch.end)
            if metric.complete_only and high > end:
                continue
            values, observed = values_of(given, metric, unit, low, min(high, end))
            if metric.absent == "not_observed" and not observed:
                continue
            x = [min(v, metric.cap.upper) if metric.cap is not None else v for v in values]
            for covariate in metric.covariates:
                if isinstance(covariate, PrePeriod):
                    early = anchor - timedelta(days=covariate.days)
                    before, seen = values_of(given, metric, unit, early, anchor)
                    if len(values) == 2:
                        rows = [r for r in (*given[1], *given[2]) if r[0] == unit and early <= r[1] < anchor]
                        seen = any(len(r) == 4 or r[2] is not None for r in rows)
                    x += [*before, float(not seen)]
            vectors[metric.name].append(x)
    return vectors, anchors


@pytest.mark.parametrize("seed", [1, 2])
def test_what_is_measured_equals_the_naive_loops(spark, seed):
    given, planned = world(seed), declared()
    _, facts = frames(spark, given)
    found = measured_history(planned, facts, last=LAST)
    vectors, anchors = naive(given, planned)
    assert (found.first, found.last, found.n_units) == (date(2026, 3, 2), LAST, len(anchors))
    start = start_of_day(date(2026, 3, 2), ZONE)
    assert found.units_by_week == (sum(at < start + timedelta(days=7) for at in anchors.values()),)
    assert 0 < found.units_by_week[0] < len(anchors)
    assert set(found.moments) == {m.name for m in planned.planned}
    for name, rows in vectors.items():
        x, moments = np.array(rows, dtype=float), found.moments[name]
        assert moments.n.tolist() == [len(x)], name
        assert len(x) > 5
        np.testing.assert_allclose(moments.mean[0], x.mean(axis=0), rtol=1e-11, atol=1e-12, err_msg=name)
        np.testing.assert_allclose(moments.m2[0], (x - x.mean(axis=0)).T @ (x - x.mean(axis=0)), rtol=1e-9, atol=1e-9, err_msg=name)


def test_every_eligible_unit_has_one_row_with_its_name_and_week(spark):
    given, planned = world(1), declared()
    rows = history_frame(planned, frames(spark, given)[1], last=LAST, metrics=planned.planned).select("unit", "week", "m0_0").collect()
    vectors, anchors = naive(given, planned)
    start = start_of_day(date(2026, 3, 2), ZONE)
    assert {row["unit"]: row["week"] for row in rows} == {unit: (at - start).days // 7 for unit, at in anchors.items()}
    assert len(rows) == len(anchors)
    assert [row["m0_0"] for row in sorted(rows, key=lambda r: list(anchors).index(r["unit"]))] == [x[0] for x in vectors["n_orders"]]


def test_a_plan_follows_from_what_was_measured(spark):
    given = world(3, n_units=200)
    planned = declared(claim={"kind": "superiority", "mde": {"relative": 0.5}})
    plan = plan_of(planned, measured_history(planned, frames(spark, given)[1], last=LAST))
    rows = np.array(naive(given, planned)[0]["n_orders"])
    assert plan.metrics[0].baseline == pytest.approx(rows.mean())
    assert plan.metrics[0].std == pytest.approx(rows.std(ddof=1))
    assert plan.metrics[0].source == f"measured, {len(rows)} units"
    assert plan.n_total > 0


def test_the_planned_arms_are_compared_on_the_history(spark):
    given = world(3, n_units=300)
    planned = declared()
    planned = declared(history={**planned.history.model_dump(), "balance_alpha": 0.001})
    rows = {r["covariate"]: r for r in history_balance(planned, frames(spark, given)[1], last=LAST).collect()}
    vectors, anchors = naive(given, planned)
    assert {"n_orders", "revenue", "revenue pre_5d", "revenue pre_5d_absent", "per_view numerator", "per_view pre_4d_denominator"} <= set(
        rows
    )
    arms = [planned.assignment.arm_of(unit) for unit in anchors]
    for name, term, place in (("n_orders", "n_orders", 0), ("revenue", "revenue", 0), ("revenue", "revenue pre_5d", 1)):
        x = np.array([v[place] for v in vectors[name]])
        control, treatment = (x[[arm == wanted for arm in arms]] for wanted in ("control", "green"))
        wanted = stats.ttest_ind(treatment, control, equal_var=False)
        assert (rows[term]["n_control"], rows[term]["n_treatment"]) == (len(control), len(treatment))
        assert rows[term]["pvalue"] == pytest.approx(wanted.pvalue, rel=1e-9)
        assert rows[term]["status"] in ("ok", "warn")


def test_a_large_offset_costs_no_digits(spark):
    rows = [(f"u{i}", "2026-03-05 12:00:00", 1e9 + i % 7) for i in range(1_000)]
    orders = spark.createDataFrame(rows, "unit string, time string, amount double").selectExpr(
        "unit", "cast(concat(time, 'Z') as timestamp) as time", "amount"
    )
    metric = {"kind": "sum", "name": "balance", "fact": "orders", "column": "amount", "role": "primary"}
    history = {"days": 10, "eligible": {"fact": "orders", "where": "true"}}
    found = measured_history(design(metrics=[metric], baselines={}, history=history), {"orders": orders}, last=LAST)
    wanted = np.array([i % 7 for i in range(1_000)])
    assert float(found.moments["balance"].m2[0, 0, 0]) == pytest.approx(((wanted - wanted.mean()) ** 2).sum(), rel=1e-6)


def test_nothing_depends_on_partitions_or_on_the_order_of_rows(spark):
    given, planned = world(4), declared()
    _, facts = frames(spark, given)
    one = measured_history(planned, {k: v.repartition(1) for k, v in facts.items()}, last=LAST)
    five = measured_history(planned, {k: v.repartition(5) for k, v in facts.items()}, last=LAST)
    assert one.units_by_week == five.units_by_week
    for name, moments in one.moments.items():
        np.testing.assert_allclose(moments.m2, five.moments[name].m2, rtol=1e-10, atol=1e-10)


def physical(frame):
    plan = frame._explain_string() if hasattr(frame, "_explain_string") else frame._jdf.queryExecution().toString()
    return plan.split("== Physical Plan ==")[-1]


def test_each_table_is_scanned_once_moved_once_and_one_row_reaches_the_driver(spark, tmp_path, monkeypatch):
    given, planned = world(5), declared()
    stored = {}
    for name, frame in frames(spark, given)[1].items():
        frame.write.parquet(str(tmp_path / name))
        stored[name] = spark.read.parquet(str(tmp_path / name))
    asked = []
    one_row = collect.one_row
    monkeypatch.setattr(collect, "one_row", lambda frame: asked.append(frame) or one_row(frame))
    measured_history(planned, stored, last=LAST)
    (frame,) = asked
    plan = physical(frame)
    assert plan.count("FileScan parquet") == 2
    assert plan.count("Exchange hashpartitioning") == 1
    assert plan.count("Exchange ") == 2  # and the one that brings the partial moments of the partitions together


def test_only_tables_that_are_needed_are_read(spark):
    history = {"days": DAYS, "eligible": ELIGIBLE}
    traffic = design(facts=SPEC["facts"], history=history, traffic_per_day=None)
    assert fact_names(traffic, traffic.measured_metrics) == ("views",)
    given = world(6)
    found = measured_history(traffic, {"views": frames(spark, given)[1]["views"]}, last=LAST)
    assert found.moments == {}
    assert found.n_units == len(naive(given, declared())[1])


def test_a_history_without_an_eligible_unit_measures_nothing(spark):
    planned = declared()
    found = measured_history(planned, frames(spark, world(7))[1], last=date(2020, 1, 31))
    assert (found.n_units, found.units_by_week) == (0, (0,))
    assert all(moments.n.tolist() == [0] for moments in found.moments.values())
    assert "the baseline is not known" in plan_of(planned, found).reason


@pytest.mark.parametrize(
    ("where", "message"),
    [("pge = 'a'", "where: \"pge = 'a'\" cannot be read"), ("page", "where: 'page' gives string; a predicate gives true or false")],
)
def test_a_predicate_that_cannot_be_read_is_told(spark, where, message):
    planned = design(facts=SPEC["facts"], history={"days": 7, "eligible": {"fact": "views", "where": where}}, traffic_per_day=None)
    with pytest.raises(ConfigError, match=message):
        history_frame(planned, frames(spark, world(8))[1], last=LAST, metrics=planned.planned)


def test_a_missing_column_is_told(spark):
    planned = declared()
    _, facts = frames(spark, world(8))
    with pytest.raises(ColumnError, match="column 'amount' not found in fact table 'orders'; did you mean 'amont'"):
        history_frame(
            planned, {**facts, "orders": facts["orders"].withColumnRenamed("amount", "amont")}, last=LAST, metrics=planned.planned
        )
