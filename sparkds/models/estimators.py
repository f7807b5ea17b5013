"""Estimators: which models can be trained, as declarations; each builds a scikit-learn pipeline with its preprocessing inside.

Takes names and kinds of features and gives an unfitted pipeline from a pandas frame to predictions. To add a kind, write one class
here and name it in the union at the foot of the file.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from importlib import import_module
from typing import Annotated, Any, ClassVar, Final, Literal, NamedTuple

from pydantic import Field

from sparkds.declaration import Declaration
from sparkds.errors import ConfigError, DataError

Task = Literal["binary", "regression"]
MISSING: Final = "(missing)"
"""Category of a text feature without a value."""


class FeatureColumns(NamedTuple):
    """Features by how they are prepared; the model takes numbers first, then texts.

    Attributes
    ----------
    numbers : tuple of str
        Doubles; NaN is missing.
    texts : tuple of str
        Categories; None is missing.
    """

    numbers: tuple[str, ...]
    texts: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All names in the order in which the model takes them."""
        return (*self.numbers, *self.texts)


class Estimator(Declaration):
    """What all kinds of estimator have in common.

    Attributes
    ----------
    most_categories : int
        Columns that a text feature becomes; its rarer values, and ones that training did not see, are the category "other".
    """

    tasks: ClassVar[tuple[Task, ...]] = ("binary", "regression")
    missing_is_known: ClassVar[bool] = False
    """Whether the model itself takes NaN in numbers."""
    scales: ClassVar[bool] = False

    kind: str
    most_categories: int = Field(
        default=20, ge=2, le=1000, description="columns that a text feature becomes, the one of other values included"
    )

    def model(self, task: Task, seed: int) -> Any:
        """Unfitted model of scikit-learn's interface, behind the preprocessing."""
        raise NotImplementedError

    def pipeline(self, features: FeatureColumns, task: Task, seed: int, *, empty: Collection[str] = ()) -> Any:
        """Unfitted pipeline: preprocessing fitted on training rows only, then the model, under the step ``model``.

        Numbers: the median for what is missing and, if training rows miss any, an indicator column; standardised for linear
        models. Boosted trees take missing numbers as they are. Texts: one column per frequent value, one for all others.

        Parameters
        ----------
        features : FeatureColumns
        task : str
        seed : int
        empty : collection of str
            Numbers that no training row has; the model takes them and does not look at them.

        Raises
        ------
        ConfigError
            The kind does not do the task, or its library is not installed.
        """
        from sklearn.compose import ColumnTransformer
        from sklearn.impute import SimpleImputer
        from sklearn.pipeline import Pipeline, make_pipeline
        from sklearn.preprocessing import OneHotEncoder, StandardScaler

        if task not in self.tasks:
            raise ConfigError(f"estimator '{self.kind}' does not do {task}; it does {', '.join(self.tasks)}")
        numbers: list[Any] = [] if self.missing_is_known else [SimpleImputer(strategy="median", add_indicator=True)]
        numbers += [StandardScaler()] if self.scales else []
        texts = make_pipeline(
            SimpleImputer(missing_values=None, strategy="constant", fill_value=MISSING, keep_empty_features=True),
            OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=self.most_categories, sparse_output=False, dtype="float64"),
        )
        prepared = ColumnTransformer(
            [
                ("numbers", make_pipeline(*numbers) if numbers else "passthrough", [n for n in features.numbers if n not in empty]),
                ("texts", texts, list(features.texts)),
            ],
            verbose_feature_names_out=False,
        )
        return Pipeline([("prepared", prepared), ("model", self.model(task, seed))])

    def fitted(self, rows: Any, label: Any, weight: Any, features: FeatureColumns, task: Task, seed: int) -> Any:
        """Pipeline fitted on one thread, so that the same rows in the same order give the same model.

        Parameters
        ----------
        rows : (n_rows,) pandas.DataFrame
        label, weight : (n_rows,) array of double
            Weights None for all equal.

        Raises
        ------
        ConfigError
            As `pipeline`.
        DataError
            No feature has any value.
        """
        from threadpoolctl import threadpool_limits

        empty = [name for name in features.numbers if not rows[name].notna().any()]
        if len(empty) == len(features.names):
            raise DataError(f"no training row has a value in any of {len(empty)} features; look at how they were joined")
        pipeline = self.pipeline(features, task, seed, empty=empty)
        with threadpool_limits(1):
            return pipeline.fit(rows[list(features.names)], label, **({} if weight is None else {"model__sample_weight": weight}))


