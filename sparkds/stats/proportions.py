"""Proportions: difference and ratio of two shares, tested and bounded in the ways that the field uses.

Takes successes and units of a control and a treatment; every result names its test and its interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
from scipy import optimize, special, stats

from sparkds.stats.arguments import between, one_of
from sparkds.stats.estimate import LN10, Estimate, Sides, estimate, log_pvalue, not_computable, on_ratio_scale

Interval = Literal["wald", "newcombe", "agresti_caffo", "miettinen_nurminen"]
Variance = Literal["pooled", "unpooled"]
Exact = Literal["fisher", "boschloo", "barnard"]
CONSTANT: Final = "the variance is 0: all units have the same value; nothing can be tested"


def two_proportions(
    x_c: int,
    n_c: int,
    x_t: int,
    n_t: int,
    *,
    alpha: float,
    sides: Sides = "two",
    variance: Variance = "pooled",
    continuity: bool = False,
    interval: Interval = "newcombe",
    null: float = 0.0,
) -> Estimate:
    """Difference of two shares, treatment minus control.

    Parameters
    ----------
    x_c, n_c, x_t, n_t : int
        Successes and units of control and treatment.
    alpha : float
    sides : {"two", "greater", "less"}
    variance : {"pooled", "unpooled"}
        Under the test. ``pooled`` needs `null` 0.
    continuity : bool
        Subtract ``(1 / n_c + 1 / n_t) / 2`` from the size of the difference (Yates).
    interval : {"wald", "newcombe", "agresti_caffo", "miettinen_nurminen"}
        Wald: unpooled; Newcombe: hybrid of Wilson's score intervals; Agresti-Caffo: Wald after one success and one failure more in each
        arm; Miettinen-Nurminen: inverted score test with variance n / (n - 1).
    null : float
        Difference under the null, e.g. minus a margin; other than 0 only unpooled.

    References
    ----------
    Fleiss, Levin, Paik (2003), eq. 3.6; Newcombe (1998) Statist. Med. 17, 873-890, method 10; Agresti, Caffo (2000) Am. Stat. 54, 280-288;
    Miettinen, Nurminen (1985) Statist. Med. 4, 213-226, eq. 8-9.

    Examples
    --------
    >>> found = two_proportions(50, 1_000, 70, 1_000, alpha=0.05)
    >>> round(found.value, 3), round(found.pvalue, 4)
    (0.02, 0.0597)
    """
    one_of("interval", interval, Interval)
    one_of("variance", variance, Variance)
    one_of("sides", sides, Sides)
    between("alpha", alpha, 0, 1)
    told = f"two-proportion z-test ({variance}{', continuity' if continuity else ''}), {interval.replace('_', '-')} interval"
    reason = _too_little(x_c, n_c, x_t, n_t)
    if reason:
        return not_computable(told, reason, n_control=max(n_c, 0), n_treatment=max(n_t, 0))
    p_c, p_t = x_c / n_c, x_t / n_t
    pooled = (x_c + x_t) / (n_c + n_t)
    v_null = pooled * (1 - pooled) * (1 / n_c + 1 / n_t) if variance == "pooled" else _wald_variance(p_c, n_c, p_t, n_t)
    value, error = p_t - p_c, math.sqrt(_wald_variance(p_c, n_c, p_t, n_t))
    if v_null <= 0:
        return not_computable(
            told, "the variance is 0: all units have the same value; nothing can be tested", n_control=n_c, n_treatment=n_t
        )
    apart = value - null
    if continuity:
        apart = math.copysign(max(0.0, abs(apart) - (1 / n_c + 1 / n_t) / 2), apart)
    statistic = apart / math.sqrt(v_null)
    log_p = log_pvalue(statistic, sides=sides)
    low, high = _INTERVALS[interval](x_c, n_c, x_t, n_t, _z(alpha, sides))
    return Estimate(
        value,
        error,
        -math.inf if sides == "less" else low,
        math.inf if sides == "greater" else high,
        statistic,
        math.exp(log_p),
        log_p / LN10,
        n_c,
        n_t,
        told,
    )


def exact_two_proportions(
    x_c: int, n_c: int, x_t: int, n_t: int, *, alpha: float, sides: Sides = "two", method: Exact = "fisher", interval: Interval = "newcombe"
) -> Estimate:
    """Difference of two shares with an exact p-value: Fisher's conditional test, Boschloo's or Barnard's unconditional one.

    The statistic is the difference; the interval is not exact but of the kind named. Boschloo's and Barnard's tests take long above some
    hundred units.

    References
    ----------
    scipy.stats.fisher_exact, boschloo_exact, barnard_exact; two-sided Fisher sums all tables that are not more likely.

    Examples
    --------
    >>> round(exact_two_proportions(1, 10, 6, 10, alpha=0.05).pvalue, 4)
    0.0573
    """
    one_of("method", method, Exact)
    found = two_proportions(x_c, n_c, x_t, n_t, alpha=alpha, sides=sides, variance="unpooled", interval=interval)
    told = f"{method.title()}'s exact test, {interval.replace('_', '-')} interval"
    reason = _too_little(x_c, n_c, x_t, n_t)
    if reason:
        return not_computable(told, reason, n_control=max(n_c, 0), n_treatment=max(n_t, 0))
    table = [[x_t, x_c], [n_t - x_t, n_c - x_c]]
    alternative: Literal["two-sided", "greater", "less"] = "two-sided" if sides == "two" else sides
    pvalue: float
    if method == "fisher":
        pvalue = float(stats.fisher_exact(table, alternative=alternative)[1])
    elif method == "boschloo":
        pvalue = float(stats.boschloo_exact(table, alternative=alternative).pvalue)
    else:
        pvalue = float(stats.barnard_exact(table, alternative=alternative).pvalue)
    low, high = _INTERVALS[interval](x_c, n_c, x_t, n_t, _z(alpha, sides))
    value = x_t / n_t - x_c / n_c
    return replace(
        found,
        value=value,
        std_error=math.sqrt(_wald_variance(x_c / n_c, n_c, x_t / n_t, n_t)),
        low=-math.inf if sides == "less" else low,
        high=math.inf if sides == "greater" else high,
        statistic=value,
        pvalue=min(1.0, pvalue),
        log10_pvalue=min(0.0, math.log10(pvalue)) if pvalue > 0 else -math.inf,
        method=told,
        reason="",
    )


def relative_risk(x_c: int, n_c: int, x_t: int, n_t: int, *, alpha: float, sides: Sides = "two", null: float = 0.0) -> Estimate:
    """Relative change of a share, treatment by control minus 1, with Katz's log interval.

    References
    ----------
    Katz, Baptista, Azen, Pike (1978), Biometrics 34, 469-474, method C.
    """
    told = "relative risk, Katz's log interval"
    reason = _too_little(x_c, n_c, x_t, n_t)
    if not reason and (x_c == 0 or x_t == 0):
        reason = "undefined: an arm has no success; look at the difference"
    if reason:
        return not_computable(told, reason, n_control=max(n_c, 0), n_treatment=max(n_t, 0))
    error = math.sqrt(1 / x_t - 1 / n_t + 1 / x_c - 1 / n_c)
    logarithm = estimate(
        math.log(x_t / n_t) - math.log(x_c / n_c), error, alpha=alpha, sides=sides, null=math.log1p(null),
        n_control=n_c, n_treatment=n_t, method=told,
    )  # fmt: skip
    return on_ratio_scale(logarithm)


@dataclass(frozen=True)
class ChiSquare:
    """Test of equal shares in k arms.

    Attributes
    ----------
    statistic, df, pvalue, log10_pvalue : float
    reason : str
        Not empty if and only if nothing is computable.
    """

    statistic: float
    df: int
    pvalue: float
    log10_pvalue: float
    reason: str = ""


def chi_square_arms(successes: Sequence[int], n: Sequence[int]) -> ChiSquare:
    """Pearson's chi-square test of equal shares in k arms, without continuity correction, on k - 1 degrees of freedom."""
    x, units = np.asarray(successes, dtype=np.float64), np.asarray(n, dtype=np.float64)
    nan = math.nan
    if len(x) < 2 or (units <= 0).any():
        return ChiSquare(nan, 0, nan, nan, "at least two arms with units are needed")
    share = x.sum() / units.sum()
    if share in (0.0, 1.0):
        return ChiSquare(nan, len(x) - 1, nan, nan, CONSTANT)
    statistic = float(((x - units * share) ** 2 / (units * share * (1 - share))).sum())
    log_p = log_chi2_sf(statistic, len(x) - 1)
    return ChiSquare(statistic, len(x) - 1, math.exp(log_p), log_p / LN10)


