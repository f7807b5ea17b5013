"""Training set against its peers: 1 M spine rows x 3 feature tables of about 1 M rows and 10 features, to Delta.

Peers: the join that people write by hand (range join and row_number, table after table), and the shape of SQL that Feast's Spark
offline store runs (per feature view a join of entity rows on key and time, row_number per entity row, then left joins back on the row
id). All run alternately in one process on the same tables; the results are compared by rows, values and a digest of all cells.

    python benchmarks/training_set.py                 # no bound on the age of a feature; about 10 minutes
    python benchmarks/training_set.py --lookback 90   # features of the last 90 days only, which spares the peers most of their pairs
    python benchmarks/training_set.py --rows-per-entity 100    # as in tables of daily or weekly snapshots; 10 if not given
    python benchmarks/training_set.py --quick         # a tenth of it
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import platform
import re
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from sparkds import sessions
from sparkds.features import FeatureTable, Spine, TrainingSet
from sparkds.features.training_set_statistics import spine_facts

START = np.datetime64("2019-01-01", "us")
DAY = 86_400_000_000
N_DAYS = 365
TABLES = ("orders", "visits", "support")
FEATURES = {name: [f"{name}_{i}" for i in range(10)] for name in TABLES}


def write_tables(root: Path, *, n: int, n_entities: int, seed: int = 7) -> None:
    """Seeded tables: rows evenly over entities and days; six doubles, two whole numbers and two texts a feature row."""
    rng = np.random.default_rng(seed)
    instants = START + (rng.integers(0, N_DAYS, n) * DAY + rng.integers(0, DAY, n)).astype("timedelta64[us]")
    spine = {"customer_id": rng.integers(0, n_entities, n), "t": pa.array(instants, pa.timestamp("us", tz="UTC"))}
    save_parquet(pa.table({**spine, "label": rng.random(n) < 0.3}), root / "spine")
    for name in TABLES:
        place = rng.permutation(np.unique(rng.integers(0, n_entities, n) * 1_000 + rng.integers(0, N_DAYS, n)))
        known = START + (place % 1_000 * DAY).astype("timedelta64[us]")
        columns = {"customer_id": place // 1_000, "known_at": pa.array(known, pa.timestamp("us", tz="UTC"))}
        for i, feature in enumerate(FEATURES[name]):
            values = (rng.random(len(place)), rng.integers(0, 1_000, len(place)), rng.choice(["gold", "silver", "bronze"], len(place)))
            columns[feature] = pa.array(values[0 if i < 6 else 1 if i < 8 else 2])
        save_parquet(pa.table(columns), root / name)


def save_parquet(table: pa.Table, folder: Path, parts: int = 4) -> None:
    """Table in some files."""
    folder.mkdir(parents=True)
    for i in range(parts):
        low, high = i * table.num_rows // parts, (i + 1) * table.num_rows // parts
        pq.write_table(table.slice(low, high - low), folder / f"part-{i}.parquet")


def ours(spine: DataFrame, tables: dict[str, DataFrame], lookback: int | None) -> DataFrame:
    """The package."""
    spec = TrainingSet(
        spine=Spine(keys=("customer_id",), time="t", time_zone="UTC", label="label"),
        features=tuple(FeatureTable(table=name, lookback_days=lookback) for name in TABLES),
    )
    return spec.frame(spine, tables)


def ours_checked(spine: DataFrame, tables: dict[str, DataFrame], lookback: int | None) -> DataFrame:
    """The package as the stage runs it: the spine is looked at before (rows, nulls, classes, hash, first and last instant)."""
    spec = TrainingSet(
        spine=Spine(keys=("customer_id",), time="t", time_zone="UTC", label="label"),
        features=tuple(FeatureTable(table=name, lookback_days=lookback) for name in TABLES),
    )
    facts = spine_facts(spec.spine, spine)
    return spec.frame(spine, tables, times=(facts.first, facts.last))


def by_hand(spine: DataFrame, tables: dict[str, DataFrame], lookback: int | None) -> DataFrame:
    """Range join and row_number, table after table."""
    rows = spine.withColumn("row_id", F.monotonically_increasing_id())
    newest_first = Window.partitionBy("row_id").orderBy(F.col("known_at").desc())
    for name, table in tables.items():
        known = table.withColumnRenamed("customer_id", "key")
        in_time = (F.col("customer_id") == F.col("key")) & (F.col("known_at") <= F.col("t"))
        if lookback is not None:
            in_time &= F.col("known_at") >= F.col("t") - F.make_dt_interval(F.lit(lookback))
        rows = rows.join(known, in_time, "left").withColumn("n", F.row_number().over(newest_first)).where("n = 1").drop("key", "n")
        rows = rows.withColumnRenamed("known_at", f"{name}_known_at")
    return rows.drop("row_id")


def as_feast_does(spine: DataFrame, tables: dict[str, DataFrame], lookback: int | None) -> DataFrame:
    """One SQL statement: entity rows with an id made of key and time, base, latest and cleaned rows of each view, joined back."""
    spine.createOrReplaceTempView("entity_rows")
    steps = ["entities as (select *, concat(customer_id, '_', cast(t as string)) as row_id from entity_rows)"]
    picked, joins = ["e.customer_id", "e.t", "e.label"], []
    for name, table in tables.items():
        table.createOrReplaceTempView(f"view_{name}")
        ttl = "" if lookback is None else f"and f.known_at >= e.t - interval {lookback} days"
        features = ", ".join(f"f.{feature}" for feature in FEATURES[name])
        steps += [
            f"{name}_entities as (select customer_id, t, row_id from entities group by customer_id, t, row_id)",
            f"{name}_base as (select f.known_at, {features}, e.row_id from view_{name} f join {name}_entities e "
            f"on f.known_at <= e.t {ttl} and f.customer_id = e.customer_id)",
            f"{name}_latest as (select row_id, known_at from (select row_id, known_at, row_number() over "
            f"(partition by row_id order by known_at desc) as n from {name}_base) where n = 1)",
            f"{name}_cleaned as (select b.* from {name}_base b join {name}_latest l on b.row_id = l.row_id and b.known_at = l.known_at)",
        ]
        picked += [f"{name}_cleaned.known_at as {name}_known_at", *FEATURES[name]]
        joins.append(f"left join {name}_cleaned on e.row_id = {name}_cleaned.row_id")
    return spine.sparkSession.sql(f"with {', '.join(steps)} select {', '.join(picked)} from entities e {' '.join(joins)}")


ROADS = {"ours": ours, "ours, spine checked first": ours_checked, "range join + row_number": by_hand, "shape of Feast's SQL": as_feast_does}


def digest(frame: DataFrame) -> tuple[int, ...]:
    """Rows, values and an order-free digest of all cells."""
    names = sorted(frame.columns)
    hashed = F.sum(F.xxhash64(*names).cast("decimal(20,0)"))
    row = frame.agg(F.count(F.lit(1)), *(F.count(name) for name in names), hashed).collect()[0]
    return tuple(int(value) for value in row)


def exchanges(frame: DataFrame) -> int:
    """Exchanges of the plan as written."""
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        frame.explain()
    return len(re.findall(r"Exchange ", told.getvalue()))


def compared(spark: SparkSession, root: Path, *, repeats: int, lookback: int | None) -> None:
    """Alternate all roads, hold their results against each other, print times and ratios."""
    spine = spark.read.parquet(str(root / "spine"))
    tables = {name: spark.read.parquet(str(root / name)) for name in TABLES}
    sizes = {name: frame.count() for name, frame in {"spine": spine, **tables}.items()}
    print(f"rows: {sizes}; features not older than {lookback or 'any number of'} days")
    for name, road in ROADS.items():
        print(f"  {name}: {exchanges(road(spine, tables, lookback))} exchanges in the plan")
    ours(spine, tables, lookback).write.format("noop").mode("overwrite").save()  # warm-up of the JVM, not counted
    seconds: dict[str, list[float]] = {name: [] for name in ROADS}
    out = {name: root / f"out{i}" for i, name in enumerate(ROADS)}
    for repeat in range(repeats):
        for name, road in ROADS.items():
            begun = time.perf_counter()
            made = road(spine, tables, lookback).write.format("delta").mode("overwrite")
            made.option("delta.dataSkippingStatsColumns", "customer_id,t").save(str(out[name]))
            seconds[name].append(time.perf_counter() - begun)
            print(f"  run {repeat + 1}: {name} {seconds[name][-1]:.1f} s", flush=True)
    found = {name: digest(spark.read.format("delta").load(str(path))) for name, path in out.items()}
    assert len(set(found.values())) == 1, found
    print(f"results agree: {found['ours'][0]:,} rows, digest of all cells {found['ours'][-1]}")
    for name, values in seconds.items():
        print(f"  {name:<28} min {min(values):7.1f} s   median {statistics.median(values):7.1f} s   of {len(values)}")
    mine = statistics.median(seconds["ours, spine checked first"])
    for name in ("range join + row_number", "shape of Feast's SQL"):
        print(f"  ours, spine checked first, is {statistics.median(seconds[name]) / mine:.1f} x as fast as {name}")


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the size")
    parser.add_argument("--lookback", type=int, default=None, help="oldest feature that counts, days")
    parser.add_argument("--rows-per-entity", type=int, default=10, help="of the spine and of each feature table")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    n = 100_000 if given.quick else 1_000_000
    sessions.LOCAL_CONF.update({"spark.driver.memory": "6g", "spark.sql.shuffle.partitions": "4"})
    spark = sessions.session("sparkds benchmark", kind="classic")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    print(f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.platform()}, Python {sys.version.split()[0]}, Spark {spark.version}")
    print(f"load of the machine when it began (1, 5, 15 minutes): {', '.join(f'{load:.1f}' for load in os.getloadavg())}")
    root = Path(tempfile.mkdtemp(prefix="sparkds-bench-"))
    try:
        write_tables(root, n=n, n_entities=n // given.rows_per_entity)
        compared(spark, root, repeats=given.repeats, lookback=given.lookback)
    finally:
        shutil.rmtree(root)
        spark.stop()


if __name__ == "__main__":
    main()
