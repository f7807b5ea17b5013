"""Tuning: which settings of an estimator are best by cross-validation within the train part, by grid or by Optuna.

Takes rows, folds and a declared search and gives trials and the best estimator. A search is a function of its seed: a search that was
stopped goes over the trials it knows without fitting and comes to the same ones.
"""

from __future__ import annotations

import itertools
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Final, Literal, NamedTuple

from pydantic import Field, ValidationError, model_validator

from sparkds.declaration import Declaration
from sparkds.errors import ConfigError, DataError
from sparkds.models.estimators import Estimator
from sparkds.models.score_metrics import HIGHER_IS_BETTER
from sparkds.models.splits import AnyFolds, Indices
from sparkds.models.training import Training, TrainingRows, figures, fit, fold_pairs, scores_of

LOG = logging.getLogger("sparkds")
MOST_TRIALS: Final = 10_000
Setting = int | float | str
Metric = Literal["auc", "average_precision", "log_loss", "brier", "rmse", "mae", "r2"]


class Range(Declaration):
    """Values from `low` to `high`, both included.

    Attributes
    ----------
    low, high : float
    log : bool
        Drawn evenly on the logarithm.
    whole : bool
        Whole numbers only.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False

    @model_validator(mode="after")
    def _in_order(self) -> Range:
        if not self.low < self.high or (self.log and self.low <= 0):
            raise ValueError(f"range from {self.low:g} to {self.high:g}: give low below high, and above 0 with log")
        if self.whole and not (self.low.is_integer() and self.high.is_integer()):
            raise ValueError(f"range from {self.low:g} to {self.high:g} is of whole numbers; give whole ends")
        return self


class _Search(Declaration):
    metric: Metric = Field(description="figure whose mean over the folds decides")


class Grid(_Search):
    """Every combination of the values given.

    Examples
    --------
    >>> Grid(metric="auc", parameters={"c": (0.1, 1.0)}).n_trials
    2
    """

    kind: Literal["grid"] = "grid"
    on_spark: bool = Field(default=False, description="fit combinations in Spark tasks, if the sample has at most 64 MB")
    parameters: dict[str, tuple[Setting, ...]] = Field(min_length=1, description="values of each setting of the estimator")

    @model_validator(mode="after")
    def _is_a_grid(self) -> Grid:
        if not 0 < self.n_trials <= MOST_TRIALS:
            raise ValueError(f"grid has {self.n_trials} combinations; give every setting a value, and at most {MOST_TRIALS} in all")
        return self

    @property
    def n_trials(self) -> int:
        """Number of combinations."""
        return math.prod(len(values) for values in self.parameters.values())

    @property
    def combinations(self) -> list[dict[str, Setting]]:
        """All of them, the last setting changing fastest."""
        return [dict(zip(self.parameters, values, strict=True)) for values in itertools.product(*self.parameters.values())]


class OptunaSearch(_Search):
    """Tree-structured Parzen estimator of Optuna, one trial after another, so that the seed decides them all.

    Attributes
    ----------
    n_trials : int
    seed : int
    random_trials : int
        Drawn at random before the sampler learns; they are never pruned.
    prune : bool
        End a trial whose mean over the folds so far is worse than the median of the earlier trials at that fold.
    """

    kind: Literal["optuna"] = "optuna"
    parameters: dict[str, Range | tuple[Setting, ...]] = Field(min_length=1, description="range or values of each setting of the estimator")
    n_trials: int = Field(ge=1, le=MOST_TRIALS, description="number of trials")
    seed: int = Field(ge=0, lt=2**32, description="seed of the sampler")
    random_trials: int = Field(default=10, ge=1, description="trials at random before the sampler learns")
    prune: bool = Field(default=True, description="end trials early that are worse than the median")


AnyTuning = Annotated[Grid | OptunaSearch, Field(discriminator="kind")]
"""Every kind of search; the registry."""


class Known(NamedTuple):
    """What is known of a setting before a search.

    Attributes
    ----------
    fold_values : tuple of float
    seconds : float
        Time that fitting took.
    """

    fold_values: tuple[float, ...]
    seconds: float


class Trial(NamedTuple):
    """One setting tried.

    Attributes
    ----------
    number : int
    key : str
        Hash of the estimator with its settings.
    parameters : dict of setting to value
    fold_values : tuple of float
        The metric, fold by fold; fewer than folds if pruned.
    value : float
        Their mean; NaN if pruned or failed.
    state : str
        completed, pruned or failed.
    seconds : float
        Time that fitting took, here or where it is known from.
    reason : str
    """

    number: int
    key: str
    parameters: dict[str, Setting]
    fold_values: tuple[float, ...]
    value: float
    state: str
    seconds: float
    reason: str = ""


class Tuned(NamedTuple):
    """Best estimator, and all trials in order."""

    estimator: Estimator
    trials: list[Trial]


def with_settings(estimator: Estimator, parameters: Mapping[str, Setting]) -> Estimator:
    """Estimator with other settings.

    Raises
    ------
    ConfigError
        There is no such setting, or a value is out of its range.
    """
    try:
        return type(estimator).model_validate({**estimator.model_dump(), **parameters})
    except ValidationError as error:
        told = error.errors(include_url=False)[0]
        names = ", ".join(name for name in type(estimator).model_fields if name != "kind")
        raise ConfigError(
            f"tuning: setting {'.'.join(map(str, told['loc']))} of {estimator.kind}: {told['msg']} (settings: {names})"
        ) from error


def check(tuning: AnyTuning, training: Training) -> None:
    """Hold a search against what is trained, before anything is fitted.

    Raises
    ------
    ConfigError
    """
    if tuning.metric not in {name for name in figures_of(training) if name in HIGHER_IS_BETTER}:
        allowed = [name for name in figures_of(training) if name in HIGHER_IS_BETTER]
        raise ConfigError(f"tuning: metric '{tuning.metric}' is not of task {training.task}; choose one of {allowed}")
    for name, values in tuning.parameters.items():
        ends = values if isinstance(values, tuple) else [_typed(values, end) for end in (values.low, values.high)]
        if not ends:
            raise ConfigError(f"tuning: setting '{name}' has no value; give at least one")
        for value in ends:
            with_settings(training.estimator, {name: value})


def figures_of(training: Training) -> tuple[str, ...]:
    """Names of the metrics of the task."""
    import numpy as np

    return tuple(figures(np.empty(0), np.empty(0), training.task))


def _typed(values: Range, number: float) -> Setting:
    return int(number) if values.whole else number


def tune(
    tuning: AnyTuning,
    data: TrainingRows,
    training: Training,
    folds: AnyFolds,
    *,
    known: Mapping[str, Known] | None = None,
    on_trial: Callable[[Trial], None] = lambda trial: None,
) -> Tuned:
    """Search, one trial after another; among equals the first is best.

    Parameters
    ----------
    tuning : Grid or OptunaSearch
    data : TrainingRows
        Of the train part only: what is tuned on validation rows could not be calibrated on them.
    training : Training
    folds : HashFolds or ExpandingFolds
    known : mapping of key to Known
        What an earlier run of the same search, or a Spark task, computed; it is not fitted again.
    on_trial : callable
        Called after each trial.

    Raises
    ------
    ConfigError
        Optuna is not installed, or a setting does not exist.
    DataError
        No trial has a value.
    """
    check(tuning, training)
    pairs = fold_pairs(folds, data)
    known = known or {}
    sign = 1 if HIGHER_IS_BETTER[tuning.metric] else -1
    trials: list[Trial] = []

    def fold_values(estimator: Estimator, before: tuple[float, ...]) -> Iterator[float]:
        yield from before
        for number, pair in list(enumerate(pairs))[len(before) :]:
            value, reason = judged_fold(estimator, data, training, pair, tuning.metric)
            if reason:
                raise DataError(f"fold {number}: {reason}")
            yield value

    def tried(parameters: dict[str, Setting], stop: Callable[[int, float], bool]) -> Trial:
        estimator = with_settings(training.estimator, parameters)
        key = estimator.definition_hash
        before = known.get(key, Known((), 0.0))
        started, values, state, reason = time.monotonic(), list[float](), "completed", ""
        try:
            for step, value in enumerate(fold_values(estimator, before.fold_values)):
                values.append(value)
                if stop(step, sum(values) / len(values)) and step < len(pairs) - 1:
                    state, reason = "pruned", f"worse than the median after {step + 1} of {len(pairs)} folds"
                    break
        except DataError as error:
            state, reason = "failed", str(error)
        mean = sum(values) / len(values) if state == "completed" else math.nan
        fitted = len(values) > len(before.fold_values) or state == "failed"
        seconds = before.seconds + (time.monotonic() - started if fitted else 0.0)
        trial = Trial(len(trials), key, parameters, tuple(values), mean, state, seconds, reason)
        trials.append(trial)
        LOG.info(
            "trial %d of %d: %s = %.6g, %s, %.1f s, %s", trial.number + 1, tuning.n_trials, tuning.metric, mean, state, seconds, parameters
        )
        on_trial(trial)
        return trial

    if isinstance(tuning, Grid):
        for combination in tuning.combinations:
            tried(combination, lambda step, mean: False)
    else:
        _search(tuning, tried)
    best = max((t for t in trials if t.state == "completed"), key=lambda t: sign * t.value, default=None)
    if best is None:
        raise DataError(f"tuning: none of {len(trials)} trials has a value; the first says: {trials[0].reason}")
    return Tuned(with_settings(training.estimator, best.parameters), trials)


def judged_fold(
    estimator: Estimator, data: TrainingRows, training: Training, pair: tuple[Indices, Indices], metric: str
) -> tuple[float, str]:
    """Metric of one fold, or NaN with a reason.

    Parameters
    ----------
    pair : tuple of arrays
        Positions to train on and to judge on.
    """
    judged = data.at(pair[1])
    try:
        score = scores_of(fit(estimator, data.at(pair[0]), training), judged, training.task)
    except DataError as error:
        return math.nan, str(error)
    return figures(judged.label, score, training.task)[metric]


def _search(tuning: OptunaSearch, tried: Callable[[dict[str, Setting], Callable[[int, float], bool]], Trial]) -> None:
    """Ask Optuna for settings and tell it their values."""
    try:
        import optuna
    except ImportError as error:
        raise ConfigError("tuning by optuna needs Optuna: pip install 'sparkds[tune]', or give kind grid") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruner: Any = optuna.pruners.MedianPruner(n_startup_trials=tuning.random_trials) if tuning.prune else optuna.pruners.NopPruner()
    study = optuna.create_study(
        direction="maximize" if HIGHER_IS_BETTER[tuning.metric] else "minimize",
        sampler=optuna.samplers.TPESampler(seed=tuning.seed, n_startup_trials=tuning.random_trials),
        pruner=pruner,
    )
    for _ in range(tuning.n_trials):
        asked = study.ask()

        def stop(step: int, mean: float, asked: Any = asked) -> bool:
            asked.report(mean, step)
            return bool(asked.should_prune())

        done = tried({name: _suggested(asked, name, values) for name, values in tuning.parameters.items()}, stop)
        states = optuna.trial.TrialState
        state = {"completed": states.COMPLETE, "pruned": states.PRUNED, "failed": states.FAIL}[done.state]
        study.tell(asked, done.value if done.state == "completed" else None, state=state)


def _suggested(asked: Any, name: str, values: Range | tuple[Setting, ...]) -> Setting:
    told: Setting
    if isinstance(values, tuple):
        told = asked.suggest_categorical(name, list(values))
    elif values.whole:
        told = asked.suggest_int(name, int(values.low), int(values.high), log=values.log)
    else:
        told = asked.suggest_float(name, values.low, values.high, log=values.log)
    return told
