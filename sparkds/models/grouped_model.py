"""Grouped model: one fitted model per value of a text column, and one of all rows for the values that have none.

Takes rows with that column and hands each to its model; scikit-learn's interface, so that it can be calibrated and logged like any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin


class _Grouped(BaseEstimator):  # type: ignore[misc]  # - scikit-learn has no types
    """Fitted models by value of a column.

    Parameters
    ----------
    column : str
    fallback : object
        Fitted on all rows.
    models : mapping of str to object
    """

    def __init__(self, column: str, fallback: Any, models: Mapping[str, Any]) -> None:
        self.column = column
        self.fallback = fallback
        self.models = models

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def fit(self, rows: Any, label: Any) -> Any:
        """Nothing to fit; the parts are fitted already."""
        return self

    def _by_group(self, rows: Any, method: str) -> Any:
        values = np.asarray(rows[self.column], dtype=object)
        known = np.array([value if isinstance(value, str) and value in self.models else "" for value in values], dtype=object)
        found: Any = None
        for value in sorted(set(known)):
            at = np.flatnonzero(known == value)
            model = self.models.get(value, self.fallback)
            told = np.asarray(getattr(model, method)(rows.iloc[at]))
            if found is None:
                found = np.empty((len(rows), *told.shape[1:]))
            found[at] = told
        return found


class GroupedClassifier(ClassifierMixin, _Grouped):  # type: ignore[misc]  # - scikit-learn has no types
    """Probabilities of two classes by the model of the row's group."""

    @property
    def classes_(self) -> Any:
        """Classes, as of the model of all rows."""
        return self.fallback.classes_

    def predict_proba(self, rows: Any) -> Any:
        """Probability of each class, (n, 2)."""
        return self._by_group(rows, "predict_proba")

    def predict(self, rows: Any) -> Any:
        """Likelier class, (n,)."""
        return self.classes_[np.argmax(self.predict_proba(rows), axis=1)]


class GroupedRegressor(RegressorMixin, _Grouped):  # type: ignore[misc]  # - scikit-learn has no types
    """Numbers by the model of the row's group."""

    def predict(self, rows: Any) -> Any:
        """Prediction, (n,)."""
        return self._by_group(rows, "predict")