def log_chi2_sf(statistic: float, df: int) -> float:
    """Logarithm of the chance that chi-square exceeds `statistic`, finite however far in the tail.

    Where a double underflows: the continued fraction of the incomplete gamma function (DLMF 8.9.2, by Lentz's method).
    """
    chance = float(stats.chi2.sf(statistic, df))
    if chance > 1e-280:
        return math.log(chance)
    a, x = df / 2, statistic / 2
    tiny = 1e-300
    b = x + 1 - a
    c, d = 1 / tiny, 1 / b
    h = d
    for i in range(1, 500):
        term = -i * (i - a)
        b += 2
        d = 1 / (term * d + b or tiny)
        c = b + term / c or tiny
        h *= d * c
        if abs(d * c - 1) < 1e-15:
            break
    return -x + a * math.log(x) - float(special.gammaln(a)) + math.log(h)


def _too_little(x_c: int, n_c: int, x_t: int, n_t: int) -> str:
    for arm, x, n in (("control", x_c, n_c), ("treatment", x_t, n_t)):
        if n < 1:
            return f"the {arm} arm has no unit"
        if not 0 <= x <= n:
            return f"the {arm} arm has {x} successes of {n} units; counts lie between 0 and the units"
    return ""


def _wald_variance(p_c: float, n_c: int, p_t: float, n_t: int) -> float:
    return p_c * (1 - p_c) / n_c + p_t * (1 - p_t) / n_t


