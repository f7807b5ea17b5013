"""Scoring and evaluation against their peers, on one machine.

Scoring: 1 M rows x 20 doubles by a logistic model and by boosted trees, to a sink that keeps nothing. Peers: MLflow's ``spark_udf`` given
columns and given a struct, and Spark's ``predict_batch_udf``; beside them the floor (the same columns through ``mapInArrow``, dropped) and
the model's own time (``predict_proba`` in one process on one thread). Evaluation: counts by score bin and group of 10 M rows, against a
scan of the same columns, and against scikit-learn on the driver. All roads run alternately in one process on the same rows; results are
compared.

    python benchmarks/scoring.py                      # about 20 minutes
    python benchmarks/scoring.py --rows 100000 --evaluated 1000000
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from sparkds import sessions, tracking
from sparkds.models.model_cache import Pinned
from sparkds.models.score_pass import read_score_counts, score_counts_frame
from sparkds.models.scoring import scored_frame
from sparkds.models.signature import inputs_of, outputs_of
from sparkds.stats.classification import area_under_roc

N_FEATURES = 20
NAMES = [f"x{i}" for i in range(N_FEATURES)]


def write_features(path: Path, *, n: int, seed: int = 7, parts: int = 2) -> None:
    """Seeded normal features with a key, in some files."""
    rng = np.random.default_rng(seed)
    path.mkdir(parents=True)
    for part in range(parts):
        size = (part + 1) * n // parts - part * n // parts
        block = rng.normal(size=(size, N_FEATURES))
        columns = {"id": np.arange(size) + part * n // parts} | {name: block[:, i] for i, name in enumerate(NAMES)}
        pq.write_table(pa.table(columns), path / f"part-{part}.parquet")


def write_scores(path: Path, *, n: int, seed: int = 8, parts: int = 4) -> None:
    """Seeded labels, scores and a group of five values, in some files."""
    rng = np.random.default_rng(seed)
    path.mkdir(parents=True)
    for part in range(parts):
        size = (part + 1) * n // parts - part * n // parts
        score = rng.beta(1, 4, size)
        group = pa.DictionaryArray.from_arrays(rng.integers(0, 5, size).astype(np.int8), ["north", "south", "east", "west", "sea"])
        label = (rng.random(size) < score).astype(np.int32)
        pq.write_table(pa.table({"label": label, "score": score, "region": group.cast(pa.string())}), path / f"part-{part}.parquet")


def log_models() -> dict[str, str]:
    """Fit and log both models; name to address."""
    import pandas as pd
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(1)
    x = pd.DataFrame(rng.normal(size=(20_000, N_FEATURES)), columns=NAMES)
    y = (x["x0"] + x["x1"] * x["x2"] + rng.normal(size=len(x)) > 0).astype(int)
    sign = ModelSignature(
        Schema([ColSpec("double", name) for name in NAMES]),
        Schema([ColSpec("double", "probability_0"), ColSpec("double", "probability_1")]),
    )
    found = {}
    for name, model in {
        "logistic": make_pipeline(StandardScaler(), LogisticRegression()),
        "boosted trees": HistGradientBoostingClassifier(max_iter=100, random_state=0),
    }.items():
        with mlflow.start_run():
            told = mlflow.sklearn.log_model(
                model.fit(x, y), name="model", signature=sign, serialization_format="cloudpickle", pyfunc_predict_fn="predict_proba"
            )
        found[name] = told.model_uri
    return found


def sink(frame: DataFrame) -> None:
    """Compute every row and keep none."""
    frame.write.format("noop").mode("overwrite").save()


class Dropping:
    """Takes every column and gives the key with two constants: what any road through Python must at least cost."""

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Give as many rows as come."""
        for batch in batches:
            nothing = np.zeros(batch.num_rows)
            yield pa.RecordBatch.from_arrays([batch.column(0), pa.array(nothing), pa.array(nothing)], ["id", "p0", "p1"])


