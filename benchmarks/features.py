"""Features against their peers: 60 daily snapshots x 7/30/90 days x count, sum, min, max, std, to Delta.

Peers: a hand-written PySpark job with range frames, and DuckDB window frames to Parquet, both on a grid of only the days
that the windows need. All run alternately in one process on the same events; the results are compared column by column.

    python benchmarks/features.py                 # 5 M events, 100 000 entities, 365 days; about 15 minutes
    python benchmarks/features.py --quick         # a tenth of it
    python benchmarks/features.py --daily         # cost of one more day, with a short and with a long history
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from sparkds import sessions
from sparkds.features import Count, FeatureSet, Max, Min, Std, Sum
from sparkds.jobs.feature_engineering_pipeline import Config, run
from sparkds.tables import Tables

FIRST = date(2019, 1, 1)
WINDOWS = (7, 30, 90)
SPEC = FeatureSet(
    keys=("customer_id",),
    event_time="event_time",
    time_zone="UTC",
    windows=WINDOWS,
    aggregations=(Count(), Sum(column="amount"), Min(column="amount"), Max(column="amount"), Std(column="amount")),
)


def write_events(path: Path, *, n_events: int, n_entities: int, n_days: int, seed: int = 7, parts: int = 4) -> None:
    """Seeded events: Zipf activity, one entity with a tenth of all events, log-normal amounts in cents."""
    rng = np.random.default_rng(seed)
    share = 1 / np.arange(1, n_entities + 1) ** 0.8
    entity = rng.choice(n_entities, n_events, p=share / share.sum())
    entity[rng.random(n_events) < 0.1] = 0
    entity = rng.permutation(n_entities)[entity].astype(np.int64)
    moment = np.datetime64(FIRST, "us") + rng.integers(0, n_days * 86_400_000_000, n_events).astype("timedelta64[us]")
    table = pa.table(
        {
            "customer_id": entity,
            "event_time": pa.array(np.sort(moment), pa.timestamp("us", tz="UTC")),
            "amount": np.round(rng.lognormal(3, 1, n_events), 2),
        }
    )
    path.mkdir(parents=True, exist_ok=True)
    for i in range(parts):
        low, high = i * n_events // parts, (i + 1) * n_events // parts
        pq.write_table(table.slice(low, high - low), path / f"part-{i}.parquet")


def save(frame: DataFrame, path: Path, *, keys: str) -> None:
    """Overwrite a Delta table, with skipping statistics for its key columns only."""
    frame.write.format("delta").mode("overwrite").option("delta.dataSkippingStatsColumns", keys).save(str(path))


def ours_direct(spark: SparkSession, events: Path, out: Path, days: list[date]) -> None:
    """Events to snapshots."""
    save(SPEC.snapshots_of_events(spark.read.parquet(str(events)), days), out / "direct", keys="as_of")


def ours_with_tiles(spark: SparkSession, events: Path, out: Path, days: list[date]) -> None:
    """Events to stored tiles, stored tiles to snapshots."""
    save(SPEC.tiles(spark.read.parquet(str(events)), last=days[-1]), out / "tiles", keys="day")
    tiles = spark.read.format("delta").load(str(out / "tiles"))
    save(SPEC.snapshots(tiles, days), out / "from_tiles", keys="as_of")


def range_frames(spark: SparkSession, events: Path, out: Path, days: list[date]) -> None:
    """What a careful PySpark author writes: daily sums, a grid of the needed days, range frames over it."""
    first = days[0] - timedelta(days=max(WINDOWS) - 1)
    all_events = spark.read.parquet(str(events)).withColumn("day", F.to_date("event_time"))
    daily = (
        all_events.where(F.col("day").between(first, days[-1]))
        .groupBy("customer_id", "day")
        .agg(
            F.count("*").alias("n"),
            F.sum("amount").alias("s"),
            F.min("amount").alias("low"),
            F.max("amount").alias("high"),
            F.sum(F.col("amount") * F.col("amount")).alias("q"),
        )
    )
    calendar = spark.createDataFrame([(first + timedelta(days=i),) for i in range((days[-1] - first).days + 1)], "day date")
    grid = all_events.select("customer_id").distinct().crossJoin(F.broadcast(calendar)).join(daily, ["customer_id", "day"], "left")
    grid = grid.withColumn("number", F.unix_date("day"))
    columns = []
    for w in WINDOWS:
        frame = Window.partitionBy("customer_id").orderBy("number").rangeBetween(-(w - 1), 0)
        n, s, q = (F.coalesce(F.sum(c).over(frame), F.lit(0)) for c in ("n", "s", "q"))
        columns += [
            n.alias(f"event_count_{w}d"),
            s.alias(f"amount_sum_{w}d"),
            F.min("low").over(frame).alias(f"amount_min_{w}d"),
            F.max("high").over(frame).alias(f"amount_max_{w}d"),
            F.when(n > 1, F.sqrt(F.greatest(q - s * s / n, F.lit(0.0)) / (n - 1))).alias(f"amount_std_{w}d"),
        ]
    save(
        grid.select("customer_id", F.col("day").alias("as_of"), *columns).where(F.col("as_of") >= days[0]),
        out / "range_frames",
        keys="as_of",
    )


def duckdb_frames(spark: SparkSession, events: Path, out: Path, days: list[date]) -> None:
    """The same in DuckDB, to Parquet."""
    import duckdb

    del spark
    first = days[0] - timedelta(days=max(WINDOWS) - 1)
    columns, frames = [], []
    for w in WINDOWS:
        frames.append(f"w{w} as (partition by customer_id order by day rows {w - 1} preceding)")
        n, s, q = (f"sum({c}) over w{w}" for c in ("n", "s", "q"))
        columns += [
            f"{n} as event_count_{w}d",
            f"{s} as amount_sum_{w}d",
            f"min(low) over w{w} as amount_min_{w}d",
            f"max(high) over w{w} as amount_max_{w}d",
            f"case when {n} > 1 then sqrt(greatest({q} - {s} * {s} / {n}, 0) / ({n} - 1)) end as amount_std_{w}d",
        ]
    con = duckdb.connect()
    con.execute(f"set threads = {os.cpu_count()}; set TimeZone = 'UTC'; set memory_limit = '8GB'")
    con.execute(f"""
        copy (
            with raw as (select customer_id, cast(event_time as date) as day, amount from '{events}/*.parquet'),
            daily as (
                select customer_id, day, count(*) n, sum(amount) s, min(amount) low, max(amount) high,
                    sum(amount * amount) q
                from raw where day between date '{first}' and date '{days[-1]}' group by all
            ),
            calendar as (
                select cast(d as date) as day
                from range(date '{first}', date '{days[-1] + timedelta(days=1)}', interval 1 day) t(d)
            ),
            grid as (
                select g.customer_id, g.day, coalesce(n, 0) n, coalesce(s, 0) s, low, high, coalesce(q, 0) q
                from (select customer_id, day from (select distinct customer_id from raw), calendar) g
                left join daily using (customer_id, day)
            ),
            framed as (select customer_id, day as as_of, {", ".join(columns)} from grid window {", ".join(frames)})
            select * from framed where as_of >= date '{days[0]}'
        ) to '{out}/duckdb.parquet' (format parquet)
    """)
    con.close()


def checksums(frame: DataFrame, seen: DataFrame) -> dict[str, float]:
    """Rows, and per column the number and the sum of its values, over the entities' days from their first event on."""
    kept = frame.join(F.broadcast(seen), "customer_id").where("as_of >= first_day")
    columns = [f"{stem}_{w}d" for stem in ("event_count", "amount_sum", "amount_min", "amount_max", "amount_std") for w in WINDOWS]
    row = kept.agg(
        F.count(F.lit(1)).alias("rows"),
        *(F.count(c).alias(f"n {c}") for c in columns),
        *(F.sum(c).cast("double").alias(f"sum {c}") for c in columns),
    ).collect()[0]
    return row.asDict()


