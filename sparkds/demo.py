"""Demo: real transactions to features, a model and scores, through the real command line, with tables and pictures.

Writes the transactions, computes features of a year and then of one more day, goes on to a model, and prints what is in the tables.
"""

from __future__ import annotations

import io
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from datetime import date, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

from sparkds.datasets import cdnow, write_cdnow
from sparkds.tables import Tables

JOB = "feature_engineering_pipeline"
FIRST = date(1997, 6, 30)
LAST = date(1998, 6, 29)


def show(output: str) -> int:
    """Compute features of a year of month-ends plus 30 days and of one more day, go on to a training set and a model; print it all.

    Parameters
    ----------
    output : str
        Directory: ``data/`` the transactions, ``tables/`` the results, ``*.png`` the figures, ``log.txt`` what Spark said.

    Returns
    -------
    int
        0, or the exit code of the run that failed.
    """
    begun = time.monotonic()
    root = Path(output)
    data = root / "data"
    config = root / f"{JOB}.yml"
    root.mkdir(parents=True, exist_ok=True)
    config.write_text(files("sparkds.datasets").joinpath("cdnow.yml").read_text(encoding="utf-8"), encoding="utf-8")

    say(f"CDNOW: {len(cdnow()):,} transactions up to {LAST + timedelta(days=1)} -> {data}/transactions.csv")
    write_cdnow(data, until=LAST)
    common = ["--input", str(data), "--output", str(root / "tables"), "--config", str(config)]
    say(f"\n1. a year of month-ends and the last 30 days up to {LAST}")
    with stderr_into(root / "log.txt"):
        code = _features(*common, "--start", str(FIRST), "--end", str(LAST))
        if not code:
            write_cdnow(data)
            say(f"\n2. one more day of transactions arrives: {LAST + timedelta(days=1)}")
            code = _features(*common)
        if not code:
            from sparkds import demo_models, demo_road, sessions

            _show_tables(root)
            code = demo_road.show(root) or demo_models.show(root)
            sessions.session("sparkds demo").stop()
    if code:
        say(f"   see {root / 'log.txt'}")
        return code
    say(f"\ndone in {time.monotonic() - begun:.0f} s")
    return 0


def _features(*arguments: str) -> int:
    status, seconds = run_shown(JOB, *arguments)
    if status["status"] != "completed":
        return 1
    n = len(status["windows"]["days"])
    say(f"   {n} snapshot day{'s' if n > 1 else ''}, {seconds:.1f} s")
    return 0


def run_shown(job: str, *arguments: str) -> tuple[dict[str, Any], float]:
    """Run a job through the command line; print the command and its tables, give its status and seconds."""
    from sparkds import cli

    say("   $ sparkds " + " ".join([job, *arguments]))
    begun = time.monotonic()
    told = io.StringIO()
    with redirect_stdout(told):
        cli.main([job, *arguments])
    status: dict[str, Any] = json.loads(told.getvalue())
    if status["status"] != "completed":
        say(f"   failed: {status['error']['message']}")
        return status, time.monotonic() - begun
    for table in status["tables"]:
        say(f"   {table['name']:<24} version {table['version']:>2}   {table['rows']:>9,} rows written")
    for warning in status["warnings"]:
        say(f"   note: {warning}")
    return status, time.monotonic() - begun


@contextmanager
def stderr_into(path: Path) -> Iterator[None]:
    """Let standard error, the JVM's too, go to a file: what Spark says of its start would hide what the demo shows."""
    kept = os.dup(2)
    with path.open("wb") as log:
        sys.stderr.flush()
        os.dup2(log.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)


def _show_tables(root: Path) -> None:
    from pyspark.sql import functions as F

    from sparkds import collect, sessions
    from sparkds.features.rfm import SEGMENTS
    from sparkds.figures import recency_frequency_heatmap, segments_over_time

    spark = sessions.session("sparkds demo")
    features = Tables(spark, str(root / "tables")).read("features")
    counts = collect.small_pandas(features.groupBy("as_of", "rfm_segment").agg(F.count(F.lit(1)).alias("n")).orderBy("as_of"))
    last = counts["as_of"].max()
    today = features.where(F.col("as_of") == F.lit(last))
    by_segment = collect.small_pandas(
        today.groupBy("rfm_segment")
        .agg(
            F.count(F.lit(1)).alias("customers"),
            F.avg("recency_days").alias("recency"),
            F.avg("frequency").alias("frequency"),
            F.avg(F.col("monetary").cast("double")).alias("monetary"),
            F.sum(F.col("amount_sum_90d").cast("double")).alias("sales_90d"),
        )
        .orderBy(F.desc("customers"))
    )
    say(f"\nsegments on {last}\n   {'segment':<22}{'customers':>10}{'recency':>10}{'orders':>9}{'mean $':>9}{'90-day $':>11}")
    for row in by_segment.to_dict("records"):
        name = str(row["rfm_segment"] or "(no purchase)")
        values = f"{_number(row['recency'], 0)} d{_number(row['frequency'], 1):>9}{_number(row['monetary'], 2):>9}"
        values += f"{_number(row['sales_90d'], 0):>11}"
        say(f"   {name:<22}{row['customers']:>10,}{values:>38}")
    cells = collect.small_pandas(today.groupBy("r_score", "f_score").agg(F.count(F.lit(1)).alias("n")))
    for name, figure in (
        ("segments_over_time", segments_over_time(counts, order=list(dict.fromkeys(rule.segment for rule in SEGMENTS)))),
        ("recency_frequency", recency_frequency_heatmap(cells)),
    ):
        figure.savefig(root / f"{name}.png")
        say(f"   picture: {root / name}.png")


def _number(value: Any, digits: int) -> str:
    return "-" if value is None or value != value else f"{value:,.{digits}f}"


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