class Majority(Estimator):
    """The classes' shares in training, whatever the features: what every classifier must beat."""

    tasks: ClassVar[tuple[Task, ...]] = ("binary",)
    kind: Literal["majority"] = "majority"

    def model(self, task: Task, seed: int) -> Any:
        """Classifier that predicts the prior."""
        from sklearn.dummy import DummyClassifier

        return DummyClassifier(strategy="prior")


class MeanOfTraining(Estimator):
    """The label's mean in training, whatever the features."""

    tasks: ClassVar[tuple[Task, ...]] = ("regression",)
    kind: Literal["mean"] = "mean"

    def model(self, task: Task, seed: int) -> Any:
        """Regressor that predicts the mean."""
        from sklearn.dummy import DummyRegressor

        return DummyRegressor(strategy="mean")


class Logistic(Estimator):
    """Logistic regression with an L2 penalty on standardised features."""

    tasks: ClassVar[tuple[Task, ...]] = ("binary",)
    scales: ClassVar[bool] = True
    kind: Literal["logistic"] = "logistic"
    c: float = Field(default=1.0, gt=0, description="inverse strength of the penalty")
    max_iter: int = Field(default=1000, ge=1, description="most iterations of the solver")

    def model(self, task: Task, seed: int) -> Any:
        """Logistic regression."""
        from sklearn.linear_model import LogisticRegression

        return LogisticRegression(C=self.c, max_iter=self.max_iter, solver="lbfgs", random_state=seed)


class Ridge(Estimator):
    """Linear regression with an L2 penalty on standardised features."""

    tasks: ClassVar[tuple[Task, ...]] = ("regression",)
    scales: ClassVar[bool] = True
    kind: Literal["ridge"] = "ridge"
    alpha: float = Field(default=1.0, ge=0, description="strength of the penalty")

    def model(self, task: Task, seed: int) -> Any:
        """Ridge regression."""
        from sklearn.linear_model import Ridge as RidgeRegression

        return RidgeRegression(alpha=self.alpha, solver="cholesky" if self.alpha > 0 else "svd", random_state=seed)


class _Boosting(Estimator):
    """What boosted trees have in common; every kind grows a stated number of trees and stops by itself nowhere."""

    missing_is_known: ClassVar[bool] = True
    n_trees: int = Field(default=100, ge=1, le=100_000, description="number of trees")
    learning_rate: float = Field(default=0.1, gt=0, le=1, description="share of each tree's prediction that counts")
    most_leaves: int = Field(default=31, ge=2, description="leaves of a tree")
    smallest_leaf: int = Field(default=20, ge=1, description="rows of a leaf")
    l2: float = Field(default=0.0, ge=0, description="L2 penalty on the leaves")


class HistGradientBoosting(_Boosting):
    """Boosted trees of scikit-learn."""

    kind: Literal["hist_gradient_boosting"] = "hist_gradient_boosting"

    def model(self, task: Task, seed: int) -> Any:
        """Histogram gradient boosting without early stopping, which would set rows aside that no split declares."""
        from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

        build = HistGradientBoostingClassifier if task == "binary" else HistGradientBoostingRegressor
        return build(
            max_iter=self.n_trees,
            learning_rate=self.learning_rate,
            max_leaf_nodes=self.most_leaves,
            min_samples_leaf=self.smallest_leaf,
            l2_regularization=self.l2,
            early_stopping=False,
            random_state=seed,
        )


class LightGBM(_Boosting):
    """Boosted trees of LightGBM, where it is installed."""

    kind: Literal["lightgbm"] = "lightgbm"

    def model(self, task: Task, seed: int) -> Any:
        """Boosting on one thread, in its deterministic mode."""
        library = _installed("lightgbm")
        build = library.LGBMClassifier if task == "binary" else library.LGBMRegressor
        return build(
            n_estimators=self.n_trees,
            learning_rate=self.learning_rate,
            num_leaves=self.most_leaves,
            min_child_samples=self.smallest_leaf,
            reg_lambda=self.l2,
            random_state=seed,
            n_jobs=1,
            deterministic=True,
            force_row_wise=True,
            verbose=-1,
        )


