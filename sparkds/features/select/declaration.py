"""Declaration of a selection: label, rules with their thresholds, and how importance is judged.

States what is wanted; the thresholds are those of the field and are written with every decision that rests on them.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from sparkds.declaration import Declaration

Task = Literal["binary", "multiclass", "regression"]


class Rules(Declaration):
    """Thresholds of the rules; None switches a rule off.

    Attributes
    ----------
    null_share : float, optional
        A column with more than this share of nulls is dropped; exactly this share is kept.
    frequency_ratio : float, optional
        Near-zero variance: dropped if the most frequent value is more than this many times as frequent as the second …
    distinct_share : float
        … and different values are less than this share of the rows (Kuhn). A column that meets either threshold exactly is kept.
    id_share : float, optional
        Texts and whole numbers of whose values at least this share is different name rows and are dropped; exactly this share is dropped.
        Doubles, decimals, days and instants are exempt.
    false_discovery_rate : float, optional
        A column whose q-value is at least this is dropped; exactly this is dropped. A feature that tells something only together with
        others (exclusive or) does not pass: switch the rule off where that is expected.
    correlation : float, optional
        Of two numeric columns with absolute Pearson correlation above this, one is dropped; exactly this keeps both.
    """

    null_share: float | None = Field(default=0.95, ge=0, le=1, description="more nulls than this share: dropped")
    frequency_ratio: float | None = Field(default=19.0, ge=1, description="near-zero variance: most frequent over second (95/5) …")
    distinct_share: float = Field(default=0.10, gt=0, le=1, description="… and fewer different values than this share of rows: dropped")
    id_share: float | None = Field(default=0.9, gt=0, le=1, description="texts and whole numbers as different as this: dropped")
    false_discovery_rate: float | None = Field(default=0.05, gt=0, lt=1, description="q-value as high as this: dropped")
    correlation: float | None = Field(default=0.95, gt=0, le=1, description="absolute correlation above this: one is dropped")


class Importance(Declaration):
    """How important the columns that pass the rules are to a model, on a seeded sample.

    Attributes
    ----------
    model : {"gradient_boosting", "linear"}
        Histogram gradient boosting, or logistic or ridge regression on standardised numbers and indicators of texts.
    measure : {"permutation", "shapley"}
        Loss of the score on held-out rows when a column is shuffled, or mean absolute Shapley value of the prediction on held-out rows.
    keep : {"coverage", "elimination", "all"}
        The smallest set that covers `coverage` of all importance; the set that recursive elimination finds; or all, with figures.
    max_rows : int
        Rows of the sample, at most.
    folds : int
        Parts of the sample; each is held out once per seed.
    seeds : tuple of int
        Each gives its own folds and shuffles; the first is that of the sample too.
    repeats : int
        Shuffles of a column (permutation), or orders of the columns (shapley), per fold.
    explained_rows : int
        Held-out rows of a fold whose predictions are explained (shapley).
    coverage : float
    group : str, optional
        Column (say, the customer) whose rows stay in one fold.
    """

    model: Literal["gradient_boosting", "linear"] = Field(default="gradient_boosting", description="model that is judged")
    measure: Literal["permutation", "shapley"] = Field(default="permutation", description="importance of a column to it")
    keep: Literal["coverage", "elimination", "all"] = Field(default="coverage", description="which columns stay")
    max_rows: int = Field(default=20_000, ge=50, le=1_000_000, description="rows of the sample, at most")
    folds: int = Field(default=3, ge=2, le=20, description="parts of the sample, each held out once")
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1, description="one selection per seed and fold")
    repeats: int = Field(default=3, ge=1, le=100, description="shuffles of each column per fold")
    explained_rows: int = Field(default=200, ge=1, description="rows per fold that Shapley values explain")
    coverage: float = Field(default=0.9, gt=0, le=1, description="share of importance that the kept columns cover")
    group: str | None = Field(default=None, description="column whose rows stay in one fold")


class FeatureSelection(Declaration):
    """Which columns of a labelled table are kept as features.

    Attributes
    ----------
    label : str
    task : {"binary", "multiclass", "regression"}, optional
        By the label's type and values if absent; whole numbers with more than two values need it.
    leave_out : tuple of str
        Columns that are no candidates: keys, times, other labels.
    features : tuple of str, optional
        Candidates; all other columns if absent.
    always_keep : tuple of str
        Candidates that are kept whatever the rules say.
    rules : Rules
    importance : Importance, optional
        None: the rules alone decide.
    n_bins : int
        Bins of a number, and values of a text, in the counts.
    seed : int
        Of the hash sample that bins are made from.
    """

    label: str = Field(description="column to be predicted")
    task: Task | None = Field(default=None, description="by the label if absent")
    leave_out: tuple[str, ...] = Field(default=(), description="columns that are no candidates: keys, times, other labels")
    features: tuple[str, ...] | None = Field(default=None, min_length=1, description="candidates; all other columns if absent")
    always_keep: tuple[str, ...] = Field(default=(), description="candidates that are kept whatever the rules say")
    rules: Rules = Field(default=Rules(), description="thresholds")
    importance: Importance | None = Field(default=Importance(), description="judged by a model on a sample; null: rules alone")
    n_bins: int = Field(default=50, ge=2, le=1_000, description="bins of a number, values of a text")
    seed: int = Field(default=0, description="of the sample that bins are made from")

    @model_validator(mode="after")
    def _label_apart(self) -> FeatureSelection:
        for name in ("leave_out", "features", "always_keep"):
            given = getattr(self, name) or ()
            if self.label in given and name != "leave_out":
                raise ValueError(f"{name}: '{self.label}' is the label; it cannot be a feature")
            twice = [column for i, column in enumerate(given) if column in given[:i]]
            if twice:
                raise ValueError(f"{name}: '{twice[0]}' stands twice; name each column once")
        both = [column for column in (*(self.features or ()), *self.always_keep) if column in self.leave_out]
        if both:
            raise ValueError(f"'{both[0]}' is left out and a feature at once; name it in one place")
        return self
