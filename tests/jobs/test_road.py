"""The whole road on CDNOW: every stage once, its numbers against pandas on the same file, and a second run that writes nothing."""

from datetime import UTC, date, datetime, timedelta
from importlib.resources import as_file, files

import numpy as np
import pandas as pd
import pytest

from sparkds import config
from sparkds.datasets import cdnow, is_sampled, write_cdnow
from sparkds.features.history import snapshots_of_history_frame
from sparkds.features.registry.lineage import Source, steps_back
from sparkds.jobs.feature_engineering_pipeline import Config, run
from sparkds.jobs.registry_table import records_in
from sparkds.tables import Tables

SHARE = 0.02
NOW = datetime(2026, 6, 1, tzinfo=UTC)
CUTOFFS = [d.date() for d in pd.date_range("1997-06-30", "1998-03-31", freq="ME")]


@pytest.fixture(scope="module")
def gone(spark, tmp_path_factory):
    """Configuration, root and result of the road."""
    root = tmp_path_factory.mktemp("road")
    write_cdnow(root / "in", customers=SHARE)
    with as_file(files("sparkds.datasets") / "cdnow_road.yml") as path:
        settings = config.load(Config, path, overrides=["schedule={every: month}", "stages.5.importance.max_rows=2000"], environ={})
    return settings, root, go(spark, settings, root)


def go(spark, settings, root):
    asked = {"start": date(1997, 6, 30), "end": date(1998, 6, 30), "now": NOW}
    return run(config=settings, input=str(root / "in"), output=str(root / "out"), spark=spark, **asked)


def expected():
    """Rows of the training set from the file alone."""
    raw = pd.DataFrame([t._asdict() for t in cdnow() if is_sampled(t.customer_id, SHARE)])
    raw["amount"] = raw["amount"].astype(float)
    rows = []
    for customer, own in raw.groupby("customer_id"):
        for day in CUTOFFS:
            until = own[own["date"] <= day]
            if until.empty:
                continue
            sums = {w: until.loc[until["date"] > day - timedelta(days=w), "amount"].sum() for w in (30, 90)}
            days = until["date"].sort_values()
            rows.append(
                {
                    "customer_id": customer,
                    "as_of": day,
                    "amount_sum_30d": sums[30],
                    "amount_sum_90d": sums[90],
                    "amount_trend": sums[30] / sums[90] if sums[90] else 0.0,
                    "basket": until["amount"].sum() / len(until),
                    "gap": (days.iloc[-1] - days.iloc[0]).days / (len(days) - 1) if len(days) > 1 else np.nan,
                    "label": bool(((own["date"] > day) & (own["date"] <= day + timedelta(days=90))).any()),
                }
            )
    return pd.DataFrame(rows).sort_values(["customer_id", "as_of"], ignore_index=True)


def test_the_numbers_of_the_road_are_those_of_pandas(spark, gone):
    _, root, done = gone
    want = expected()
    made = Tables(spark, str(root / "out")).read("training_set").toPandas().sort_values(["customer_id", "as_of"], ignore_index=True)
    assert len(made) == len(want) == done.sections["training_set"]["rows"]
    assert list(made["customer_id"]) == list(want["customer_id"])
    assert list(made["as_of"]) == list(want["as_of"])
    assert list(made["buys_in_90_days"]) == list(want["label"])
    for name in ("amount_sum_30d", "amount_sum_90d", "amount_trend", "basket"):
        np.testing.assert_allclose(made[name].astype(float), want[name], rtol=1e-9, atol=1e-9, err_msg=name)
    np.testing.assert_allclose(made["amount_sum_90d_log1p"], np.log1p(want["amount_sum_90d"]), rtol=1e-9)
    fitted = want.loc[want["as_of"] <= date(1997, 9, 30), "gap"]
    np.testing.assert_allclose(made["inter_event_mean_lifetime_imputed"], want["gap"].fillna(fitted.median()), rtol=1e-9)


def test_the_profile_of_the_transactions_is_that_of_pandas(spark, gone):
    _, root, _ = gone
    raw = pd.DataFrame([t._asdict() for t in cdnow() if is_sampled(t.customer_id, SHARE)])
    rows = {row["column"]: row for row in Tables(spark, str(root / "out")).read("transactions_profile").collect()}
    assert rows["amount"]["n"] == len(raw)
    assert rows["cds"]["mean"] == pytest.approx(raw["cds"].mean(), rel=1e-9)
    assert rows["amount"]["sd"] == pytest.approx(raw["amount"].astype(float).std(), rel=1e-9)


def test_a_snapshot_of_the_history_is_the_snapshot(spark, gone):
    settings, root, _ = gone
    out = Tables(spark, str(root / "out"))
    day, spec = date(1998, 2, 28), settings.feature_set
    got = snapshots_of_history_frame(spec, out.read("features_history"), [day])
    wanted = out.read("features").where(f"as_of = date'{day}'").select(*(f"`{c}`" for c in got.columns))
    assert sorted(map(tuple, got.collect()), key=repr) == sorted(map(tuple, wanted.collect()), key=repr)


def test_the_road_ends_in_the_registry_without_a_leak(spark, gone):
    settings, root, done = gone
    assert [f for f in done.sections["leakage"]["found"] if f.startswith("error")] == []
    kept = done.sections["select"]["features"]
    assert "buys_in_90_days" not in kept
    assert kept
    windowed, record = records_in(Tables(spark, str(root / "out")))
    assert (record.feature_table, record.version, record.selected) == ("features_generated", 1, tuple(sorted(kept)))
    assert (windowed.feature_table, windowed.version, windowed.state_tables) == ("features", 1, ("features_rfm_edges",))
    figures = {(column, metric): value for column, metric, value in windowed.metrics}
    assert figures["amount", "n"] == done.processed_items / 2  # read by the profile and by the windows
    origins = {one.table: {c.name: c.sources for c in one.columns} for one in (windowed, record)}
    way = [(step.depth, ".".join(step.source)) for step in steps_back(Source("features_generated", "amount_trend"), origins)]
    assert (1, "features.amount_sum_90d") in way
    assert (2, "transactions.amount") in way
    assert list(done.sections) == [stage.section for stage in settings.stages]


def test_a_second_run_of_the_road_writes_nothing(spark, gone):
    settings, root, first = gone
    again = go(spark, settings, root)
    assert {t.name: t.rows for t in again.tables if t.rows} == {}
    assert {t.name: t.version for t in again.tables} == {t.name: t.version for t in first.tables}
