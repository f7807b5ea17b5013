"""Balance of covariates between arms on Spark against pandas and scipy."""

import math

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import functions as F
from scipy import stats

from sparkds.errors import ColumnError, ConfigError, DataError
from sparkds.experiments.assignment import Assignment
from sparkds.experiments.assignment_columns import assigned_frame
from sparkds.experiments.balance import balance_frame


@pytest.fixture
def people(spark):
    rng = np.random.default_rng(2)
    n = 600
    arm = rng.choice(["a", "b", "c"], n)
    age = np.round(rng.normal(40, 10, n) + 5 * (arm == "b"), 3)
    age[:30] = np.nan
    table = pd.DataFrame({"arm": arm, "age": age, "orders": rng.poisson(2, n), "member": rng.random(n) < 0.3, "constant": 1.0})
    rows = [
        (str(r.arm), None if i % 2 and math.isnan(r.age) else float(r.age), int(r.orders), bool(r.member), 1.0)
        for i, r in enumerate(table.itertuples())
    ]
    rows.append((None, 99.0, 1, True, 1.0))
    return table, spark.createDataFrame(rows, "arm string, age double, orders int, member boolean, constant double")


def test_every_covariate_of_every_arm_is_that_of_scipy(people):
    table, units = people
    rows = balance_frame(units, arm="arm", control="a", covariates=["age", "orders", "member", "constant"], alpha=0.01).collect()
    assert [(r["covariate"], r["arm"]) for r in rows] == [(c, t) for c in ("age", "orders", "member", "constant") for t in ("b", "c")]
    for row in rows[:6]:
        control, treatment = (table.loc[table["arm"] == arm, row["covariate"]].astype(float) for arm in ("a", row["arm"]))
        assert (row["n_control"], row["n_null_control"]) == (control.notna().sum(), control.isna().sum())
        assert (row["n_treatment"], row["n_null_treatment"]) == (treatment.notna().sum(), treatment.isna().sum())
        wanted = stats.ttest_ind(treatment.dropna(), control.dropna(), equal_var=False)
        assert row["statistic"] == pytest.approx(wanted.statistic, rel=1e-9)
        assert row["pvalue"] == pytest.approx(wanted.pvalue, rel=1e-9)
        assert row["smd"] == pytest.approx((treatment.mean() - control.mean()) / math.sqrt((treatment.var() + control.var()) / 2), rel=1e-9)
    assert rows[0]["status"] == "fail"
    assert rows[0]["pvalue"] < 0.01 / 8
    assert rows[6]["status"] == "not_computable"
    assert "does not vary" in rows[6]["reason"]
    assert rows[6]["smd"] is None


def test_a_salted_assignment_is_balanced_before_it_begins(spark):
    past = spark.range(20_000).select(F.col("id").alias("unit"), F.rand(1).alias("spend"), (F.col("id") % 7).alias("weekday"))
    assignment = Assignment(experiment="button", arms={"a": 0.5, "b": 0.5}, coverage=1.0)
    rows = balance_frame(
        assigned_frame(assignment, past, unit="unit"), arm="arm", control="a", covariates=["spend", "weekday"], alpha=0.001
    ).collect()
    assert {r["status"] for r in rows} == {"ok"}
    assert all(abs(r["smd"]) < 0.05 for r in rows)


def test_a_difference_beyond_a_tenth_of_a_standard_deviation_is_a_warning(spark):
    rows = [("a", float(i)) for i in range(10)] + [("b", float(i) + 1) for i in range(10)]
    (row,) = balance_frame(
        spark.createDataFrame(rows, "arm string, x double"), arm="arm", control="a", covariates=["x"], alpha=0.01
    ).collect()
    assert row["status"] == "warn"


def test_bad_input_is_told(people):
    _, units = people
    told = {"arm": "arm", "control": "a", "covariates": ["age"], "alpha": 0.01}
    with pytest.raises(ColumnError, match="column 'aeg' not found in the frame of units; did you mean 'age'"):
        balance_frame(units, **{**told, "covariates": ["aeg"]})
    with pytest.raises(ColumnError, match="column 'arm' is string; a covariate is a number"):
        balance_frame(units, **{**told, "covariates": ["arm"]})
    with pytest.raises(DataError, match=r"no unit is in the control arm 'z' \(arms: a, b, c\)"):
        balance_frame(units, **{**told, "control": "z"})
    with pytest.raises(DataError, match="all units are in the arm 'a'; there is nothing to compare"):
        balance_frame(units.where("arm = 'a'"), **told)
    with pytest.raises(ConfigError, match="alpha is 2"):
        balance_frame(units, **{**told, "alpha": 2})
