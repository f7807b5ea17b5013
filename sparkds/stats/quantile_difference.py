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
from sparkds.stats.log_histogram import quantile

Sketch = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
SMALLEST_N: Final = 20


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
        reason = "the quantile lies on a value that many units share, so that its error is 0; compare shares or means"
        return not_computable(told, reason, n_control=n_c, n_treatment=n_t)
    value = found[1] - found[0]
    return estimate(value, math.sqrt(variance), alpha=alpha, sides=sides, n_control=n_c, n_treatment=n_t, method=told)
