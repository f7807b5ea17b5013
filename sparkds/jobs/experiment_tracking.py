"""Experiment tracking: one MLflow run per experiment and day, with the readout, its pictures, the definitions and the table versions.

Takes what a run of the analyzer has found and logs it; the run of the same experiment, day and declaration is written over.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

from sparkds import tracking
from sparkds.experiments.experiment import Experiment, ExperimentSet
from sparkds.experiments.result_rows import Result

JOB = "experiment_analyzer"


def log_readout(
    store: tracking.Store,
    mlflow_experiment: str,
    experiment: Experiment,
    spec: ExperimentSet,
    results: Sequence[Result],
    *,
    as_of: date,
    folder: Path,
    files: Sequence[str],
    versions: Mapping[str, object],
) -> str:
    """Log the readout of one experiment on one day.

    Parameters
    ----------
    store, mlflow_experiment
        Where to.
    experiment : Experiment
    spec : ExperimentSet
        Its declaration, logged as ``definition.json``.
    results : sequence of Result
        Overall effects of primary metrics and guardrails become metrics of the run, ``<metric>.<arm>.<scale>``.
    as_of : date
    folder : Path
    files : sequence of str
        Markdown and pictures in `folder`.
    versions : mapping of table to version
        Of the sources and of the tables that were written.

    Returns
    -------
    str
        Id of the run.
    """
    import mlflow

    identity = f"{JOB}/{experiment.name}/{as_of}/{spec.definition_hash}"
    tags = {"job": JOB, "experiment": experiment.name, "as_of": as_of.isoformat(), "definition_hash": spec.definition_hash}
    tags |= {
        f"decision.{row.arm}": row.status for row in _mine(results, experiment) if row.kind == "decision" and row.name == "(all metrics)"
    }
    tags |= {f"table.{table}": str(version) for table, version in versions.items()}
    with tracking.tracked(store, mlflow_experiment, name=f"{experiment.name} {as_of}", tags=tags, identity=identity) as run:
        mlflow.log_metrics(figures(experiment, results), step=as_of.toordinal())
        mlflow.log_text(spec.model_dump_json(indent=2), "definition.json")
        for name in files:
            mlflow.log_artifact(str(folder / name))
        run_id: str = run.info.run_id
    return run_id


def _mine(results: Sequence[Result], experiment: Experiment) -> list[Result]:
    return [row for row in results if row.experiment == experiment.name]


def figures(experiment: Experiment, results: Sequence[Result]) -> dict[str, float]:
    """Effects, p-values and checks as numbers; what is not computable is left out, as MLflow keeps no NaN."""
    found: dict[str, float] = {}
    for row in _mine(results, experiment):
        if row.kind == "effect" and row.variant == "declared" and not row.segment and row.role in ("primary", "guardrail"):
            stem = re.sub(r"[^\w\-. /]", "_", f"{row.name}.{row.arm}.{row.scale}")  # what MLflow takes
            told = {stem: row.value, f"{stem}.low": row.low, f"{stem}.high": row.high, f"{stem}.pvalue": row.pvalue}
            found |= {name: value for name, value in told.items() if math.isfinite(value)}
    failed = sum(row.kind == "check" and row.status == "fail" for row in _mine(results, experiment))
    return found | {"checks_failed": float(failed)}
