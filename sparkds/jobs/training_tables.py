"""Training tables: names, schemas, comments and keys of the tables that the trainer writes."""

from __future__ import annotations

from collections.abc import Sequence

from sparkds.tables import TableSpec

METRIC_SCHEMA = "model string, part string, metric string, value double, n bigint, reason string, estimator string, run_id string"
IMPORTANCE_SCHEMA = "feature string, importance double, std double, rank int, coverage double, n bigint, run_id string"


def table_names(name: str) -> dict[str, str]:
    """Names of the output tables by what they hold."""
    return {what: f"{name}_{what}" for what in ("splits", "metrics", "importance")}


def splits_spec(keys: Sequence[str]) -> TableSpec:
    """Part of every row of the training table."""
    return TableSpec(
        comment="Part of every row of the training table, by the split of the commit's metadata",
        columns={"split": "train, validation, test or gap; null for a row in no part"},
        keys=tuple(keys),
    )


def metrics_spec() -> TableSpec:
    """Figures of the candidate and its baselines."""
    return TableSpec(
        comment="Figures of the candidate and its baselines by part",
        columns={
            "model": "candidate, candidate_uncalibrated, or the kind of a baseline",
            "part": "train, validation, test; fold_<i>, folds_mean, folds_std; learning_<n>; train_minus_validation (overfit gap)",
            "value": "NaN if not computable, see reason",
            "n": "rows of the sample; of folds_mean and folds_std the folds with a value",
            "estimator": "declaration as JSON",
            "run_id": "run of MLflow",
        },
        keys=("model", "part", "metric"),
    )


def importance_spec() -> TableSpec:
    """Permutation importance of every feature."""
    return TableSpec(
        comment="Permutation importance of the candidate's features on validation rows",
        columns={
            "importance": "mean loss of AUC (binary) or R2 (regression) when the feature is shuffled",
            "std": "standard deviation over the shuffles",
            "coverage": "share of all positive importance that this and more important features have",
            "n": "rows of the sample",
            "run_id": "run of MLflow",
        },
        keys=("feature",),
    )
