"""Shift: how far two samples lie apart, and how far they would by chance, from nothing but counts.

Takes counts by bin or category of a reference and a compared sample and gives distances, their expectation without a shift, and p-values.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import special, stats

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

SMOOTHING: Final = 0.5
"""Added to the count of every group before logarithms are taken, so that an empty one has a finite index (Jeffreys' prior)."""
MOST_GROUPS: Final = 10
LEAST_A_GROUP: Final = 20
"""Rows that each group of `adjacent_groups` would have in the smaller sample if they were equal."""


@dataclass(frozen=True)
class KS:
    """Distance of two binned samples.

    Attributes
    ----------
    distance : float
        Largest difference of the distribution functions at the upper ends of bins; the unbinned distance is at least this.
    bound : float
        The unbinned distance is at most this; equal to `distance` where every bin holds one value.
    pvalue : float
        Asymptotic, of `distance`; conservative for binned and discrete values.
    """

    distance: float
    bound: float
    pvalue: float


def psi(reference: npt.ArrayLike, compared: npt.ArrayLike) -> float:
    """Population stability index ``sum((q - p) ln(q / p))``, the symmetric Kullback-Leibler divergence.

    Parameters
    ----------
    reference, compared : (k,) counts
        ``p = (n_i + 1/2) / (n + k/2)``, and q likewise, so that an empty group has a share above 0.

    Returns
    -------
    float
        NaN for less than two groups or an empty sample.

    References
    ----------
    N. Siddiqi, Credit Risk Scorecards (2006), ch. 9; Jeffreys (1946), Proc. R. Soc. A 186, for the divergence.

    Examples
    --------
    >>> round(psi([50, 50], [80, 20]), 3)
    0.406
    """
    a, b = np.asarray(reference, dtype=np.float64), np.asarray(compared, dtype=np.float64)
    if len(a) < 2 or not a.sum() or not b.sum():
        return math.nan
    p = (a + SMOOTHING) / (a.sum() + SMOOTHING * len(a))
    q = (b + SMOOTHING) / (b.sum() + SMOOTHING * len(b))
    return float(((q - p) * np.log(q / p)).sum())


def expected_psi(n_groups: int, n_reference: float, n_compared: float) -> float:
    """Index to be expected of two samples of one distribution: ``(k - 1) (1/n + 1/m)``.

    References
    ----------
    B. Yurdakul, Statistical Properties of Population Stability Index (2018), section 3: the index divided by ``1/n + 1/m`` is
    asymptotically chi-squared with k - 1 degrees of freedom.

    Examples
    --------
    >>> expected_psi(10, 900, 900)
    0.02
    """
    if not n_reference or not n_compared:
        return math.nan
    return (n_groups - 1) * (1 / n_reference + 1 / n_compared)


def homogeneity_pvalue(reference: npt.ArrayLike, compared: npt.ArrayLike) -> float:
    """Pearson's chi-squared test that two samples are of one distribution over groups; groups empty in both are left out.

    Examples
    --------
    >>> homogeneity_pvalue([50, 50], [50, 50])
    1.0
    """
    table = np.asarray([reference, compared], dtype=np.float64)
    table = table[:, table.sum(axis=0) > 0]
    n = table.sum(axis=1)
    if table.shape[1] < 2 or not n.all():
        return math.nan
    expected = n[:, None] * table.sum(axis=0) / n.sum()
    return float(special.chdtrc(table.shape[1] - 1, ((table - expected) ** 2 / expected).sum()))


def ks(reference: npt.ArrayLike, compared: npt.ArrayLike, *, exact: bool = False) -> KS:
    """Kolmogorov-Smirnov distance of two samples counted over the same ascending bins.

    Parameters
    ----------
    reference, compared : (k,) counts
    exact : bool
        Every bin holds a single value.

    References
    ----------
    Smirnov (1948), Ann. Math. Stat. 19; Noether (1963) for the test's level with ties.
    """
    a, b = np.asarray(reference, dtype=np.float64), np.asarray(compared, dtype=np.float64)
    n, m = a.sum(), b.sum()
    if not len(a) or not n or not m:
        return KS(math.nan, math.nan, math.nan)
    f, g = np.cumsum(a) / n, np.cumsum(b) / m
    distance = float(np.abs(f - g).max())
    below_f, below_g = np.concatenate([[0.0], f[:-1]]), np.concatenate([[0.0], g[:-1]])
    bound = distance if exact else float(np.maximum(f - below_g, g - below_f).max())
    return KS(distance, bound, float(stats.kstwobign.sf(distance * math.sqrt(n * m / (n + m)))))


def adjacent_groups(reference: Ints, n_compared: float) -> Ints:
    """Group of each ascending bin, adjacent bins together, of about equal weight in the reference: (k,) ascending from 0.

    There are at most `MOST_GROUPS`, and no more than give `LEAST_A_GROUP` rows each to the smaller sample.

    Examples
    --------
    >>> adjacent_groups(np.array([100, 100, 100, 100]), 40).tolist()
    [0, 0, 1, 1]
    """
    n = reference.sum()
    n_groups = int(np.clip(min(n, n_compared) // LEAST_A_GROUP, 2, MOST_GROUPS))
    middle = (np.cumsum(reference) - reference / 2) / max(n, 1)
    wanted = np.minimum((middle * n_groups).astype(np.int64), n_groups - 1)
    return np.unique(wanted, return_inverse=True)[1].astype(np.int64)


def frequent_groups(reference: Ints, n_compared: float) -> Ints:
    """Group of each category: the most frequent of the reference have one each, the others share the last one: (k,).

    A category has its own when the smaller sample would have `LEAST_A_GROUP` rows of it; at most `MOST_GROUPS` - 1 have.

    Examples
    --------
    >>> frequent_groups(np.array([3, 500, 497]), 1000).tolist()
    [2, 0, 1]
    """
    n = reference.sum()
    order = np.argsort(-reference, kind="stable")
    enough = reference[order] / max(n, 1) * min(n, n_compared) >= LEAST_A_GROUP
    n_own = int(min(enough.sum(), MOST_GROUPS - 1))
    group = np.full(len(reference), n_own, dtype=np.int64)
    group[order[:n_own]] = np.arange(n_own)
    return group


def added_up(counts: Ints, group: Ints) -> Ints:
    """Counts by group: (n_groups,)."""
    return np.bincount(group, weights=counts).astype(np.int64)


def share_pvalue(x: float, n: float, y: float, m: float) -> float:
    """Two-sided score test that two shares x/n and y/m are equal; NaN without rows, 1 where both are 0 or both 1.

    Examples
    --------
    >>> round(share_pvalue(10, 100, 30, 100), 6)
    0.000407
    """
    if not n or not m:
        return math.nan
    pooled = (x + y) / (n + m)
    if pooled in (0.0, 1.0):
        return 1.0
    z = (x / n - y / m) / math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
    return float(2 * special.ndtr(-abs(z)))


def excess_pvalue(n_found: float, m: float, n_expected: float, n: float) -> float:
    """One-sided score test that the share ``n_found / m`` exceeds ``n_expected / n``.

    Examples
    --------
    >>> excess_pvalue(1, 100, 5, 100) > 0.5
    True
    """
    two = share_pvalue(n_found, m, n_expected, n)
    if math.isnan(two):
        return math.nan
    return two / 2 if n_found / m > n_expected / n else 1 - two / 2


def unseen_share(n_once: float, n: float) -> float:
    """Share of new rows whose category is to be new: the share of rows whose category occurs once.

    References
    ----------
    I. J. Good (1953), The population frequencies of species, Biometrika 40, eq. 9 (with Turing).
    """
    return n_once / n if n else math.nan


def unseen_pvalue(n_unseen: float, m: float, n_once: float, n_twice: float, n: float) -> float:
    """One-sided test that more of m new rows have an unseen category than `unseen_share` of n rows lets expect.

    The variance is that of m draws and that of the expectation itself.

    Parameters
    ----------
    n_unseen : float
        Of the m new rows.
    n_once, n_twice : float
        Categories of the n rows that occur once and twice.

    References
    ----------
    W. W. Esty (1983), A normal limit law for a nonparametric estimator of the coverage of a random sample, Ann. Stat. 11, theorem 1.

    Examples
    --------
    >>> unseen_pvalue(0, 100, 0, 0, 100), unseen_pvalue(30, 100, 0, 0, 1000) < 1e-6
    (1.0, True)
    """
    if not n or not m:
        return math.nan
    pooled = (n_unseen + n_once) / (m + n)
    variance = pooled * (1 - pooled) / m + max(n_once * (1 - n_once / n) + 2 * n_twice, pooled * (1 - pooled) * n) / n**2
    if not variance:
        return 1.0
    return float(special.ndtr(-(n_unseen / m - n_once / n) / math.sqrt(variance)))


def means_pvalue(mean_a: float, var_a: float, n_a: float, mean_b: float, var_b: float, n_b: float) -> float:
    """Two-sided large-sample test (Welch) that two means are equal; NaN for less than two rows or no variance.

    Examples
    --------
    >>> means_pvalue(0, 1, 100, 0, 1, 100)
    1.0
    """
    if min(n_a, n_b) < 2:
        return math.nan
    error = math.sqrt(var_a / n_a + var_b / n_b)
    if not error:
        return 1.0 if mean_a == mean_b else 0.0
    return float(2 * special.ndtr(-abs(mean_a - mean_b) / error))
