"""History against dense snapshots: a year of daily features x 7/30/90 days x count, sum, min, max, distinct days, to Delta.

Both roads start from the same stored tiles and run alternately in one process, once with 1 % and once with 22 % of the (entity, day) grid
active. Then snapshots of some days are read from the history and held against the dense rows, and one more day is merged into the history.

    python benchmarks/history.py                  # 20 000 entities, 365 days: 7.3 M dense rows
    python benchmarks/history.py --quick          # a tenth of it
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
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from sparkds import sessions
from sparkds.features import ActiveDays, Count, DaysSinceLast, FeatureSet, Max, Min, Sum
from sparkds.features.history import history_frame, snapshots_of_history_frame
from sparkds.features.history_step import CHANGE, GONE, affected_frame, moved_frame, step_frame
from sparkds.features.snapshots import snapshots_frame
from sparkds.jobs.history_tables import history_spec, step_spec
from sparkds.tables import Tables

FIRST = date(2025, 1, 1)
N_DAYS = 365
LAST = FIRST + timedelta(days=N_DAYS - 1)
WINDOWS = (7, 30, 90)
SPEC = FeatureSet(
    keys=("customer_id",),
    event_time="day",
    time_zone="UTC",
    windows=WINDOWS,
    aggregations=(
        Count(),
        Sum(column="amount"),
        Min(column="amount"),
        Max(column="amount"),
        ActiveDays(),
        DaysSinceLast(windows=(), lifetime=True),
    ),
)


def write_events(path: Path, *, n_entities: int, activity: float, seed: int = 7) -> int:
    """One event on a share of all (entity, day): seeded, entities of log-normal activity; amounts are decimals."""
    rng = np.random.default_rng(seed)
    weight = rng.lognormal(0, 1, n_entities)
    n = int(n_entities * N_DAYS * activity)
    entity = rng.choice(n_entities, int(n * 1.6), p=weight / weight.sum()).astype(np.int64)
    cell = np.unique(entity * N_DAYS + rng.integers(0, N_DAYS, len(entity)))
    cell = rng.permutation(cell)[:n]
    table = pa.table(
        {
            "customer_id": cell // N_DAYS,
            "day": pa.array((np.datetime64(FIRST) + (cell % N_DAYS)).astype("datetime64[D]")),
            "amount": pa.array(np.round(rng.lognormal(3, 1, len(cell)), 2)).cast(pa.decimal128(12, 2), safe=False),
        }
    )
    path.mkdir(parents=True)
    pq.write_table(table, path / "part-0.parquet")
    return len(cell)


def save(frame: DataFrame, path: Path) -> None:
    """Overwrite a Delta table, with skipping statistics for its key columns only."""
    frame.write.format("delta").mode("overwrite").option("delta.dataSkippingStatsColumns", "customer_id").save(str(path))


def size(path: Path) -> float:
    """Megabytes of the newest version's files, as the others were removed before."""
    return sum(file.stat().st_size for file in path.glob("*.parquet")) / 1e6


def timed(action: Callable[[], object]) -> float:
    """Seconds of one call."""
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


def compare(spark: SparkSession, root: Path) -> None:
    """Hold dense snapshots of some days that are read from the history against those that were written."""
    days = [FIRST + timedelta(days=i) for i in (0, 6, 7, 100, 233, N_DAYS - 1)]
    dense = spark.read.format("delta").load(str(root / "dense")).where(F.col("as_of").isin(days))
    read = snapshots_of_history_frame(SPEC, spark.read.format("delta").load(str(root / "history")), days).select(*dense.columns)
    n, missing, extra = dense.count(), dense.exceptAll(read).count(), read.exceptAll(dense).count()
    assert missing == extra == 0, f"{missing} rows are missing, {extra} are too much"
    print(f"  snapshots of {len(days)} days read from the history equal the dense ones: {n:,} rows")


def one_more_day(spark: SparkSession, root: Path) -> None:
    """Merge the last day into a history that ends the day before."""
    tiles = spark.read.format("delta").load(str(root / "tiles"))
    out = Tables(spark, str(root / "out"))
    spec = history_spec(SPEC, "events")
    before = history_frame(SPEC, tiles, last=LAST - timedelta(days=1))
    out.replace("h", before, rows=None, metadata={}, spec=spec)
    history = out.read("h")
    affected = affected_frame(SPEC, [moved_frame(SPEC, tiles, LAST, LAST)])

    def step() -> None:
        frame = step_frame(SPEC, tiles, history, affected, begin=LAST, last=LAST)
        out.replace("h_step", frame, rows=None, metadata={}, spec=step_spec(SPEC, "h"))
        staged = out.read("h_step").withColumn("gone", F.col(CHANGE) == GONE).drop(CHANGE)
        out.merge("h", staged, keys=["customer_id", "valid_from"], metadata={}, spec=spec, gone="gone")

    seconds = timed(step)
    n, all_entities = affected.count(), tiles.select("customer_id").distinct().count()
    print(f"  one more day: {seconds:.1f} s; {n:,} of {all_entities:,} entities changed, {out.read('h_step').count():,} rows merged")


def against_dense(spark: SparkSession, root: Path, *, n_entities: int, activity: float, repeats: int) -> float:
    """Alternate both roads, print times and the ratio of the medians."""
    n_events = write_events(root / "events", n_entities=n_entities, activity=activity)
    save(SPEC.tiles(spark.read.parquet(str(root / "events"))), root / "tiles")
    tiles = spark.read.format("delta").load(str(root / "tiles"))
    print(f"{100 * activity:.0f} % activity: {n_events:,} tiles of {n_entities:,} entities x {N_DAYS} days", flush=True)
    days = [FIRST + timedelta(days=i) for i in range(N_DAYS)]
    roads: dict[str, Callable[[], DataFrame]] = {
        "history": lambda: history_frame(SPEC, tiles, last=LAST),
        "dense": lambda: snapshots_frame(SPEC, tiles, days),
    }
    seconds: dict[str, list[float]] = {name: [] for name in roads}
    save(roads["history"](), root / "history")  # warm-up, not counted
    for _ in range(repeats):
        for name, road in roads.items():
            shutil.rmtree(root / name, ignore_errors=True)
            seconds[name].append(timed(lambda road=road, name=name: save(road(), root / name)))
    for name, values in seconds.items():
        n_rows = spark.read.format("delta").load(str(root / name)).count()
        print(
            f"  {name:<8} min {min(values):6.1f} s   median {statistics.median(values):6.1f} s   of {len(values)}; "
            f"{n_rows:,} rows, {size(root / name):.0f} MB",
            flush=True,
        )
    ratio = statistics.median(seconds["history"]) / statistics.median(seconds["dense"])
    print(f"  history takes {ratio:.2f} x the time of dense")
    compare(spark, root)
    one_more_day(spark, root)
    return ratio


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the size")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    sessions.LOCAL_CONF.update({"spark.driver.memory": "4g", "spark.sql.shuffle.partitions": "4"})
    spark = sessions.session("sparkds benchmark", kind="classic")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    print(f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.platform()}, Python {sys.version.split()[0]}, Spark {spark.version}")
    print(f"load of the machine when it began: {os.getloadavg()[0]:.1f}")
    try:
        for activity in (0.01, 0.22):
            root = Path(tempfile.mkdtemp(prefix="sparkds-bench-"))
            try:
                against_dense(spark, root, n_entities=2_000 if given.quick else 20_000, activity=activity, repeats=given.repeats)
            finally:
                shutil.rmtree(root)
    finally:
        spark.stop()


if __name__ == "__main__":
    main()
