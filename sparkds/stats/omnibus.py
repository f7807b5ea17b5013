"""Omnibus tests: whether any arm differs from any other, before pairs are looked at.

Takes the moments of all arms and gives one statistic and p-value for means or ratios of means.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from sparkds.stats.arguments import one_of
from sparkds.stats.moments import Moments
from sparkds.stats.proportions import log_chi2_sf

Of = Literal["mean", "ratio"]


@dataclass(frozen=True)
class Omnibus:
    """Test of several arms together.

    Attributes
    ----------
    statistic : float
    df : tuple of float
        Degrees of freedom: of the numerator and denominator of F, or of chi-square.
    pvalue, log10_pvalue : float
    method : str
    reason : str
        Not empty if and only if there is no test.
    """

    statistic: float
    df: tuple[float, ...]
    pvalue: float
    log10_pvalue: float
    method: str
    reason: str = ""


def several_arms(arms: Sequence[Moments], *, of: Of = "mean") -> Omnibus:
    """Welch's analysis of variance of means, or Wald's chi-square of ratios by the delta method.

    Parameters
    ----------
    arms : sequence of Moments
        At least two; over the columns value, or numerator and denominator. Further columns are left aside.
    of : {"mean", "ratio"}

    References
    ----------
    Welch (1951), On the comparison of several mean values, Biometrika 38, 330-336.

    Examples
    --------
    >>> arms = [Moments.of(np.array([[1.0], [2.0], [3.0]]) + shift) for shift in (0, 0, 3)]
    >>> round(several_arms(arms).pvalue, 3)
    0.042
    """
    one_of("of", of, Of)
    method = "Welch's analysis of variance" if of == "mean" else "chi-square of ratios over the arms, delta method"
    nan = math.nan
    if len(arms) < 2 or any(m.n < 2 for m in arms):
        return Omnibus(nan, (), nan, nan, method, "an arm has fewer than 2 units; a test of all arms needs 2 in each")
    if of == "ratio" and any(m.mean[1] == 0 for m in arms):
        return Omnibus(nan, (), nan, nan, method, "the denominators of an arm sum to 0; a ratio is not defined")
    value, variance = np.array([_value(m, of) for m in arms]).T
    if not (np.isfinite(value).all() and (variance > 0).all()):
        return Omnibus(nan, (), nan, nan, method, "an arm has variance 0 or moments that are not finite; nothing can be tested")
    n, k = np.array([m.n for m in arms], dtype=np.float64), len(arms)
    weight = 1 / variance
    share = weight / weight.sum()
    between = float(weight @ (value - share @ value) ** 2)
    if of == "ratio":
        log_p = log_chi2_sf(between, k - 1)
        return Omnibus(between, (float(k - 1),), math.exp(log_p), log_p / math.log(10), method)
    spread = float(((1 - share) ** 2 / (n - 1)).sum())
    statistic = between / (k - 1) / (1 + 2 * (k - 2) / (k * k - 1) * spread)
    df = (float(k - 1), (k * k - 1) / (3 * spread))
    log_p = float(stats.f.logsf(statistic, *df))
    if not math.isfinite(log_p):  # too far in the tail for a double: from above by chi-square, the limit of many units
        log_p = log_chi2_sf(statistic * (k - 1), k - 1)
    return Omnibus(statistic, df, math.exp(log_p), log_p / math.log(10), method)


def _value(moments: Moments, of: Of) -> tuple[float, float]:
    """Value of an arm and its variance, ddof 1."""
    if of == "mean":
        return float(moments.mean[0]), float(moments.cov()[0, 0]) / moments.n
    ratio = float(moments.mean[0] / moments.mean[1])
    a = np.array([1.0, -ratio]) / moments.mean[1]
    return ratio, float(a @ moments.cov()[:2, :2] @ a) / moments.n