def _z(alpha: float, sides: Sides) -> float:
    return float(-special.ndtri(alpha / 2 if sides == "two" else alpha))


def _wald(x_c: int, n_c: int, x_t: int, n_t: int, z: float) -> tuple[float, float]:
    value, reach = x_t / n_t - x_c / n_c, z * math.sqrt(_wald_variance(x_c / n_c, n_c, x_t / n_t, n_t))
    return value - reach, value + reach


def _agresti_caffo(x_c: int, n_c: int, x_t: int, n_t: int, z: float) -> tuple[float, float]:
    low, high = _wald(x_c + 1, n_c + 2, x_t + 1, n_t + 2, z)
    return max(-1.0, low), min(1.0, high)


def _wilson(x: int, n: int, z: float) -> tuple[float, float]:
    p, shrink = x / n, 1 + z * z / n
    middle = (p + z * z / (2 * n)) / shrink
    reach = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / shrink
    return middle - reach, middle + reach


def _newcombe(x_c: int, n_c: int, x_t: int, n_t: int, z: float) -> tuple[float, float]:
    p_c, p_t = x_c / n_c, x_t / n_t
    (l_c, u_c), (l_t, u_t) = _wilson(x_c, n_c, z), _wilson(x_t, n_t, z)
    value = p_t - p_c
    return value - math.hypot(p_t - l_t, u_c - p_c), value + math.hypot(u_t - p_t, p_c - l_c)


def _miettinen_nurminen(x_c: int, n_c: int, x_t: int, n_t: int, z: float) -> tuple[float, float]:
    value, n = x_t / n_t - x_c / n_c, n_c + n_t

    def score(difference: float) -> float:
        """Standardised distance from a difference, with the shares that are most likely under it."""
        s_c = _restricted_share(x_c, n_c, x_t, n_t, difference)
        s_t = s_c + difference
        variance = (s_c * (1 - s_c) / n_c + s_t * (1 - s_t) / n_t) * n / (n - 1)
        return (value - difference) / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, value - difference)

    def edge(end: float, wanted: float) -> float:
        def off(difference: float) -> float:
            return max(-1e9, min(1e9, score(difference))) - wanted

        low, high = sorted((value, end))
        return end if off(low) * off(high) > 0 else float(optimize.brentq(off, low, high, xtol=1e-12))

    return edge(-1 + 1e-12, z), edge(1 - 1e-12, -z)


def _restricted_share(x_c: int, n_c: int, x_t: int, n_t: int, d: float) -> float:
    """Most likely control share when the treatment's is `d` higher: where the likelihood's slope, which only falls, is 0."""

    def slope(p: float) -> float:
        q = p + d
        return x_c / p - (n_c - x_c) / (1 - p) + x_t / q - (n_t - x_t) / (1 - q)

    low, high = max(0.0, -d) + 1e-14, min(1.0, 1 - d) - 1e-14
    if low >= high:
        return min(max(low, 0.0), 1.0)
    if slope(low) <= 0:
        return max(0.0, -d)
    if slope(high) >= 0:
        return min(1.0, 1 - d)
    return float(optimize.brentq(slope, low, high, xtol=1e-15))


_INTERVALS: dict[str, Callable[[int, int, int, int, float], tuple[float, float]]] = {
    "wald": _wald,
    "newcombe": _newcombe,
    "agresti_caffo": _agresti_caffo,
    "miettinen_nurminen": _miettinen_nurminen,
}
