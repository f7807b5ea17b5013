"""Training tables: names, schemas and comments of the tables that the trainer writes, and which columns of its input are features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sparkds import collect
from sparkds.errors import ColumnError, ConfigError
from sparkds.tables import Tables, TableSpec

if TYPE_CHECKING:
    from sparkds.jobs.model_trainer import Config

METRIC_SCHEMA = "model string, part string, metric string, value double, n bigint, reason string, estimator string, run_id string"
IMPORTANCE_SCHEMA = "feature string, importance double, std double, rank int, coverage double, n bigint, run_id string"


def table_names(name: str) -> dict[str, str]:
    """Names of the output tables by what they hold."""
    return {what: f"{name}_{what}" for what in ("splits", "metrics", "importance")}


def feature_names(config: Config, columns: Sequence[str], source: Tables) -> list[str]:
    """Declared features, the kept ones of a selection, or all columns that have no other part.

    Raises
    ------
    ColumnError, ConfigError, TableError
    """
    table = f"table '{config.table}'"
    if config.features is not None:
        return list(config.features)
    for name in config.leave_out:
        if name not in columns:
            raise ColumnError.missing(name, columns, table)
    others = {*config.keys, config.label, config.weight, *config.leave_out}
    if config.selection is not None:
        decisions = source.read(config.selection)
        for name in ("column", "kept"):
            if name not in decisions.columns:
                raise ColumnError.missing(name, decisions.columns, f"table '{config.selection}', which is no table of decisions")
        chosen = {row["column"] for row in collect.small_rows(decisions.where("kept").select("column"))}
        for name in sorted(chosen):
            if name not in columns:
                raise ColumnError.missing(name, columns, f"{table}; selection '{config.selection}' keeps it: select again for this table")
            if name in others:
                raise ConfigError(f"selection '{config.selection}' keeps '{name}', which is a key, the label or the weight of {table}")
        names = [name for name in columns if name in chosen]
    else:
        for part in (config.split, config.folds):
            others |= {getattr(part, "time", None), getattr(part, "stratum", None), *(getattr(part, "by", None) or ())}
        names = [name for name in columns if name not in others]
    if not names:
        raise ConfigError(f"{table} has no column left to learn from; list the features, or leave fewer out")
    return names


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
