"""Experiments against the ways in which people compute them: many experiments x many metrics x segments on one fact table.

Peers: one SQL statement per experiment (exposures to units, LEFT JOIN facts, a CASE per metric, GROUP BY unit, GROUP BY arm and
segment), metric by metric in PySpark, of which a stated sample is run and multiplied, and tea-tasting on DuckDB given our unit table.
All alternate in one process on the same Parquet files; n, mean and variance are compared.

    python benchmarks/experiments.py --quick        # 1 M facts, 50 000 units, 20 experiments x 50 metrics x 3 segments
    python benchmarks/experiments.py                # 20 M facts, 1 M units; about an hour
    python benchmarks/experiments.py --facts 5 --bot
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
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from sparkds import sessions
from sparkds.experiments.analysis import statistics_frame
from sparkds.experiments.direct import direct_statistics
from sparkds.experiments.experiment import ExperimentSet
from sparkds.experiments.units import units_frame
from sparkds.tables import Tables, TableSpec

START = datetime(2026, 1, 1, tzinfo=UTC)
N_DAYS = 90
AS_OF = date(2026, 3, 31)
FILTERS = [f"flag = {i}" for i in range(10)]
COLUMNS = ["x0", "x1", "x2", "x3", "x4"]
SEGMENTS = ("country", "device", "plan")
WINDOW_DAYS = 14


def write_facts(path: Path, *, n_facts: int, n_units: int, bot: bool, seed: int = 7) -> None:
    """Seeded facts: Zipf activity, whole numbers as values; with `bot` one unit has a tenth of all facts."""
    rng = np.random.default_rng(seed)
    share = 1 / np.arange(1, n_units + 1) ** 0.6
    path.mkdir(parents=True)
    order = rng.permutation(n_units)
    for part in range(8):
        n = n_facts // 8
        unit = order[rng.choice(n_units, n, p=share / share.sum())]
        if bot:
            unit[rng.random(n) < 0.1] = order[0]
        at = np.datetime64(START.replace(tzinfo=None), "us") + rng.integers(0, N_DAYS * 86_400_000_000, n).astype("timedelta64[us]")
        columns = {c: rng.integers(0, 1000, n) for c in COLUMNS}
        flag = rng.integers(0, 10, n).astype(np.int32)
        table = pa.table({"unit": unit, "time": pa.array(at, pa.timestamp("us", tz="UTC")), "flag": flag, **columns})
        pq.write_table(table, path / f"{part}.parquet")


def write_exposures(path: Path, *, n_units: int, n_experiments: int, seed: int = 8) -> None:
    """Every experiment sees half of the units once, on a random instant of the first 60 days."""
    rng = np.random.default_rng(seed)
    path.mkdir(parents=True)
    segments = [rng.integers(0, k, n_units) for k in (5, 3, 2)]
    for number in range(n_experiments):
        unit = np.flatnonzero(rng.random(n_units) < 0.5)
        at = np.datetime64(START.replace(tzinfo=None), "us") + rng.integers(0, 60 * 86_400_000_000, len(unit)).astype("timedelta64[us]")
        arm = np.where(rng.random(len(unit)) < 0.5, "a", "b")
        told = {name: [f"{name}{v}" for v in values[unit]] for name, values in zip(SEGMENTS, segments, strict=True)}
        table = pa.table(
            {"experiment": [f"e{number}"] * len(unit), "unit": unit, "arm": arm, "time": pa.array(at, pa.timestamp("us", tz="UTC")), **told}
        )
        pq.write_table(table, path / f"{number:03}.parquet")


def declared(n_experiments: int) -> ExperimentSet:
    """The experiments and their 50 metrics."""
    metrics = [
        {"kind": "sum", "name": f"{column}_{i}", "fact": "facts", "column": column, "where": where, "window": {"days": WINDOW_DAYS}}
        for i, where in enumerate(FILTERS)
        for column in COLUMNS
    ]
    one = {"arms": {"a": 0.5, "b": 0.5}, "control": "a", "start": START, "alpha": 0.05, "correction": "none", "segments": SEGMENTS}
    experiments = [{"name": f"e{i}", "peeking": {"kind": "fixed"}, **one} for i in range(n_experiments)]
    return ExperimentSet.model_validate(
        {
            "time_zone": "UTC",
            "exposures": {"table": "exposures"},
            "facts": [{"name": "facts", "table": "facts"}],
            "metrics": metrics,
            "experiments": experiments,
        }
    )


def directly(spark: SparkSession, root: Path, n_experiments: int) -> None:
    """One pass from the files to statistics in Delta, without a unit table."""
    spec, tables = declared(n_experiments), Tables(spark, str(root / "direct"))
    exposures, facts = spark.read.parquet(str(root / "exposures")), {"facts": spark.read.parquet(str(root / "facts"))}
    direct = direct_statistics(spec, exposures, facts, as_of=AS_OF)
    tables.replace("statistics", spark.createDataFrame(direct.statistics), rows=None, metadata={}, spec=TableSpec())


def by_stored_units(spark: SparkSession, root: Path, n_experiments: int) -> None:
    """Units to Delta, statistics of them to Delta: the first day of a daily run."""
    spec, tables = declared(n_experiments), Tables(spark, str(root / "out"))
    exposures = spark.read.parquet(str(root / "exposures"))
    units = units_frame(spec, exposures, {"facts": spark.read.parquet(str(root / "facts"))}, as_of=AS_OF)
    plain = TableSpec()
    tables.replace("units", units, rows=None, metadata={}, spec=plain)
    tables.replace("statistics", statistics_frame(spec, tables.read("units"), as_of=AS_OF), rows=None, metadata={}, spec=plain)


def statement(experiment: str, metrics: list[tuple[str, str, str]]) -> str:
    """One SQL statement for one experiment: n, mean and variance of every metric by arm, in all and by segment."""
    cases = ",\n".join(f"sum(case when {where} then {column} else 0 end) as {name}" for name, column, where in metrics)
    moments = ",\n".join(f"avg(coalesce({name}, 0)) as {name}_mean, var_samp(coalesce({name}, 0)) as {name}_var" for name, _, _ in metrics)
    segments = ", ".join(SEGMENTS)
    sets = ", ".join(["(arm)", *(f"(arm, {s})" for s in SEGMENTS)])
    return f"""
    with units as (
      select unit, min_by(arm, time) as arm, min(time) as exposed, {", ".join(f"min_by({s}, time) as {s}" for s in SEGMENTS)}
      from exposures where experiment = '{experiment}' group by unit having count(distinct arm) = 1
    ), totals as (
      select u.unit, {cases}
      from units u join facts f on f.unit = u.unit and f.time >= u.exposed and f.time < u.exposed + interval {WINDOW_DAYS} days
      group by u.unit
    )
    select '{experiment}' as experiment, arm, {segments}, count(*) as n, {moments}
    from units u left join totals t on t.unit = u.unit
    group by grouping sets ({sets})
    """


def all_metrics() -> list[tuple[str, str, str]]:
    """Name, column and predicate of the 50 metrics."""
    return [(f"{column}_{i}", column, where) for i, where in enumerate(FILTERS) for column in COLUMNS]


def sql_per_experiment(spark: SparkSession, root: Path, n_experiments: int) -> None:
    """The shape of (b): one statement after another."""
    for number in range(n_experiments):
        target = str(root / "sql" / f"e{number}")
        spark.sql(statement(f"e{number}", all_metrics())).write.mode("overwrite").parquet(target)


def metric_by_metric(spark: SparkSession, root: Path, n_experiments: int, *, sample: int) -> float:
    """The shape of (a): a query per metric and experiment; seconds of `sample` of them multiplied by all."""
    begun = time.perf_counter()
    for i in range(sample):
        spark.sql(statement(f"e{i % n_experiments}", [all_metrics()[(7 * i) % 50]])).write.mode("overwrite").parquet(str(root / "single"))
    return (time.perf_counter() - begun) / sample * 50 * n_experiments


def scan_and_group(spark: SparkSession, root: Path) -> None:
    """The least that anything costs: one column of all facts by unit."""
    spark.read.parquet(str(root / "facts")).groupBy("unit").agg(F.sum("x0").alias("x")).write.format("noop").mode("overwrite").save()


def tea_tasting_seconds(spark: SparkSession, root: Path, n_experiments: int) -> float:
    """The shape of (c): given our unit table as a DuckDB table, tea-tasting's means of every metric, one experiment after another.

    It makes no unit table and has no segments; a run per segment value would come on top. Means of every metric and experiment are
    compared with ours.
    """
    import duckdb
    import tea_tasting as tt

    spec = declared(n_experiments)
    units = Tables(spark, str(root / "out")).read("units")
    names = [m.name for m in spec.metrics]
    flat = units.where("n_arms = 1").select("experiment", "arm", *(F.get("measures", F.lit(i)).alias(name) for i, name in enumerate(names)))
    flat.write.mode("overwrite").parquet(str(root / "flat"))
    statistics_of = Tables(spark, str(root / "out")).read("statistics").where("variant = 'declared' and segment = ''").collect()
    ours = {(r["experiment"], r["arm"], r["metric"]): r["mean"][0] for r in statistics_of}
    connection = duckdb.connect()
    connection.execute(f"create table flat as select * from read_parquet('{root}/flat/*.parquet')")
    begun = time.perf_counter()
    results = {}
    for e in spec.experiments:
        experiment = tt.Experiment({name: tt.Mean(name) for name in names}, variant="arm")
        results[e.name] = experiment.analyze(connection.sql(f"select * from flat where experiment = '{e.name}'"), control="a")
    seconds = time.perf_counter() - begun
    for name, result in results.items():
        for metric in names:
            told = result[metric]
            np.testing.assert_allclose([told.control, told.treatment], [ours[name, arm, metric] for arm in "ab"], rtol=1e-9)
    return seconds


def compare(spark: SparkSession, root: Path, n_experiments: int, out: str) -> None:
    """Hold ours against the SQL statements."""
    rows = Tables(spark, str(root / out)).read("statistics").where("variant = 'declared'").collect()
    found = {(r["experiment"], r["arm"], r["segment"], r["segment_value"], r["metric"]): (r["n"], r["mean"][0], r["m2"][0]) for r in rows}
    n_compared = 0
    for number in range(n_experiments):
        for row in spark.read.parquet(str(root / "sql" / f"e{number}")).collect():
            segment = next((s for s in SEGMENTS if row[s] is not None), "")
            for name, _, _ in all_metrics():
                n, mean, m2 = found[row["experiment"], row["arm"], segment, row[segment] if segment else "", name]
                assert n == row["n"], (row["experiment"], segment, n, row["n"])
                np.testing.assert_allclose([mean, m2 / (n - 1)], [row[f"{name}_mean"], row[f"{name}_var"]], rtol=1e-9, atol=1e-9)
                n_compared += 1
    assert n_compared == len(found), (n_compared, len(found))
    print(f"results agree: {n_compared:,} rows of n, mean and variance")


def timed(action: Callable[[], object]) -> float:
    """Seconds of one call."""
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="1 M facts and 50 000 units")
    parser.add_argument("--facts", type=float, help="facts in millions; a twentieth as many units")
    parser.add_argument("--experiments", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--bot", action="store_true", help="one unit has a tenth of all facts")
    parser.add_argument("--only-ours", action="store_true")
    given = parser.parse_args()
    n_facts = int((given.facts or (1 if given.quick else 20)) * 1_000_000)
    n_units = n_facts // 20
    sessions.LOCAL_CONF.update({"spark.driver.memory": "8g", "spark.sql.shuffle.partitions": "8"})
    spark = sessions.session("sparkds benchmark", kind="classic")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    print(f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.platform()}, Python {sys.version.split()[0]}, Spark {spark.version}")
    told = f"{n_facts:,} facts, {n_units:,} units, {given.experiments} experiments x 50 metrics x 3 segments"
    print(told + (", one unit with a tenth of all facts" if given.bot else ""), flush=True)
    root = Path(tempfile.mkdtemp(prefix="sparkds-bench-"))
    try:
        write_facts(root / "facts", n_facts=n_facts, n_units=n_units, bot=given.bot)
        write_exposures(root / "exposures", n_units=n_units, n_experiments=given.experiments)
        for name in ("facts", "exposures"):
            spark.read.parquet(str(root / name)).createOrReplaceTempView(name)
        roads: dict[str, Callable[[], object]] = {
            "scan and group by unit": lambda: scan_and_group(spark, root),
            "direct": lambda: directly(spark, root, given.experiments),
            "by stored units": lambda: by_stored_units(spark, root, given.experiments),
        }
        if not given.only_ours:
            roads["one SQL statement per experiment"] = lambda: sql_per_experiment(spark, root, given.experiments)
        directly(spark, root, min(2, given.experiments))  # warm-up of the JVM, not counted
        seconds: dict[str, list[float]] = {name: [] for name in roads}
        for repeat in range(given.repeats):
            for name, road in roads.items():
                seconds[name].append(timed(road))
                print(f"  run {repeat + 1}: {name} {seconds[name][-1]:.1f} s", flush=True)
        by_metric = tea = 0.0
        if not given.only_ours:
            for out in ("direct", "out"):
                compare(spark, root, given.experiments, out)
            sample = 8
            by_metric = metric_by_metric(spark, root, given.experiments, sample=sample)
            print(f"  metric by metric: {by_metric:,.0f} s, from {sample} of {50 * given.experiments:,} queries")
            tea = tea_tasting_seconds(spark, root, given.experiments)
            print(f"  tea-tasting on DuckDB, given the unit table, without segments: {tea:.1f} s; its means equal ours")
        median = {name: statistics.median(values) for name, values in seconds.items()}
        for name, values in seconds.items():
            print(f"  {name:<34} min {min(values):7.1f} s   median {median[name]:7.1f} s   of {len(values)}")
        for road in ("direct", "by stored units"):
            told = [f"{median[road] / median['scan and group by unit']:.1f} x the bare scan and group by unit"]
            if not given.only_ours:
                told.append(
                    f"one SQL statement per experiment takes {median['one SQL statement per experiment'] / median[road]:.1f} x as long"
                )
                told.append(f"metric by metric {by_metric / median[road]:.0f} x")
            print(f"  {road}: {'; '.join(told)}")
        fewer = timed(lambda: directly(spark, root, max(1, given.experiments // 10)))
        print(f"  direct with a tenth of the experiments: {fewer:.1f} s; ten times as many take {median['direct'] / fewer:.1f} x the time")
    finally:
        shutil.rmtree(root)
        spark.stop()


if __name__ == "__main__":
    main()
