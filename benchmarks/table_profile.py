"""Profile against a bare scan that touches all columns, and against ydata-profiling on rows that both manage.

The bare scans: a noop sink of all columns, and one aggregate of a hash over all columns. ydata-profiling runs in an environment
of its own, on pandas, from the same Parquet files. All roads run alternately; figures that both give are held against each other.

    python benchmarks/table_profile.py                                  # 3 M rows x 20 columns; bare scans only
    python benchmarks/table_profile.py --shuffled                       # rows in no order of time, so that every file has every day
    python benchmarks/table_profile.py --ydata /tmp/ydata/bin/python    # and ydata-profiling on the same files
    python benchmarks/table_profile.py --wide                           # 20 000 rows x 1000 columns, 200 of them correlated
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from sparkds import sessions
from sparkds.features.profile import Profile
from sparkds.features.profile.results import TableProfile
from sparkds.features.profile.states import profile_of, profile_states_frame

SPEC = Profile(time="event_time", time_zone="Europe/Berlin")
DAYS = 30
PEER = """
import json, sys, time, warnings
warnings.filterwarnings("ignore")
import pandas as pd
begun = time.perf_counter()
frame = pd.read_parquet(sys.argv[1])
read = time.perf_counter() - begun
from ydata_profiling import ProfileReport
begun = time.perf_counter()
extra = {} if sys.argv[2] == "minimal" else {"correlations": {"pearson": {"calculate": True}, "spearman": {"calculate": True}}}
report = ProfileReport(frame, minimal=True, progress_bar=False, **extra)
told = report.get_description()
seconds = time.perf_counter() - begun
columns = {}
for name, facts in told.variables.items():
    columns[name] = {key: float(facts[key]) for key in ("n", "n_missing", "n_distinct", "mean") if isinstance(facts.get(key), (int, float))}
