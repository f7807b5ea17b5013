"""Training: a candidate and its baselines fitted, calibrated, given a threshold and measured, on rows in memory.

Takes rows with their parts and a declaration, and gives models and metric rows. Models are fitted on train; calibration and
threshold are chosen on validation alone; test chooses nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sparkds.declaration import Declaration
from sparkds.errors import ConfigError, DataError
from sparkds.models.estimators import AnyEstimator, Estimator, FeatureColumns, Task, default_baselines
from sparkds.models.score_metrics import (
    Array,
    Cost,
    MetricRow,
    binary_metrics,
    cheapest_threshold,
    decision_metrics,
    regression_metrics,
)
from sparkds.models.splits import PARTS, AnyFolds, HashFolds

if TYPE_CHECKING:
    from pandas import DataFrame as PandasFrame

CANDIDATE: Final = "candidate"
UNCALIBRATED: Final = "candidate_uncalibrated"
RANKING: Final[dict[Task, str]] = {"binary": "auc", "regression": "r2"}
"""Metric of the overfit gap and of importance; higher is better."""


@dataclass(frozen=True)
class TrainingRows:
    """Sample in memory, in an order that is a function of the keys.

    Attributes
    ----------
    rows : (n,) pandas.DataFrame
        Features: numbers as double with NaN for missing, texts as object with None.
    label : (n,) array of double
        1 for the positive class and 0, or the number.
    part : (n,) array of str
    features : FeatureColumns
    weight : (n,) array of double, optional
        Of each row in training; figures are not weighted.
    entities : (n,) sequence of str
        As `splits.entity_text`, by the folds' columns.
    days : (n,) sequence of date
        By the folds' time column; empty without one.
    """

    rows: PandasFrame
    label: Array
    part: NDArray[np.object_]
    features: FeatureColumns
    weight: Array | None = None
    entities: Sequence[str] = ()
    days: Sequence[date] = ()

    def of(self, part: str) -> TrainingRows:
        """Rows of one part."""
        return self.at(np.flatnonzero(self.part == part))

    def at(self, positions: NDArray[np.int64]) -> TrainingRows:
        """Rows at positions."""
        weight = None if self.weight is None else self.weight[positions]
        entities = [self.entities[i] for i in positions] if self.entities else ()
        days = [self.days[i] for i in positions] if len(self.days) else ()
        return TrainingRows(self.rows.iloc[positions], self.label[positions], self.part[positions], self.features, weight, entities, days)

    def __len__(self) -> int:
        return len(self.label)

    @cached_property
    def inputs(self) -> PandasFrame:
        """Features alone, in the order in which models take them."""
        return self.rows[list(self.features.names)]


class Importance(Declaration):
    """Permutation importance: how much worse the ranking metric gets on validation rows when a feature is shuffled.

    Attributes
    ----------
    max_rows : int
    repeats : int
    """

    max_rows: int = Field(default=5000, ge=10, description="validation rows, a seeded sample")
    repeats: int = Field(default=5, ge=1, description="shuffles of each feature")


class Training(Declaration):
    """What is trained, and how.

    Attributes
    ----------
    task : str
    estimator : Estimator
        The candidate.
    baselines : tuple of Estimator, optional
        A constant, a linear model and boosted trees if absent.
    imbalance : str
        ``balanced`` weighs rows so that both classes weigh the same in training.
    calibration : str
        Of the candidate, on validation rows.
    cost : Cost, optional
        Chooses the threshold on validation rows; without it there is no threshold and no figure of decisions.
    seed : int
    importance : Importance, optional
    learning_curve : tuple of float
        Shares of the training rows.
    check_reproducible : bool
        Fit the candidate twice and compare its scores to the bit.
    """

    task: Task = Field(description="binary or regression")
    estimator: AnyEstimator = Field(description="the candidate")
    baselines: tuple[AnyEstimator, ...] | None = Field(default=None, description="models beside it; constant, linear and trees if absent")
    imbalance: Literal["none", "balanced"] = Field(default="none", description="whether both classes weigh the same in training")
    calibration: Literal["none", "isotonic", "sigmoid"] = Field(default="none", description="of the candidate, on validation rows")
    cost: Cost | None = Field(default=None, description="costs that choose the threshold, on validation rows")
    seed: int = Field(ge=0, lt=2**32, description="seed of models and shuffles")
    importance: Importance | None = Field(default=Importance(), description="permutation importance; null for none")
    learning_curve: tuple[float, ...] = Field(default=(), description="shares of the training rows, e.g. [0.1, 0.3, 1]")
    check_reproducible: bool = Field(default=True, description="fit the candidate twice and compare its scores to the bit")

    def check(self) -> None:
        """Hold the parts against each other.

        Raises
        ------
        ConfigError
        """
        told = [
            n
            for n, set_ in (("calibration", self.calibration != "none"), ("cost", self.cost), ("imbalance", self.imbalance != "none"))
            if set_
        ]
        if self.task == "regression" and told:
            raise ConfigError(f"task regression has no {', '.join(told)}; leave it out, or give task binary")
        if any(not 0 < share <= 1 for share in self.learning_curve):
            raise ConfigError(f"learning_curve {list(self.learning_curve)} has a share outside (0, 1]")
        for estimator in (self.estimator, *self.compared):
            estimator.model(self.task, self.seed) if self.task in estimator.tasks else estimator.pipeline(FeatureColumns(()), self.task, 0)

    @property
    def compared(self) -> tuple[Estimator, ...]:
        """Baselines, declared or default."""
        return default_baselines(self.task, self.estimator) if self.baselines is None else self.baselines


class FeatureImportance(NamedTuple):
    """A feature's permutation importance.

    Attributes
    ----------
    feature : str
    importance, std : float
        Mean loss of the ranking metric over the shuffles, and its standard deviation.
    rank : int
        1 for the most important.
    coverage : float
        Share of all positive importance that this and the more important features have; NaN if no feature has any.
    n : int
        Rows.
    """

    feature: str
    importance: float
    std: float
    rank: int
    coverage: float
    n: int


@dataclass(frozen=True)
class Model:
    """A fitted model.

    Attributes
    ----------
    name : str
        ``candidate``, or the kind of the baseline.
    estimator : Estimator
    pipeline : object
        From a pandas frame of features to probabilities or numbers; calibrated, if that is declared.
    threshold : float, optional
    """

    name: str
    estimator: Estimator
    pipeline: Any
    threshold: float | None = None

    def scores(self, data: TrainingRows, task: Task) -> Array:
        """Probability of the positive class, or predicted number, of every row."""
        return scores_of(self.pipeline, data, task)


@dataclass(frozen=True)
class Trained:
    """What training gives: the candidate, its baselines and what was measured.

    Attributes
    ----------
    candidate : Model
    baselines : tuple of Model
    metrics : list of MetricRow
    importance : list of FeatureImportance
    retrained_equal : bool, optional
        Whether a second training gave the same scores to the bit; None when that was not asked for.
    """

    candidate: Model
    baselines: tuple[Model, ...]
    metrics: list[MetricRow]
    importance: list[FeatureImportance]
    retrained_equal: bool | None = None


def scores_of(pipeline: Any, data: TrainingRows, task: Task) -> Array:
    """Scores of a fitted pipeline on one thread; empty for no rows."""
    from threadpoolctl import threadpool_limits

    if not len(data):
        return np.empty(0)
    with threadpool_limits(1):
        told = pipeline.predict_proba(data.inputs)[:, 1] if task == "binary" else pipeline.predict(data.inputs)
    return np.asarray(told, dtype=np.float64)


def fit(estimator: Estimator, data: TrainingRows, training: Training) -> Any:
    """Pipeline of an estimator, fitted on all rows given.

    Raises
    ------
    DataError
        There are no rows, or all of one class.
    """
    if not len(data):
        raise DataError("no row to train on; look at the split")
    weight = data.weight
    if training.task == "binary":
        if data.label.min() == data.label.max():
            raise DataError(f"all {len(data)} training rows have the label {data.label[0]:g}; a classifier needs both classes")
        if training.imbalance == "balanced":
            n_positive = int((data.label == 1).sum())
            weight = balance_weights(data.label, weight, len(data) - n_positive, n_positive)
    return estimator.fitted(data.rows, data.label, weight, data.features, training.task, training.seed)


def balance_weights(label: Array, weight: Array | None, n_negative: int, n_positive: int) -> Array:
    """Weights of rows with which both classes weigh the same: all rows by twice those of the row's class, times the given weights."""
    n = n_negative + n_positive
    balance = np.where(label == 1, n / (2 * n_positive), n / (2 * n_negative))
    return balance if weight is None else weight * balance


