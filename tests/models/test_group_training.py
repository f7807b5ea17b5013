"""Group training: models fitted on Spark are those fitted in memory, and rows go to the model of their group."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from sparkds.errors import ConfigError
from sparkds.models.estimators import FeatureColumns, Logistic, PerGroup, Ridge
from sparkds.models.training import Training, TrainingRows, fit, train

FEATURES = FeatureColumns(("x",), ("city",))


def rows(n=3000):
    """Opposite slopes in two cities, a small third one, and one of one class."""
    rng = np.random.default_rng(3)
    city = np.array(["north", "south", "hamlet", "quiet"])[rng.choice(4, n, p=[0.5, 0.3, 0.05, 0.15])].astype(object)
    city[::50] = None
    x = rng.normal(size=n)
    slope = np.where(city == "north", 3, -3)
    y = (rng.random(n) < 1 / (1 + np.exp(-slope * x))).astype(float)
    y[city == "quiet"] = 0
    part = rng.choice(["train", "validation", "test"], n, p=[0.6, 0.2, 0.2]).astype(object)
    return pd.DataFrame({"x": x, "city": city}), y, part


def data():
    frame, y, part = rows()
    return TrainingRows(frame, y, part, FEATURES)


def training(**told):
    estimator = PerGroup(column="city", estimator=Logistic())
    return Training(**{"task": "binary", "estimator": estimator, "seed": 1, "baselines": [Logistic()], "importance": None, **told})


def test_each_group_is_scored_by_the_model_of_its_rows_and_small_ones_by_that_of_all():
    sample = data()
    of_train = sample.of("train")
    model = fit(training().estimator, of_train, training())
    assert set(model.models) == {"north", "south"}
    everyone = fit(Logistic(), of_train, training())
    for city in ("north", "south", "hamlet", "quiet", None):
        inputs = sample.inputs[sample.rows["city"].isna() if city is None else sample.rows["city"] == city]
        mine = of_train.at(np.flatnonzero(of_train.rows["city"] == city))
        wanted = fit(Logistic(), mine, training()) if city in model.models else everyone
        assert model.predict_proba(inputs).tobytes() == wanted.predict_proba(inputs).tobytes()
    assert isinstance(model.models["north"].named_steps["model"], LogisticRegression)
    assert set(model.predict(sample.inputs)) == {0.0, 1.0}


def test_groups_beat_one_model_for_all_and_can_be_calibrated():
    trained = train(data(), training(calibration="sigmoid"))
    auc = {row.model: row.value for row in trained.metrics if (row.part, row.metric) == ("test", "auc")}
    assert auc["candidate"] > auc["logistic"] + 0.2
    assert trained.retrained_equal is True


def test_regression_has_groups_too_and_a_column_that_is_no_text_is_refused():
    frame, _, part = rows()
    label = np.where(frame["city"] == "north", 2.0, -1.0) * frame["x"].to_numpy()
    told = training(task="regression", estimator=PerGroup(column="city", estimator=Ridge(alpha=0)), baselines=[Ridge()])
    trained = train(TrainingRows(frame, label, part, FEATURES), told)
    r2 = {row.model: row.value for row in trained.metrics if (row.part, row.metric) == ("test", "r2")}
    assert r2["candidate"] > 0.85 > r2["ridge"] + 0.3
    with pytest.raises(ConfigError, match=r"'x' is no text feature \(text features: city\)"):
        fit(PerGroup(column="x", estimator=Ridge()), data().of("train"), told)


@pytest.mark.spark
@pytest.mark.parametrize("imbalance", ["none", "balanced"])
def test_groups_fitted_on_spark_are_those_in_memory_to_the_bit(spark, imbalance):
    from pyspark.sql import functions as F

    from sparkds.models.group_training import fitted_groups
    from sparkds.models.training_sample import label_column, labelled_frame, training_rows

    frame, y, part = rows(1500)
    values = [(i, *row) for i, row in enumerate(zip(frame["x"].tolist(), frame["city"], y.tolist(), part, strict=True))]
    table = spark.createDataFrame(values, "id int, x double, city string, y double, split string").repartition(5)
    common = {"keys": ["id"], "label": label_column(table, "y", "binary", 1.0), "features": FEATURES, "seed": 2}
    told = training(imbalance=imbalance)
    in_memory = training_rows(table, share=1.0, max_rows=10_000, **common)
    known = fit(told.estimator, in_memory.of("train"), told)
    of_train = in_memory.of("train").label
    classes = (int((of_train == 0).sum()), int((of_train == 1).sum()))
    found = fitted_groups(labelled_frame(table, **common), told.estimator, FEATURES, told, classes=classes, weight=None)
    assert set(found) == {"north", "south"}
    for city, model in found.items():
        step, wanted = (one.named_steps["model"] for one in (model, known.models[city]))
        assert (step.coef_.tobytes(), step.intercept_.tobytes()) == (wanted.coef_.tobytes(), wanted.intercept_.tobytes())
        assert model.predict_proba(in_memory.inputs).tobytes() == known.models[city].predict_proba(in_memory.inputs).tobytes()
    none = labelled_frame(table.withColumn("city", F.lit(None).cast("string")), **common)
    assert fitted_groups(none, told.estimator, FEATURES, told, classes=classes, weight=None) == {}
