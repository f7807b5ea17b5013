"""Demo of experiments: a salted A/A test over CDNOW's customers, through the real command line.

Every customer is exposed on one day and assigned by a hash; what they spend afterwards is the metric, what they spent before the covariate.
"""

from __future__ import annotations

import csv
import time
from datetime import UTC, date, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

from sparkds.datasets import cdnow, is_sampled, write_cdnow
from sparkds.demo import run_shown, say, stderr_into
from sparkds.experiments.assignment import Assignment
from sparkds.tables import Tables

JOB = "experiment_analyzer"
EXPOSED_AT = datetime(1997, 7, 1, tzinfo=UTC)
AS_OF = date(1998, 6, 30)
EXPERIMENT = Assignment(experiment="aa_cdnow", arms={"a": 0.5, "b": 0.5}, coverage=1.0)


def show(output: str) -> int:
    """Assign, analyse and print sample ratio, effects, and the variance that the covariate removes.

    Parameters
    ----------
    output : str
        Directory: ``data/`` transactions and exposures, ``tables/`` the results, ``log.txt`` what Spark said.

    Returns
    -------
    int
        0, or 1 when the run failed.
    """
    begun = time.monotonic()
    root = Path(output)
    data, config = root / "data", root / f"{JOB}.yml"
    root.mkdir(parents=True, exist_ok=True)
    config.write_text(files("sparkds.datasets").joinpath("cdnow_experiment.yml").read_text(encoding="utf-8"), encoding="utf-8")
    write_cdnow(data)
    n = write_exposures(data)
    say(f"A/A test: {n:,} customers of CDNOW, exposed on {EXPOSED_AT:%Y-%m-%d}, in two arms by a salted hash of their id")
    with stderr_into(root / "log.txt"):
        arguments = ["--input", str(data), "--output", str(root / "tables"), "--config", str(config), "--as-of", str(AS_OF), "--rebuild"]
        status, _ = run_shown(JOB, *arguments)
        if status["status"] == "completed":
            _show_results(root)
    if status["status"] != "completed":
        say(f"   see {root / 'log.txt'}")
        return 1
    say(f"\ndone in {time.monotonic() - begun:.0f} s")
    return 0


def write_exposures(directory: Path, *, name: str = "exposures", share: float = 1.0) -> int:
    """Write ``<name>.csv``: one row per customer of CDNOW, or of a share of them; their number."""
    customers = sorted({transaction.customer_id for transaction in cdnow() if is_sampled(transaction.customer_id, share)})
    with (directory / f"{name}.csv").open("w", newline="", encoding="ascii") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("experiment", "customer_id", "arm", "exposed_at"))
        writer.writerows((EXPERIMENT.experiment, c, EXPERIMENT.arm_of(c), f"{EXPOSED_AT:%Y-%m-%dT%H:%M:%SZ}") for c in customers)
    return len(customers)


def _show_results(root: Path) -> None:
    from pyspark.sql import functions as F

    from sparkds import collect, sessions

    spark = sessions.session("sparkds demo")
    results = Tables(spark, str(root / "tables")).read("experiments_results").where(F.col("as_of") == F.lit(AS_OF))
    rows = [row.asDict() for row in collect.small_rows(results)]
    ratio = _row(rows, name="sample_ratio", variant="analysed")
    say(f"\nsample ratio: {ratio['status']}, p {ratio['pvalue']:.3f}, {ratio['reason']}")
    say(f"   {'metric':<16}{'variant':<14}{'a':>10}{'b':>10}{'b / a - 1':>11}{'95 % interval':>22}{'p':>8}{'variance saved':>16}")
    for name in ("revenue", "bought", "orders", "basket"):
        for variant in ("unadjusted", "declared"):
            effect = next((r for r in rows if (r["name"], r["variant"], r["scale"], r["segment"]) == (name, variant, "relative", "")), None)
            if effect is not None:
                say(_line(effect))
    for decision in (r for r in rows if r["kind"] == "decision" and r["name"] == "(all metrics)"):
        say(f"\ndecision: {decision['status']}: {decision['reason']}")
    spark.stop()


def _row(rows: list[dict[str, Any]], **wanted: str) -> dict[str, Any]:
    return next(row for row in rows if all(row[key] == value for key, value in wanted.items()))


def _line(effect: dict[str, Any]) -> str:
    saved = "" if effect["variance_reduction"] is None else f"{effect['variance_reduction']:.1%}"
    interval = f"{effect['low']:+.2%} to {effect['high']:+.2%}"
    values = f"{effect['control_value']:>10.3f}{effect['treatment_value']:>10.3f}{effect['value']:>+11.2%}{interval:>22}"
    return f"   {effect['name']:<16}{effect['variant']:<14}{values}{effect['pvalue']:>8.3f}{saved:>16}"