def train(
    data: TrainingRows,
    training: Training,
    *,
    folds: AnyFolds | None = None,
    fit_candidate: Callable[[TrainingRows], Any] | None = None,
) -> Trained:
    """Fit, calibrate and measure the candidate and its baselines.

    Parameters
    ----------
    data : TrainingRows
        All parts.
    training : Training
    folds : HashFolds or ExpandingFolds, optional
        Cross-validation of the candidate within the train part.
    fit_candidate : callable, optional
        What fits the candidate from the train part, where that is not done in memory; folds and learning curve are in memory always.

    Raises
    ------
    ConfigError
    DataError
        A part is empty, or one class is absent where both are needed.
    """
    training.check()
    parts = {part: data.of(part) for part in PARTS}
    for part, rows in parts.items():
        if not len(rows):
            raise DataError(f"the split leaves no row for {part}; change its shares or days, or give more rows")
    metrics: list[MetricRow] = []
    fit_it = fit_candidate or (lambda rows: fit(training.estimator, rows, training))
    raw = fit_it(parts["train"])
    candidate = _with_threshold(Model(CANDIDATE, training.estimator, _calibrated(raw, parts["validation"], training)), parts, training)
    metrics += _measured(candidate, parts, training)
    if training.calibration != "none":
        uncalibrated = _with_threshold(Model(UNCALIBRATED, training.estimator, raw), parts, training)
        metrics += _measured(uncalibrated, parts, training)
    baselines = []
    for name, estimator in _named(training.compared):
        model = _with_threshold(Model(name, estimator, fit(estimator, parts["train"], training)), parts, training)
        metrics += _measured(model, parts, training)
        baselines.append(model)
    if folds is not None:
        metrics += cross_validated(training.estimator, parts["train"], training, folds)
    metrics += _learning_curve(parts, training)
    again = _reproduced(candidate, parts, training, fit_it) if training.check_reproducible else None
    return Trained(candidate, tuple(baselines), metrics, importance_of(raw, parts["validation"], training), again)


