"""Moments: means, central moments to the fourth, and co-moments of pairs of columns, from blocks of rows that add.

Takes arrays of one block and gives states that merge by pairwise updates; never a sum of squares of raw values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

BLOCK: Final = 256
"""Columns of a block of the co-moment matrix."""
PAIR_FIELDS: Final = ("n", "mean", "other_mean", "m2", "other_m2", "comoment")


@dataclass(frozen=True)
class Central:
    """Central moments of n values.

    Attributes
    ----------
    n : int
    mean : float
    m2, m3, m4 : float
        Sums of powers of deviations from the mean.

    Examples
    --------
    >>> both = Central.of(np.array([1.0, 3.0])) + Central.of(np.array([5.0]))
    >>> both.n, both.mean, both.m2
    (3, 3.0, 8.0)
    """

    n: int = 0
    mean: float = 0.0
    m2: float = 0.0
    m3: float = 0.0
    m4: float = 0.0

    @classmethod
    def of(cls, x: Floats) -> Central:
        """Moments of finite values: (n,)."""
        if not len(x):
            return cls()
        with np.errstate(over="ignore", invalid="ignore"):
            mean = float(x.mean())
            d = x - mean
            square = d * d
            return cls(len(x), mean, float(d @ d), float(square @ d), float(square @ square))

    def __add__(self, other: Central) -> Central:
        """Moments of disjoint rows together.

        References
        ----------
        Pébay (2008), Formulas for robust, one-pass parallel computation of covariances and arbitrary-order statistical moments,
        eq. 1.5, 1.6 and 2.1.
        """
        if other.n == 0:
            return self
        if self.n == 0:
            return other
        a, b = float(self.n), float(other.n)
        n, d = a + b, other.mean - self.mean
        with np.errstate(over="ignore", invalid="ignore"):
            return Central(
                self.n + other.n,
                self.mean + d * (b / n),
                self.m2 + other.m2 + float(np.float64(d) * d * (a * b / n)),
                self.m3
                + other.m3
                + float(np.float64(d) ** 3 * (a * b * (a - b) / n**2))
                + float(3 * np.float64(d) * (a * other.m2 - b * self.m2) / n),
                self.m4
                + other.m4
                + float(np.float64(d) ** 4 * (a * b * (a * a - a * b + b * b) / n**3))
                + float(6 * np.float64(d) ** 2 * (a * a * other.m2 + b * b * self.m2) / n**2)
                + float(4 * np.float64(d) * (a * other.m3 - b * self.m3) / n),
            )

    @property
    def sd(self) -> float:
        """Standard deviation with n - 1; NaN for fewer than two values."""
        return float(np.sqrt(self.m2 / (self.n - 1))) if self.n > 1 else float("nan")

    @property
    def skewness(self) -> float:
        """g1 = (m3/n) / (m2/n)^1.5, the biased one; NaN where nothing varies."""
        if self.n == 0 or not self.m2 > 0:
            return float("nan")
        with np.errstate(over="ignore", under="ignore", invalid="ignore", divide="ignore"):
            return float(np.float64(self.m3 / self.n) / np.float64(self.m2 / self.n) ** 1.5)

    @property
    def kurtosis(self) -> float:
        """g2 = (m4/n) / (m2/n)^2 - 3, the biased excess; NaN where nothing varies."""
        if self.n == 0 or not self.m2 > 0:
            return float("nan")
        with np.errstate(over="ignore", under="ignore", invalid="ignore", divide="ignore"):
            return float(np.float64(self.m4 / self.n) / np.float64(self.m2 / self.n) ** 2) - 3


@dataclass(frozen=True, eq=False)
class Pairs:
    """Co-moments of one column with others, over the rows in which both have a value (pairwise deletion).

    Attributes
    ----------
    others : (k,) int64
        Numbers that name the other columns, ascending.
    values : (6, k)
        `PAIR_FIELDS`: rows, mean of the column and of the other one, their sums of squared deviations, and of products.
    """

    others: npt.NDArray[np.int64]
    values: Floats

    @classmethod
    def none(cls) -> Pairs:
        """No rows."""
        return cls(np.zeros(0, np.int64), np.zeros((6, 0)))

    def __add__(self, other: Pairs) -> Pairs:
        """Co-moments of disjoint rows together."""
        if not len(other.others):
            return self
        if not len(self.others):
            return other
        others = np.union1d(self.others, other.others)
        return Pairs(others, merged_pairs(self._on(others), other._on(others)))

    def _on(self, others: npt.NDArray[np.int64]) -> Floats:
        if len(others) == len(self.others):
            return self.values
        found = np.zeros((6, len(others)))
        found[:, np.searchsorted(others, self.others)] = self.values
        return found

    @property
    def pearson(self) -> Floats:
        """Pearson's correlation with each other column: (k,); NaN where one of the two does not vary."""
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            scale = np.sqrt(self.values[3]) * np.sqrt(self.values[4])
            r = np.where((self.values[3] > 0) & (self.values[4] > 0), self.values[5] / scale, np.nan)
        found: Floats = np.clip(r, -1, 1)
        return found


