"""Value bins: a mergeable histogram whose bins follow from the bits of a double, so that no logarithm is taken.

Takes values to whole-number bins that ascend with the value and whose counts add, and bins with counts back to quantiles and bars.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

MANTISSA_BITS: Final = 6
RELATIVE_ERROR: Final = 2.0 ** -(MANTISSA_BITS + 1)
"""Largest relative error of the value that stands for a bin."""
_SHIFT: Final = 52 - MANTISSA_BITS
_SIZE: Final = np.int64(2**63 - 1)
DENSE_SPAN: Final = 2**18

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def bins_of(x: Floats, *, signed: bool = True) -> Ints:
    """Bin of each finite value: (n,) int64, ascending with the value; 0 for 0.

    A bin holds the values of one sign that share exponent and leading 6 bits of the mantissa, so that its bounds are
    at most 1/64 apart, relatively; a form of the exponent-and-mantissa buckets of HDR histograms.

    Parameters
    ----------
    x : (n,)
    signed : bool
        False where no value is below 0.
    """
    bits = x.view(np.int64)
    size: Ints = bits & _SIZE  # -0 is 0
    size >>= _SHIFT
    if signed and len(x) and bits.min() < 0:
        np.negative(size, out=size, where=bits < 0)
    return size


def bounds(bins: Ints) -> tuple[Floats, Floats]:
    """Smallest and largest absolute value of each bin."""
    size = np.abs(bins)
    low = (size << _SHIFT).view(np.float64)
    high = (((size + 1) << _SHIFT) - 1).view(np.float64)
    return low, np.where(bins == 0, 0.0, high)


def values_of(bins: Ints, *, whole: bool = False) -> Floats:
    """Value that stands for each bin: (n,), within `RELATIVE_ERROR` of everything in it.

    Parameters
    ----------
    bins : (n,) int64
    whole : bool
        The values are whole numbers: a bin with one whole number in it stands for that, exactly.
    """
    low, high = bounds(bins)
    middle = low + (high - low) / 2
    if whole:
        first, last = np.ceil(low), np.floor(high)
        middle = np.where(first >= last, first, np.round(middle))
    found: Floats = np.where(bins < 0, -middle, np.where(bins == 0, 0.0, middle))
    return found


def summed(keys: npt.NDArray[Any], counts: Ints) -> tuple[npt.NDArray[Any], Ints]:
    """Counts of equal keys together, by ascending key; fast where the keys are a few ascending runs."""
    if not len(keys):
        return keys, counts
    order = np.argsort(keys, kind="stable")
    in_order = keys[order]
    first = np.flatnonzero(np.concatenate(([True], in_order[1:] != in_order[:-1])))
    return in_order[first], np.add.reduceat(counts[order], first)


@dataclass(frozen=True, eq=False)
class BinCounts:
    """Counts by bin.

    Attributes
    ----------
    bins : (k,) int64
        Ascending, without repetition.
    counts : (k,) int64
    """

    bins: Ints
    counts: Ints

    @classmethod
    def none(cls) -> BinCounts:
        """No rows."""
        return cls(np.zeros(0, np.int64), np.zeros(0, np.int64))

    @classmethod
    def of(cls, bins: Ints, *, first: int | None = None, last: int | None = None) -> BinCounts:
        """Counts of bins as they come; `first` and `last` are the outer ones, where they are known.

        Examples
        --------
        >>> BinCounts.of(np.array([3, 1, 3])).counts.tolist()
        [1, 2]
        """
        if not len(bins):
            return cls.none()
        first = int(bins.min()) if first is None else first
        last = int(bins.max()) if last is None else last
        if last - first > DENSE_SPAN:
            found, counts = np.unique(bins, return_counts=True)
            return cls(found, counts.astype(np.int64))
        dense = np.bincount(bins - first)
        at = np.flatnonzero(dense)
        return cls(at + first, dense[at].astype(np.int64))

    def __add__(self, other: BinCounts) -> BinCounts:
        """Counts of disjoint rows together."""
        if not len(other.bins):
            return self
        if not len(self.bins):
            return other
        return BinCounts(*summed(np.concatenate((self.bins, other.bins)), np.concatenate((self.counts, other.counts))))

    @property
    def n(self) -> int:
        """Number of rows."""
        return int(self.counts.sum())

    def places(self, shares: tuple[float, ...]) -> Ints:
        """Bin of each quantile: the first such that at least a share of the rows are not above it. There are rows."""
        ranks = np.clip(np.ceil(np.asarray(shares) * self.n - 1e-9), 1, self.n)
        found: Ints = self.bins[np.searchsorted(np.cumsum(self.counts), ranks)]
        return found