def roads_of(spark: SparkSession, pinned: Pinned) -> dict[str, Callable[[DataFrame], DataFrame]]:
    """Name of the road to what makes scores of features: id, p0, p1."""
    from pyspark.ml.functions import predict_batch_udf
    from pyspark.sql.types import ArrayType, DoubleType

    told = mlflow.models.Model.load(pinned.path).signature
    inputs, outputs = inputs_of(told, pinned.uri), outputs_of(told, pinned.uri)
    path = pinned.path
    pair = F.col("p").getItem(0).alias("p0"), F.col("p").getItem(1).alias("p1")

    def ours(frame: DataFrame) -> DataFrame:
        scored = scored_frame(frame, pinned, inputs, outputs, carry=("id",))
        return scored.select("id", F.col("probability_0").alias("p0"), F.col("probability_1").alias("p1"))

    def by_columns(frame: DataFrame) -> DataFrame:
        udf = mlflow.pyfunc.spark_udf(spark, pinned.uri, result_type="array<double>", env_manager="local")
        return frame.select("id", udf(*NAMES).alias("p")).select("id", *pair)

    def by_struct(frame: DataFrame) -> DataFrame:
        udf = mlflow.pyfunc.spark_udf(spark, pinned.uri, result_type="array<double>", env_manager="local")
        return frame.select("id", udf(F.struct(*NAMES)).alias("p")).select("id", *pair)

    def by_batches(frame: DataFrame) -> DataFrame:
        def make() -> Callable[[Any], Any]:
            import pandas

            model = mlflow.sklearn.load_model(path)
            return lambda block: model.predict_proba(pandas.DataFrame(block, columns=NAMES))

        udf = predict_batch_udf(make, return_type=ArrayType(DoubleType()), batch_size=10_000, input_tensor_shapes=[[N_FEATURES]])
        return frame.select("id", udf(F.array(*NAMES)).alias("p")).select("id", *pair)

    return {"ours": ours, "spark_udf, columns": by_columns, "spark_udf, struct": by_struct, "predict_batch_udf": by_batches}


def timed(action: Callable[[], object]) -> float:
    """Seconds of one call."""
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


def told(name: str, seconds: list[float]) -> None:
    """Print minimum and median."""
    print(f"  {name:<28} min {min(seconds):7.2f} s   median {statistics.median(seconds):7.2f} s   of {len(seconds)}", flush=True)


def target(name: str, measured: float, wanted: float, *, at_most: bool) -> None:
    """Print whether a target is met."""
    met = measured <= wanted if at_most else measured >= wanted
    print(f"  target {name}: {measured:.2f} ({'at most' if at_most else 'at least'} {wanted:g}): {'met' if met else 'MISSED'}", flush=True)


def same_bits(frame: DataFrame, roads: dict[str, Callable[[DataFrame], DataFrame]]) -> None:
    """Hold the scores of some rows of every road against ours, to the bit."""
    some = frame.where("id % 50 = 0")
    seen = {name: {row["id"]: (row["p0"], row["p1"]) for row in road(some).collect()} for name, road in roads.items()}
    for name, rows in seen.items():
        odd = sum(rows[key] != value for key, value in seen["ours"].items())
        print(f"  {name}: {len(rows):,} rows compared, {odd} differ from ours", flush=True)
        assert len(rows) == len(seen["ours"])
        assert max(abs(rows[key][1] - value[1]) for key, value in seen["ours"].items()) < 1e-12


def scoring(spark: SparkSession, root: Path, *, n: int, repeats: int) -> None:
    """Alternate all roads with both models, print times and ratios."""
    from threadpoolctl import threadpool_limits

    store = tracking.store_of(str(root))
    tracking.connect(store, "benchmark")
    mlflow.set_experiment("benchmark")
    write_features(root / "features", n=n)
    frame = spark.read.parquet(str(root / "features"))
    rows = pq.read_table(root / "features").to_pandas()[NAMES]
    cores = os.cpu_count() or 1
    for kind, uri in log_models().items():
        path = mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(root / kind.replace(" ", "_")))
        pinned = Pinned(uri, path, store.tracking_uri, store.registry_uri)
        roads = roads_of(spark, pinned)
        print(f"\n{kind}: {n:,} rows x {N_FEATURES} doubles, {frame.rdd.getNumPartitions()} partitions", flush=True)
        same_bits(frame, roads)
        model = mlflow.sklearn.load_model(path)
        with threadpool_limits(1):
            own = min(timed(lambda model=model: model.predict_proba(rows)) for _ in range(2))
        seconds: dict[str, list[float]] = {"floor: dropped": [], **{name: [] for name in roads}}
        for _ in range(repeats):
            seconds["floor: dropped"].append(timed(lambda: sink(dropped(frame))))
            for name, road in roads.items():
                seconds[name].append(timed(lambda road=road: sink(road(frame))))
        print(f"  model's own time, one thread: {own:.2f} s", flush=True)
        for name, values in seconds.items():
            told(name, values)
        median = {name: statistics.median(values) for name, values in seconds.items()}
        least = median["floor: dropped"] + own / cores
        target("ours by floor + own time over the cores", median["ours"] / least, 1.15, at_most=True)
        best = min(median["spark_udf, columns"], median["spark_udf, struct"])
        target("best spark_udf by ours", best / median["ours"], 1.4 if kind == "logistic" else 1.0, at_most=False)
        few, many = frame.coalesce(2), spread(spark, root, 64)
        floor = many_by_few(dropped, few, many, repeats)
        ratio = many_by_few(roads["ours"], few, many, repeats)
        print(f"  64 partitions by 2, floor: {floor:.2f}", flush=True)
        target("64 partitions by 2, ours", ratio, 1.3, at_most=True)


