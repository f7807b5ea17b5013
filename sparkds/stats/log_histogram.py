"""Log histogram: a mergeable sketch of a distribution with a bound on the relative error of every quantile.

Takes values to whole-number bins whose counts add over disjoint rows, and bins with counts back to quantiles and shares.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

RELATIVE_ERROR: Final = 5e-4
"""Largest relative error of a quantile."""
_GAMMA: Final = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
_OFFSET: Final = 2**20
"""Bin of the value 1; smaller absolute values have smaller bins, 0 has bin 0, negative values negative bins."""

_SPAN: Final = 2**23
"""More than there are bins: doubles reach 708 / ln(gamma) beyond the offset."""
CLUSTERS: Final = 64
"""Random groups into which units are put where the spread between units must be known and their events are not kept apart."""

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def bins(x: Array) -> Ints:
    """Bin of each value: (n,) int64, ascending with the value.

    References
    ----------
    Masson, Rim, Lee (2019), DDSketch: a fast and fully-mergeable quantile sketch with relative-error guarantees, section 2.1.
    """
    size = np.abs(x)
    with np.errstate(divide="ignore"):
        power = np.ceil(np.log(size) / np.log(_GAMMA))
    number = np.where(size > 0, power + _OFFSET, 0).astype(np.int64)
    signed: Ints = np.where(x < 0, -number, number)
    return signed


def clustered_bins(cluster: Ints, bin_numbers: Ints) -> Ints:
    """One number for a cluster of units and a bin, so that histograms of clusters are kept like one: (n,) int64."""
    return cluster * _SPAN + bin_numbers + _SPAN // 2


def by_cluster(keys: Ints) -> tuple[Ints, Ints]:
    """Cluster and bin of numbers that `clustered_bins` gave."""
    cluster, number = np.divmod(keys, _SPAN)
    return cluster, number - _SPAN // 2


def values(bin_numbers: Ints) -> Array:
    """Value that stands for each bin: (n,), within `RELATIVE_ERROR` of everything in it."""
    power = np.abs(bin_numbers) - _OFFSET
    size = 2 * np.exp(power * np.log(_GAMMA)) / (_GAMMA + 1)
    found: Array = np.where(bin_numbers == 0, 0.0, np.sign(bin_numbers) * size)
    return found


def quantile(bin_numbers: Ints, counts: Ints, share: float) -> float:
    """Smallest value such that at least `share` of the rows are not above it (inverse of the distribution function); NaN without rows.

    Parameters
    ----------
    bin_numbers : (n,) int64
        Ascending, without repetition.
    counts : (n,) int64

    Examples
    --------
    >>> at = bins(np.array([1.0, 2.0, 3.0, 4.0]))
    >>> round(quantile(at, np.ones(4, dtype=np.int64), 0.5), 2)
    2.0
    """
    total = int(counts.sum())
    if total == 0:
        return float("nan")
    rank = min(total, max(1, int(np.ceil(share * total - 1e-9))))
    return float(values(bin_numbers[[int(np.searchsorted(np.cumsum(counts), rank))]])[0])