def compare(spark: SparkSession, events: Path, out: Path) -> None:
    """Hold all results against each other: same rows, same nulls, sums equal to 1e-6."""
    seen = spark.read.parquet(str(events)).groupBy("customer_id").agg(F.to_date(F.min("event_time")).alias("first_day"))
    results = {
        name: checksums(spark.read.format("delta").load(str(out / name)), seen)
        for name in ("direct", "from_tiles", "range_frames")
        if (out / name).exists()
    }
    results["duckdb"] = checksums(spark.read.parquet(str(out / "duckdb.parquet")), seen)
    reference = results.pop("direct")
    for name, found in results.items():
        for what, value in reference.items():
            # peers take the standard deviation from sums of squares, which loses digits
            tolerance = 1e-4 if "_std_" in what else 1e-6
            assert abs(found[what] - value) <= tolerance * max(1.0, abs(value)), f"{name} differs in {what}: {found[what]} and {value}"
    print(f"results agree: {int(reference['rows']):,} rows, {(len(reference) - 1) // 2} columns")


def timed(action: Callable[[], object]) -> float:
    """Seconds of one call."""
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


def told(name: str, seconds: list[float]) -> None:
    """Print minimum and median."""
    print(f"  {name:<28} min {min(seconds):7.1f} s   median {statistics.median(seconds):7.1f} s   of {len(seconds)}", flush=True)


