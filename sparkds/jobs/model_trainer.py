"""Model trainer: a table of features and labels in; splits, figures and a registered model out.

A run pins the table's version, splits it by hash or day, trains on a seeded sample, writes tables and logs to MLflow; run again on the same
version and declaration, it finds the model it registered and changes nothing.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping
from datetime import date
from typing import TYPE_CHECKING, Any, Final

from pydantic import Field, StrictBool, StrictFloat, StrictInt, StrictStr, model_validator

from sparkds import __version__, tracking
from sparkds.errors import ColumnError, ConfigError, DataError
from sparkds.jobs import training_tables
from sparkds.jobs.status import JobResult, TableResult
from sparkds.models import registry
from sparkds.models.estimators import PerGroup
from sparkds.models.group_training import fitted_groups
from sparkds.models.leak_findings import leak_findings
from sparkds.models.split_columns import split_frame, stratified_cuts_of
from sparkds.models.splits import AnyFolds, AnySplit, Stratified
from sparkds.models.training import CANDIDATE, RANKING, Model, Trained, Training, TrainingRows, fit, model_hash, reference_values, train
from sparkds.models.training_sample import (
    LabelCounts,
    check_keys,
    feature_columns,
    label_column,
    label_counts,
    labelled_frame,
    sample_share,
    training_rows,
    weight_column,
)
from sparkds.models.tuning import AnyTuning, Grid, Known, Trial, check, tune
from sparkds.models.tuning_tasks import known_from_tasks
from sparkds.sessions import on_databricks
from sparkds.sql import quoted
from sparkds.tables import Tables
from sparkds.tracking import Tracking

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pyspark.sql import DataFrame, SparkSession

JOB: Final = "model_trainer"
HELP: Final = "Train a model beside its baselines, and register it in MLflow."
TUNING_TAG: Final = "sparkds.tuning"
KEY_TAG: Final = "sparkds.trial_key"

LOG = logging.getLogger("sparkds")


class Config(Training):
    """Configuration of the job: a table, how it is split, and what is trained.

    Attributes
    ----------
    name : str
        Stem of the output tables ``<name>_splits``, ``_metrics``, ``_importance``.
    table : str
        One row per key, with the label and the features known before it.
    columns : mapping of column to type, optional
        Of a CSV or JSON table.
    keys : tuple of str
    label : str
    positive : str, int, float or bool, optional
        Value of the label that is the positive class; required for task binary.
    features : tuple of str, optional
        All columns but keys, label, weight, time and ``leave_out`` if absent.
    leave_out : tuple of str
    selection : str, optional
        Table of decisions of the feature job's stage `select`: the columns that it kept are the features.
    weight : str, optional
    split : Hashed, Stratified or Temporal
    folds : HashFolds or ExpandingFolds, optional
    tuning : Grid or OptunaSearch, optional
    max_train_rows : int
        Rows of all parts that come to the driver; a hash sample where there are more.
    sample_seed : int
    model : str
        Registered model.
    tracking : Tracking
    """

    name: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="stem of the output tables")
    table: str = Field(description="table with one row per key, its label and the features known before it")
    columns: dict[str, str] | None = Field(default=None, description="columns of a CSV or JSON table")
    keys: tuple[str, ...] = Field(min_length=1, description="columns that name a row")
    label: str = Field(description="column to predict")
    positive: StrictBool | StrictInt | StrictFloat | StrictStr | None = Field(
        default=None, description="value of the label that is the positive class; required for task binary"
    )
    features: tuple[str, ...] | None = Field(
        default=None, min_length=1, description="columns to learn from; all others but leave_out if absent"
    )
    leave_out: tuple[str, ...] = Field(default=(), description="columns that are no features, where features are not listed")
    selection: str | None = Field(default=None, description="table of decisions of the stage select, whose kept columns are the features")
    weight: str | None = Field(default=None, description="column with weights of rows in training")
    split: AnySplit = Field(description="how rows go to train, validation and test")
    folds: AnyFolds | None = Field(default=None, description="cross-validation within the train part; required for tuning")
    tuning: AnyTuning | None = Field(default=None, description="search of the candidate's settings")
    max_train_rows: int = Field(default=1_000_000, ge=100, le=20_000_000, description="rows that come to the driver; a hash sample beyond")
    sample_seed: int = Field(ge=0, description="seed of the sample")
    model: str = Field(min_length=1, description="registered model; catalog.schema.model in Unity Catalog")
    tracking: Tracking = Field(default=Tracking(experiment="sparkds_models"), description="where runs and models are kept")

    @model_validator(mode="after")
    def _fits(self) -> Config:
        if (self.features is not None) + bool(self.leave_out) + (self.selection is not None) > 1:
            raise ValueError(
                "of features, leave_out and selection one is given; list the features, what to leave out, or name the decisions"
            )
        for what, names in (("keys", self.keys), ("features", self.features or ())):
            if len(set(names)) < len(names):
                raise ValueError(f"{what} {list(names)} name a column twice; name each once")
        if self.tuning is not None and self.folds is None:
            raise ValueError("tuning needs folds, e.g. {kind: hash, n_folds: 5, seed: 1}")
        for name in (self.label, *self.keys):
            if self.features is not None and name in self.features:
                raise ValueError(f"'{name}' is a key or the label, so it is no feature; take it out of features")
        return self

    @property
    def training(self) -> Training:
        """What is trained, alone."""
        return Training(**{field: getattr(self, field) for field in Training.model_fields})

    @property
    def tables_read(self) -> tuple[str, ...]:
        """Tables of the input location that the job reads."""
        return (self.table, *(() if self.selection is None else (self.selection,)))

    @property
    def tables_needed(self) -> tuple[str, ...]:
        """Tables of the output location that another job has written before."""
        return ()

    @property
    def tables_written(self) -> tuple[str, ...]:
        """Tables of the output location that the job writes."""
        return tuple(training_tables.table_names(self.name).values())

    @property
    def identity_facts(self) -> dict[str, Any]:
        """The declaration without what does not decide the model: names of outputs, and where they are kept."""
        return self.model_dump(mode="json", exclude={"name": True, "tracking": True, "model": True, "tuning": {"on_spark"}})


def run(
    *,
    config: Config,
    input: str,
    output: str,
    spark: SparkSession,
    as_of: date | None = None,
    start: date | None = None,
    end: date | None = None,
    allow_incomplete: bool = False,
    rebuild: bool = False,
) -> JobResult:
    """Train and register a model.

    Parameters
    ----------
    config : Config
    input, output : str
        Locations: a directory or ``catalog.schema``.
    spark : SparkSession
    as_of, start, end : date, optional
        Not taken: which days train is said by the split.
    allow_incomplete : bool
        Without effect here: a training table has no open day.
    rebuild : bool
        Train and register again, although the same model is there.

    Raises
    ------
    ColumnError, ConfigError, DataError, TableError
    """
    del allow_incomplete
    if as_of or start or end:
        raise ConfigError("model_trainer takes no --as-of, --start or --end; say which days train in the split (kind temporal)")
    training = config.training
    training.check()
    if config.tuning is not None:
        check(config.tuning, training)
    store = tracking.store_of(output, uri=config.tracking.uri, on_databricks=on_databricks())
    job = _Run(config, Tables(spark, input), Tables(spark, output), store)
    tracking.connect(store, config.tracking.experiment)
    found = None if rebuild else registry.find(config.model, job.identity)
    if found is not None and job.is_written():
        registry.hold_challenger(found)
        LOG.info("version %d of '%s' is of the same data and declaration", found.version, config.model)
        return job.result(found)
    return job.result(job.train(found))


class _Run:
    """One run: the pinned table, and what it is made into."""

    def __init__(self, config: Config, source: Tables, output: Tables, store: tracking.Store) -> None:
        self.config, self.output, self.store = config, output, store
        self.names = training_tables.table_names(config.name)
        self.version = source.source_version(config.table)
        declared = None if config.columns is None else ", ".join(f"{quoted(name)} {dtype}" for name, dtype in config.columns.items())
        pinned = int(self.version) if self.version.isdecimal() else None
        self.frame = source.read(config.table, version=pinned, schema=declared)
        for key in config.keys:
            if key not in self.frame.columns:
                raise ColumnError.missing(key, self.frame.columns, f"table '{config.table}'")
        self.features = feature_columns(self.frame, training_tables.feature_names(config, self.frame.columns, source))
        self.label = label_column(self.frame, config.label, config.task, config.positive)
        weight_column(self.frame, config.weight)
        self.facts = {
            "job": JOB,
            "definition": config.identity_facts,
            "sources": {config.table: self.version},
            "features": list(self.features.names),
            "package": __version__,
            "environment": registry.environment_facts(),
        }
        self.identity = registry.identity_of(self.facts)
        self.written: dict[str, int] = {}
        self.warnings: list[str] = []
        self.sections: dict[str, Any] = {}
        self.n_read = 0

    def is_written(self) -> bool:
        """Whether all tables are of this identity."""
        last = [self.output.last_commit(name) for name in self.names.values()]
        return all(commit is not None and commit.metadata.get("identity") == self.identity for commit in last)

    def train(self, found: registry.Registered | None) -> registry.Registered:
        """Split, sample, tune, fit, write and register; a version that is there already is not registered again."""
        config = self.config
        check_keys(self.frame, config.keys)
        cuts = None
        if isinstance(config.split, Stratified):
            known = self.frame.where(self.label.isNotNull())
            cuts = stratified_cuts_of(config.split, known, keys=config.keys, label=config.label)
            self.sections["cuts"] = {name: list(cut) for name, cut in cuts.items()}
        told = split_frame(config.split, self.frame, keys=config.keys, label=config.label, cuts=cuts)
        counts = label_counts(told, config.label, config.task, config.positive, keys=config.keys)
        self._tell(counts)
        self._write("splits", told.select(*map(quoted, config.keys), "split"), training_tables.splits_spec(config.keys))
        data = self._sample(told, counts)
        tags = {"sparkds.job": JOB, "sparkds.version": __version__, registry.IDENTITY: self.identity}
        with tracking.tracked(self.store, config.tracking.experiment, name=config.name, tags=tags) as run:
            training = self._tuned(data)
            LOG.info("train %d rows of %d features", len(data), len(self.features.names))
            groups = self._group_fit(told, training, counts) if self.sections["sample"]["share"] < 1 else None
            trained = train(data, training, folds=config.folds, fit_candidate=groups)
            self._write_figures(trained, training, run.info.run_id)
            return self._logged(data, trained, training, counts, found, run.info.run_id)

    def _tell(self, counts: LabelCounts) -> None:
        self.n_read = sum(counts.n.values()) + counts.n_no_label
        if counts.n_no_label:
            self.warnings.append(f"{counts.n_no_label} rows without a label in '{self.config.label}' were left out")
        self.sections["spine_hash"] = counts.spine_hash
        self.sections["rows"] = {part or "(no part)": n for part, n in sorted(counts.n.items())}

    def _sample(self, told: DataFrame, counts: LabelCounts) -> TrainingRows:
        config = self.config
        share = sample_share(counts.n_used, config.max_train_rows)
        data = training_rows(
            told,
            keys=config.keys,
            label=self.label,
            features=self.features,
            share=share,
            max_rows=config.max_train_rows,
            seed=config.sample_seed,
            folds=config.folds,
            weight=config.weight,
        )
        self.sections["sample"] = {"rows": len(data), "share": share, "seed": config.sample_seed}
        if share < 1:
            self.warnings.append(f"figures are of a hash sample of {len(data)} of {counts.n_used} rows (max_train_rows)")
        empty = [name for name in self.features.numbers if not data.rows[name].notna().any()]
        if empty:
            self.warnings.append(f"features without any value in the sample are not looked at: {', '.join(empty)}")
        return data

    def _tuned(self, data: TrainingRows) -> Training:
        """Training with the best settings; each trial is a run of its own, and one that an earlier run has is not fitted again."""
        config, training = self.config, self.config.training
        if config.tuning is None or config.folds is None:
            return training
        import mlflow

        scope = registry.identity_of({**self.facts, "definition": {**config.identity_facts, "tuning": config.tuning.metric}})
        experiment = tracking.connect(self.store, config.tracking.experiment)
        known = _known_trials(experiment, scope)
        n_known = len(known)

        def log(trial: Trial) -> None:
            tags = {TUNING_TAG: scope, KEY_TAG: trial.key, "state": trial.state, "reason": trial.reason}
            with mlflow.start_run(experiment_id=experiment, run_name=f"trial {trial.number}", nested=True, tags=tags):
                mlflow.log_params(trial.parameters)
                told = {f"fold_{i}": value for i, value in enumerate(trial.fold_values)} | {"seconds": trial.seconds}
                mlflow.log_metrics(told if math.isnan(trial.value) else {**told, "value": trial.value})

        if isinstance(config.tuning, Grid) and config.tuning.on_spark:
            spark = self.output.spark
            known = {**known, **known_from_tasks(spark, config.tuning, data.of("train"), training, config.folds, known)}
        tuned = tune(config.tuning, data.of("train"), training, config.folds, known=known, on_trial=log)
        states = [trial.state for trial in tuned.trials]
        self.sections["tuning"] = {
            "trials": len(states),
            **{state: states.count(state) for state in ("completed", "pruned", "failed")},
            "known": n_known,
            "best": tuned.estimator.model_dump(mode="json"),
        }
        baselines = training.compared
        return training.model_copy(update={"estimator": tuned.estimator, "baselines": baselines})

    def _group_fit(self, told: DataFrame, training: Training, counts: LabelCounts) -> Callable[[TrainingRows], Any] | None:
        """What fits one model per group from all rows, where that is declared and the sample does not have them all."""
        estimator, config = training.estimator, self.config
        if not isinstance(estimator, PerGroup):
            return None
        frame = labelled_frame(
            told, keys=config.keys, label=self.label, features=self.features, seed=config.sample_seed, weight=config.weight
        )
        positive = counts.n_positive.get("train", 0)
        classes = (counts.n.get("train", 0) - positive, positive) if config.task == "binary" else None

        def fitted(rows: TrainingRows) -> Any:
            fallback = fit(estimator.estimator, rows, training)
            models = fitted_groups(frame, estimator, self.features, training, classes=classes, weight=config.weight)
            self.sections["groups"] = {"column": estimator.column, "models": len(models)}
            return estimator.grouped(fallback, models, config.task)

        return fitted

    def _write_figures(self, trained: Trained, training: Training, run_id: str) -> None:
        spark = self.output.spark
        declared = {model.name: json.dumps(model.estimator.model_dump(mode="json")) for model in (trained.candidate, *trained.baselines)}
        candidate = declared[trained.candidate.name]
        rows = [(*row, declared.get(row.model, candidate), run_id) for row in trained.metrics]
        self._write("metrics", spark.createDataFrame(rows, training_tables.METRIC_SCHEMA), training_tables.metrics_spec())
        important = [(*row, run_id) for row in trained.importance]
        self._write("importance", spark.createDataFrame(important, training_tables.IMPORTANCE_SCHEMA), training_tables.importance_spec())
        test = {row.metric: row.value for row in trained.metrics if (row.model, row.part) == (trained.candidate.name, "test")}
        self.sections["test"] = test
        self.sections["threshold"] = trained.candidate.threshold
        self.sections["baselines"] = {
            model.name: {row.metric: row.value for row in trained.metrics if (row.model, row.part) == (model.name, "test")}
            for model in trained.baselines
        }

    def _write(self, what: str, frame: DataFrame, spec: Any) -> None:
        facts = {"identity": self.identity, "sources": self.facts["sources"], "split_hash": self.config.split.definition_hash, "job": JOB}
        if "cuts" in self.sections:
            facts["cuts"] = self.sections["cuts"]
        commit = self.output.replace(self.names[what], frame, rows=None, metadata=facts, spec=spec)
        self.written[what] = commit.rows or 0

    def _logged(
        self,
        data: TrainingRows,
        trained: Trained,
        training: Training,
        counts: LabelCounts,
        found: registry.Registered | None,
        run_id: str,
    ) -> registry.Registered:
        """Parameters, figures and model into the run; then the version with its tags, in one call."""
        import mlflow

        config = self.config
        estimator = trained.candidate.estimator.model_dump(mode="json")
        mlflow.log_params({**{f"estimator.{key}": value for key, value in estimator.items()}, "seed": training.seed, "rows": len(data)})
        told = {f"{row.model}.{row.part}.{row.metric}": row.value for row in trained.metrics if not math.isnan(row.value)}
        mlflow.log_metrics(told if trained.candidate.threshold is None else {**told, "threshold": trained.candidate.threshold})
        mlflow.log_dict(self.facts, "training.json")
        digest = model_hash(trained.candidate.pipeline)
        self.sections["model_hash"] = digest
        _log_pictures(trained)
        leaks = leak_findings(data, config.task)
        self.warnings += leaks.values()
        self.sections["leakage_findings"] = leaks
        mlflow.log_dict(leaks, "leakage_findings.json")
        self.sections["retrained_equal"] = trained.retrained_equal
        uris = {model.name: self._log_model(model, data, counts) for model in (trained.candidate, *trained.baselines)}
        uri = uris.pop(trained.candidate.name)
        self.sections["run_id"] = run_id
        if found is not None:
            self.warnings.append(
                f"tables were written again; version {found.version} of '{config.model}' is of the same identity and stays"
            )
            return found
        return registry.register(
            uri,
            config.model,
            identity=self.identity,
            tags={
                "sparkds.model_hash": digest,
                "sparkds.definition_hash": config.definition_hash,
                "sparkds.version": __version__,
                "sparkds.sources": self.facts["sources"],
                "sparkds.spine_hash": counts.spine_hash,
                "sparkds.features": self.facts["features"],
                "sparkds.split": config.split.model_dump(mode="json"),
                "sparkds.split_hash": config.split.definition_hash,
                "sparkds.cuts": self.sections.get("cuts", {}),
                "sparkds.seed": str(training.seed),
                "sparkds.sample": self.sections["sample"],
                "sparkds.threshold": str(trained.candidate.threshold),
                "sparkds.classes": list(counts.classes),
                "sparkds.baselines": uris,
                "sparkds.leakage_findings": leaks,
                "sparkds.retrained_equal": trained.retrained_equal,
            },
        )

    def _log_model(self, model: Model, data: TrainingRows, counts: LabelCounts) -> str:
        """Address of the model in the run; baselines are logged too, so that an evaluation can score them on the same rows."""
        return registry.log_model(
            model.pipeline,
            data.of("validation").inputs.iloc[:5],
            name="model" if model.name == CANDIDATE else model.name,
            features=self.features,
            task=self.config.task,
            classes=counts.classes,
            libraries=[name for name in ("lightgbm", "xgboost") if model.estimator.kind == name],
            reference=reference_values(data.of("train")),
        )

    def result(self, registered: registry.Registered) -> JobResult:
        """What the run did."""
        tables = [TableResult(name, self.output.version(name), self.written.get(what, 0)) for what, name in self.names.items()]
        told = {**registered._asdict(), "alias": registry.CHALLENGER} if registered.is_new else registered._asdict()
        return JobResult(self.n_read, tables, self.warnings, {"model": told, **self.sections})


def _log_pictures(trained: Trained) -> None:
    """Figures of importance, folds and learning curve into the run that is open; without what has nothing to show."""
    import mlflow
    import pandas as pd

    from sparkds.figures import models as of_models
    from sparkds.figures import training as of_training

    metrics, importance = pd.DataFrame(trained.metrics), pd.DataFrame(trained.importance)
    ranking = RANKING["binary"] if (metrics["metric"] == RANKING["binary"]).any() else RANKING["regression"]
    name = trained.candidate.name
    pictures: dict[str, Callable[[], Figure]] = {
        "importance": lambda: of_models.importances(importance, model=name),
        "cross_validation": lambda: of_training.cross_validation(metrics, metric=ranking, model=name),
        "learning_curve": lambda: of_training.learning_curve(metrics, metric=ranking, model=name),
    }
    for stem, make in pictures.items():
        try:
            mlflow.log_figure(make(), f"figures/{stem}.png")
        except (ColumnError, ConfigError, DataError) as error:  # no matplotlib, or nothing to show
            LOG.info("no picture of %s: %s", stem.replace("_", " "), error)


def _known_trials(experiment: str, scope: str) -> Mapping[str, Known]:
    """Fold values of the trials that runs of an experiment have for one search."""
    import mlflow

    client = mlflow.MlflowClient()
    known: dict[str, Known] = {}
    token = None
    while True:
        page = client.search_runs([experiment], f"tags.`{TUNING_TAG}` = '{scope}'", max_results=1000, page_token=token)
        for run in page:
            values, number = list[float](), 0
            while (value := run.data.metrics.get(f"fold_{number}")) is not None:
                values.append(value)
                number += 1
            key = run.data.tags[KEY_TAG]
            if key not in known or len(values) > len(known[key].fold_values):
                known[key] = Known(tuple(values), run.data.metrics.get("seconds", 0.0))
        token = page.token
        if not token:
            return known
