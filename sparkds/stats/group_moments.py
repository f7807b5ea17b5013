"""Moments of many groups at once: counts, means and central co-moments of the rows of each group, and their merge.

Takes arrays with a group number a row; nothing is ever a sum of squares, so that large offsets cost no digits.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class GroupMoments(NamedTuple):
    """Moments of g groups of rows with k columns.

    Attributes
    ----------
    n : (g,) int64
    mean : (g, k); 0 for a group without rows
    m2 : (g, k, k), sums of products of deviations from the mean
    """

    n: Ints
    mean: Array
    m2: Array


def grouped(x: Array, group: Ints, n_groups: int) -> GroupMoments:
    """Moments of the rows of each group, in two passes.

    Parameters
    ----------
    x : (n, k)
    group : (n,) int64 in ``0 … n_groups - 1``
    n_groups : int

    Examples
    --------
    >>> found = grouped(np.array([[1.0], [3.0], [5.0]]), np.array([0, 0, 1]), 2)
    >>> found.mean.tolist(), found.m2.ravel().tolist()
    ([[2.0], [5.0]], [2.0, 0.0])
    """
    k = x.shape[1]
    n = np.bincount(group, minlength=n_groups).astype(np.int64)
    mean = np.zeros((n_groups, k))
    for i in range(k):
        mean[:, i] = np.bincount(group, weights=x[:, i], minlength=n_groups)
    np.divide(mean, n[:, None], out=mean, where=n[:, None] > 0)
    deviation = x - mean[group]
    m2 = np.zeros((n_groups, k, k))
    for i in range(k):
        for j in range(i, k):
            m2[:, i, j] = m2[:, j, i] = np.bincount(group, weights=deviation[:, i] * deviation[:, j], minlength=n_groups)
    return GroupMoments(n, mean, m2)


def merged(parts: GroupMoments, into: Ints, n_groups: int) -> GroupMoments:
    """Moments of unions of groups of different rows.

    Parameters
    ----------
    parts : GroupMoments of p groups
    into : (p,) int64
        Union to which each group belongs.
    n_groups : int
        Number of unions.

    References
    ----------
    Chan, Golub, LeVeque (1983), Algorithms for computing the sample variance, eq. 2.1, for many parts at once.
    """
    k = parts.mean.shape[1]
    n = np.zeros(n_groups, dtype=np.int64)
    np.add.at(n, into, parts.n)
    share = np.divide(parts.n, n[into], out=np.zeros(len(into)), where=n[into] > 0)
    mean, m2 = np.zeros((n_groups, k)), np.zeros((n_groups, k, k))
    np.add.at(mean, into, parts.mean * share[:, None])
    apart = parts.mean - mean[into]
    np.add.at(m2, into, parts.m2 + parts.n[:, None, None] * apart[:, :, None] * apart[:, None, :])
    return GroupMoments(n, mean, m2)
