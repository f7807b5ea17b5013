"""Estimates: an effect with its error, interval and p-value, the one shape of every comparison.

Takes a value with its standard error and gives tests and intervals on the normal or Student's t distribution; p-values are
computed in log space, so that none becomes 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
from scipy import special, stats

from sparkds.stats.arguments import between, one_of

Sides = Literal["two", "greater", "less"]
LN10: Final = math.log(10)


@dataclass(frozen=True)
class Estimate:
    """An effect, or the reason why there is none.

    Attributes
    ----------
    value : float
        Treatment against control.
    std_error : float
    low, high : float
        Interval at the level asked for; infinite on the open side of a one-sided one.
    statistic : float
    pvalue, log10_pvalue : float
        The logarithm is right where the p-value underflows.
    n_control, n_treatment : int
    method : str
    reason : str
        Not empty if and only if the effect is not computable; the numbers are NaN then.
    """

    value: float
    std_error: float
    low: float
    high: float
    statistic: float
    pvalue: float
    log10_pvalue: float
    n_control: int
    n_treatment: int
    method: str
    reason: str = ""


def not_computable(method: str, reason: str, *, n_control: int = 0, n_treatment: int = 0) -> Estimate:
    """Estimate without numbers."""
    nan = math.nan
    return Estimate(nan, nan, nan, nan, nan, nan, nan, n_control, n_treatment, method, reason)


def estimate(
    value: float,
    std_error: float,
    *,
    alpha: float,
    sides: Sides = "two",
    null: float = 0.0,
    df: float = math.inf,
    n_control: int = 0,
    n_treatment: int = 0,
    method: str,
) -> Estimate:
    """Test and interval of a value on Student's t (or the normal) distribution.

    Parameters
    ----------
    value, std_error : float
    alpha : float
        Level; the interval has coverage ``1 - alpha``.
    sides : {"two", "greater", "less"}
        Alternative: different from, above or below `null`.
    null : float
    df : float
        Degrees of freedom; infinite for the normal distribution.

    Examples
    --------
    >>> found = estimate(1.96, 1.0, alpha=0.05, method="z")
    >>> round(found.pvalue, 3), round(found.low, 3)
    (0.05, 0.0)
    """
    between("alpha", alpha, 0, 1)
    one_of("sides", sides, Sides)
    counts = {"n_control": n_control, "n_treatment": n_treatment}
    if not (math.isfinite(value) and math.isfinite(std_error) and math.isfinite(null)):
        return not_computable(method, "the value or its error is not a finite number; look for missing or infinite values", **counts)
    if std_error <= 0:
        return not_computable(method, "the variance is 0: all units have the same value; nothing can be tested", **counts)
    statistic = (value - null) / std_error
    log_p = log_pvalue(statistic, sides=sides, df=df)
    reach = float(stats.t.isf(alpha / 2 if sides == "two" else alpha, df)) * std_error
    low = -math.inf if sides == "less" else value - reach
    high = math.inf if sides == "greater" else value + reach
    return Estimate(value, std_error, low, high, statistic, math.exp(log_p), log_p / LN10, n_control, n_treatment, method)


def log_pvalue(statistic: float, *, sides: Sides, df: float = math.inf) -> float:
    """Natural logarithm of the p-value of a t (or z) statistic."""
    if sides == "two":
        return min(0.0, math.log(2) + log_t_sf(abs(statistic), df))
    return log_t_sf(statistic if sides == "greater" else -statistic, df)


def log_t_sf(t: float, df: float) -> float:
    """Logarithm of the chance that Student's t exceeds `t`, finite however far in the tail.

    Where the chance is too small for a double, the integral over the tail is taken relative to the density at `t`: the series of
    the incomplete beta function where ``df / (df + t**2)`` is below 0.9 (DLMF 8.17.8), else Gauss-Laguerre quadrature, since
    the tail is nearly exponential there.

    Examples
    --------
    >>> round(log_t_sf(50.0, float("inf")) / LN10, 3)
    -544.966
    """
    if math.isinf(df):
        return float(special.log_ndtr(-t))
    chance = float(stats.t.sf(t, df))
    if chance > 1e-280 or t < 0:
        return math.log(chance) if chance > 0 else -math.inf
    x = df / (df + t * t)
    if x < 0.9:
        total, term, k = 1.0, 1.0, 0
        while term > 1e-17 * total:
            term *= (df / 2 + 0.5 + k) / (df / 2 + 1 + k) * x
            total += term
            k += 1
        front = df / 2 * math.log(x) + 0.5 * math.log1p(-x) - math.log(df / 2) - float(special.betaln(df / 2, 0.5))
        return front + math.log(total) - math.log(2)
    nodes, weights = np.polynomial.laguerre.laggauss(60)
    scale = (df + t * t) / ((df + 1) * t)
    u = scale * nodes
    relative = np.exp(nodes - (df + 1) / 2 * np.log1p((2 * t * u + u * u) / (df + t * t)))
    return float(stats.t.logpdf(t, df)) + math.log(scale) + math.log(float(weights @ relative))


def on_ratio_scale(logarithm: Estimate) -> Estimate:
    """Estimate of a relative change (ratio - 1) from that of a log ratio; the error is by the delta method."""
    if logarithm.reason:
        return logarithm
    ratio = math.exp(logarithm.value)
    low = math.expm1(logarithm.low) if logarithm.low > -math.inf else -math.inf  # an open end stays open
    high = math.expm1(logarithm.high) if logarithm.high < 700 else math.inf
    return replace(logarithm, value=math.expm1(logarithm.value), std_error=ratio * logarithm.std_error, low=low, high=high)


def noninferiority(effect: Estimate, *, margin: float, increase_is_better: bool, alpha: float, df: float = math.inf) -> Estimate:
    """Test that the effect is not worse than `margin`: one-sided, with the one-sided interval at ``1 - alpha``.

    Parameters
    ----------
    effect : Estimate
        Only its value, error and counts are used.
    margin : float
        Above 0, in the units of the effect.

    References
    ----------
    Wellek (2010), Testing statistical hypotheses of equivalence and noninferiority, section 2.2.
    """
    between("margin", margin, 0, math.inf)
    if effect.reason:
        return effect
    null, sides = (-margin, "greater") if increase_is_better else (margin, "less")
    told = f"{effect.method}, non-inferiority with margin {margin:g}"
    return estimate(
        effect.value,
        effect.std_error,
        alpha=alpha,
        sides="greater" if sides == "greater" else "less",
        null=null,
        df=df,
        n_control=effect.n_control,
        n_treatment=effect.n_treatment,
        method=told,
    )


def equivalence(effect: Estimate, *, margin: float, alpha: float, df: float = math.inf) -> Estimate:
    """Two one-sided tests that the effect lies within ± `margin`; the p-value is the larger, the interval has level ``1 - 2 alpha``.

    References
    ----------
    Schuirmann (1987), J. Pharmacokin. Biopharm. 15, 657-680.
    """
    between("margin", margin, 0, math.inf)
    if effect.reason:
        return effect
    counts = {"n_control": effect.n_control, "n_treatment": effect.n_treatment}
    told = f"{effect.method}, equivalence within {margin:g} (TOST)"
    above = estimate(effect.value, effect.std_error, alpha=alpha, sides="greater", null=-margin, df=df, method=told, **counts)
    below = estimate(effect.value, effect.std_error, alpha=alpha, sides="less", null=margin, df=df, method=told, **counts)
    if above.reason:
        return above
    worse = above if above.log10_pvalue > below.log10_pvalue else below
    return replace(worse, low=above.low, high=below.high)
