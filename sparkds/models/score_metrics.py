"""Score metrics: how good predictions are on rows that are in memory, as rows with a reason where a figure cannot be computed.

Takes labels and scores as arrays and gives figures of scikit-learn; what needs all rows of a big table is counted on Spark instead.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sparkds.declaration import Declaration

Array = NDArray[np.float64]

HIGHER_IS_BETTER: Final = {
    "auc": True,
    "average_precision": True,
    "log_loss": False,
    "brier": False,
    "rmse": False,
    "mae": False,
    "r2": True,
}
"""Direction of every metric that a threshold does not enter."""


class Cost(Declaration):
    """What a wrong decision costs, in any unit; right ones cost nothing.

    Attributes
    ----------
    false_positive, false_negative : float
    """

    false_positive: float = Field(gt=0, description="cost of acting on a negative")
    false_negative: float = Field(gt=0, description="cost of missing a positive")


class MetricRow(NamedTuple):
    """One figure of one model.

    Attributes
    ----------
    model : str
    part : str
        train, validation, test; fold_<i>, folds_mean, folds_std; learning_<n>; train_minus_validation.
    metric : str
    value : float
        NaN if not computable.
    n : int
        Rows.
    reason : str
        Why there is no value; empty if there is.
    """

    model: str
    part: str
    metric: str
    value: float
    n: int
    reason: str = ""


def binary_metrics(label: Array, score: Array) -> dict[str, tuple[float, str]]:
    """Figures of predicted probabilities.

    Parameters
    ----------
    label : (n,) array of 0 and 1
    score : (n,) array in [0, 1]

    Returns
    -------
    dict of metric to (value, reason)
        AUC with ties as one half; average precision; log loss with scores kept 2^-52 away from 0 and 1; Brier score; share of
        positives; mean score.
    """
    from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

    names = ("auc", "average_precision", "log_loss", "brier", "positive_share", "mean_score")
    if len(label) == 0:
        return dict.fromkeys(names, (math.nan, "no rows"))
    one_class = label.min() == label.max()
    ranked = (math.nan, f"only one class: every label is {label[0]:g}") if one_class else None
    return {
        "auc": ranked or (float(roc_auc_score(label, score)), ""),
        "average_precision": ranked or (float(average_precision_score(label, score)), ""),
        "log_loss": (float(log_loss(label, score, labels=[0, 1])), ""),
        "brier": (float(brier_score_loss(label, score, labels=[0, 1])), ""),
        "positive_share": (float(label.mean()), ""),
        "mean_score": (float(score.mean()), ""),
    }


def decision_metrics(label: Array, score: Array, threshold: float, cost: Cost) -> dict[str, tuple[float, str]]:
    """Figures of the decision ``score >= threshold``: cost per row, accuracy, precision, recall, share selected."""
    if len(label) == 0:
        return dict.fromkeys(("cost_per_row", "accuracy", "precision", "recall", "selected_share"), (math.nan, "no rows"))
    chosen, positive = score >= threshold, label == 1
    hit, n_chosen, n_positive = int((chosen & positive).sum()), int(chosen.sum()), int(positive.sum())
    wrong = n_chosen - hit, n_positive - hit
    return {
        "cost_per_row": ((wrong[0] * cost.false_positive + wrong[1] * cost.false_negative) / len(label), ""),
        "accuracy": (1 - sum(wrong) / len(label), ""),
        "precision": (hit / n_chosen, "") if n_chosen else (math.nan, "no row is selected"),
        "recall": (hit / n_positive, "") if n_positive else (math.nan, "no positive row"),
        "selected_share": (n_chosen / len(label), ""),
    }


def cheapest_threshold(label: Array, score: Array, cost: Cost) -> float:
    """Threshold with the least cost among the scores that occur and one above them all; of equally cheap ones the highest.

    Parameters
    ----------
    label : (n,) array of 0 and 1
    score : (n,) array
    cost : Cost

    Examples
    --------
    >>> cheapest_threshold(np.array([0.0, 1, 0, 1]), np.array([0.1, 0.4, 0.6, 0.9]), Cost(false_positive=1, false_negative=3))
    0.4
    """
    order = np.argsort(-score, kind="stable")
    ordered, positive = score[order], label[order] == 1
    last = np.flatnonzero(np.append(np.diff(ordered) != 0, True))
    n_hit, n_false = np.cumsum(positive)[last], np.cumsum(~positive)[last]
    total = n_false * cost.false_positive + (positive.sum() - n_hit) * cost.false_negative
    nobody = float(positive.sum() * cost.false_negative)
    best = int(np.argmin(total))
    return float(np.nextafter(ordered[0], np.inf)) if nobody <= total[best] else float(ordered[last[best]])


def regression_metrics(label: Array, score: Array) -> dict[str, tuple[float, str]]:
    """Figures of predicted numbers: root mean squared and mean absolute error, R², mean error (prediction minus label)."""
    if len(label) == 0:
        return dict.fromkeys(("rmse", "mae", "r2", "bias"), (math.nan, "no rows"))
    error = score - label
    spread = float(((label - label.mean()) ** 2).sum())
    return {
        "rmse": (float(np.sqrt((error**2).mean())), ""),
        "mae": (float(np.abs(error).mean()), ""),
        "r2": (1 - float((error**2).sum()) / spread, "") if spread > 0 else (math.nan, "every label is the same"),
        "bias": (float(error.mean()), ""),
    }
