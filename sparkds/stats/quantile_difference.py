"""Quantile difference: a quantile of the treatment minus that of the control, from mergeable sketches.

Takes log histograms of the units' values; the error comes from the ranks between which the quantile lies (Woodruff).
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import special

from sparkds.stats.arguments import between
from sparkds.stats.estimate import Estimate, Sides, estimate, not_computable
from sparkds.stats.log_histogram import CLUSTERS, by_cluster, quantile

Sketch = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
SMALLEST_N: Final = 20
SHARED: Final = "the quantile lies on a value that many {} share, so that its error is 0; compare shares or means"


def quantile_difference(control: Sketch, treatment: Sketch, *, share: float, alpha: float, sides: Sides = "two") -> Estimate:
    """Difference of a quantile between two arms, on the normal distribution.

    Parameters
    ----------
    control, treatment : (bins, counts)
        Log histograms, bins ascending; values are right within the histogram's relative error.
    share : float
        Share of units below the quantile.

    Notes
    -----
    Per arm the ranks ``share ± z sqrt(share (1 - share) / n)`` bound the quantile; its standard error is the distance of the values
    at these ranks divided by 2 z, with z of the level asked for.

    References
    ----------
    Woodruff (1952), J. Am. Stat. Assoc. 47, 635-646; Francisco, Fuller (1991), Ann. Stat. 19, 454-469.
    """
    between("share", share, 0, 1)
    between("alpha", alpha, 0, 1)
    told = f"difference of the {share:g} quantiles, Woodruff's error"
    n_c, n_t = (int(counts.sum()) for _, counts in (control, treatment))
    if min(n_c, n_t) < SMALLEST_N:
        reason = f"an arm has {min(n_c, n_t)} units; a quantile's error needs at least {SMALLEST_N} in each"
        return not_computable(told, reason, n_control=n_c, n_treatment=n_t)
    z = float(-special.ndtri(alpha / 2))
    found, variance = [], 0.0
    for bins, counts in (control, treatment):
        n = int(counts.sum())
        reach = z * math.sqrt(share * (1 - share) / n)
        if share - reach <= 0 or share + reach >= 1:
            return not_computable(
                told, "too few units beyond the quantile; wait, or take a less extreme one", n_control=n_c, n_treatment=n_t
            )
        low, high = quantile(bins, counts, share - reach), quantile(bins, counts, share + reach)
        found.append(quantile(bins, counts, share))
        variance += ((high - low) / (2 * z)) ** 2
    if variance == 0:
        return not_computable(told, SHARED.format("units"), n_control=n_c, n_treatment=n_t)
    value = found[1] - found[0]
    return estimate(value, math.sqrt(variance), alpha=alpha, sides=sides, n_control=n_c, n_treatment=n_t, method=told)


def clustered_quantile_difference(
    control: Sketch, treatment: Sketch, *, share: float, n: tuple[int, int], alpha: float, sides: Sides = "two"
) -> Estimate:
    """Difference of a quantile over events, whose units are the independent ones.

    Parameters
    ----------
    control, treatment : (keys, counts)
        Histograms of events by cluster of units (`sparkds.stats.log_histogram.clustered_bins`).
    share : float
        Share of events below the quantile.
    n : (int, int)
        Units of control and treatment.

    Notes
    -----
    The share of events up to the quantile is a ratio of sums over units. The variance of ``sum(1[x <= q] - share)`` is that between the
    sums of `CLUSTERS` random groups of units, times their number; the interval of the share is turned into one of the quantile as
    in `quantile_difference`, on the normal distribution.

    References
    ----------
    Deng, Knoblich, Lu (2018), Applying the delta method in metric analytics, section 4; Woodruff (1952).
    """
    between("share", share, 0, 1)
    between("alpha", alpha, 0, 1)
    told = f"difference of the {share:g} quantiles of events, clustered by unit"
    counts = {"n_control": n[0], "n_treatment": n[1]}
    if min(n) < CLUSTERS * 2:
        return not_computable(told, f"an arm has {min(n)} units; the spread between units needs at least {CLUSTERS * 2} in each", **counts)
    z = float(-special.ndtri(alpha / 2))
    found, variance = [], 0.0
    for keys, many in (control, treatment):
        cluster, number = by_cluster(keys)
        bins, place = np.unique(number, return_inverse=True)
        total = np.bincount(place, weights=many, minlength=len(bins)).astype(np.int64)
        at = quantile(bins, total, share)
        below = number <= bins[np.searchsorted(np.cumsum(total), max(1, math.ceil(share * total.sum() - 1e-9)))]
        excess = np.bincount(cluster, weights=many * (below - share), minlength=CLUSTERS)
        error = math.sqrt(CLUSTERS * float(np.var(excess, ddof=1))) / float(total.sum())
        if error == 0 or share - z * error <= 0 or share + z * error >= 1:
            return not_computable(told, "too few events beyond the quantile; wait, or take a less extreme one", **counts)
        found.append(at)
        variance += ((quantile(bins, total, share + z * error) - quantile(bins, total, share - z * error)) / (2 * z)) ** 2
    if variance == 0:
        return not_computable(
            told, "the quantile lies on a value that many events share, so that its error is 0; compare shares or means", **counts
        )
    return estimate(found[1] - found[0], math.sqrt(variance), alpha=alpha, sides=sides, method=told, **counts)
