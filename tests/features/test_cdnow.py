"""CDNOW: totals that anyone can recompute from the file with pandas, and the summary of the `lifetimes` package."""

from datetime import date

import pytest

from sparkds.datasets import cdnow, write_cdnow
from sparkds.features import RFM, ActiveDays, Count, FeatureSet, Max, Sum
from sparkds.features.rfm import Edges, score

pd = pytest.importorskip("pandas")

SPEC = FeatureSet(
    keys=("customer_id",),
    event_time="date",
    time_zone="America/New_York",
    windows=(30, 90),
    lifetime=True,
    aggregations=(Count(), Sum(column="amount"), Sum(column="cds"), Max(column="amount"), ActiveDays()),
    rfm=RFM(value="amount", frequency="purchase_days", monetary="mean"),
)
DAYS = [date(1997, 9, 30), date(1998, 6, 30)]


@pytest.fixture(scope="module")
def file():
    frame = pd.DataFrame(cdnow())
    frame["date"] = pd.to_datetime(frame["date"])
    frame["amount"] = frame["amount"].astype(float)
    return frame


@pytest.fixture(scope="module")
def snapshots(spark, tmp_path_factory):
    path = write_cdnow(tmp_path_factory.mktemp("cdnow"))
    schema = "customer_id string, date date, cds int, amount decimal(10,2)"
    events = spark.read.schema(schema).option("header", True).csv(str(path))
    frame = SPEC.snapshots(SPEC.tiles(events), DAYS).toPandas()
    return {day: frame[frame["as_of"] == day].set_index("customer_id").sort_index() for day in DAYS}


@pytest.mark.spark
@pytest.mark.parametrize("day", DAYS)
def test_windows_equal_pandas_on_the_file(snapshots, file, day):
    got = snapshots[day]
    until = file[file["date"] <= pd.Timestamp(day)]
    assert list(got.index) == sorted(until["customer_id"].unique())
    for name, first in (("30d", 29), ("90d", 89), ("lifetime", 10_000)):
        inside = until[until["date"] >= pd.Timestamp(day) - pd.Timedelta(days=first)].groupby("customer_id")
        expected = pd.DataFrame(
            {"n": inside.size(), "amount": inside["amount"].sum(), "cds": inside["cds"].sum(), "days": inside["date"].nunique()}
        ).reindex(got.index, fill_value=0)
        assert (got[f"event_count_{name}"] == expected["n"]).all()
        assert (got[f"cds_sum_{name}"] == expected["cds"]).all()
        assert (got[f"active_days_{name}"] == expected["days"]).all()
        assert (got[f"amount_sum_{name}"].astype(float) - expected["amount"]).abs().max() < 1e-9
        largest = inside["amount"].max().reindex(got.index)
        assert (got[f"amount_max_{name}"].astype(float).fillna(-1) == largest.fillna(-1)).all()


@pytest.mark.spark
def test_totals_of_the_whole_file(snapshots):
    last = snapshots[date(1998, 6, 30)]
    assert len(last) == 23_570
    assert last["event_count_lifetime"].sum() == 69_659
    assert str(last["amount_sum_lifetime"].sum()) == "2500315.63"


@pytest.mark.spark
@pytest.mark.parametrize("day", DAYS)
def test_the_clv_summary_equals_the_lifetimes_package(snapshots, file, day):
    lifetimes = pytest.importorskip("lifetimes.utils")
    buys = file[(file["amount"] > 0) & (file["date"] <= pd.Timestamp(day))]
    expected = lifetimes.summary_data_from_transaction_data(buys, "customer_id", "date", "amount", observation_period_end=day)
    got = snapshots[day].dropna(subset=["clv_frequency"])
    assert list(got.index) == list(expected.index)
    for ours, theirs in (
        ("clv_frequency", "frequency"),
        ("clv_recency_days", "recency"),
        ("clv_age_days", "T"),
        ("clv_monetary", "monetary_value"),
    ):
        assert (got[ours].astype(float) - expected[theirs]).abs().max() < 1e-9, ours


@pytest.mark.spark
def test_calibration_and_holdout_equal_the_lifetimes_package(spark, snapshots, file):
    from sparkds.features.rfm_scores import calibration_holdout_frame

    lifetimes = pytest.importorskip("lifetimes.utils")
    buys = file[file["amount"] > 0]
    expected = lifetimes.calibration_and_holdout_data(
        buys, "customer_id", "date", calibration_period_end=DAYS[0], observation_period_end=DAYS[1], monetary_value_col="amount"
    )
    columns = ["customer_id", "as_of", "clv_frequency", "clv_recency_days", "clv_age_days", "clv_monetary"]
    frames = [
        spark.createDataFrame(
            [tuple(row) for row in snapshots[day].reset_index()[columns].astype(object).where(lambda f: f.notna(), None).to_numpy()],
            "customer_id string, as_of date, clv_frequency double, clv_recency_days double, clv_age_days double, clv_monetary double",
        )
        for day in DAYS
    ]
    got = calibration_holdout_frame(SPEC.rfm, SPEC.keys, *frames).toPandas().set_index("customer_id").sort_index()
    assert list(got.index) == list(expected.index)
    for column in ("frequency_cal", "recency_cal", "T_cal", "monetary_value_cal", "frequency_holdout", "duration_holdout"):
        assert (got[column] - expected[column]).abs().max() < 1e-9, column
    repeat = got["frequency_holdout"] > 0
    by_day = buys[buys["date"] > pd.Timestamp(DAYS[0])].groupby(["customer_id", "date"])["amount"].sum().groupby("customer_id").mean()
    assert (got.loc[repeat, "monetary_value_holdout"] - by_day[got.index[repeat]]).abs().max() < 1e-9


@pytest.mark.spark
def test_scores_and_segments_on_spark_equal_the_pure_rules(spark, snapshots):
    from sparkds.features.rfm_scores import fitted_edges, with_scores

    rows = snapshots[date(1998, 6, 30)].head(4000).reset_index()
    measures = [
        (c, None if pd.isna(r) else int(r), int(f), None if m is None else float(m))
        for c, r, f, m in zip(rows["customer_id"], rows["recency_days"], rows["frequency"], rows["monetary"], strict=True)
    ]
    frame = spark.createDataFrame(measures, "customer_id string, recency_days int, frequency bigint, monetary double")
    edges = fitted_edges(SPEC.rfm, frame, version=3)
    buyers = rows[rows["frequency"] > 0]
    for name in ("recency_days", "frequency", "monetary"):
        exact = buyers[name].astype(float).quantile([0.2, 0.4, 0.6, 0.8], interpolation="lower").tolist()
        assert list(getattr(edges, name)) == pytest.approx(exact, rel=0.02)
    edges = Edges(3, (10.0, 50.0, 200.0, 200.0), (1.0, 1.0, 2.0, 4.0), (10.0, 15.0, 20.0, 30.0))
    for ties in ("low", "high"):
        rfm = SPEC.rfm.model_copy(update={"ties": ties})
        for row in with_scores(rfm, frame, edges).collect():
            if row["frequency"] == 0:
                assert (row["r_score"], row["rfm_segment"], row["rfm_edges_version"]) == (None, None, None)
                continue
            expected = (
                score(row["recency_days"], edges.recency_days, ties=ties, best="low"),
                score(row["frequency"], edges.frequency, ties=ties, best="high"),
                score(row["monetary"], edges.monetary, ties=ties, best="high"),
            )
            assert (row["r_score"], row["f_score"], row["m_score"]) == expected
            assert (row["rfm_segment"], row["rfm_edges_version"]) == (rfm.segment(*expected), 3)
