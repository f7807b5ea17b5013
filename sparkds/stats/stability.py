"""Stability: how much the sets that a selection finds on different rows or seeds agree, and the smallest set that covers a share.

Takes sets or importances as arrays and gives one number, or the members of a set.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from sparkds.stats.arguments import between

Array = npt.NDArray[np.float64]
TOLERANCE: Final = 1e-12
"""A sum this close (relative) to the asked share counts as reaching it."""


def selection_stability(selected: npt.ArrayLike) -> float:
    """Stability of M selections among d features, at most 1; about 0 for sets drawn by chance.

    ``1 - mean_f(s_f²) / ((k/d)(1 - k/d))`` with ``s_f² = M/(M-1) p_f (1 - p_f)``, where p_f is the share of the sets that hold feature f
    and k the mean size of a set. For sets of one size it is the mean of Kuncheva's index over all pairs. NaN for fewer than two sets,
    and where all sets are empty or all are whole, since agreement by chance is then certain.

    Parameters
    ----------
    selected : (M, d) bool

    References
    ----------
    Nogueira, Sechidis, Brown (2018), J. Mach. Learn. Res. 18(174), Definition 4.

    Examples
    --------
    >>> selection_stability([[True, True, False, False], [True, True, False, False]])
    1.0
    >>> round(selection_stability([[True, True, False, False], [False, False, True, True]]), 4)
    -1.0
    """
    chosen: Array = np.asarray(selected, dtype=np.float64)
    if chosen.ndim != 2 or chosen.shape[0] < 2 or chosen.shape[1] == 0:
        return math.nan
    m = chosen.shape[0]
    p = chosen.mean(axis=0)
    share = float(p.mean())
    chance = share * (1 - share)
    if chance <= 0:
        return math.nan
    return float(1 - (m / (m - 1) * p * (1 - p)).mean() / chance)


def covering_set(importance: npt.ArrayLike, *, share: float) -> npt.NDArray[np.bool_]:
    """Smallest set of features whose importances come to at least `share` of all that is not negative: (d,) bool.

    Negative importances and NaN count as 0 and are never in the set. Of equal importances the earlier feature is taken first. Empty if
    nothing is positive. A sum that reaches the share exactly is enough.

    Parameters
    ----------
    importance : (d,)
    share : float
        In (0, 1].

    Examples
    --------
    >>> covering_set([0.5, -0.1, 0.4, 0.1], share=0.9).tolist()
    [True, False, True, False]
    """
    between("share", share, 0, 1, closed="high")
    weight = np.maximum(np.nan_to_num(np.asarray(importance, dtype=np.float64), nan=0.0), 0.0)
    chosen = np.zeros(len(weight), dtype=bool)
    total = float(weight.sum())
    if total <= 0:
        return chosen
    order = np.argsort(-weight, kind="stable")
    order = order[weight[order] > 0]
    reached = np.cumsum(weight[order]) >= share * total * (1 - TOLERANCE)
    n = int(np.argmax(reached)) + 1 if reached.any() else len(order)
    chosen[order[:n]] = True
    return chosen


def ranks(importance: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Rank of each feature, 1 for the most important; of equal ones the earlier first; NaN last: (d,).

    Examples
    --------
    >>> ranks([0.1, 0.5, 0.1]).tolist()
    [2, 1, 3]
    """
    given = np.asarray(importance, dtype=np.float64)
    order = np.argsort(-np.where(np.isnan(given), -np.inf, given), kind="stable")
    found = np.empty(len(given), dtype=np.int64)
    found[order] = np.arange(1, len(given) + 1)
    return found
