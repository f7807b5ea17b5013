"""Score counts: the state of a binary classifier on rows with labels, and its merge.

Takes scores and labels, or their counts by bin, and keeps for each bin and label the weight, and the sums that make Brier score, log loss
and mean score exact whatever the bins; `sparkds.stats.classification` turns the state into metrics.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import special

from sparkds.errors import ConfigError, DataError
from sparkds.stats.arguments import between

Array = npt.NDArray[np.float64]
EPSILON: Final = float(np.finfo(np.float64).eps)
"""Scores are clipped to ``[EPSILON, 1 - EPSILON]`` for the log loss and nothing else, as scikit-learn does."""
FARTHEST_LOGIT: Final = 16.0
SUMS: Final = ("n", "score", "squared_error", "log_loss")


@dataclass(frozen=True, eq=False)
class ScoreCounts:
    """Rows by score bin and label, ascending by score. Column 0 of an array is for negatives, column 1 for positives.

    Attributes
    ----------
    key : (k,)
        Number of the bin, or the distinct score itself; ascending with the score.
    n : (k, 2)
        Rows, or their total weight.
    score : (k, 2)
        Sum of weight times score.
    squared_error : (k, 2)
        Sum of weight times (score - label)².
    log_loss : (k, 2)
        Sum of weight times -log of the chance that the (clipped) score gives the label.
    low, high : (k,)
        Smallest and largest score in the bin.
    weighted : bool
        Whether `n` are weights and no counts; there are no intervals then.
    """

    key: Array
    n: Array
    score: Array
    squared_error: Array
    log_loss: Array
    low: Array
    high: Array
    weighted: bool = False

    @property
    def n_negative(self) -> float:
        """Negatives in all."""
        return float(self.n[:, 0].sum())

    @property
    def n_positive(self) -> float:
        """Positives in all."""
        return float(self.n[:, 1].sum())

    @property
    def n_total(self) -> float:
        """Rows in all."""
        return float(self.n.sum())

    @property
    def are_probabilities(self) -> bool:
        """Whether all scores lie in [0, 1]."""
        return len(self.key) == 0 or (float(self.low.min()) >= 0 and float(self.high.max()) <= 1)

    @property
    def mean_score(self) -> float:
        """Mean score of all rows; NaN without rows."""
        return float(self.score.sum() / self.n_total) if self.n_total else float("nan")

    @property
    def base_rate(self) -> float:
        """Share of positives; NaN without rows."""
        return self.n_positive / self.n_total if self.n_total else float("nan")


def row_losses(label: Array, score: Array) -> tuple[Array, Array]:
    """Squared error and log loss of each row: (n,) each; the log loss is NaN for a score outside [0, 1].

    Parameters
    ----------
    label : (n,)
        0 or 1.
    score : (n,)
        Finite.
    """
    chance = np.where(label == 1, score, 1 - score)
    outside = (score < 0) | (score > 1)
    loss = -np.log(np.clip(chance, EPSILON, 1 - EPSILON))
    loss[outside] = np.nan
    return (score - label) ** 2, loss


def score_edges(bins: int, thresholds: Iterable[float] = ()) -> Array:
    """Edges of score bins, half of them spread evenly over the probability and half over its logit; ascending.

    So bins are narrow in the middle and, where rare events have their scores, near 0 and 1 too. Scores of exactly 0 and of exactly 1 have
    bins of their own. A bin holds its lower edge.

    Parameters
    ----------
    bins : int
        About how many; at least 10.
    thresholds : iterable of float
        Become edges too, so that counts at these thresholds are exact.

    Examples
    --------
    >>> edges = score_edges(2_000, (0.35,))
    >>> bool(0.35 in edges), 1_900 < len(edges) < 2_100
    (True, True)
    """
    if bins < 10:
        raise ConfigError(f"bins is {bins}; give at least 10")
    grid = np.unique(
        np.concatenate([special.expit(np.linspace(-FARTHEST_LOGIT, FARTHEST_LOGIT, 20_001)), np.linspace(1e-5, 1 - 1e-5, 20_001)])
    )
    place = (grid + (special.logit(grid) / FARTHEST_LOGIT + 1) / 2) / 2
    half = np.interp(np.arange(1, bins // 2 + 1) / bins, place, grid)
    rounded = np.array([float(f"{edge:.6g}") for edge in half])  # the same whatever the processor's last bit
    return np.unique(
        np.concatenate([[np.nextafter(0.0, 1.0)], rounded, 1 - rounded, [1.0], np.asarray(list(thresholds), dtype=np.float64)])
    )


def bins_of(score: Array, edges: Array) -> npt.NDArray[np.int64]:
    """Number of each score's bin: (n,) in ``0 … len(edges)``; bin b has ``edges[b - 1] <= score < edges[b]``."""
    return np.searchsorted(edges, score, side="right").astype(np.int64)


