"""Scoring on Spark: both roads against the model itself, and how often a model is loaded."""

import mlflow
import numpy as np
import pandas as pd
import pytest

from sparkds import tracking
from sparkds.errors import ConfigError
from sparkds.models.model_cache import Pinned
from sparkds.models.model_version import downloaded, moved_to, resolve
from sparkds.models.scoring import scored_frame
from sparkds.models.signature import inputs_of, outputs_of

from .fitted import NAMES, log_classifier


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    found = tracking.store_of(str(folder), uri=f"sqlite:///{folder}/mlflow.db")
    made = tracking.Store(found.tracking_uri, found.registry_uri, (folder / "artifacts").as_uri())
    tracking.connect(made, "fitted")
    mlflow.set_experiment("fitted")
    return made


@pytest.fixture(scope="module")
def prospects(store, tmp_path_factory):
    version = log_classifier()
    mlflow.MlflowClient().set_registered_model_alias("prospects", "champion", str(version))
    found = resolve("models:/prospects@champion")
    path = downloaded(found, tmp_path_factory.mktemp("files"))
    return found, Pinned(found.uri, path, store.tracking_uri, store.registry_uri)


def features(spark, n=300):
    rng = np.random.default_rng(2)
    x = rng.normal(size=(n, 3))
    rows = [(i, *(None if rng.random() < 0.1 else float(v) for v in row)) for i, row in enumerate(x)]
    return rows, spark.createDataFrame(rows, "id bigint, x0 double, x1 double, x2 double").repartition(3)


def signed(pinned):
    told = mlflow.models.Model.load(pinned.path).signature
    return inputs_of(told, pinned.uri), outputs_of(told, pinned.uri)


@pytest.mark.parametrize("road", ["arrow", "spark_udf"])
def test_both_roads_give_the_bits_of_the_model(spark, prospects, road):
    _, pinned = prospects
    rows, frame = features(spark)
    inputs, outputs = signed(pinned)
    scored = {r["id"]: r for r in scored_frame(frame, pinned, inputs, outputs, carry=("id",), road=road).collect()}
    x = pd.DataFrame([row[1:] for row in rows], columns=list(NAMES), dtype=float)
    known = mlflow.pyfunc.load_model(pinned.path).predict(x)
    assert [(scored[i]["probability_0"], scored[i]["probability_1"]) for i in range(len(rows))] == [tuple(p) for p in known.tolist()]
    assert {r["score_error"] for r in scored.values()} == {None}


def test_a_model_is_loaded_once_a_process_whatever_the_number_of_tasks(spark, prospects):
    _, pinned = prospects
    _, frame = features(spark)
    inputs, outputs = signed(pinned)
    scored_frame(frame.repartition(64), pinned, inputs, outputs, carry=("id",)).write.format("noop").mode("overwrite").save()

    def told(batches):
        import os

        import pyarrow as pa

        from sparkds.models.model_cache import loads

        for _ in batches:
            yield pa.RecordBatch.from_pydict({"pid": [os.getpid()], "loads": [loads(pinned)]})

    seen = {(r["pid"], r["loads"]) for r in spark.range(8, numPartitions=8).mapInArrow(told, "pid bigint, loads bigint").collect()}
    assert all(loads <= 1 for _, loads in seen)
    assert any(loads == 1 for _, loads in seen)


def test_an_alias_is_looked_up_once_and_its_move_is_noticed(store):
    first = log_classifier("moving")
    client = mlflow.MlflowClient()
    client.set_registered_model_alias("moving", "champion", str(first))
    found = resolve("models:/moving@champion")
    assert (found.version, found.uri, moved_to(found)) == (first, f"models:/moving/{first}", None)
    second = log_classifier("moving")
    client.set_registered_model_alias("moving", "champion", str(second))
    assert moved_to(found) == second
    client.delete_registered_model_alias("moving", "champion")
    assert moved_to(found) == 0


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("models:/prospect@champion", "no registered model 'prospect'; did you mean 'prospects'"),
        ("models:/prospects@champio", "no alias 'champio'; did you mean 'champion'"),
        ("models:/prospects/77", "no such version"),
        ("prospects", "give models:/name@alias"),
    ],
)
def test_a_model_that_is_not_there_is_named(prospects, address, message):
    with pytest.raises(ConfigError, match=message):
        resolve(address)


def test_a_version_deleted_since_it_was_resolved_is_an_error_with_its_address(store, tmp_path):
    version = log_classifier("gone")
    found = resolve(f"models:/gone/{version}")
    mlflow.MlflowClient().delete_model_version("gone", str(version))
    with pytest.raises(ConfigError, match=f"models:/gone/{version}: its files cannot be read"):
        downloaded(found, tmp_path)