print(json.dumps({"read": read, "seconds": seconds, "columns": columns}))
"""


def write_rows(path: Path, *, n: int, shuffled: bool, parts: int = 4, seed: int = 7) -> None:
    """Seeded rows of 20 columns: instants, dates, keys, counts, money, floats with nulls and NaN, flags, texts."""
    rng = np.random.default_rng(seed)
    moment = rng.integers(0, DAYS * 86_400_000_000, n)
    if not shuffled:
        moment.sort()
    start = np.datetime64("2024-01-01", "us")

    def holed(values: object, share: float) -> pa.Array:
        return pa.array(values, mask=rng.random(n) < share)

    cents = np.stack([(rng.lognormal(3, 1, n) * 100).astype(np.int64), np.zeros(n, np.int64)], axis=1)
    table = pa.table(
        {
            "event_time": pa.array(start + moment.astype("timedelta64[us]"), pa.timestamp("us", tz="UTC")),
            "updated": pa.array(start + (moment + rng.integers(0, 10**9, n)).astype("timedelta64[us]"), pa.timestamp("us", tz="UTC")),
            "birth": holed(np.datetime64("1940-01-01") + rng.integers(0, 25_000, n).astype("timedelta64[D]"), 0.1),
            "order_id": rng.permutation(n).astype(np.int64),
            "customer_id": rng.integers(0, max(1, n // 10), n),
            "store": rng.integers(0, 400, n).astype(np.int32),
            "quantity": holed(rng.poisson(3, n).astype(np.int32), 0.02),
            "price": pa.Array.from_buffers(pa.decimal128(12, 2), n, [None, pa.py_buffer(cents.tobytes())]),
            "amount": holed(np.round(rng.lognormal(3, 1, n), 2), 0.01),
            "discount": np.where(rng.random(n) < 0.7, 0, rng.random(n)),
            "score": rng.normal(0, 1, n),
            "ratio": holed(np.where(rng.random(n) < 0.01, np.nan, rng.gamma(2, 1, n)), 0.05),
            "lat": rng.uniform(-90, 90, n),
            "lon": rng.uniform(-180, 180, n),
            "temperature": holed(rng.normal(15, 8, n).astype(np.float32), 0.1),
            "is_new": holed(rng.random(n) < 0.2, 0.01),
            "channel": np.array(["web", "app", "store", "phone"])[rng.integers(0, 4, n)],
            "city": holed(np.array([f"city_{i}" for i in range(500)])[np.minimum(rng.zipf(1.5, n) - 1, 499)], 0.03),
            "sku": np.char.add("SKU", rng.integers(0, 20_000, n).astype(str)),
            "session": np.char.add("s", rng.integers(0, 2**40, n).astype(str)),
        }
    )
    write_parts(path, table, parts)


def write_parts(path: Path, table: pa.Table, parts: int) -> None:
    """Write a table as some Parquet files."""
    path.mkdir(parents=True)
    n = table.num_rows
    for i in range(parts):
        low, high = i * n // parts, (i + 1) * n // parts
        pq.write_table(table.slice(low, high - low), path / f"part-{i}.parquet")


def noop_sink(frame: DataFrame) -> None:
    """Bare scan: every value of every column is made and dropped."""
    frame.write.format("noop").mode("overwrite").save()


def hash_of_all(frame: DataFrame) -> None:
    """Bare scan: one aggregate over all columns."""
    frame.agg(F.max(F.xxhash64(*(f"`{name}`" for name in frame.columns)))).collect()


def cpu_seconds() -> float:
    """Processor seconds so far of this process and all below it (the JVM, the Python workers)."""
    parents: dict[int, list[int]] = {}
    used: dict[int, float] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                told = (entry / "stat").read_text()
            except OSError:
                continue
            fields = told[told.rindex(")") + 2 :].split()
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
            used[int(entry.name)] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    total, waiting = 0.0, [os.getpid()]
    while waiting:
        at = waiting.pop()
        total += used.get(at, 0.0)
        waiting += parents.get(at, [])
    return total


def alternate(roads: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[tuple[float, float]]]:
    """Wall and processor seconds of each road, run in turn after one run of each that is not counted."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in roads}
    for repeat in range(-1, repeats):
        for name, road in roads.items():
            begun, cpu = time.perf_counter(), cpu_seconds()
            road()
            took = time.perf_counter() - begun, cpu_seconds() - cpu
            if repeat >= 0:
                seconds[name].append(took)
                print(f"  run {repeat + 1}: {name} {took[0]:.1f} s, processors {took[1]:.1f} s", flush=True)
    return seconds


def told(seconds: dict[str, list[tuple[float, float]]]) -> None:
    """Print minimum and median."""
    for name, values in seconds.items():
        wall, cpu = zip(*values, strict=True)
        print(
            f"  {name:<34} min {min(wall):6.1f} s   median {statistics.median(wall):6.1f} s   processors min {min(cpu):6.1f} s   "
            f"median {statistics.median(cpu):6.1f} s   of {len(values)}"
        )


def against_scans(spark: SparkSession, path: Path, repeats: int, spec: Profile) -> TableProfile:
    """Alternate the profile and the bare scans; print times and ratios."""
    frame = spark.read.parquet(str(path))
    found: list[TableProfile] = []
    roads: dict[str, Callable[[], object]] = {
        "bare scan: noop sink": lambda: noop_sink(frame),
        "bare scan: hash of all columns": lambda: hash_of_all(frame),
        "profile": lambda: found.append(profile_of(profile_states_frame(frame, spec), spec)),
    }
    seconds = alternate(roads, repeats)
    told(seconds)
    names = list(roads)
    for scan in names[:2]:
        for what, at in (("wall", 0), ("processors", 1)):
            ratio = [ours[at] / bare[at] for ours, bare in zip(seconds["profile"], seconds[scan], strict=True)]
            best = min(v[at] for v in seconds["profile"]) / min(v[at] for v in seconds[scan])
            print(f"  profile / {scan}, {what}: {best:.2f} of the minima, {statistics.median(ratio):.2f} median of the pairs")
    return found[-1]


