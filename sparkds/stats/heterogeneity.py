"""Heterogeneity: whether effects differ between segments or over time.

Takes effects with their standard errors, one a segment or day, and tests whether one effect fits all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sparkds.stats.estimate import LN10, log_pvalue
from sparkds.stats.proportions import log_chi2_sf


@dataclass(frozen=True)
class Homogeneity:
    """Cochran's test.

    Attributes
    ----------
    statistic, df, pvalue, log10_pvalue : float
    i_squared : float
        Share of the variation between effects that is not chance, in [0, 1].
    method, reason : str
    """

    statistic: float
    df: int
    pvalue: float
    log10_pvalue: float
    i_squared: float
    method: str = "Cochran's Q"
    reason: str = ""


@dataclass(frozen=True)
class Trend:
    """Weighted straight line.

    Attributes
    ----------
    slope, std_error, pvalue, log10_pvalue : float
        Change of the effect per unit of x; two-sided z-test.
    method, reason : str
    """

    slope: float
    std_error: float
    pvalue: float
    log10_pvalue: float
    method: str = "weighted least squares slope, z"
    reason: str = ""


def cochran_q(values: Sequence[float], std_errors: Sequence[float]) -> Homogeneity:
    """Test that all effects are the same.

    References
    ----------
    Cochran (1954), Biometrics 10, 101-129; Higgins, Thompson (2002), Statist. Med. 21, 1539-1558, for I squared.
    """
    x, weight, known = _weighted(values, std_errors)
    nan = math.nan
    if len(known) < 2:
        return Homogeneity(nan, 0, nan, nan, nan, reason="fewer than two effects with a standard error")
    middle = float((weight * x).sum() / weight.sum())
    q, df = float((weight * (x - middle) ** 2).sum()), len(x) - 1
    log_p = log_chi2_sf(q, df)
    return Homogeneity(q, df, math.exp(log_p), log_p / LN10, max(0.0, (q - df) / q) if q > 0 else 0.0)


def simpson(value: float, pvalue: float, values: Sequence[float], pvalues: Sequence[float], *, alpha: float) -> str:
    """Say how the parts contradict the whole; empty when they do not.

    The whole is significant while every part has the other sign, or while every part that is significant has the other sign and there is
    one; or the whole is not significant while all parts are, with one sign.
    """
    known = [(v, p) for v, p in zip(values, pvalues, strict=True) if math.isfinite(v) and math.isfinite(p)]
    if len(known) < 2 or not (math.isfinite(value) and math.isfinite(pvalue)):
        return ""
    signs = {math.copysign(1, v) for v, _ in known if v != 0}
    strong = {math.copysign(1, v) for v, p in known if p < alpha and v != 0}
    sign = math.copysign(1, value)
    if pvalue < alpha and signs == {-sign}:
        return "every value of the segment has the other sign than the whole"
    if pvalue < alpha and strong == {-sign}:
        return "every significant value of the segment has the other sign than the whole"
    if pvalue >= alpha and len(strong) == 1 and all(p < alpha for _, p in known):
        return "every value of the segment is significant with one sign, the whole is not"
    return ""


def trend(values: Sequence[float], std_errors: Sequence[float], x: Sequence[float]) -> Trend:
    """Slope of effects over `x` with weights ``1 / std_error**2``, errors taken as known."""
    y, weight, known = _weighted(values, std_errors)
    at = np.asarray(x, dtype=np.float64)[known]
    nan = math.nan
    if len(known) < 3 or np.ptp(at) == 0:
        return Trend(nan, nan, nan, nan, reason="fewer than three effects with a standard error")
    middle = float((weight * at).sum() / weight.sum())
    spread = float((weight * (at - middle) ** 2).sum())
    slope, error = float((weight * (at - middle) * y).sum()) / spread, 1 / math.sqrt(spread)
    log_p = log_pvalue(slope / error, sides="two")
    return Trend(slope, error, math.exp(log_p), log_p / LN10)


def _weighted(values: Sequence[float], std_errors: Sequence[float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    x, error = np.asarray(values, dtype=np.float64), np.asarray(std_errors, dtype=np.float64)
    known = np.flatnonzero(np.isfinite(x) & np.isfinite(error) & (error > 0))
    return x[known], 1 / error[known] ** 2, known
