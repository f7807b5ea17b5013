"""States and profile of a frame on a session, against pandas, numpy and scipy."""

import math
import re
from collections import Counter
from datetime import date
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import functions as F
from scipy import stats

from sparkds.errors import ColumnError, ConfigError
from sparkds.features.profile import Profile
from sparkds.features.profile.states import merged_states_frame, profile_of, profile_states_frame
from sparkds.features.profile.value_bins import RELATIVE_ERROR
from tests.features.profile.rows import SCHEMA, rows

SPEC = Profile(time="at", time_zone="Europe/Berlin", quantiles=(0.1, 0.5, 0.9), top=3)
ROWS = rows()
NAMES = [re.sub("``", "`", part.strip().rsplit(" ", 1)[0].strip("`")) for part in SCHEMA.split(", ")]
COLUMN = {name: [row[i] for row in ROWS] for i, name in enumerate(NAMES)}


def values(name):
    return [value for value in COLUMN[name] if value is not None]


@pytest.fixture(scope="module")
def frame(spark):
    return spark.createDataFrame(ROWS, SCHEMA).repartition(3)


@pytest.fixture(scope="module")
def states(spark, frame, tmp_path_factory):
    path = str(tmp_path_factory.mktemp("states"))
    profile_states_frame(frame, SPEC).write.mode("overwrite").parquet(path)
    return spark.read.parquet(path)


@pytest.fixture(scope="module")
def profile(states):
    return profile_of(states, SPEC)


@pytest.fixture(scope="module")
def by_name(profile):
    return {column.column: column for column in profile.columns}


def test_every_column_has_its_rows_nulls_and_kind(profile, by_name):
    assert [column.column for column in profile.columns] == NAMES
    assert profile.n == len(ROWS)
    assert profile.undated == COLUMN["at"].count(None)
    for name, column in by_name.items():
        assert column.n == len(ROWS)
        assert column.nulls == COLUMN[name].count(None)
        assert column.null_share == pytest.approx(column.nulls / column.n)
    kinds = [
        "timestamp",
        "integer",
        "number",
        "integer",
        "decimal",
        "decimal",
        "decimal",
        "boolean",
        "string",
        "binary",
        "date",
        "timestamp_ntz",
    ]
    assert [by_name[name].kind for name in NAMES] == [*kinds, "other", "string", "integer"]


def test_numbers_have_the_moments_of_numpy_and_scipy_and_nan_and_infinities_are_counted_apart(by_name):
    x = np.array([float(value) for value in values("a.b")])
    found = by_name["a.b"]
    assert found.nans == np.isnan(x).sum() > 0
    assert found.infinities == np.isinf(x).sum() > 0
    x = x[np.isfinite(x)]
    for name in ("cents", "wide", "long", "größe (cm)", "id"):
        y = np.array([float(value) for value in values(name)])
        assert_moments(by_name[name], y)
    assert_moments(found, x)
    assert (found.zeros, found.negatives) == ((x == 0).sum(), (x < 0).sum())
    assert (float(found.minimum), float(found.maximum)) == (x.min(), x.max())
    assert by_name["flag"].mean == pytest.approx(np.mean(values("flag")))


def assert_moments(found, x):
    assert found.mean == pytest.approx(x.mean())
    assert found.sd == pytest.approx(x.std(ddof=1))
    assert found.skewness == pytest.approx(stats.skew(x), abs=1e-9)
    assert found.kurtosis == pytest.approx(stats.kurtosis(x), abs=1e-9)


def test_minimum_and_maximum_are_exact(by_name):
    for name in ("cents", "wide", "long", "id", "one"):
        assert (by_name[name].minimum, by_name[name].maximum) == (str(min(values(name))), str(max(values(name))))
    assert (by_name["flag"].minimum, by_name["flag"].maximum) == ("false", "true")
    assert by_name["born"].minimum == min(values("born")).isoformat()
    assert by_name["local"].maximum == max(values("local")).isoformat()
    assert by_name["at"].minimum == min(values("at")).astimezone(ZoneInfo("Europe/Berlin")).isoformat()
    assert (by_name["at"].time_zone, by_name["local"].time_zone, by_name["born"].time_zone) == ("Europe/Berlin", "none", None)
    assert (by_name["nothing"].minimum, by_name["tags"].minimum) == (None, None)


def test_texts_are_measured_by_their_lengths(by_name):
    lengths = np.array([len(value) for value in values("city`name")], float)
    found = by_name["city`name"]
    assert_moments(found, lengths)
    assert (found.minimum, found.maximum) == ("0", "4")
    assert found.zeros == values("city`name").count("")
    assert by_name["raw"].maximum == "2"


