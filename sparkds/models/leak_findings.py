"""Leak findings: single features that tell the label too well to have been known before it.

Takes training rows in memory and gives a sentence per suspicious feature; whether one is a leak is for a person to say.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from sparkds.models.estimators import Task
from sparkds.models.score_metrics import Array
from sparkds.models.training import TrainingRows

LIMIT: Final = 0.99
"""AUC (binary) or squared rank correlation (regression) of one feature alone from which on it is a finding."""
LEAST: Final = 20
"""Rows of the smaller class, or rows in all, below which a feature is not looked at."""


def leak_findings(data: TrainingRows, task: Task, *, limit: float = LIMIT) -> dict[str, str]:
    """Features that alone rank the validation rows almost without error.

    A number ranks by itself, in either direction, with its holes at the lower or the upper end, whichever is better; a text by the mean
    label of its value on the training rows (values not seen there have the mean of all), judged on the validation rows.

    Parameters
    ----------
    data : TrainingRows
        All parts; train and validation are looked at.
    task : {"binary", "regression"}
    limit : float
        In (0, 1].

    Returns
    -------
    dict of str to str
        Feature to what was found, in the order of the features; empty if nothing was, or too few rows to say (20 of the smaller class).

    Examples
    --------
    >>> leak_findings(data, "binary")  # doctest: +SKIP
    {'refund_id': "'refund_id' alone ranks 412 validation rows with AUC 1.0000; ..."}
    """
    train, judged = data.of("train"), data.of("validation")
    if not len(judged) or _smaller(judged.label, task) < LEAST:
        return {}
    name = "AUC" if task == "binary" else "squared rank correlation"
    found = {}
    for feature in data.features.names:
        if feature in data.features.texts:
            figure = _skill(_mean_label(train, judged, feature), judged.label, task)
        else:
            x = judged.rows[feature].to_numpy(dtype=np.float64)
            figure = max(_skill(np.where(np.isnan(x), end, x), judged.label, task) for end in (-np.inf, np.inf))
        if figure >= limit:
            found[feature] = (
                f"'{feature}' alone ranks {len(judged)} validation rows with {name} {figure:.4f}; "
                "make sure that it is known before the label, else leave it out"
            )
    return found


def _smaller(label: Array, task: Task) -> int:
    return int(min((label == 1).sum(), (label == 0).sum())) if task == "binary" else len(label)


def _skill(x: Array, label: Array, task: Task) -> float:
    from scipy.stats import rankdata
    from sklearn.metrics import roc_auc_score

    rank = rankdata(x)
    if rank.min() == rank.max():
        return 0.0
    if task == "binary":
        auc = float(roc_auc_score(label, rank))
        return max(auc, 1 - auc)
    of_label = rankdata(label)
    return float(np.corrcoef(rank, of_label)[0, 1] ** 2) if of_label.min() < of_label.max() else 0.0


def _mean_label(train: TrainingRows, judged: TrainingRows, feature: str) -> Array:
    import pandas as pd

    by = pd.DataFrame({"value": train.rows[feature].fillna("").to_numpy(), "label": train.label}).groupby("value")["label"].mean()
    told = judged.rows[feature].fillna("").map(by)
    return np.asarray(told.fillna(train.label.mean() if len(train) else 0.0), dtype=np.float64)