def merged_pairs(a: Floats, b: Floats) -> Floats:
    """Co-moments of disjoint rows together: (6, ...) each (Chan, Golub, LeVeque 1983, eq. 2.1, pair by pair)."""
    n = a[0] + b[0]
    share = np.divide(b[0], n, out=np.zeros_like(n), where=n > 0)
    d, e = b[1] - a[1], b[2] - a[2]
    weight = a[0] * share
    with np.errstate(over="ignore", invalid="ignore"):
        m2, other_m2 = a[3] + b[3] + d * d * weight, a[4] + b[4] + e * e * weight
        return np.stack((n, a[1] + d * share, a[2] + e * share, m2, other_m2, a[5] + b[5] + d * e * weight))


def comoments(z: Floats, shift: Floats, holed: npt.NDArray[np.int64], present: Bools) -> Floats:
    """Co-moments of all pairs of columns of a block of rows: (6, q, q) as `PAIR_FIELDS`.

    Parameters
    ----------
    z : (q, r)
        Values less `shift`; 0 where there is none.
    shift : (q,)
        Near the means, so that nothing cancels.
    holed : (h,) int64
        Columns that have no value in some rows.
    present : (h, r) bool
        Where these have values.
    """
    q = len(z)
    found = np.empty((6, q, q))
    square = z * z
    n, total, other_total, squares, other_squares = _sums(z, square, holed, present)
    per = np.divide(1.0, n, out=np.zeros_like(n), where=n > 0)
    for low in range(0, q, BLOCK):  # blocks, so that what is held beside the matrix stays small
        for left in range(0, q, BLOCK):
            i, j = slice(low, low + BLOCK), slice(left, left + BLOCK)
            found[5, i, j] = z[i] @ z[j].T - total[i, j] * other_total[i, j] * per[i, j]
    found[0] = n
    found[1] = np.where(n > 0, shift[:, None] + total * per, 0.0)
    found[2] = np.where(n > 0, shift[None, :] + other_total * per, 0.0)
    found[3] = np.maximum(squares - total * total * per, 0)
    found[4] = np.maximum(other_squares - other_total * other_total * per, 0)
    return found


def _sums(z: Floats, square: Floats, holed: npt.NDArray[np.int64], present: Bools) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """Rows of each pair, and sums and sums of squares of both over them: (q, q) each; only columns with holes need products."""
    q, r = z.shape
    n = np.full((q, q), float(r))
    total, squares = (np.repeat(x.sum(axis=1)[:, None], q, axis=1) for x in (z, square))
    if len(holed):
        m = present.astype(np.float64)
        n[holed, :] = m.sum(axis=1)[:, None]
        n[:, holed] = m.sum(axis=1)[None, :]
        n[np.ix_(holed, holed)] = m @ m.T
        total[:, holed] = z @ m.T
        squares[:, holed] = square @ m.T
    return n, total, total.T, squares, squares.T
