"""Moments of one arm: number of units, means and central co-moments of several columns.

What comes out of the distributed pass and what every test of means, ratios and adjusted means takes in.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Moments:
    """Moments of n rows with k columns.

    Attributes
    ----------
    n : int
    mean : (k,)
    m2 : (k, k)
        Sums of products of deviations from the mean.

    Examples
    --------
    >>> both = Moments.of(np.array([[1.0], [3.0]])) + Moments.of(np.array([[5.0]]))
    >>> both.n, float(both.mean[0]), float(both.cov()[0, 0])
    (3, 3.0, 4.0)
    """

    n: int
    mean: Array
    m2: Array

    @classmethod
    def of(cls, x: Array) -> Moments:
        """Moments of rows: (n, k)."""
        if len(x) == 0:
            return cls.zero(x.shape[1])
        mean = x.mean(axis=0)
        return cls(len(x), mean, (x - mean).T @ (x - mean))

    @classmethod
    def zero(cls, k: int) -> Moments:
        """Moments of no rows."""
        return cls(0, np.zeros(k), np.zeros((k, k)))

    @classmethod
    def of_share(cls, successes: int, n: int) -> Moments:
        """Moments of n values of which `successes` are 1 and the others 0."""
        share = successes / n if n else 0.0
        return cls(n, np.array([share]), np.array([[n * share * (1 - share)]]))

    def __add__(self, other: Moments) -> Moments:
        """Moments of disjoint rows together (Chan, Golub, LeVeque 1983, eq. 2.1)."""
        n = self.n + other.n
        if n == 0:
            return self
        apart = other.mean - self.mean
        return Moments(n, self.mean + apart * (other.n / n), self.m2 + other.m2 + np.outer(apart, apart) * (self.n * other.n / n))

    def cov(self, ddof: int = 1) -> Array:
        """Covariance matrix: (k, k); NaN when there are not more rows than `ddof`."""
        if self.n <= ddof:
            return np.full_like(self.m2, np.nan)
        found: Array = self.m2 / (self.n - ddof)
        return found

    def select(self, columns: Sequence[int]) -> Moments:
        """Moments of some columns."""
        at = list(columns)
        return Moments(self.n, self.mean[at], self.m2[np.ix_(at, at)])


def total(parts: Iterable[Moments], k: int) -> Moments:
    """Moments of all parts together."""
    found = Moments.zero(k)
    for part in parts:
        found = found + part
    return found