def figures(label: Array, score: Array, task: Task) -> dict[str, tuple[float, str]]:
    """Metrics of a task that no threshold enters."""
    return binary_metrics(label, score) if task == "binary" else regression_metrics(label, score)


def cross_validated(estimator: Estimator, data: TrainingRows, training: Training, folds: AnyFolds) -> list[MetricRow]:
    """Metric rows of every fold, their mean and their standard deviation (n - 1) over the folds that have a value."""
    rows: list[MetricRow] = []
    by_metric: dict[str, list[float]] = {}
    pairs = fold_pairs(folds, data)
    for number, (inside, outside) in enumerate(pairs):
        trained, judged = data.at(inside), data.at(outside)
        try:
            told = figures(judged.label, scores_of(fit(estimator, trained, training), judged, training.task), training.task)
        except DataError as error:
            told = {name: (math.nan, str(error)) for name in figures(np.empty(0), np.empty(0), training.task)}
        for metric, (value, reason) in told.items():
            rows.append(MetricRow(CANDIDATE, f"fold_{number}", metric, value, len(judged), reason))
            by_metric.setdefault(metric, []).append(value)
    for metric, values in by_metric.items():
        known = [value for value in values if not math.isnan(value)]
        about = "" if len(known) == len(values) else f"{len(known)} of {len(values)} folds have a value"
        rows.append(MetricRow(CANDIDATE, "folds_mean", metric, float(np.mean(known)) if known else math.nan, len(known), about))
        spread = (float(np.std(known, ddof=1)), about) if len(known) > 1 else (math.nan, "fewer than two folds have a value")
        rows.append(MetricRow(CANDIDATE, "folds_std", metric, spread[0], len(known), spread[1]))
    return rows


