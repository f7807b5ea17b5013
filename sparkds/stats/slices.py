"""Slices: where a model is worst, from the moments of its loss by slice of the rows.

Takes number, mean and sum of squares of the loss of each slice and of all rows, and ranks the slices whose loss is higher than that of the
other rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from sparkds.stats.arguments import between
from sparkds.stats.estimate import estimate
from sparkds.stats.group_moments import GroupMoments
from sparkds.stats.multiplicity import adjust

METHOD: Final = "loss of the slice minus that of the other rows, one-sided Welch t, Benjamini-Hochberg over all slices tested"


@dataclass(frozen=True)
class Slice:
    """One slice against all other rows.

    Attributes
    ----------
    group, value : str
        Column (or columns joined by ×) and value.
    n : int
    mean, other_mean : float
        Mean loss inside and outside.
    difference, low : float
        Inside minus outside, and the lower end of its one-sided interval (not corrected).
    effect_size : float
        Difference by the pooled standard deviation (Cohen's d).
    pvalue : float
        That the slice is not worse, one-sided, corrected over all slices that were tested.
    excess : float
        Share of the total loss that would vanish if the slice had the loss of the other rows.
    """

    group: str
    value: str
    n: int
    mean: float
    other_mean: float
    difference: float
    low: float
    effect_size: float
    pvalue: float
    excess: float


def worst_slices(
    names: Sequence[tuple[str, str]], slices: GroupMoments, whole: GroupMoments, *, least: int = 100, alpha: float = 0.05, most: int = 20
) -> list[Slice]:
    """Slices with a higher loss than the other rows, the largest difference first.

    Parameters
    ----------
    names : (g,) sequence of (group, value)
    slices : GroupMoments of g slices with k = 1
        Of the loss; slices may overlap.
    whole : GroupMoments of 1 group
        Of all rows.
    least : int
        Smallest number of rows inside, and outside, of a slice that is tested.
    alpha : float
        False discovery rate below which a slice is given.
    most : int
        Slices that are given.

    References
    ----------
    Welch (1947); Chung, Kraska, Polyzotis, Tae, Whang (2019), Slice Finder, for the ranking by effect among the significant ones.

    Examples
    --------
    >>> from sparkds.stats.group_moments import grouped
    >>> x = np.concatenate([np.linspace(0, 1, 200), np.linspace(1, 2, 100)])[:, None]
    >>> at = np.repeat([0, 1], [200, 100])
    >>> [s.value for s in worst_slices([("g", "a"), ("g", "b")], grouped(x, at, 2), grouped(x, 0 * at, 1), least=50)]
    ['b']
    """
    between("least", least, 2, math.inf, closed="low")
    n_all, mean_all, m2_all = int(whole.n[0]), float(whole.mean[0, 0]), float(whole.m2[0, 0, 0])
    tested = []
    for i, (group, value) in enumerate(names):
        n, mean, m2 = int(slices.n[i]), float(slices.mean[i, 0]), float(slices.m2[i, 0, 0])
        n_other = n_all - n
        if n < least or n_other < least:
            continue
        other = mean_all + (mean_all - mean) * n / n_other
        m2_other = max(0.0, m2_all - m2 - (mean - other) ** 2 * n * n_other / n_all)
        a, b = m2 / (n - 1) / n, m2_other / (n_other - 1) / n_other
        error = math.sqrt(a + b)
        if error == 0:
            continue
        df = (a + b) ** 2 / (a**2 / (n - 1) + b**2 / (n_other - 1))
        found = estimate(mean - other, error, alpha=alpha, sides="greater", df=df, method=METHOD)
        spread = math.sqrt((m2 + m2_other) / (n_all - 2))
        excess = n * (mean - other) / (n_all * mean_all) if mean_all > 0 else math.nan
        tested.append(Slice(group, value, n, mean, other, found.value, found.low, found.value / spread, found.pvalue, excess))
    corrected = adjust([s.pvalue for s in tested], method="bh", alpha=alpha).pvalues
    kept = [
        Slice(**{**vars(s), "pvalue": float(p)})
        for s, p in zip(tested, np.atleast_1d(corrected), strict=True)
        if p < alpha and s.difference > 0
    ]
    return sorted(kept, key=lambda s: (-s.difference, s.group, s.value))[:most]
