"""Elimination: the set of columns that recursive feature elimination finds, judged on rows that it has not seen.

Takes a sample in memory and gives the size with the best held-out score, the columns of that size, and when the others went.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from sparkds.features.select.declaration import Importance, Task
from sparkds.features.select.importance import Rows, Split, fitted, permutation_importance, score

Array = npt.NDArray[np.float64]
STEP: Final = 0.25
"""Share of the columns that go in a round, at least one."""


class Eliminated(NamedTuple):
    """What recursive elimination found.

    Attributes
    ----------
    kept : (d,) bool
    rank : (d,) int64
        1 for kept columns; then by the mean round in which they went, the last first.
    selected : (m, d) bool
        Columns of the chosen size in each fold.
    sizes : (s,) int64
        Numbers of columns that were tried, descending.
    score, score_error : (s,)
        Mean over the folds and its standard error.
    """

    kept: npt.NDArray[np.bool_]
    rank: npt.NDArray[np.int64]
    selected: npt.NDArray[np.bool_]
    sizes: npt.NDArray[np.int64]
    score: Array
    score_error: Array


def sizes_of(d: int) -> list[int]:
    """Numbers of columns from all down to one; each round drops a quarter, at least one.

    Examples
    --------
    >>> sizes_of(10)
    [10, 8, 6, 5, 4, 3, 2, 1]
    """
    sizes = [d]
    while sizes[-1] > 1:
        sizes.append(sizes[-1] - max(1, int(sizes[-1] * STEP)))
    return sizes


def eliminated(data: Rows, spec: Importance, task: Task, folds: Sequence[Split]) -> Eliminated:
    """Recursive feature elimination within every fold, and the smallest size about as good as the best.

    In a fold a model is fitted on the training rows, the columns least important to it on these rows go, and so on down to one; every
    model is scored on the held-out rows, which decide nothing about the order. The size is the smallest whose mean score is at most one
    standard error of the best below it; the columns are those that went last in the mean of the folds.

    Parameters
    ----------
    data : Rows
    spec : Importance
    task : {"binary", "multiclass", "regression"}
    folds : sequence of Split

    References
    ----------
    Guyon et al. (2002), Machine Learning 46, for the elimination; Breiman et al. (1984), section 3.4.3, for the one-error rule.
    """
    from threadpoolctl import threadpool_limits

    d = data.x.shape[1]
    sizes = np.array(sizes_of(d), dtype=np.int64)
    scores = np.zeros((len(folds), len(sizes)))
    left_at: Array = np.zeros((len(folds), d))  # number of rounds a column lasted, ties by its importance then
    with threadpool_limits(1):
        for f, split in enumerate(folds):
            left = np.arange(d)
            for s, size in enumerate(sizes):
                train = data.of(split.train, left)
                held_out = data.of(split.held_out, left)
                model = fitted(train, spec, task, split.seed)
                scores[f, s] = score(task, held_out.y, model(held_out.x))
                if size == 1:
                    left_at[f, left] = len(sizes)
                    break
                importance = permutation_importance(model, train, task, split, repeats=1)
                order = np.argsort(-importance, kind="stable")
                stay, go = order[: sizes[s + 1]], order[sizes[s + 1] :]
                left_at[f, left[go]] = s + 1 - np.arange(len(go)) / len(go)
                left = np.sort(left[stay])
    mean = scores.mean(axis=0)
    error = scores.std(axis=0, ddof=1) / math.sqrt(len(folds)) if len(folds) > 1 else np.zeros(len(sizes))
    best = int(np.argmax(mean))
    good = np.flatnonzero(mean >= mean[best] - error[best])
    size = int(sizes[good[-1]])
    order = np.argsort(-left_at.mean(axis=0), kind="stable")
    kept = np.zeros(d, dtype=bool)
    kept[order[:size]] = True
    rank = np.ones(d, dtype=np.int64)
    rank[order[size:]] = np.arange(2, d - size + 2)
    selected = np.zeros((len(folds), d), dtype=bool)
    for f in range(len(folds)):
        selected[f, np.argsort(-left_at[f], kind="stable")[:size]] = True
    return Eliminated(kept, rank, selected, sizes, mean, error)