def against_peers(spark: SparkSession, root: Path, *, scale: float, repeats: int) -> None:
    """Alternate all roads, print times and ratios."""
    events = root / "events"
    sizes = {"n_events": int(5_000_000 * scale), "n_entities": int(100_000 * scale), "n_days": 365}
    write_events(events, **sizes)
    print(f"events: {sizes}; 60 daily snapshots x {WINDOWS} days x 5 aggregations")
    days = [FIRST + timedelta(days=364 - i) for i in range(60)][::-1]
    roads: dict[str, Callable[..., None]] = {
        "ours, direct": ours_direct,
        "ours, tiles stored": ours_with_tiles,
        "DuckDB": duckdb_frames,
        "PySpark range frames": range_frames,
    }
    seconds: dict[str, list[float]] = {name: [] for name in roads}
    ours_direct(spark, events, root, days)  # warm-up of the JVM, not counted
    for repeat in range(repeats):
        for name, road in roads.items():
            if name == "PySpark range frames" and repeat and scale >= 1 and repeat >= 2:
                continue
            seconds[name].append(timed(lambda road=road: road(spark, events, root, days)))
            print(f"  run {repeat + 1}: {name} {seconds[name][-1]:.1f} s", flush=True)
    compare(spark, events, root)
    for name, values in seconds.items():
        told(name, values)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    for ours in ("ours, direct", "ours, tiles stored"):
        print(
            f"  {ours}: {median['PySpark range frames'] / median[ours]:.1f} x as fast as range frames, "
            f"{median[ours] / median['DuckDB']:.2f} x the time of DuckDB"
        )


def one_more_day(spark: SparkSession, root: Path, *, scale: float) -> None:
    """Seconds of the job for one more day, after a history of half a year and of five years, beside the full run."""
    for n_days in (182, 1820):
        n_events = int(1_000_000 * scale * n_days / 182)
        source, out = root / f"in{n_days}", root / f"out{n_days}"
        write_events(source / "all", n_events=n_events, n_entities=int(50_000 * scale), n_days=n_days + 3, parts=1)
        table = pq.read_table(source / "all")
        shutil.rmtree(source / "all")
        day = pa.array((table["event_time"].to_numpy().astype("datetime64[D]") - np.datetime64(FIRST)).astype(int))
        settings = Config(
            **{f: getattr(SPEC, f) for f in FeatureSet.model_fields}, source="events", name="features", lateness_days=1
        ).model_copy(update={"lifetime": True})
        (source / "events").mkdir(parents=True)
        for i in range(10):  # files by time, as a landing zone has them
            low, high = i * n_days // 10, (i + 1) * n_days // 10
            pq.write_table(
                table.filter(pa.array((np.asarray(day) >= low) & (np.asarray(day) < high))), source / "events" / f"{i:03}.parquet"
            )

        def go(**asked: object) -> None:
            run(config=settings, input=str(source), output=str(out), spark=spark, now=datetime.now(UTC), **asked)  # noqa: B023

        last = FIRST + timedelta(days=n_days - 1)
        full = timed(lambda last=last: go(start=last - timedelta(days=59), end=last))
        daily = []
        for extra in range(3):
            pq.write_table(table.filter(pa.array(np.asarray(day) == n_days + extra)), source / "events" / f"x{extra}.parquet")
            daily.append(timed(go))
        print(
            f"  history {n_days} days, {n_events:,} events: 60 days from nothing {full:.1f} s, one more day "
            + ", ".join(f"{s:.1f}" for s in daily)
            + f" s (the first one writes the checkpoint); share {100 * daily[-1] / full:.0f} %",
            flush=True,
        )
        told_versions = {name: Tables(spark, str(out)).version(name) for name in ("features", "features_tiles")}
        print(f"  {json.dumps(told_versions)}")


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the size")
    parser.add_argument("--daily", action="store_true", help="only the cost of one more day")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    scale = 0.1 if given.quick else 1.0
    sessions.LOCAL_CONF.update({"spark.driver.memory": "6g", "spark.sql.shuffle.partitions": "4"})
    spark = sessions.session("sparkds benchmark", kind="classic")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    print(f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.platform()}, Python {sys.version.split()[0]}, Spark {spark.version}")
    root = Path(tempfile.mkdtemp(prefix="sparkds-bench-"))
    try:
        if not given.daily:
            against_peers(spark, root, scale=scale, repeats=given.repeats)
        one_more_day(spark, root, scale=scale)
    finally:
        shutil.rmtree(root)
        spark.stop()


if __name__ == "__main__":
    main()
