"""Importance: how much a model's predictions on held-out rows rest on each column, on several folds and seeds.

Takes a sample in memory and gives importances and scores of every fold and seed; nothing is judged on rows that the model has seen.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from sparkds.errors import DataError
from sparkds.features.select.declaration import Importance, Task
from sparkds.hashing import bucket

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
SCORES: Final = {"binary": "roc_auc", "multiclass": "negative_log_loss", "regression": "r2"}
"""Task to the score that shuffling a column lowers."""
BLOCK_CELLS: Final = 20_000_000
EPSILON: Final = 1e-15

Model = Callable[[Array], Array]
"""Rows to the chance of the second class, to the chances of all classes, or to the value: (n,) or (n, c)."""


class Rows(NamedTuple):
    """Rows in memory.

    Attributes
    ----------
    x : (n, d)
        Numbers, and codes of texts from 0; NaN where null.
    y : (n,)
        Number of the class from 0, or the value.
    is_text : (d,) bool
    n_classes : int
        0 for a regression.
    """

    x: Array
    y: Array
    is_text: npt.NDArray[np.bool_]
    n_classes: int

    def of(self, rows: Any, columns: Any = slice(None)) -> Rows:
        """Some rows, and some columns."""
        return Rows(self.x[rows][:, columns], self.y[rows], self.is_text[columns], self.n_classes)


class Judged(NamedTuple):
    """Importances of all folds and seeds.

    Attributes
    ----------
    importance : (m, d)
        In units of the score, or of the prediction (Shapley).
    score : (m,)
        Of the whole model on the held-out rows.
    """

    importance: Array
    score: Array


class Split(NamedTuple):
    """A fold: rows that are learnt from, rows that are held out, and the seed of what is drawn at random."""

    train: Ints
    held_out: Ints
    seed: int
    fold: int

    def random(self, *place: int) -> np.random.Generator:
        """Generator of its own for a place, so that no draw depends on what was drawn before."""
        return np.random.default_rng([self.seed & (2**63 - 1), self.fold, *place])


def splits(data: Rows, spec: Importance, groups: Sequence[str] = ()) -> list[Split]:
    """Folds of every seed, those left out in which a class is missing on either side.

    Without groups a row is in the fold of its place in a seeded order; with them all rows of a group are in the fold of its hash.

    Raises
    ------
    DataError
        No fold is left.
    """
    found = []
    for seed in spec.seeds:
        if groups:
            fold_of = np.array([bucket(group, f"fold:{seed}") % spec.folds for group in groups])
        else:
            fold_of = np.random.default_rng(seed & (2**63 - 1)).permutation(len(data.y)) % spec.folds
        for fold in range(spec.folds):
            train, held_out = np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)
            if not len(train) or not len(held_out):
                continue
            if data.n_classes and min(len(np.unique(data.y[part])) for part in (train, held_out)) < data.n_classes:
                continue
            found.append(Split(train, held_out, seed, fold))
    if not found:
        raise DataError(
            f"none of {spec.folds} folds of {len(data.y)} sampled rows has every class on both sides; raise max_rows or take fewer folds"
        )
    return found


def judged(data: Rows, spec: Importance, task: Task, folds: Sequence[Split]) -> Judged:
    """Importance of every column in every fold; on one thread, so that figures do not hang on the number of cores.

    Parameters
    ----------
    data : Rows
    spec : Importance
    task : {"binary", "multiclass", "regression"}
    folds : sequence of Split

    Examples
    --------
    >>> judged(data, Importance(), "binary", splits(data, Importance()))  # doctest: +SKIP
    """
    from threadpoolctl import threadpool_limits

    importance, scores = [], []
    with threadpool_limits(1):
        for split in folds:
            model = fitted(data.of(split.train), spec, task, split.seed)
            held_out = data.of(split.held_out)
            scores.append(score(task, held_out.y, model(held_out.x)))
            if spec.measure == "permutation":
                importance.append(permutation_importance(model, held_out, task, split, repeats=spec.repeats))
            else:
                at = split.held_out[: spec.explained_rows]
                values = shapley_values(model, data.x[at], data.x[split.train], split, repeats=spec.repeats)
                importance.append(np.abs(values).mean(axis=(0, 2)))
    return Judged(np.stack(importance), np.array(scores))


def fitted(data: Rows, spec: Importance, task: Task, seed: int) -> Model:
    """Model of some rows, as a function of a matrix."""
    made = _boosting(data, task, seed) if spec.model == "gradient_boosting" else _linear(data, task)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a linear model that has not quite converged is good enough to rank columns
        made.fit(data.x, data.y)

    def predict(x: Array) -> Array:
        if task == "regression":
            return np.asarray(made.predict(x), dtype=np.float64)
        chances: Array = np.zeros((len(x), data.n_classes))
        chances[:, made.classes_.astype(np.int64)] = made.predict_proba(x)
        return chances[:, 1] if task == "binary" else chances

    return predict


def _boosting(data: Rows, task: Task, seed: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    kind = HistGradientBoostingRegressor if task == "regression" else HistGradientBoostingClassifier
    return kind(
        max_iter=80,
        max_leaf_nodes=15,
        min_samples_leaf=min(20, max(2, len(data.y) // 20)),
        early_stopping=False,
        categorical_features=data.is_text if data.is_text.any() else None,
        random_state=seed % 2**32,
    )


def _linear(data: Rows, task: Task) -> Any:
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    texts = make_pipeline(
        SimpleImputer(strategy="constant", fill_value=-1.0, keep_empty_features=True), OneHotEncoder(handle_unknown="ignore")
    )
    numbers = make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler())
    parts = [("numbers", numbers, np.flatnonzero(~data.is_text)), ("texts", texts, np.flatnonzero(data.is_text))]
    columns = ColumnTransformer([part for part in parts if len(part[2])])
    return make_pipeline(columns, Ridge() if task == "regression" else LogisticRegression(max_iter=300))


def score(task: Task, y: Array, prediction: Array) -> float:
    """Score of predictions, higher is better: area under ROC, negative log loss in nats, or R².

    Examples
    --------
    >>> import numpy as np
    >>> score("binary", np.array([0.0, 1.0, 1.0]), np.array([0.2, 0.1, 0.9]))
    0.5
    """
    if task == "binary":
        from scipy.stats import rankdata

        positive = y == 1
        n, m = int(positive.sum()), int((~positive).sum())
        return float((rankdata(prediction)[positive].sum() - n * (n + 1) / 2) / (n * m))
    if task == "multiclass":
        chance = prediction[np.arange(len(y)), y.astype(np.int64)]
        return float(np.log(np.clip(chance, EPSILON, 1.0)).mean())
    spread = float(((y - y.mean()) ** 2).sum())
    return float(1 - ((y - prediction) ** 2).sum() / spread) if spread > 0 else 0.0


def permutation_importance(model: Model, data: Rows, task: Task, split: Split, *, repeats: int) -> Array:
    """How much the score falls, in the mean of some shuffles, when one column is shuffled among the rows: (d,).

    Columns that the model does not use are found many at a time: where shuffling all columns of a block together changes no prediction,
    each of them has importance 0.

    References
    ----------
    Breiman (2001), Machine Learning 45; Fisher, Rudin, Dominici (2019), J. Mach. Learn. Res. 20(177).
    """
    base = model(data.x)
    whole = score(task, data.y, base)
    n, d = data.x.shape
    importance = np.zeros(d)
    waiting = [np.arange(d)]
    while waiting:
        block = waiting.pop()
        if len(block) > 1:
            shuffled = data.x.copy()
            for column in block.tolist():
                shuffled[:, column] = data.x[split.random(column, 0).permutation(n), column]
            if not np.array_equal(model(shuffled), base):
                waiting += [block[: len(block) // 2], block[len(block) // 2 :]]
            continue
        j = int(block[0])
        shuffled = data.x.copy()
        falls = []
        for repeat in range(repeats):
            shuffled[:, j] = data.x[split.random(j, repeat).permutation(n), j]
            falls.append(whole - score(task, data.y, model(shuffled)))
        importance[j] = float(np.mean(falls))
    return importance


def shapley_values(model: Model, x: Array, background: Array, split: Split, *, repeats: int) -> Array:
    """Shapley values of predictions, estimated over random orders of the columns, each with its reverse: (n, d, c).

    The value of a set of columns is the prediction for the row with all other columns from a row of the background; a new row of it is
    drawn for each explained row and order. The values of a row add up to its prediction minus that of its background rows, in the mean of
    the orders.

    Parameters
    ----------
    model : callable
    x : (n, d)
        Rows to explain.
    background : (m, d)
    split : Split
        Seeds of the orders and the background.
    repeats : int
        Orders, not counting the reverse ones.

    References
    ----------
    Strumbelj, Kononenko (2014), Knowl. Inf. Syst. 41, Algorithm 1; Mitchell et al. (2022), J. Mach. Learn. Res. 23(43), for the reverse.
    """
    n, d = x.shape
    c = model(x[:1]).reshape(1, -1).shape[1]
    total: Array = np.zeros((n, d, c))
    rows_at_once = max(1, BLOCK_CELLS // ((d + 1) * d))
    for repeat in range(repeats):
        random = split.random(repeat)
        order = random.permutation(d)
        rows = background[random.integers(0, len(background), n)]
        for walked in (order, order[::-1]):
            for first in range(0, n, rows_at_once):
                part = slice(first, first + rows_at_once)
                m = len(x[part])
                steps = np.repeat(rows[part][None], d + 1, axis=0)  # step s has the first s columns of the order from the row
                for step, j in enumerate(walked, 1):
                    steps[step:, :, j] = x[part, j]
                told = model(steps.reshape(-1, d)).reshape(d + 1, m, c)
                total[part, walked] += np.diff(told, axis=0).transpose(1, 0, 2)
    return total / (2 * repeats)