def counted(label: npt.ArrayLike, score: npt.ArrayLike, *, weight: npt.ArrayLike | None = None, edges: Array | None = None) -> ScoreCounts:
    """State of arrays: by distinct score, or by bin where `edges` are given.

    Parameters
    ----------
    label : (n,)
        0 or 1.
    score : (n,)
        Finite.
    weight : (n,), optional
        At least 0.
    edges : (m,), optional
        From `score_edges`.

    Raises
    ------
    DataError
        A label is neither 0 nor 1, a score is not finite, or a weight is negative or not finite.

    Examples
    --------
    >>> found = counted([0, 1, 1, 0], [0.2, 0.8, 0.5, 0.5])
    >>> found.n.tolist()
    [[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]
    """
    y, s = np.asarray(label, dtype=np.float64).ravel(), np.asarray(score, dtype=np.float64).ravel()
    w = None if weight is None else np.asarray(weight, dtype=np.float64).ravel()
    if len(y) != len(s) or (w is not None and len(w) != len(y)):
        raise DataError(f"{len(y)} labels, {len(s)} scores and {len(y if w is None else w)} weights; give one of each a row")
    if not np.isin(y, (0.0, 1.0)).all():
        raise DataError(f"a label is {y[~np.isin(y, (0.0, 1.0))][0]:g}; allowed are 0 and 1")
    if not np.isfinite(s).all():
        raise DataError("a score is missing or not finite; leave such rows out and count them")
    if w is not None and not (np.isfinite(w).all() and (w >= 0).all()):
        raise DataError("a weight is negative, missing or not finite; weights are at least 0")
    key = s if edges is None else bins_of(s, edges).astype(np.float64)
    keys, group = np.unique(key, return_inverse=True)
    found = summed(group.astype(np.int64), len(keys), y, s, w)
    return ScoreCounts(keys, *found, weight is not None)


def summed(
    group: npt.NDArray[np.int64], n_groups: int, label: Array, score: Array, weight: Array | None
) -> tuple[Array, Array, Array, Array, Array, Array]:
    """Sums of `ScoreCounts` over the rows of each group: ``n, score, squared_error, log_loss`` (g, 2) each, then ``low, high`` (g,).

    A group without rows has `low` ∞ and `high` -∞. Without `weight` every row counts once.
    """
    cell = 2 * group + (label == 1)
    squared, loss = row_losses(label, score)

    def total(x: Array | None) -> Array:
        y = x if weight is None else weight if x is None else weight * x
        sums: Array = np.bincount(cell, weights=y, minlength=2 * n_groups).astype(np.float64).reshape(n_groups, 2)
        return sums

    low, high = np.full(n_groups, np.inf), np.full(n_groups, -np.inf)
    np.minimum.at(low, group, score)
    np.maximum.at(high, group, score)
    return total(None), total(score), total(squared), total(loss), low, high


def merged(parts: Sequence[ScoreCounts]) -> ScoreCounts:
    """State of all rows of several states of different rows, with the same bins (or all by distinct score).

    Examples
    --------
    >>> whole = merged([counted([0], [0.5]), counted([1], [0.5])])
    >>> whole.n.tolist()
    [[1.0, 1.0]]
    """
    keys, group = np.unique(np.concatenate([part.key for part in parts]), return_inverse=True)

    def total(name: str) -> Array:
        found = np.zeros((len(keys), 2))
        np.add.at(found, group, np.concatenate([getattr(part, name) for part in parts]))
        return found

    low, high = np.full(len(keys), np.inf), np.full(len(keys), -np.inf)
    np.minimum.at(low, group, np.concatenate([part.low for part in parts]))
    np.maximum.at(high, group, np.concatenate([part.high for part in parts]))
    weighted = any(part.weighted for part in parts)
    return ScoreCounts(keys, total("n"), total("score"), total("squared_error"), total("log_loss"), low, high, weighted)


def coarser(counts: ScoreCounts, n_groups: int) -> tuple[ScoreCounts, npt.NDArray[np.int64]]:
    """State in at most `n_groups` groups of about equal weight by rank, and the number of each group among them.

    A bin goes where the middle of its ranks lies; rows of equal score (or of one bin) stay together, so groups can be unequal, and
    empty ones are left out.

    Parameters
    ----------
    n_groups : int
        E.g. 10 for deciles.

    Returns
    -------
    ScoreCounts, (g,) int64 in ``0 … n_groups - 1``
    """
    between("n_groups", n_groups, 1, float("inf"), closed="low")
    kept = counts.n.sum(axis=1) > 0
    n = counts.n.sum(axis=1)[kept]
    middle = (np.cumsum(n) - n / 2) / n.sum() if len(n) else np.zeros(0)
    of_bin = np.minimum((middle * n_groups + 1e-9).astype(np.int64), n_groups - 1)
    numbers, group = np.unique(of_bin, return_inverse=True)
    fields = {name: getattr(counts, name)[kept] for name in (*SUMS, "low", "high")}
    grouped = merged([ScoreCounts(key=group.astype(np.float64), weighted=counts.weighted, **fields)])
    return grouped, numbers


__all__ = ["EPSILON", "ScoreCounts", "bins_of", "coarser", "counted", "merged", "row_losses", "score_edges", "summed"]