def fold_pairs(folds: AnyFolds, data: TrainingRows) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Positions to train on and to judge on, fold by fold."""
    return folds.indices(data.entities) if isinstance(folds, HashFolds) else folds.indices(data.days)


def importance_of(pipeline: Any, data: TrainingRows, training: Training) -> list[FeatureImportance]:
    """Permutation importance (Breiman 2001, section 10) of every feature on a seeded sample, the most important first.

    None of them if it is not asked for, or if the ranking metric has no value on these rows.
    """
    from sklearn.inspection import permutation_importance
    from threadpoolctl import threadpool_limits

    if training.importance is None:
        return []
    chosen = np.sort(np.random.default_rng(training.seed).permutation(len(data))[: training.importance.max_rows])
    sample = data.at(chosen)
    if sample.label.min() == sample.label.max():
        return []
    with threadpool_limits(1):
        found = permutation_importance(
            pipeline,
            sample.inputs,
            sample.label,
            scoring="roc_auc" if training.task == "binary" else "r2",
            n_repeats=training.importance.repeats,
            random_state=training.seed,
        )
    order = sorted(range(len(data.features.names)), key=lambda i: (-found.importances_mean[i], data.features.names[i]))
    gained = np.maximum(found.importances_mean, 0)[order]
    coverage = np.cumsum(gained) / gained.sum() if gained.sum() > 0 else np.full(len(order), math.nan)
    return [
        FeatureImportance(
            data.features.names[i],
            float(found.importances_mean[i]),
            float(found.importances_std[i]),
            rank + 1,
            float(coverage[rank]),
            len(sample),
        )
        for rank, i in enumerate(order)
    ]


def _named(estimators: Iterable[Estimator]) -> list[tuple[str, Estimator]]:
    """Estimators by their kind, numbered where one kind comes again."""
    seen: dict[str, int] = {}
    named = []
    for estimator in estimators:
        seen[estimator.kind] = seen.get(estimator.kind, 0) + 1
        named.append((estimator.kind if seen[estimator.kind] == 1 else f"{estimator.kind}_{seen[estimator.kind]}", estimator))
    return named


def _calibrated(pipeline: Any, validation: TrainingRows, training: Training) -> Any:
    if training.calibration == "none":
        return pipeline
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.frozen import FrozenEstimator

    if validation.label.min() == validation.label.max():
        raise DataError(f"all {len(validation)} validation rows have the label {validation.label[0]:g}; calibration needs both classes")
    return CalibratedClassifierCV(FrozenEstimator(pipeline), method=training.calibration).fit(validation.inputs, validation.label)


def _reproduced(candidate: Model, parts: dict[str, TrainingRows], training: Training, fit_it: Callable[[TrainingRows], Any]) -> bool:
    """Whether a second fit of the candidate scores every row to the same bits."""
    second = _calibrated(fit_it(parts["train"]), parts["validation"], training)
    pairs = ((candidate.scores(data, training.task), scores_of(second, data, training.task)) for data in parts.values())
    return all(first.tobytes() == again.tobytes() for first, again in pairs)


def _with_threshold(model: Model, parts: dict[str, TrainingRows], training: Training) -> Model:
    if training.cost is None:
        return model
    validation = parts["validation"]
    threshold = cheapest_threshold(validation.label, model.scores(validation, training.task), training.cost)
    return Model(model.name, model.estimator, model.pipeline, threshold)


def _measured(model: Model, parts: dict[str, TrainingRows], training: Training) -> list[MetricRow]:
    """Figures of every part, and the overfit gap: ranking metric of train minus that of validation, positive if train is better."""
    rows: list[MetricRow] = []
    for part, data in parts.items():
        score = model.scores(data, training.task)
        told = figures(data.label, score, training.task)
        if model.threshold is not None and training.cost is not None:
            told |= decision_metrics(data.label, score, model.threshold, training.cost)
        rows += [MetricRow(model.name, part, metric, value, len(data), reason) for metric, (value, reason) in told.items()]
    ranking = RANKING[training.task]
    by_part = {row.part: row for row in rows if row.metric == ranking}
    gap = by_part["train"].value - by_part["validation"].value
    reason = by_part["train"].reason or by_part["validation"].reason
    rows.append(MetricRow(model.name, "train_minus_validation", ranking, gap, by_part["validation"].n, reason))
    return rows


def _learning_curve(parts: dict[str, TrainingRows], training: Training) -> list[MetricRow]:
    """Figures of validation rows after training on the first rows of train, whose order is that of a hash."""
    rows = []
    validation = parts["validation"]
    for share in training.learning_curve:
        n = math.ceil(share * len(parts["train"]))
        try:
            pipeline = fit(training.estimator, parts["train"].at(np.arange(n)), training)
        except DataError as error:
            rows.append(MetricRow(CANDIDATE, f"learning_{n}", RANKING[training.task], math.nan, len(validation), str(error)))
            continue
        told = figures(validation.label, scores_of(pipeline, validation, training.task), training.task)
        rows += [MetricRow(CANDIDATE, f"learning_{n}", m, value, len(validation), reason) for m, (value, reason) in told.items()]
    return rows


def reference_values(data: TrainingRows) -> dict[str, float | str | None]:
    """Usual value of every feature: the median of its numbers, the most frequent of its texts (the first in the alphabet of several).

    None for a feature without any value.
    """
    found: dict[str, float | str | None] = {}
    for name in data.features.names:
        known = data.rows[name].dropna()
        if known.empty:
            found[name] = None
        elif name in data.features.texts:
            found[name] = str(known.value_counts().sort_index(kind="stable").idxmax())
        else:
            found[name] = float(known.median())
    return found


def model_hash(pipeline: Any) -> str:
    """First 16 hexadecimal digits of joblib's SHA-1 digest of a fitted pipeline: the same for the same parameters to the bit."""
    from joblib import hash as digest

    return str(digest(pipeline, hash_name="sha1"))[:16]