def test_distinct_and_frequent_values_are_exact_on_few_rows(by_name):
    for name in ("id", "größe (cm)", "cents", "wide", "long", "flag", "city`name", "raw", "born", "local", "at", "one"):
        truth = Counter(values(name))
        found = by_name[name]
        assert (found.distinct, found.distinct_error) == (len(truth), 0), name
        assert [top.n for top in found.top] == [n for _, n in truth.most_common(3)], name
        assert found.top_error == 0, name
    numbers = [value for value in values("a.b") if value == value]
    assert by_name["a.b"].distinct == len(set(numbers))
    assert [top.value for top in by_name["city`name"].top] == [value for value, _ in Counter(values("city`name")).most_common(3)]
    assert by_name["city`name"].top[0].share == pytest.approx(values("city`name").count("Rom") / len(values("city`name")))
    assert by_name["one"].top == (("7", len(ROWS), 1.0),)
    assert by_name["raw"].top[0].value in {value.hex().upper() for value in values("raw")}
    shown = {top.value for name in ("cents", "wide", "long") for top in by_name[name].top}
    assert shown <= {str(value) for name in ("cents", "wide", "long") for value in values(name)}


def test_quantiles_are_within_their_stated_error(by_name):
    for name in ("a.b", "größe (cm)", "cents", "wide", "long", "id"):
        x = np.array([float(value) for value in values(name)])
        for found in by_name[name].quantiles:
            exact = np.quantile(x[np.isfinite(x)], found.share, method="inverted_cdf")
            assert abs(found.value - exact) <= RELATIVE_ERROR * abs(exact)
    days = np.array([(value - date(1970, 1, 1)).days for value in values("born")])
    assert [q.value for q in by_name["born"].quantiles] == np.quantile(days, SPEC.quantiles, method="inverted_cdf").tolist()


def test_histograms_hold_every_value_once(by_name):
    for name in ("a.b", "größe (cm)", "cents", "born", "at", "city`name", "flag"):
        found = by_name[name]
        assert sum(bar.n for bar in found.histogram) == found.n - found.nulls - found.nans - found.infinities
    assert [bar.n for bar in by_name["flag"].histogram] == [values("flag").count(False), values("flag").count(True)]


def test_correlations_are_those_of_pandas(profile):
    names = ["id", "a.b", "größe (cm)", "cents", "wide", "long", "flag", "one"]
    frame = pd.DataFrame({name: [math.nan if value is None else float(value) for value in COLUMN[name]] for name in names})
    frame = frame.replace([math.inf, -math.inf], math.nan)
    pearson, rank = frame.corr(), frame.corr(method="spearman")
    assert len(profile.correlations) == len(names) * (len(names) - 1) / 2
    for pair in profile.correlations:
        assert pair.n == len(frame[[pair.column, pair.other]].dropna())
        assert pair.pearson == pytest.approx(pearson.loc[pair.column, pair.other], abs=1e-9, nan_ok=True)
        assert pair.n_sampled <= pair.n
        if pair.n_sampled == pair.n:  # the slices are small, so that all rows are sampled
            assert pair.spearman == pytest.approx(rank.loc[pair.column, pair.other], abs=1e-9, nan_ok=True)
    assert any(pair.n_sampled == pair.n for pair in profile.correlations)


def test_findings_name_constant_empty_and_id_like_columns(profile, by_name):
    found = {name: column.findings for name, column in by_name.items() if column.findings}
    assert found == {"id": ("id_like",), "nothing": ("all_null",), "one": ("constant",)}
    assert "column 'one' has one value only" in profile.warnings
    assert profile.metrics["cents"]["q50"] == by_name["cents"].quantiles[1].value
    assert "mean" not in profile.metrics["nothing"]


def test_a_slice_is_a_local_day_and_its_rows_are_those_of_the_day(states):
    zone = ZoneInfo("Europe/Berlin")
    truth = Counter(date.max if at is None else at.astimezone(zone).date() for at in COLUMN["at"])
    found = {row["day"]: row["n"] for row in states.where("column = 'one'").collect()}
    assert found == truth
    assert min(truth) == date(2026, 3, 27)
    assert states.count() == len(truth) * len(NAMES)


def test_states_of_days_add_to_those_of_the_whole(frame, states, profile):
    day = date(2026, 3, 29)
    some = profile_of(states.where(F.col("day") < F.lit(day)), SPEC)
    assert 0 < some.n < profile.n
    split = frame.where(F.col("id") % 3 == 0), frame.where(F.col("id") % 3 != 0)
    both = profile_states_frame(split[0], SPEC).unionByName(profile_states_frame(split[1], SPEC))
    again = profile_of(merged_states_frame(both), SPEC)
    for a, b in zip(again.columns, profile.columns, strict=True):
        assert_same(a, b)
    assert [pair.n for pair in again.correlations] == [pair.n for pair in profile.correlations]
    for a, b in zip(again.correlations, profile.correlations, strict=True):
        assert (a.pearson, a.spearman) == pytest.approx((b.pearson, b.spearman), abs=1e-9, nan_ok=True)


