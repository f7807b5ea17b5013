"""Evaluation inputs: the models that are evaluated, pinned, and what their training left behind.

Takes a plan and locations and gives scorers with their versions, and the rows of the trainer's tables.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sparkds import collect, tracking
from sparkds.errors import ConfigError, DataError
from sparkds.jobs import training_tables
from sparkds.models import environment, registry
from sparkds.models.evaluated_rows import Scorer, score_output
from sparkds.models.evaluation_plan import CANDIDATE, CHAMPION, EvaluationPlan
from sparkds.models.model_cache import Pinned, check_loadable
from sparkds.models.model_version import ModelVersion, downloaded, resolve
from sparkds.models.signature import inputs_of, outputs_of
from sparkds.models.training import UNCALIBRATED
from sparkds.tables import Tables

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

CUT: Final = "the tag of the model's version is cut; look at leakage_findings.json of its run"


@dataclass(frozen=True)
class Models:
    """Models of an evaluation.

    Attributes
    ----------
    scorers : tuple of Scorer
        Those that score; the judged one first.
    versions : mapping of name to ModelVersion
    baselines : tuple of str
        Names of the baselines.
    warnings : list of str
    """

    scorers: tuple[Scorer, ...]
    versions: Mapping[str, ModelVersion]
    baselines: tuple[str, ...] = ()
    warnings: list[str] = field(default_factory=list)

    @property
    def judged(self) -> ModelVersion | None:
        """Version that is judged; None where scores are a column."""
        return self.versions.get(CANDIDATE)

    @property
    def tags(self) -> Mapping[str, str]:
        """Tags of the judged version."""
        return self.judged.tags if self.judged is not None else {}


def evaluated_models(plan: EvaluationPlan, *, folder: str, store: tracking.Store, spark: SparkSession, strict: bool) -> Models:
    """Resolve, fetch and check every model of a plan.

    Raises
    ------
    ConfigError
        A model is absent, has no usable signature, cannot be loaded, or was made with other libraries.
    """
    if plan.model is None:
        addresses = dict(plan.compared)
        if plan.champion is not None:
            addresses[CHAMPION] = plan.champion
        return _fetched(plan, {name: resolve(address) for name, address in addresses.items()}, (), [], folder, store, spark, strict)
    judged, warnings = _judged(plan.model)
    versions = {CANDIDATE: judged}
    champion = _champion(plan, judged)
    if champion is not None and champion.uri == judged.uri:
        warnings.append(f"{judged.uri} is the champion itself, so it is not compared with one")
    elif champion is not None:
        versions[CHAMPION] = champion
        if champion.tags.get("sparkds.split_hash") != judged.tags.get("sparkds.split_hash"):
            warnings.append(f"the champion ({champion.uri}) was trained with another split; it may have learnt from these rows")
    baselines = _baselines(plan, judged)
    versions |= {name: resolve(uri) for name, uri in baselines.items()}
    versions |= {name: resolve(address) for name, address in plan.compared.items()}
    return _fetched(plan, versions, tuple(baselines), warnings, folder, store, spark, strict)


def _judged(address: str) -> tuple[ModelVersion, list[str]]:
    """Version that is judged; where no challenger is left, as after a promotion or a training that found its model, the champion again."""
    name, _, alias = address.removeprefix("models:/").rpartition("@")
    if alias == registry.CHALLENGER and registry.alias_version(name, alias) is None:
        champion = registry.alias_version(name, registry.CHAMPION)
        if champion is not None:
            told = f"there is no challenger of '{name}'; its champion, version {champion}, is judged again"
            return resolve(f"models:/{name}/{champion}"), [told]
    return resolve(address), []


def _champion(plan: EvaluationPlan, judged: ModelVersion) -> ModelVersion | None:
    if plan.champion is not None:
        return resolve(plan.champion)
    if not judged.name or registry.alias_version(judged.name, registry.CHAMPION) is None:
        return None
    return resolve(f"models:/{judged.name}@{registry.CHAMPION}")


def _baselines(plan: EvaluationPlan, judged: ModelVersion) -> dict[str, str]:
    told = judged.tags.get("sparkds.baselines", "{}") if plan.baselines else "{}"
    try:
        found: dict[str, str] = json.loads(told)
    except ValueError as error:
        raise ConfigError(f"model {judged.uri}: tag 'sparkds.baselines' is cut; set baselines: false and name them in compared") from error
    taken = {CANDIDATE, CHAMPION, *plan.compared, *plan.scores}
    return {f"baseline_{name}" if name in taken else name: uri for name, uri in found.items()}


def _fetched(
    plan: EvaluationPlan,
    versions: dict[str, ModelVersion],
    baselines: tuple[str, ...],
    warnings: list[str],
    folder: str,
    store: tracking.Store,
    spark: SparkSession,
    strict: bool,
) -> Models:
    from mlflow.models import Model

    scorers = []
    here, workers = environment.versions_here(), environment.versions_of_workers(spark) if versions else []
    for name, version in versions.items():
        into = Path(folder) / name
        into.mkdir()
        path = downloaded(version, into)
        odd = environment.differences(environment.versions_of_model(path), here, workers)
        if odd and strict:
            raise ConfigError(f"model {version.uri}: {'; '.join(odd)}; or take environment: warn")
        warnings += [f"model {version.uri}: {told}" for told in odd]
        signature = Model.load(path).signature
        inputs, outputs = inputs_of(signature, version.uri), outputs_of(signature, version.uri)
        # a baseline has the outputs of the model that it stands beside
        tags = versions[CANDIDATE].tags if name in baselines else version.tags
        score = score_output(outputs, tags, plan.task, plan.score if name == CANDIDATE else None, version.uri)
        pinned = Pinned(version.uri, path, store.tracking_uri, store.registry_uri)
        check_loadable(pinned)
        scorers.append(Scorer(name, pinned, inputs, outputs, score))
    return Models(tuple(scorers), versions, baselines, warnings)


@dataclass(frozen=True)
class TrainingFacts:
    """What the training of the judged model is known by.

    Attributes
    ----------
    metrics, importance : tuple of dict
        Rows of its tables; of the judged run.
    retrained_equal : bool, optional
    leakage : tuple of str, optional
        Findings; None when nobody has looked.
    """

    metrics: tuple[dict[str, Any], ...] = ()
    importance: tuple[dict[str, Any], ...] = ()
    retrained_equal: bool | None = None
    leakage: Mapping[str, str] | None = None

    def figures(self, part: str) -> dict[str, float]:
        """Metric to value of the candidate before calibration, which has seen the validation rows, on a part."""
        models = {row["model"] for row in self.metrics}
        model = UNCALIBRATED if UNCALIBRATED in models else CANDIDATE
        return {row["metric"]: row["value"] for row in self.metrics if (row["model"], row["part"]) == (model, part)}

    @property
    def positive_importance(self) -> dict[str, float]:
        """Feature to importance; what shuffling makes no worse has 0."""
        return {row["feature"]: max(0.0, row["importance"]) for row in self.importance}

    @property
    def above_noise(self) -> tuple[str, ...]:
        """Features whose importance is above twice its standard deviation over the shuffles."""
        return tuple(row["feature"] for row in self.importance if row["importance"] > 2 * row["std"])


def training_facts(plan: EvaluationPlan, output: Tables, judged: ModelVersion | None) -> TrainingFacts:
    """Facts of the training: from the tags of the version, and from the trainer's tables where the plan names them.

    Raises
    ------
    TableError
        A table is absent.
    """
    tags = {} if judged is None else judged.tags
    retrained = json.loads(tags.get("sparkds.retrained_equal", "null"))
    leakage: Mapping[str, str] | None = None
    if "sparkds.leakage_findings" in tags:
        try:
            leakage = json.loads(tags["sparkds.leakage_findings"])
        except ValueError:
            leakage = {"": CUT}
    if plan.training is None or judged is None:
        return TrainingFacts(retrained_equal=retrained, leakage=leakage)
    metrics, importance = (
        tuple(row.asDict() for row in collect.small_rows(output.read(_table(plan, output, what, judged)[0]).orderBy(*by)))
        for what, by in (("metrics", ("model", "part", "metric")), ("importance", ("rank",)))
    )
    return TrainingFacts(metrics, importance, retrained, leakage)


def _table(plan: EvaluationPlan, output: Tables, what: str, judged: ModelVersion | None) -> tuple[str, Mapping[str, Any]]:
    """Name of a table of the training, and what its commit says; it must be of the training of the judged model."""
    assert plan.training is not None
    name = training_tables.table_names(plan.training)[what]
    commit = output.last_commit(name)
    if commit is None:
        output.version(name)  # names the table that is absent
        raise DataError(f"table '{name}' does not say what it was made of; run model_trainer again")
    mine = None if judged is None else judged.tags.get(registry.IDENTITY)
    if judged is not None and commit.metadata.get("identity") != mine:
        raise ConfigError(
            f"table '{name}' is of another training than {judged.uri}, which may have learnt from its test rows; evaluate the model of the "
            "last training, or train again"
        )
    return name, commit.metadata


def split_of(plan: EvaluationPlan, output: Tables, judged: ModelVersion | None) -> tuple[str, str]:
    """Name of the splits table and version of the table that was split.

    Raises
    ------
    ConfigError
        The tables are of another training than the model, so that it may have learnt from their test rows.
    DataError
        The splits table does not say what it was made of.
    """
    name, told = _table(plan, output, "splits", judged)
    sources = told.get("sources", {})
    if plan.table not in sources:
        raise ConfigError(f"training '{plan.training}' split table '{', '.join(sources)}', not '{plan.table}'; name that one")
    return name, str(sources[plan.table])
