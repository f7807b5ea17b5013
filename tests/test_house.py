"""The layers of the house, held by reading the imports of every module."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "sparkds"
MODULES = sorted(PACKAGE.rglob("*.py"))

# room: (what it may import of the package, what it may import of others beside the standard library)
NUMBERS = {"errors", "declaration", "days", "sql"}
STATEMENTS = {
    "features.aggregation",
    "features.aggregations",
    "features.rhythm",
    "features.rhythm_kernel",
    "features.reduced",
    "features.states",
    "features.windows",
    "features.merged",
    "features.rfm",
    "features.schedule",
}
GENERATE_STATEMENTS = {"features.states"} | {
    f"features.generate.{room}"
    for room in (
        "calendar",
        "categorical",
        "derivation",
        "expressions",
        "fitted_state",
        "imputation",
        "interactions",
        "latent",
        "numeric",
        "slices",
        "target_encoding",
        "text",
    )
}
SPARK = {"blocks", "collect", "instants", "features.arrow", "features.tiles", "features.snapshots", "features.rfm_scores"}
PROFILE_SKETCHES = {f"features.profile.{sketch}" for sketch in ("distinct", "frequent", "moments", "row_sample", "value_bins")}
ROOMS = {
    # layer 0 and 1: no Spark, no files
    "errors": (set(), set()),
    "days": ({"errors"}, set()),
    "sql": (set(), set()),
    "hashing": ({"errors"}, set()),
    "declaration": (set(), {"pydantic"}),
    "features.windows": (NUMBERS, {"numpy"}),
    "stats": (set(), set()),
    "stats.arguments": ({"errors"}, set()),
    "stats.group_moments": (set(), {"numpy"}),
    "stats.log_histogram": (set(), {"numpy"}),
    "stats.moments": (set(), {"numpy"}),
    "stats.estimate": ({"stats.arguments"}, {"numpy", "scipy"}),
    "stats.proportions": ({"stats.arguments", "stats.estimate"}, {"numpy", "scipy"}),
    "document": (set(), set()),
    "stats.measured": ({"stats.arguments"}, {"numpy", "scipy"}),
    "stats.score_counts": ({"errors", "stats.arguments"}, {"numpy", "scipy"}),
    "stats.classification": ({"errors", "stats.arguments", "stats.measured", "stats.score_counts"}, {"numpy", "scipy"}),
    "stats.fairness": (
        {"stats.arguments", "stats.classification", "stats.measured", "stats.proportions", "stats.score_counts"},
        set(),
    ),
    "stats.paired_models": ({"errors", "stats.arguments", "stats.estimate"}, {"numpy", "scipy"}),
    "stats.slices": ({"stats.arguments", "stats.estimate", "stats.group_moments", "stats.multiplicity"}, {"numpy"}),
    "stats.residuals": ({"errors", "stats.measured"}, {"numpy"}),
    "models": (set(), set()),
    "stats.multiplicity": ({"stats.arguments"}, {"numpy"}),
    "stats.heterogeneity": ({"stats.estimate", "stats.proportions"}, {"numpy"}),
    "stats.sample_ratio": ({"errors", "stats.arguments", "stats.estimate", "stats.proportions"}, {"numpy", "scipy"}),
    "stats.quantile_difference": ({"stats.arguments", "stats.estimate", "stats.log_histogram"}, {"numpy", "scipy"}),
    "stats.arm_effects": ({"errors", "stats.arguments", "stats.estimate", "stats.moments"}, {"numpy", "scipy"}),
    "stats.stratified": ({"errors", "stats.arguments", "stats.estimate", "stats.moments"}, {"numpy"}),
    "stats.omnibus": ({"stats.arguments", "stats.moments", "stats.proportions"}, {"numpy", "scipy"}),
    "stats.designs": ({"errors", "stats.arguments"}, set()),
    "stats.rejection": ({"errors", "stats.designs"}, {"numpy", "scipy"}),
    "stats.power": ({"errors", "stats.arguments", "stats.designs", "stats.rejection"}, {"scipy"}),
    "stats.bayesian": ({"errors", "stats.arguments"}, {"numpy", "scipy"}),
    "stats.paths": ({"errors"}, {"numpy", "scipy"}),
    "stats.sequential": ({"errors", "stats.arguments", "stats.paths"}, {"numpy", "scipy"}),
    "stats.always_valid": ({"errors", "stats.arguments"}, {"numpy", "scipy"}),
    # layer 2: statements
    "experiments": (set(), set()),
    "experiments.assignment": (NUMBERS | {"hashing"}, {"pydantic"}),
    "features.states": (NUMBERS, set()),
    "features.reduced": (NUMBERS | STATEMENTS, {"numpy"}),
    "features.aggregations": (NUMBERS | STATEMENTS, {"numpy", "pydantic"}),
    "features.merged": (NUMBERS | STATEMENTS, {"numpy"}),
    "features.rfm": (NUMBERS | STATEMENTS, {"numpy", "pydantic"}),
    "features.schedule": (NUMBERS, {"pydantic"}),
    # a declaration's methods hand over to the Spark modules of its own domain
    "features.feature_set": (NUMBERS | STATEMENTS | {"features.tiles", "features.snapshots"}, {"pydantic"}),
    "features": (STATEMENTS | {"features.feature_set", "features.labels", "features.point_in_time"}, set()),
    # layer 3: Spark
    "blocks": (NUMBERS, {"numpy", "pyarrow"}),
    "collect": (NUMBERS, {"pyarrow", "pyspark"}),
    "instants": (NUMBERS, {"pyspark"}),
    "hash_columns": ({"hashing"}, {"pyspark"}),
    "predicates": ({"errors"}, {"pyspark"}),
    "features.arrow": (NUMBERS | STATEMENTS, {"numpy", "pyarrow"}),
    "features.tiles": (NUMBERS | STATEMENTS | {"instants"}, {"pyspark"}),
    "features.snapshots": (
        NUMBERS | STATEMENTS | {"blocks", "collect", "features.arrow", "features.tiles"},
        {"numpy", "pyarrow", "pyspark"},
    ),
    "features.rfm_scores": (NUMBERS | STATEMENTS | {"collect"}, {"pyspark"}),
    "experiments.measures": (NUMBERS, set()),
    "experiments.unit_values": (NUMBERS | {"experiments.measures"}, {"numpy", "pydantic"}),
    "experiments.metrics": (NUMBERS | {"experiments.measures", "experiments.unit_values"}, {"pydantic"}),
    "experiments.experiment": (NUMBERS | {"experiments.measures", "experiments.metrics"}, {"pydantic"}),
    "experiments.result_rows": ({"stats.estimate"}, set()),
    "experiments.unit_kernel": (NUMBERS | {"experiments.measures", "stats.log_histogram"}, {"numpy"}),
    "experiments.statistics": (
        {"experiments.experiment", "experiments.measures", "experiments.metrics", "stats.group_moments", "stats.log_histogram"},
        {"numpy"},
    ),
    "experiments.arrow": (
        NUMBERS
        | {"experiments.experiment", "experiments.measures", "experiments.metrics", "experiments.statistics"}
        | {"stats.group_moments", "stats.log_histogram"},
        {"numpy", "pyarrow"},
    ),
    "experiments.peeking": (
        {"experiments.experiment", "stats.always_valid", "stats.estimate", "stats.sequential"},
        set(),
    ),
    "experiments.effects": (
        {"experiments.experiment", "experiments.metrics", "experiments.peeking", "experiments.result_rows"}
        | {"stats.arm_effects", "stats.bayesian", "stats.estimate", "stats.moments", "stats.multiplicity", "stats.proportions"}
        | {"stats.omnibus", "stats.quantile_difference", "stats.stratified"},
        {"numpy"},
    ),
    "experiments.checks": (
        {"experiments.effects", "experiments.experiment", "experiments.metrics", "experiments.peeking", "experiments.result_rows"}
        | {"stats.arm_effects", "stats.heterogeneity", "stats.moments", "stats.multiplicity", "stats.proportions", "stats.sample_ratio"},
        {"numpy"},
    ),
    "experiments.deviations": ({"experiments.experiment", "experiments.metrics", "experiments.result_rows"}, set()),
    "experiments.readout": ({"experiments.experiment", "experiments.result_rows"}, set()),
    "experiments.decisions": (
        {"experiments.effects", "experiments.experiment", "experiments.metrics", "experiments.result_rows"},
        set(),
    ),
    "experiments.units": (
        NUMBERS
        | {"blocks", "instants", "experiments.experiment", "experiments.measures", "experiments.unit_rows"}
        | {"stats.log_histogram"},
        {"pyspark"},
    ),
    "experiments.headcounts": (
        NUMBERS | {"blocks", "experiments.arrow", "experiments.experiment"},
        {"numpy", "pyarrow"},
    ),
    "experiments.direct": (
        NUMBERS
        | {"blocks", "collect", "experiments.analysis", "experiments.arrow", "experiments.experiment", "experiments.headcounts"}
        | {"experiments.unit_rows", "experiments.units"},
        {"numpy", "pyarrow", "pyspark"},
    ),
    "experiments.unit_rows": (
        {"experiments.measures", "experiments.unit_kernel"},
        {"numpy", "pyarrow"},
    ),
    "experiments.analysis": (
        NUMBERS
        | {"blocks", "collect", "instants", "experiments.arrow", "experiments.experiment", "experiments.metrics"}
        | {"experiments.statistics", "stats.log_histogram"},
        {"numpy", "pyspark"},
    ),
    "experiments.design": (
        NUMBERS | {"experiments.assignment", "experiments.experiment", "experiments.metrics", "stats.designs"},
        {"pydantic"},
    ),
    "experiments.metric_plan": (
        NUMBERS
        | {"experiments.design", "experiments.metrics", "stats.always_valid", "stats.designs", "stats.group_moments", "stats.power"}
        | {"stats.rejection", "stats.sequential"},
        {"numpy"},
    ),
    "experiments.plan": (
        NUMBERS | {"experiments.design", "experiments.metric_plan", "stats.power", "stats.sequential"},
        set(),
    ),
    "stats.balance": ({"errors", "stats.estimate", "stats.group_moments"}, set()),
    "experiments.assignment_columns": (NUMBERS | {"hashing", "hash_columns", "experiments.assignment"}, {"pyspark"}),
    "experiments.balance": (NUMBERS | {"collect", "stats.arguments", "stats.balance", "stats.group_moments"}, {"numpy", "pyspark"}),
    "experiments.plan_document": (
        NUMBERS | {"experiments.design", "experiments.experiment", "experiments.metric_plan", "experiments.plan"},
        set(),
    ),
    "experiments.history": (
        NUMBERS
        | {
            "predicates",
            "blocks",
            "collect",
            "experiments.design",
            "experiments.experiment",
            "experiments.measures",
            "experiments.metric_plan",
        }
        | {"experiments.metrics", "experiments.statistics", "experiments.unit_kernel", "experiments.unit_rows", "stats.group_moments"}
        | {"experiments.units"}
        | {"experiments.assignment_columns", "experiments.balance"},
        {"numpy", "pyarrow", "pyspark"},
    ),
    # models: declarations and numbers, then Spark, then MLflow
    "models.splits": (NUMBERS | {"hashing"}, {"numpy", "pydantic"}),
    "models.split_columns": (NUMBERS | {"collect", "hashing", "hash_columns", "instants", "models.splits"}, {"pyspark"}),
    "models.grouped_model": (set(), {"numpy", "sklearn"}),
    "models.estimators": (NUMBERS | {"models.grouped_model"}, {"pydantic", "sklearn", "threadpoolctl"}),
    "models.group_training": (
        {"collect", "errors", "models.estimators", "models.training", "models.training_sample"},
        {"numpy", "pyarrow", "pyspark"},
    ),
    "models.score_metrics": (NUMBERS, {"numpy", "pydantic", "sklearn"}),
    "models.training": (
        NUMBERS | {"models.estimators", "models.score_metrics", "models.splits"},
        {"joblib", "numpy", "pydantic", "sklearn", "threadpoolctl"},
    ),
    "models.leak_findings": ({"models.estimators", "models.score_metrics", "models.training"}, {"numpy", "pandas", "scipy", "sklearn"}),
    "models.tuning": (
        NUMBERS | {"models.estimators", "models.score_metrics", "models.splits", "models.training"},
        {"numpy", "optuna", "pydantic"},
    ),
    "models.tuning_tasks": ({"collect", "models.splits", "models.training", "models.tuning"}, {"pandas"}),
    "models.registry": (
        {"errors", "models", "models.estimators", "models.explanations", "models.grouped_model"},
        {"cloudpickle", "mlflow", "numpy"},
    ),
    "models.explanations": ({"errors", "models.predictions", "models.signature"}, {"numpy", "pandas", "pyarrow"}),
    "models.training_sample": (
        NUMBERS | {"collect", "hashing", "hash_columns", "models.estimators", "models.split_columns", "models.splits", "models.training"},
        {"numpy", "pandas", "pyspark"},
    ),
    "models.model_version": (NUMBERS, {"mlflow"}),
    "models.signature": (NUMBERS, set()),
    "models.model_cache": ({"errors"}, {"mlflow", "threadpoolctl"}),
    "models.predictions": ({"errors", "models.signature"}, {"numpy", "pandas", "pyarrow"}),
    "models.environment": ({"collect"}, {"pyarrow", "pyspark"}),
    "models.scoring": (
        NUMBERS | {"models.explanations", "models.model_cache", "models.predictions", "models.signature"},
        {"mlflow", "numpy", "pyarrow", "pyspark"},
    ),
    "jobs.batch_scorer": (
        NUMBERS
        | {"", "collect", "locations", "sessions", "tables", "tracking", "jobs.status", "models"}
        | {
            f"models.{room}"
            for room in ("environment", "explanations", "model_cache", "model_version", "predictions", "scoring", "signature")
        },
        {"mlflow", "pydantic", "pyspark"},
    ),
    "models.score_tally": ({"stats.score_counts"}, {"numpy"}),
    "models.score_evidence": ({"errors", "models.score_tally", "stats.score_counts"}, {"numpy"}),
    "models.score_pass": (
        {"collect", "errors", "sql", "models.score_evidence", "models.score_tally"},
        {"numpy", "pyarrow", "pyspark"},
    ),
    "models.evaluation": (
        {"models.score_evidence", "stats.classification", "stats.estimate", "stats.fairness", "stats.measured", "stats.paired_models"}
        | {"stats.residuals", "stats.score_counts", "stats.slices"},
        {"numpy"},
    ),
    "models.gates": ({"declaration", "models.evaluation", "stats.fairness"}, {"pydantic"}),
    "models.evaluation_plan": ({"declaration", "models.estimators", "models.gates", "models.score_metrics"}, {"pydantic"}),
    "models.evaluation_report": ({"document", "models.evaluation", "models.evaluation_plan", "models.gates"}, set()),
    "models.evaluated_rows": (
        {"collect", "errors", "sql", "models.model_cache", "models.predictions", "models.score_pass", "models.scoring", "models.signature"},
        {"numpy", "pyspark"},
    ),
    "models.residual_pass": (
        {"blocks", "collect", "errors", "models.score_pass", "models.score_tally", "stats.residuals"},
        {"numpy", "pyarrow", "pyspark"},
    ),
    "models.slice_pass": (
        {"blocks", "collect", "errors", "models.score_pass", "models.score_tally", "stats.arguments", "stats.group_moments"}
        | {"stats.score_counts", "stats.slices"},
        {"numpy", "pyarrow", "pyspark"},
    ),
    # -- rooms of profile
    "features.profile": ({"features.profile.declaration"}, set()),
    "features.profile.declaration": (NUMBERS, {"pydantic"}),
    "features.profile.value_bins": (set(), {"numpy"}),
    "features.profile.distinct": (set(), {"numpy"}),
    "features.profile.moments": (set(), {"numpy"}),
    "features.profile.frequent": ({"features.profile.distinct", "features.profile.value_bins"}, {"numpy"}),
    "features.profile.row_sample": ({"features.profile.distinct"}, {"numpy"}),
    "features.profile.column_state": (NUMBERS | PROFILE_SKETCHES, {"numpy"}),
    "features.profile.kernel": (PROFILE_SKETCHES | {"features.profile.column_state"}, {"numpy"}),
    "features.profile.arrow": (
        NUMBERS | PROFILE_SKETCHES | {"features.profile.column_state", "features.profile.kernel"},
        {"numpy", "pyarrow"},
    ),
    "features.profile.results": (
        NUMBERS | PROFILE_SKETCHES | {"features.profile.column_state", "features.profile.declaration"},
        {"numpy", "scipy"},
    ),
    "features.profile.finished": (
        NUMBERS | {f"features.profile.{room}" for room in ("arrow", "column_state", "declaration", "kernel", "results", "row_sample")},
        {"numpy", "pyarrow"},
    ),
    "features.profile.states": (
        NUMBERS
        | {"blocks", "collect", "instants"}
        | {f"features.profile.{room}" for room in ("arrow", "column_state", "declaration", "finished", "kernel", "results")},
        {"pyspark"},
    ),
    "features.profile.page": ({"document", "features.profile.declaration", "features.profile.results"}, set()),
    "figures.profile": ({"errors", "figures.canvas"}, {"matplotlib", "numpy", "pandas"}),
    "jobs.profile_tables": ({"tables", "features.profile.declaration", "features.profile.results"}, set()),
    # -- rooms of generate
    "features.aggregation": (NUMBERS | STATEMENTS, {"pydantic"}),
    "features.rhythm": (NUMBERS | STATEMENTS, {"numpy", "pydantic"}),
    "features.rhythm_kernel": (NUMBERS | STATEMENTS, {"numpy"}),
    "features.generate": (GENERATE_STATEMENTS | {"features.generate.generation"}, set()),
    "features.generate.expressions": (NUMBERS | STATEMENTS, set()),
    "features.generate.derivation": (NUMBERS | GENERATE_STATEMENTS, {"pydantic"}),
    "features.generate.fitted_state": (NUMBERS | GENERATE_STATEMENTS, set()),
    "features.generate.slices": (NUMBERS, {"pydantic"}),
    "features.generate.numeric": (NUMBERS | GENERATE_STATEMENTS, {"pydantic"}),
    "features.generate.calendar": (NUMBERS | GENERATE_STATEMENTS, {"pydantic"}),
    "features.generate.given": (NUMBERS | GENERATE_STATEMENTS | {"collect"}, {"pyspark"}),
    "features.generate.latent": (set(), {"numpy", "scipy"}),
    "features.generate.text": (NUMBERS | GENERATE_STATEMENTS, {"numpy", "pydantic"}),
    "features.generate.text_steps": (NUMBERS | GENERATE_STATEMENTS, {"numpy", "pandas", "pyspark"}),
    "features.generate.imputation": (NUMBERS | GENERATE_STATEMENTS, {"pydantic"}),
    "features.generate.interactions": (NUMBERS | GENERATE_STATEMENTS, {"pydantic"}),
    "features.generate.categorical": (NUMBERS | GENERATE_STATEMENTS, {"pydantic"}),
    "features.generate.target_encoding": (NUMBERS | GENERATE_STATEMENTS | {"hashing"}, {"pydantic"}),
    "features.generate.known_labels": (NUMBERS | GENERATE_STATEMENTS, {"pyspark"}),
    "features.generate.null_gate": (NUMBERS | GENERATE_STATEMENTS | {"collect"}, {"pyspark"}),
    # a declaration's methods hand over to the Spark modules of its own domain
    "features.generate.generation": (
        NUMBERS | GENERATE_STATEMENTS | {"features.generate.applying", "features.generate.fitting"},
        {"pydantic"},
    ),
    "features.generate.applying": (
        NUMBERS | GENERATE_STATEMENTS | {f"features.generate.{room}" for room in ("generation", "known_labels", "text_steps")},
        {"pyspark"},
    ),
    "features.generate.aggregated": (NUMBERS | GENERATE_STATEMENTS | {"collect"}, {"pyspark"}),
    "features.generate.fitting": (
        NUMBERS
        | GENERATE_STATEMENTS
        | {"predicates", "collect"}
        | {f"features.generate.{room}" for room in ("aggregated", "applying", "generation")},
        {"pyspark"},
    ),
    # -- rooms of history
    "features.change_points": (NUMBERS | STATEMENTS | {"features.point_in_time"}, {"numpy"}),
    "features.history": (
        NUMBERS | STATEMENTS | SPARK | {"features.change_points"},
        {"numpy", "pyarrow", "pyspark"},
    ),
    "features.history_step": (NUMBERS | STATEMENTS | SPARK | {"features.change_points", "features.history"}, {"pyspark"}),
    "features.signed_deltas": (NUMBERS | STATEMENTS | {"features.change_points"}, {"numpy"}),
    "features.history_deltas": (
        NUMBERS | STATEMENTS | SPARK | {"features.change_points", "features.history", "features.history_step", "features.signed_deltas"},
        {"numpy", "pyarrow", "pyspark"},
    ),
    "features.history_check": (NUMBERS | {"collect", "hashing", "hash_columns", "features.history"}, {"pyspark"}),
    # -- rooms of point in time
    "features.point_in_time": (NUMBERS | {"features.as_of_join"}, {"pydantic"}),
    "features.labels": (NUMBERS | {"features.point_in_time"}, {"pydantic"}),
    "features.as_of_join": (NUMBERS | {"predicates", "instants", "features.point_in_time"}, {"pyspark"}),
    "features.label_columns": (
        NUMBERS | {"predicates", "collect", "instants", "features.as_of_join", "features.labels", "features.point_in_time"},
        {"pyspark"},
    ),
    "features.training_set_statistics": (
        NUMBERS | {"collect", "hashing", "hash_columns", "instants", "features.as_of_join", "features.point_in_time"},
        {"pyspark"},
    ),
    # -- rooms of select
    "stats.stability": ({"stats.arguments"}, {"numpy"}),
    "features.select": ({"features.select.declaration", "features.select.decisions"}, set()),
    "features.select.declaration": ({"declaration"}, {"pydantic"}),
    "features.select.rules": ({"features.select.declaration"}, set()),
    "features.select.decisions": (set(), set()),
    "features.select.importance": ({"errors", "hashing", "features.select.declaration"}, {"numpy", "scipy", "sklearn", "threadpoolctl"}),
    "features.select.elimination": ({"features.select.declaration", "features.select.importance"}, {"numpy", "threadpoolctl"}),
    "features.select.column_figures": (
        {"collect", "features.relevance", "features.select.rules", "stats.relevance"},
        {"numpy", "pyspark"},
    ),
    "features.select.correlation": ({"blocks", "collect", "features.relevance"}, {"numpy", "pyarrow", "pyspark"}),
    "features.select.sample": (
        {"collect", "sql", "features.relevance", "features.select.declaration"},
        {"numpy", "pyarrow", "pyspark"},
    ),
    "features.select.selection": (
        NUMBERS
        | {"collect", "features.relevance", "stats.relevance", "stats.stability"}
        | {
            f"features.select.{room}"
            for room in ("column_figures", "correlation", "decisions", "declaration", "elimination", "importance", "rules", "sample")
        },
        {"numpy", "pyspark"},
    ),
    "stats.relevance": ({"stats.multiplicity"}, {"numpy", "scipy"}),
    "features.relevance": (
        NUMBERS | {"collect", "instants", "stats.arguments", "stats.relevance"},
        {"numpy", "pyarrow", "pyspark"},
    ),
    # -- rooms of leakage
    "stats.shift": (set(), {"numpy", "scipy"}),
    "features.leakage": ({"features.leakage.finding", "features.leakage.leakage_check"}, set()),
    "features.leakage.finding": (set(), set()),
    "features.leakage.leakage_check": (NUMBERS | {"features.leakage.finding"}, {"pydantic"}),
    "features.leakage.states": ({"features.leakage.finding"}, set()),
    "features.leakage.columns": (NUMBERS | {"features.leakage.leakage_check"}, set()),
    "features.leakage.time_findings": (
        {"stats.shift", *(f"features.leakage.{room}" for room in ("finding", "leakage_check", "states"))},
        set(),
    ),
    "features.leakage.column_findings": (
        {"stats.multiplicity", "stats.relevance", "stats.shift"}
        | {f"features.leakage.{room}" for room in ("finding", "leakage_check", "states")},
        {"numpy"},
    ),
    "features.leakage.alignment": (
        {"stats.multiplicity", "stats.relevance", "stats.shift"}
        | {f"features.leakage.{room}" for room in ("finding", "leakage_check", "states")},
        {"numpy"},
    ),
    "features.leakage.report": (
        {"document", "stats.relevance", "features.leakage.finding", "features.leakage.states"},
        set(),
    ),
    "features.leakage.overview": (
        NUMBERS | {"collect", "instants"} | {f"features.leakage.{room}" for room in ("columns", "finding", "leakage_check", "states")},
        {"pyspark"},
    ),
    "features.leakage.overlap": (NUMBERS | {"collect", "features.leakage.overview", "features.leakage.states"}, {"pyspark"}),
    "features.leakage.previous_period": (NUMBERS | {"instants", "features.leakage.overlap"}, {"pyspark"}),
    "features.leakage.inspection": (
        NUMBERS
        | {"features.relevance", "stats.relevance"}
        | {
            f"features.leakage.{room}"
            for room in ("alignment", "column_findings", "columns", "finding", "leakage_check", "overlap", "overview")
        }
        | {f"features.leakage.{room}" for room in ("previous_period", "states", "time_findings")},
        {"pyspark"},
    ),
    # -- rooms of registry
    "features.registry": (set(), set()),
    "features.registry.definitions": ({"features.feature_set"}, set()),
    "features.registry.lineage": ({"features.feature_set", "features.registry.definitions"}, set()),
    "features.registry.records": ({"errors", "features.registry.lineage"}, set()),
    "features.registry.catalog_facts": ({"sql", "features.registry.records"}, set()),
    # layer 4: borders, which know no domain
    "config": ({"errors", "declaration"}, {"pydantic", "yaml"}),
    "sessions": ({"", "errors"}, {"pyspark"}),
    "commits": ({""}, set()),
    "locations": ({"errors", "sql"}, {"pyspark"}),
    "tracking": ({"declaration", "errors", "locations"}, {"mlflow", "pydantic"}),
    "table_failures": ({"errors"}, set()),
    "table_spec": ({"", "sql"}, set()),
    "tables": ({"", "errors", "sql", "commits", "locations", "table_failures", "table_spec"}, {"pyspark"}),
    "datasets": (set(), set()),
    "figures": ({"figures.experiments", "figures.labels", "figures.power", "figures.rfm"}, set()),
    "figures.canvas": ({"errors"}, {"matplotlib"}),
    "figures.power": ({"errors", "figures.canvas"}, {"matplotlib", "numpy", "pandas"}),
    "figures.models": ({"errors", "figures.canvas"}, {"matplotlib", "numpy", "pandas"}),
    "figures.training": ({"errors", "figures.canvas", "figures.models"}, {"matplotlib", "numpy", "pandas"}),
    "figures.labels": ({"errors", "figures.canvas"}, {"matplotlib", "pandas"}),
    "figures.rfm": ({"errors", "figures.canvas"}, {"matplotlib", "numpy", "pandas"}),
    "figures.experiments": ({"errors", "figures.canvas"}, {"matplotlib", "numpy", "pandas"}),
    # layer 5: jobs
    "jobs": (set(), set()),
    "jobs.status": (set(), set()),
    "jobs.feature_tables": ({"tables", "features.feature_set"}, set()),
    # stages of the feature job: one module each
    "jobs.stages": (set(), set()),
    "jobs.stages.stage": ({"declaration", "jobs.status"}, {"pydantic"}),
    "jobs.stages.windows": (
        NUMBERS
        | STATEMENTS
        | SPARK
        | {
            "predicates",
            "tables",
            "commits",
            "locations",
            "jobs",
            "jobs.status",
            "jobs.feature_tables",
            "jobs.stages.stage",
            "features.feature_set",
        }
        | {"jobs.stages.feature_versions", "features.registry.lineage"},
        {"pydantic", "pyspark"},
    ),
    "jobs.stages.feature_versions": (
        {"commits", "sql", "tables", "jobs", "jobs.feature_tables", "features.feature_set", "features.registry.definitions"}
        | {"features.snapshots", "features.tiles"},
        {"pydantic", "pyspark"},
    ),
    # -- stage profile
    "jobs.stages.profile": (
        NUMBERS
        | {"collect", "commits", "document", "instants", "locations", "tables", "figures.profile", "jobs", "jobs.profile_tables"}
        | {"jobs.stages.stage", "jobs.status"}
        | {f"features.profile.{room}" for room in ("declaration", "page", "results", "states")},
        {"pandas", "pydantic", "pyspark"},
    ),
    # -- stage history
    "jobs.history_tables": ({"tables", "features.change_points", "features.feature_set"}, set()),
    "jobs.stages.history": (
        {"collect", "commits", "days", "declaration", "errors", "sql", "jobs", "jobs.feature_tables", "jobs.history_tables"}
        | {"jobs.status", "jobs.stages.stage", "features", "features.change_points", "features.feature_set", "features.history"}
        | {"features.history_check", "features.history_deltas", "features.history_step", "features.registry.definitions"}
        | {"features.registry.lineage", "jobs.stages.feature_versions"},
        {"pydantic", "pyspark"},
    ),
    # -- stage generate
    "jobs.stages.outside": (
        NUMBERS
        | GENERATE_STATEMENTS
        | {"features.generate.applying", "features.generate.given", "jobs.stages.stage", "sessions", "tracking", "models"}
        | {f"models.{room}" for room in ("environment", "model_cache", "model_version", "scoring", "signature")},
        {"mlflow", "pyspark"},
    ),
    "jobs.stages.generate": (
        {"jobs.stages.outside"}
        | NUMBERS
        | GENERATE_STATEMENTS
        | {f"features.generate.{room}" for room in ("applying", "fitting", "generation", "null_gate")}
        | {"", "collect", "commits", "features.registry.lineage", "jobs.stages.feature_versions", "jobs.stages.stage", "jobs.status"}
        | {"table_failures", "tables"},
        {"pydantic", "pyspark"},
    ),
    # -- stage training_set
    "jobs.training_set_tables": ({"tables", "features.point_in_time"}, set()),
    "jobs.stages.training_set": (
        NUMBERS
        | {"collect", "instants", "sessions", "tracking", "jobs", "jobs.status", "jobs.stages.stage", "jobs.training_set_tables"}
        | {"features.label_columns", "features.labels", "features.point_in_time", "features.training_set_statistics"},
        {"mlflow", "pydantic"},
    ),
    # -- stage select
    "figures.selection": ({"errors", "figures.canvas", "figures.models"}, {"matplotlib", "numpy", "pandas"}),
    "jobs.selection_tables": ({"tables", "features.select.decisions"}, set()),
    "jobs.stages.select": (
        {"predicates", "", "errors", "figures.selection", "jobs.selection_tables", "jobs.stages.stage", "jobs.status"}
        | {f"features.select.{room}" for room in ("decisions", "declaration", "selection")},
        {"pandas", "pydantic", "pyspark"},
    ),
    # -- stage leakage
    "jobs.stages.leakage": (
        {"", "commits", "document", "errors", "tables", "jobs.status", "jobs.stages.stage", "features.leakage.inspection"}
        | {f"features.leakage.{room}" for room in ("finding", "leakage_check", "report", "states")},
        {"pydantic"},
    ),
    # -- stage register
    "jobs.registry_table": ({"collect", "days", "tables", "features.registry.records"}, {"pyspark"}),
    "jobs.stages.register": (
        {"", "collect", "commits", "errors", "sessions", "tables", "jobs.registry_table", "jobs.status", "jobs.stages.stage"}
        | {"features.registry.catalog_facts", "features.registry.lineage", "features.registry.records", "jobs.stages.feature_versions"},
        {"pydantic"},
    ),
    "feature_commands": (
        {"", "errors", "locations", "sessions", "tables", "features.registry.lineage", "features.registry.records", "jobs.registry_table"},
        {"click"},
    ),
    "jobs.stages.every": (
        {
            "jobs.stages.history",
            "jobs.stages.leakage",
            "jobs.stages.profile",
            "jobs.stages.windows",
            "jobs.stages.training_set",
            "jobs.stages.generate",
            "jobs.stages.register",
            "jobs.stages.select",
        },
        {"pydantic"},
    ),
    "jobs.feature_engineering_pipeline": (
        STATEMENTS
        | {"sql", "tables", "jobs.status", "features.feature_set", "jobs.stages.every", "jobs.stages.stage", "jobs.stages.windows"},
        {"pydantic"},
    ),
    "jobs.training_tables": ({"", "collect", "errors", "tables"}, set()),
    "jobs.model_trainer": (
        NUMBERS
        | {"", "sessions", "tables", "tracking", "jobs.status", "jobs.training_tables"}
        | {"figures.models", "figures.training", "models.estimators", "models.group_training", "models.leak_findings"}
        | {f"models.{room}" for room in ("registry", "split_columns", "splits", "training", "training_sample", "tuning", "tuning_tasks")},
        {"matplotlib", "mlflow", "pandas", "pydantic"},
    ),
    "jobs.evaluation_tables": ({"tables", "models.evaluation", "models.gates"}, set()),
    "jobs.evaluation_pictures": (
        {"document", "errors", "figures.models", "figures.training", "models.evaluation", "models.evaluation_plan", "models.training"},
        {"matplotlib", "pandas"},
    ),
    "jobs.evaluation_inputs": (
        {"collect", "errors", "tables", "tracking", "jobs.training_tables", "models"}
        | {"models.environment", "models.evaluated_rows", "models.evaluation_plan", "models.model_cache", "models.model_version"}
        | {"models.registry", "models.signature", "models.training"},
        {"mlflow"},
    ),
    "jobs.model_evaluation_suite": (
        {"", "collect", "document", "errors", "sessions", "sql", "tables", "tracking", "jobs.status", "models"}
        | {"jobs.evaluation_inputs", "jobs.evaluation_pictures", "jobs.evaluation_tables", "jobs.training_tables"}
        | {"models.evaluated_rows", "models.evaluation", "models.evaluation_plan", "models.evaluation_report", "models.gates"}
        | {"models.predictions", "models.registry", "models.residual_pass", "models.score_pass", "models.slice_pass"}
        | {"models.training_sample"},
        {"mlflow", "pydantic", "pyspark"},
    ),
    "jobs.experiment_tables": (
        {"tables", "experiments.experiment", "experiments.measures", "experiments.result_rows"},
        set(),
    ),
    "jobs.experiment_pictures": (
        {"collect", "errors", "figures", "experiments.experiment", "experiments.metrics", "experiments.result_rows"},
        {"pandas", "pyspark"},
    ),
    "jobs.experiment_tracking": ({"tracking", "experiments.experiment", "experiments.result_rows"}, {"mlflow"}),
    "jobs.experiment_analyzer": (
        NUMBERS
        | {"predicates", "", "collect", "instants", "sessions", "tables", "tracking", "jobs.status", "experiments.readout"}
        | {"jobs.experiment_tables", "jobs.experiment_pictures", "jobs.experiment_tracking"}
        | {
            f"experiments.{room}"
            for room in (
                "analysis",
                "checks",
                "decisions",
                "deviations",
                "direct",
                "effects",
                "experiment",
                "metrics",
                "peeking",
                "result_rows",
                "units",
            )
        },
        {"pydantic", "pyspark"},
    ),
    "cli": (
        {"", "errors", "config", "locations", "sessions", "task_values", "demo", "demo_experiment", "jobs.status"},
        {"click", "pyspark"},
    ),
    "task_values": (set(), {"databricks"}),
    # bundles: read, resolved, looked at by rules, run; above the jobs, whose commands they call
    "bundle": (set(), set()),
    "bundle.documents": ({"config", "errors"}, {"yaml"}),
    "bundle.dynamic_values": ({"errors"}, set()),
    "bundle.references": ({"errors", "bundle.documents"}, set()),
    "bundle.workflow": ({"bundle.documents"}, set()),
    "bundle.wheels": ({"errors", "bundle.references"}, set()),
    "bundle.findings": ({f"bundle.{room}" for room in ("documents", "references", "wheels", "workflow")}, set()),
    "bundle.commands": (
        {"", "cli", "config", "errors", "locations", "bundle.documents", "bundle.dynamic_values", "bundle.workflow"},
        {"click"},
    ),
    "bundle.typed_models": ({"errors", "bundle.documents", "bundle.findings"}, {"databricks"}),
    "bundle.rules_of_workflows": (
        {"errors"} | {f"bundle.{room}" for room in ("commands", "documents", "dynamic_values", "findings", "workflow")},
        set(),
    ),
    "bundle.rules_of_deployment": (
        {"errors"} | {f"bundle.{room}" for room in ("documents", "findings", "wheels")},
        {"packaging", "yaml"},
    ),
    "bundle.rules_of_names": ({f"bundle.{room}" for room in ("documents", "findings")}, set()),
    "bundle.local_inputs": (
        {"", "config", "declaration", "errors", "locations", "datasets", "demo_experiment", "bundle.commands", "bundle.references"},
        {"pydantic"},
    ),
    "bundle.engine": (
        {"errors", "bundle.commands", "bundle.documents", "bundle.dynamic_values", "bundle.workflow"},
        set(),
    ),
    "bundle.environments": ({"errors", "bundle.wheels"}, set()),
    "bundle.processes": ({"", "errors", "task_values", "bundle.engine"}, set()),
    "bundle.serverless": (set(), {"pyspark"}),
    "bundle.task_entry": (set(), set()),
    "bundle.running": (
        {"errors"}
        | {
            f"bundle.{room}"
            for room in ("documents", "engine", "environments", "local_inputs", "processes", "references", "wheels", "workflow")
        },
        set(),
    ),
    "bundle.command_line": (
        {"errors", "bundle", "bundle.checking", "bundle.documents", "bundle.engine", "bundle.running", "bundle.serverless"}
        | {"bundle.typed_models"},
        {"click"},
    ),
    "notebooks": ({"", "errors", "locations", "datasets", "demo_experiment"}, {"databricks", "matplotlib"}),
    "pages": ({"", "cli", "config"}, {"click"}),
    "bundle.checking": (
        {"errors", "bundle"}
        | {f"bundle.{room}" for room in ("documents", "findings", "local_inputs", "references", "typed_models", "wheels", "workflow")}
        | {"bundle.rules_of_deployment", "bundle.rules_of_names", "bundle.rules_of_workflows"},
        set(),
    ),
    "jobs.model_promoter": (
        {"", "collect", "declaration", "errors", "sessions", "tables", "tracking", "jobs.evaluation_tables", "jobs.status"}
        | {"models", "models.model_version", "models.registry"},
        {"pydantic", "pyspark"},
    ),
    "jobs.plan_tables": ({"tables", "experiments.plan"}, set()),
    "jobs.experiment_designer": (
        NUMBERS
        | {"", "collect", "config", "tables", "figures", "jobs.plan_tables", "jobs.status", "experiments.design", "experiments.history"}
        | {"experiments.metric_plan", "experiments.plan", "experiments.plan_document"},
        {"pandas", "pydantic", "pyspark"},
    ),
    "demo_models": ({"collect", "sessions", "tables", "datasets", "demo"}, {"pyspark"}),
    "demo_road": ({"", "cli", "demo", "datasets"}, set()),
    "demo": ({"", "cli", "demo_models", "demo_road", "features.rfm", "collect", "sessions", "tables", "datasets", "figures"}, {"pyspark"}),
    "demo_experiment": (
        {"collect", "sessions", "tables", "datasets", "demo", "experiments.assignment"},
        {"pyspark"},
    ),
    "__main__": ({"cli"}, set()),
    "": (set(), set()),
}
NOT_ON_CONNECT = {
    "sparkContext",
    "rdd",
    "_jvm",
    "_jdf",
    "_jsparkSession",
    "cache",
    "persist",
    "checkpoint",
    "localCheckpoint",
    "createGlobalTempView",
}
ACTIONS = {"collect", "toPandas", "toArrow", "first", "head", "take", "toLocalIterator"}


def room(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def typing_only(tree):
    """Imports below `if TYPE_CHECKING:`, which do not run."""
    return {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and isinstance(block.test, ast.Name) and block.test.id == "TYPE_CHECKING"
        for node in ast.walk(block)
    }


def imports(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = typing_only(tree)
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            folder = ROOT.joinpath(*str(node.module).split("."))
            for alias in node.names:
                is_module = (folder / f"{alias.name}.py").is_file() or (folder / alias.name / "__init__.py").is_file()
                yield f"{node.module}.{alias.name}" if is_module else str(node.module)


@pytest.mark.parametrize("path", MODULES, ids=room)
def test_a_module_imports_only_what_its_room_may(path):
    assert room(path) in ROOMS, f"{path} has no room: say in ROOMS what it may import"
    own, others = ROOMS[room(path)]
    for name in imports(path):
        top, _, rest = name.partition(".")
        if top == "sparkds":
            assert rest in own, f"{room(path)} imports sparkds.{rest}"
        elif top not in sys.stdlib_module_names:
            assert top in others, f"{room(path)} imports {name}"


def test_every_room_of_the_table_is_a_module():
    assert {room(path) for path in MODULES} == set(ROOMS)


@pytest.mark.parametrize("path", MODULES, ids=room)
def test_a_module_stays_on_the_surface_of_connect_and_actions_stay_at_the_door(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and room(path) != "sessions":
            assert node.attr not in NOT_ON_CONNECT, f"{path}:{node.lineno} .{node.attr}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and room(path) not in ("collect", "tables", "locations"):
            takes_from_arrow = node.func.attr == "take" and room(path) in (
                "features.arrow",
                "features.history",
                "features.profile.arrow",
                "features.snapshots",
                "experiments.arrow",
                "experiments.headcounts",
                "experiments.unit_rows",
                "models.evaluated_rows",
                "models.residual_pass",
                "models.slice_pass",
            )
            assert node.func.attr not in ACTIONS or takes_from_arrow, f"{path}:{node.lineno} .{node.func.attr}()"


@pytest.mark.parametrize("path", MODULES, ids=room)
def test_a_module_has_one_subject_and_a_name_of_the_field(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 500
    assert path.stem not in ("utils", "util", "common", "helpers", "core", "base", "manager", "misc")
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), f"{path} does not say what question it answers"


@pytest.mark.parametrize("path", MODULES, ids=room)
def test_the_word_delta_as_a_format_stands_at_the_border_only(path):
    told = path.read_text(encoding="utf-8")
    assert room(path) in ("tables", "sessions", "locations") or not any(
        sign in told for sign in ('"delta"', "'delta'", "delta.`", "USING DELTA")
    )


def test_declarations_need_neither_spark_nor_pandas_nor_yaml():
    code = (
        "import sys\n"
        "for name in ('pyspark', 'pandas', 'yaml', 'pyarrow', 'matplotlib'): sys.modules[name] = None\n"
        "import sparkds, sparkds.features as f\n"
        "f.FeatureSet(keys=('k',), event_time='t', time_zone='UTC', windows=(7,), aggregations=(f.Count(),),\n"
        "             rfm=f.RFM(value='x', frequency='orders', monetary='sum'))\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True).stderr == ""


def test_one_job_name_finds_its_places():
    from sparkds.cli import JOBS

    for job, module in JOBS.items():
        assert (ROOT / "jobs" / f"{job}.py").is_file()
        assert (ROOT / "conf" / f"{job}.yml").is_file()
        assert (ROOT / "tests" / "jobs" / f"test_{job}.py").is_file()
        assert module == f"sparkds.jobs.{job}"


def test_no_module_silences_a_checker_without_a_reason():
    for path in MODULES:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if "noqa" in line or "type: ignore" in line:
                assert " - " in line, f"{path}:{number}: {line.strip()}"