def against_ydata(spark: SparkSession, path: Path, python: str, repeats: int) -> None:
    """Alternate with ydata-profiling on the same files; hold the shared figures against each other."""
    frame = spark.read.parquet(str(path))
    spec = Profile(time_zone="UTC")
    ours: list[float] = []
    theirs: dict[str, list[float]] = {"minimal": [], "correlations": []}
    columns: dict[str, dict[str, float]] = {}
    found = profile_of(profile_states_frame(frame, spec), spec)
    for repeat in range(repeats):
        begun = time.perf_counter()
        found = profile_of(profile_states_frame(frame, spec), spec)
        ours.append(time.perf_counter() - begun)
        print(f"  run {repeat + 1}: profile {ours[-1]:.1f} s", flush=True)
        for mode, seconds in theirs.items():
            run = subprocess.run([python, "-c", PEER, str(path), mode], capture_output=True, text=True, check=True)
            answer = json.loads(run.stdout.splitlines()[-1])
            seconds.append(answer["read"] + answer["seconds"])
            columns = answer["columns"]
            print(f"  run {repeat + 1}: ydata-profiling, {mode}, {seconds[-1]:.1f} s (of it reading {answer['read']:.1f} s)", flush=True)
    for name, seconds in {"profile": ours, **{f"ydata-profiling, {mode}": s for mode, s in theirs.items()}}.items():
        print(f"  {name:<34} min {min(seconds):6.1f} s   median {statistics.median(seconds):6.1f} s   of {len(seconds)}")
    for mode, seconds in theirs.items():
        print(f"  {min(seconds) / min(ours):.1f} x as fast as ydata-profiling, {mode} (of the minima)")
    compare(found, columns)


def compare(found: TableProfile, columns: dict[str, dict[str, float]]) -> None:
    """Rows, nulls (theirs count NaN), means, and distinct values within three standard errors."""
    agreed = 0
    for column in found.columns:
        peer = columns[column.column]
        assert peer["n"] == column.n, column.column
        if "n_missing" in peer:  # not told of dates
            assert peer["n_missing"] == column.nulls + column.nans, column.column
            agreed += 1
        if "n_distinct" in peer:
            assert abs(column.distinct / peer["n_distinct"] - 1) <= 3 * column.distinct_error + 1e-12, (
                column.column,
                column.distinct,
                peer,
            )
            agreed += 1
        if "mean" in peer and column.kind in ("number", "integer") and not math.isnan(column.mean):
            assert abs(column.mean - peer["mean"]) <= 1e-5 * max(1e-3, column.sd), (column.column, column.mean, peer)
            agreed += 1
    print(f"  figures agree: rows of {len(found.columns)} columns, and {agreed} means and numbers of missing and of distinct values")


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=3_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--shuffled", action="store_true")
    parser.add_argument("--wide", action="store_true")
    parser.add_argument("--ydata", help="python of an environment with ydata-profiling")
    asked = parser.parse_args()
    spark = sessions.session("benchmark", master=f"local[{os.cpu_count()}]")
    load = ", ".join(f"{x:.1f}" for x in os.getloadavg())
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load {load}; {sessions.environment(spark)}")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        if asked.wide:
            x = np.random.default_rng(1).normal(size=(20_000, 1000))
            write_parts(root / "wide", pa.table({f"c{i}": x[:, i] for i in range(1000)}), 4)
            print("20,000 rows x 1000 columns, 200 correlated")
            against_scans(spark, root / "wide", asked.repeats, Profile(time_zone="UTC"))
        else:
            write_rows(root / "rows", n=asked.rows, shuffled=asked.shuffled)
            print(f"{asked.rows:,} rows x 20 columns, {DAYS} days, {'in no order' if asked.shuffled else 'by time'}, 4 files")
            against_scans(spark, root / "rows", asked.repeats, SPEC)
        if asked.ydata:
            write_rows(root / "same", n=asked.rows, shuffled=False)
            print(f"{asked.rows:,} rows x 20 columns, as one slice")
            against_ydata(spark, root / "same", asked.ydata, asked.repeats)


if __name__ == "__main__":
    main()