class XGBoost(_Boosting):
    """Boosted trees of XGBoost, where it is installed; ``smallest_leaf`` is its sum of second derivatives."""

    kind: Literal["xgboost"] = "xgboost"

    def model(self, task: Task, seed: int) -> Any:
        """Boosting by histogram, leaf by leaf, on one thread."""
        library = _installed("xgboost")
        build = library.XGBClassifier if task == "binary" else library.XGBRegressor
        return build(
            n_estimators=self.n_trees,
            learning_rate=self.learning_rate,
            max_leaves=self.most_leaves,
            max_depth=0,
            grow_policy="lossguide",
            min_child_weight=self.smallest_leaf,
            reg_lambda=self.l2,
            tree_method="hist",
            random_state=seed,
            n_jobs=1,
        )


class PerGroup(Estimator):
    """One model per value of a text feature, fitted on that value's rows; rows of other values are scored by a model of all rows.

    Where the training rows do not fit the driver's sample, the trainer fits the groups on Spark from all of their rows; the model of all
    rows is then fitted on the sample.

    Attributes
    ----------
    column : str
        Text feature.
    estimator : Estimator
        Of every group.
    least : int
        Rows of a group, and rows of its smaller class times ten; smaller groups have no model of their own.
    """

    kind: Literal["per_group"] = "per_group"
    column: str = Field(description="text feature whose values are the groups")
    estimator: Annotated[Logistic | Ridge | HistGradientBoosting | LightGBM | XGBoost, Field(discriminator="kind")] = Field(
        description="estimator of every group"
    )
    least: int = Field(default=200, ge=20, description="rows that a group must have for a model of its own")

    def model(self, task: Task, seed: int) -> Any:
        """Model of one group."""
        return self.estimator.model(task, seed)

    def pipeline(self, features: FeatureColumns, task: Task, seed: int, *, empty: Collection[str] = ()) -> Any:
        """Unfitted pipeline of one group."""
        return self.estimator.pipeline(features, task, seed, empty=empty)

    def fitted(self, rows: Any, label: Any, weight: Any, features: FeatureColumns, task: Task, seed: int) -> Any:
        """Model of all rows and models of the groups, each on one thread."""
        self.check(features)
        fallback = self.estimator.fitted(rows, label, weight, features, task, seed)
        models = {}
        for value, at in sorted(rows.groupby(self.column, sort=False).indices.items()):
            of_group = None if weight is None else weight[at]
            made = self.fitted_group(rows.iloc[at], label[at], of_group, features, task, seed)
            if made is not None:
                models[value] = made
        return self.grouped(fallback, models, task)

    def fitted_group(self, rows: Any, label: Any, weight: Any, features: FeatureColumns, task: Task, seed: int) -> Any | None:
        """Model of one group's rows; None where they are too few, or hold nothing to learn from."""
        smaller = min((label == 1).sum(), (label == 0).sum()) * 10 if task == "binary" else len(rows)
        if min(len(rows), smaller) < self.least:
            return None
        try:
            return self.estimator.fitted(rows, label, weight, features, task, seed)
        except DataError:  # no feature has a value in this group
            return None

    def grouped(self, fallback: Any, models: Mapping[str, Any], task: Task) -> Any:
        """All of them as one model."""
        from sparkds.models.grouped_model import GroupedClassifier, GroupedRegressor

        return (GroupedClassifier if task == "binary" else GroupedRegressor)(self.column, fallback, dict(models))

    def check(self, features: FeatureColumns) -> None:
        """Hold the column against the features.

        Raises
        ------
        ConfigError
        """
        if self.column not in features.texts:
            told = ", ".join(features.texts) or "none"
            raise ConfigError(f"estimator per_group: '{self.column}' is no text feature (text features: {told}); groups are values of one")


AnyEstimator = Annotated[
    Majority | MeanOfTraining | Logistic | Ridge | HistGradientBoosting | LightGBM | XGBoost | PerGroup, Field(discriminator="kind")
]
"""Every kind of estimator; the registry."""


def default_baselines(task: Task, candidate: Estimator) -> tuple[Estimator, ...]:
    """What is always trained beside a candidate: a constant, a linear model and boosted trees, each unless it is the candidate."""
    known: Sequence[Estimator] = (Majority(), Logistic(), HistGradientBoosting())
    if task == "regression":
        known = (MeanOfTraining(), Ridge(), HistGradientBoosting())
    return tuple(estimator for estimator in known if estimator != candidate)


def _installed(library: str) -> Any:
    try:
        return import_module(library)
    except ImportError as error:
        raise ConfigError(
            f"estimator '{library}' needs the library {library}: pip install {library}, or choose hist_gradient_boosting"
        ) from error