def assert_same(a, b):
    for name in vars(b):
        if name in ("mean", "sd", "skewness", "kurtosis"):
            assert getattr(a, name) == pytest.approx(getattr(b, name), rel=1e-9, nan_ok=True)
        elif name == "top":
            assert sorted(t.n for t in a.top) == sorted(t.n for t in b.top)
        else:
            assert getattr(a, name) == getattr(b, name), name


def test_the_profile_does_not_depend_on_the_sessions_time_zone_or_partitions(spark, frame, profile):
    before = spark.conf.get("spark.sql.session.timeZone")
    spark.conf.set("spark.sql.session.timeZone", "America/Los_Angeles")
    try:
        again = profile_of(profile_states_frame(frame.coalesce(1), SPEC), SPEC)
    finally:
        spark.conf.set("spark.sql.session.timeZone", before)
    for a, b in zip(again.columns, profile.columns, strict=True):
        assert_same(a, b)


def test_states_are_one_scan_and_one_exchange(spark, tmp_path, frame, capsys):
    frame.coalesce(1).write.parquet(str(tmp_path / "t"))
    profile_states_frame(spark.read.parquet(str(tmp_path / "t")), SPEC).explain()
    plan = capsys.readouterr().out
    assert plan.count("FileScan") == 1
    assert plan.count("Exchange") == 1


def test_a_time_column_without_zone_or_of_days_gives_slices_too(spark, frame):
    local = Profile(time="local", time_zone="America/New_York", event_time_zone="Asia/Tokyo", columns=("one",))
    zone, tokyo = ZoneInfo("America/New_York"), ZoneInfo("Asia/Tokyo")
    truth = Counter(date.max if v is None else v.replace(tzinfo=tokyo).astimezone(zone).date() for v in COLUMN["local"])
    assert {row["day"]: row["n"] for row in profile_states_frame(frame, local).collect()} == truth
    few = frame.where("born < date'1990-03-01'")
    born = Profile(time="born", time_zone="UTC", columns=("id", "born"))
    truth = Counter(value for value in values("born") if value < date(1990, 3, 1))
    assert {row["day"]: row["n"] for row in profile_states_frame(few, born).where("column = 'born'").collect()} == truth


def test_a_table_without_days_is_one_slice_and_an_empty_one_has_no_columns(frame):
    spec = Profile(time_zone="UTC", columns=("city`name", "a.b"), correlated=0)
    found = profile_of(profile_states_frame(frame, spec), spec)
    assert [(c.column, c.n, c.first_day) for c in found.columns] == [("a.b", 600, None), ("city`name", 600, None)]
    assert (found.n_slices, found.correlations) == (1, ())
    nothing = profile_of(profile_states_frame(frame.where("false"), spec), spec)
    assert (nothing.columns, nothing.n, nothing.warnings) == ((), 0, [])


def test_bad_input_is_named(spark, frame):
    with pytest.raises(ColumnError, match=r"column 'ids' not found in the frame; did you mean 'id'"):
        profile_states_frame(frame, Profile(time_zone="UTC", columns=("ids",)))
    with pytest.raises(ColumnError, match=r"time column 'id' in the frame has type bigint; days come from a timestamp or a date"):
        profile_states_frame(frame, Profile(time="id", time_zone="UTC"))
    with pytest.raises(ColumnError, match="time column 'local' in the frame is a timestamp without zone; say with event_time_zone"):
        profile_states_frame(frame, Profile(time="local", time_zone="UTC"))
    with pytest.raises(ConfigError, match="the frame has no columns"):
        profile_states_frame(frame.select(), Profile(time_zone="UTC"))


def test_a_thousand_columns_are_profiled(spark):
    x = np.round(np.random.default_rng(1).normal(size=(40, 1000)), 6)
    wide = spark.createDataFrame([tuple(row) for row in x.tolist()], ", ".join(f"`c.{i}` double" for i in range(1000)))
    spec = Profile(time_zone="UTC", correlated=30)
    found = profile_of(profile_states_frame(wide.coalesce(1), spec), spec)
    assert len(found.columns) == 1000
    assert found.columns[999].mean == pytest.approx(x[:, 999].mean())
    assert len(found.correlations) == 30 * 29 / 2
    first = found.correlations[0]
    assert (first.column, first.other, first.pearson) == ("c.0", "c.1", pytest.approx(np.corrcoef(x[:, 0], x[:, 1])[0, 1]))


def test_states_of_two_kinds_of_one_column_are_not_added(spark):
    spec = Profile(time_zone="UTC")
    numbers = profile_states_frame(spark.createDataFrame([(1,)], "x int"), spec)
    texts = profile_states_frame(spark.createDataFrame([("a",)], "x string"), spec)
    with pytest.raises(Exception, match=r"was of kind (integer|string) in some slices"):
        profile_of(numbers.unionByName(texts), spec)
