"""Multiplicity: p-values corrected over a family, with the level at which each decision is taken.

Takes the p-values of a family and gives corrected ones, and levels for intervals that agree with the decisions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from sparkds.stats.arguments import between, one_of

Method = Literal["none", "bonferroni", "sidak", "holm", "holm_sidak", "hochberg", "bh", "by"]
Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Adjusted:
    """Corrected family.

    Attributes
    ----------
    pvalues : (m,)
        Corrected; NaN where none was given.
    reject : (m,) bool
        Whether the corrected p-value is below alpha.
    levels : (m,)
        Level for an interval of each hypothesis: at ``1 - level`` it leaves out the null if and only if the hypothesis is rejected.
    """

    pvalues: Array
    reject: npt.NDArray[np.bool_]
    levels: Array


def adjust(pvalues: Sequence[float], *, method: Method, alpha: float) -> Adjusted:
    """Correct the p-values of a family.

    Parameters
    ----------
    pvalues : (m,) sequence of float
        NaN for what is not computable; it is no part of the family.
    method : str
        Family-wise: ``bonferroni``, ``sidak`` (independent), ``holm``, ``holm_sidak``, ``hochberg`` (independent or positively dependent);
        false discovery rate: ``bh`` (likewise), ``by`` (any dependence); ``none``.
    alpha : float

    Notes
    -----
    Levels: single-step methods have one for all. Step methods have, for a rejected hypothesis, the critical value that the procedure
    compared it with (step-up methods: the one of the last rejected), and for the others the first one that was not met; the
    simultaneous coverage of intervals at such levels is that of the false coverage rate (Benjamini, Yekutieli 2005) for ``bh`` and ``by``,
    and not proven for the step-wise family-wise methods.

    References
    ----------
    Holm (1979); Hochberg (1988); Benjamini, Hochberg (1995); Benjamini, Yekutieli (2001).

    Examples
    --------
    >>> adjust([0.01, 0.04], method="holm", alpha=0.05).pvalues.tolist()
    [0.02, 0.04]
    """
    one_of("method", method, Method)
    between("alpha", alpha, 0, 1)
    given = np.asarray(pvalues, dtype=np.float64)
    known = np.flatnonzero(~np.isnan(given))
    corrected, levels = np.full(len(given), math.nan), np.full(len(given), math.nan)
    m = len(known)
    if m:
        order = known[np.argsort(given[known], kind="stable")]
        p = given[order]
        rank = np.arange(1, m + 1)
        left = m - rank + 1
        critical: Array
        if method in ("none", "bonferroni", "sidak"):
            found, critical = _single_step(p, m, method, alpha)
        elif method in ("holm", "holm_sidak"):
            raw = p * left if method == "holm" else -np.expm1(left * np.log1p(-np.minimum(p, 1 - 1e-16)))
            found = np.maximum.accumulate(raw)
            critical = alpha / left if method == "holm" else -np.expm1(np.log1p(-alpha) / left)
        else:
            factor = {"hochberg": left.astype(np.float64), "bh": m / rank, "by": m / rank * (1 / rank).sum()}[method]
            found = np.minimum.accumulate((p * factor)[::-1])[::-1]
            critical = alpha / factor
        found = np.minimum(found, 1.0)
        n_rejected = int((found < alpha).sum())
        corrected[order] = found
        levels[order] = _levels(method, critical, n_rejected, m)
    with np.errstate(invalid="ignore"):
        return Adjusted(corrected, corrected < alpha, levels)


def _single_step(p: Array, m: int, method: Method, alpha: float) -> tuple[Array, Array]:
    if method == "none":
        return p, np.full(m, alpha)
    if method == "bonferroni":
        return p * m, np.full(m, alpha / m)
    return -np.expm1(m * np.log1p(-np.minimum(p, 1 - 1e-16))), np.full(m, -math.expm1(math.log1p(-alpha) / m))


def _levels(method: Method, critical: Array, n_rejected: int, m: int) -> Array:
    """Level of each hypothesis, ascending by p-value."""
    if method in ("none", "bonferroni", "sidak"):
        return critical
    if method in ("holm", "holm_sidak"):
        at_decision: Array = np.where(np.arange(m) < n_rejected, critical, critical[min(n_rejected, m - 1)])
        return at_decision
    if n_rejected == 0:
        return np.full(m, float(critical.min()))
    return np.full(m, critical[n_rejected - 1])