def dropped(frame: DataFrame) -> DataFrame:
    """The floor."""
    return frame.mapInArrow(Dropping(), "id bigint, p0 double, p1 double")


def many_by_few(road: Callable[[DataFrame], DataFrame], few: DataFrame, many: DataFrame, repeats: int) -> float:
    """Time of the same rows in many partitions by that in few."""
    pairs = [(timed(lambda: sink(road(few))), timed(lambda: sink(road(many)))) for _ in range(repeats)]
    return statistics.median(b for _, b in pairs) / statistics.median(a for a, _ in pairs)


def spread(spark: SparkSession, root: Path, n: int) -> DataFrame:
    """The same rows in many files; a file is a partition (see `main`)."""
    path = root / f"features_{n}"
    if not path.exists():
        spark.read.parquet(str(root / "features")).repartition(n).write.parquet(str(path))
    return spark.read.parquet(str(path))


def evaluation(spark: SparkSession, root: Path, *, n: int, repeats: int) -> None:
    """Alternate our pass, a scan of the same columns, and scikit-learn on the driver."""
    from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

    write_scores(root / "scores", n=n)
    frame = spark.read.parquet(str(root / "scores"))
    found: dict[str, float] = {}

    def ours() -> None:
        counts = score_counts_frame(frame, label="label", scores={"m": "score"}, groups=["region"])
        found["ours"] = area_under_roc(read_score_counts(counts).counts["m", "", ""]).value

    def scan() -> None:
        frame.agg(F.sum("label"), F.sum("score"), F.max("region")).collect()

    def grouped() -> None:
        frame.groupBy("region", F.floor(F.col("score") * 2000), "label").agg(F.count("*"), F.sum("score")).write.format("noop").mode(
            "overwrite"
        ).save()

    def on_driver() -> None:
        rows = frame.toPandas()
        y, s = rows["label"].to_numpy(), rows["score"].to_numpy()
        found["driver"] = float(roc_auc_score(y, s))
        average_precision_score(y, s), brier_score_loss(y, s), log_loss(y, s)
        for _, part in rows.groupby("region"):
            roc_auc_score(part["label"], part["score"])

    roads = {"ours": ours, "bare scan of the columns": scan, "SQL: group by bin": grouped, "scikit-learn on the driver": on_driver}
    seconds: dict[str, list[float]] = {name: [] for name in roads}
    for _ in range(repeats):
        for name, road in roads.items():
            seconds[name].append(timed(road))
    print(f"\nevaluation: {n:,} rows, one model, five groups, 2000 bins", flush=True)
    for name, values in seconds.items():
        told(name, values)
    print(f"  AUC {found['ours']:.8f} by bins, {found['driver']:.8f} exactly", flush=True)
    assert abs(found["ours"] - found["driver"]) < 1e-5
    median = {name: statistics.median(values) for name, values in seconds.items()}
    target("our pass by the bare scan", median["ours"] / median["bare scan of the columns"], 2.0, at_most=True)
    print(f"  scikit-learn on the driver by ours: {median['scikit-learn on the driver'] / median['ours']:.1f}", flush=True)


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows that are scored")
    parser.add_argument("--evaluated", type=int, default=10_000_000, help="rows that are evaluated; 0 for none")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    warnings.filterwarnings("ignore")
    sessions.LOCAL_CONF.update({"spark.driver.memory": "6g", "spark.driver.maxResultSize": "4g"})
    spark = sessions.session("sparkds benchmark", kind="classic")
    spark.conf.set("spark.sql.files.openCostInBytes", str(2**30))  # one file, one partition
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    print(f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.platform()}, Python {sys.version.split()[0]}, Spark {spark.version}")
    root = Path(tempfile.mkdtemp(prefix="sparkds-bench-"))
    try:
        if given.rows:
            scoring(spark, root, n=given.rows, repeats=given.repeats)
        if given.evaluated:
            evaluation(spark, root, n=given.evaluated, repeats=given.repeats)
    finally:
        shutil.rmtree(root)
        spark.stop()


if __name__ == "__main__":
    main()
