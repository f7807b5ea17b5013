"""Demo of models: who of CDNOW's customers buys within 90 days - training, gates, registry, scores - by the command line.

Takes the tables that the demo of features has written and goes on from them.
"""

from __future__ import annotations

from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sparkds.demo import run_shown, say
from sparkds.tables import Tables

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

LAST_EVENT: Final = date(1998, 6, 30)
CONFIGS: Final = {"model_trainer": "cdnow_training", "model_evaluation_suite": "cdnow_evaluation", "batch_scorer": "cdnow_scoring"}


def show(root: Path) -> int:
    """Train, judge, score and print; 0, or 1 when a job failed.

    Parameters
    ----------
    root : Path
        Of the demo: ``data/`` and ``tables/`` are there.
    """
    from sparkds import sessions

    spark = sessions.session("sparkds demo")
    say("\n4. a model of who buys within 90 days, from the training set")
    tables = str(root / "tables")
    told_of: dict[str, dict[str, Any]] = {}
    for job, name in CONFIGS.items():
        config = root / f"{job}.yml"
        config.write_text(files("sparkds.datasets").joinpath(f"{name}.yml").read_text(encoding="utf-8"), encoding="utf-8")
        arguments = ["--input", tables, "--output", tables, "--config", str(config)]
        if job == "batch_scorer" and not told_of["model_evaluation_suite"]["gates"]["promoted"]:
            arguments += ["--set", "model=models:/buyers@challenger"]
        say("")
        status, seconds = run_shown(job, *arguments)
        if status["status"] != "completed":
            return 1
        say(f"   {seconds:.1f} s")
        told_of[job] = status
        SHOWN[job](spark, root, status)
    return 0


def _show_training(spark: SparkSession, root: Path, status: dict[str, Any]) -> None:
    model = status["model"]
    say(f"   registered {model['uri']}; test rows: AUC {status['test']['auc']:.3f}, Brier {status['test']['brier']:.3f}, beside it:")
    for name, test in status["baselines"].items():
        say(f"      {name:<24} AUC {test['auc']:.3f}, Brier {test['brier']:.3f}")


def _show_gates(spark: SparkSession, root: Path, status: dict[str, Any]) -> None:
    from pyspark.sql import functions as F

    from sparkds import collect

    gates = Tables(spark, str(root / "tables")).read("buyers_test_gates").where(F.col("evaluation") == F.lit(status["evaluation"]))
    for row in collect.small_rows(gates.orderBy("gate")):
        figure = "" if row["figure"] is None else f"{row['figure']:.4g}"
        sign = "≥" if row["comparison"] == "at_least" else "≤"
        mark = {"pass": "passed", "fail": "MISSED", "not_computable": "unknown"}[row["status"]]
        say(f"      {mark:<8}{row['gate']:<48}{figure:>10} {sign} {row['threshold']:g}")
    promoted = "the champion" if status["gates"]["promoted"] else "not promoted: it stays the challenger"
    say(f"   {status['model']} is {promoted}\n   report: {status['report']}")


def _show_scores(spark: SparkSession, root: Path, status: dict[str, Any]) -> None:
    from pyspark.sql import functions as F

    from sparkds import collect

    scores = Tables(spark, str(root / "tables")).read("prospects").where(F.col("as_of") == F.lit(LAST_EVENT))
    scores = scores.where(F.col("model_version") == F.lit(status["model"]["version"]))
    say(f"\n   top prospects on {LAST_EVENT}\n   {'customer':<12}{'chance of buying':>18}   {'segment':<22}{'orders':>8}{'last order':>14}")
    for row in collect.small_rows(scores.orderBy(F.desc("probability_true"), "customer_id").limit(10)):
        last = f"{row['recency_days']} d ago"
        segment = row["rfm_segment"] or "(no purchase)"
        say(f"   {row['customer_id']:<12}{row['probability_true']:>18.1%}   {segment:<22}{row['frequency']:>8}{last:>14}")


SHOWN: Final = {"model_trainer": _show_training, "model_evaluation_suite": _show_gates, "batch_scorer": _show_scores}
