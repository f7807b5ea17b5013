"""Arm effects: difference and relative change of means, and of ratios of means, between arms, with or without covariates.

Takes the moments of every arm; a ratio is linearised (delta method), covariates enter by one pooled theta for all arms (CUPED).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from sparkds.errors import ConfigError, closest
from sparkds.stats.arguments import between, one_of
from sparkds.stats.estimate import Estimate, Sides, estimate, not_computable, on_ratio_scale
from sparkds.stats.moments import Moments

Array = npt.NDArray[np.float64]
Of = Literal["mean", "ratio"]
Variance = Literal["unequal", "pooled"]
Distribution = Literal["t", "z"]
RelativeMethod = Literal["log_ratio", "fieller"]


@dataclass(frozen=True, eq=False)
class Adjusted:
    """Value of every arm, as it is or adjusted by covariates.

    Attributes
    ----------
    value : dict of str to float
        Arm to mean or ratio.
    influence : dict of str to (k,)
        Arm to the weights of its mean vector in the value when the other arms are held fixed.
    theta : (p,)
        Coefficients of the covariates; empty without.
    variance_reduction : float
        Share of the variance of the unadjusted value that theta removes, pooled over arms, in [0, 1]; 0 without covariates.
    arms : dict of str to Moments
    """

    value: dict[str, float]
    influence: dict[str, Array]
    theta: Array
    variance_reduction: float
    arms: dict[str, Moments]

    def variance(self, arm: str) -> float:
        """Variance of the value of an arm, given the pooled means of the covariates."""
        moments, a = self.arms[arm], self.influence[arm]
        return float(a @ moments.cov() @ a) / moments.n if moments.n > 1 else math.nan


def adjusted(arms: Mapping[str, Moments], *, of: Of = "mean", covariates: bool = True) -> Adjusted:
    """Values of all arms.

    Parameters
    ----------
    arms : mapping of str to Moments
        Over the columns value (or numerator, denominator), then covariates.
    of : {"mean", "ratio"}
    covariates : bool
        False to leave the covariates aside.

    Notes
    -----
    theta is ``S_xx^+ S_xy`` with S the co-moments within arms summed over all arms, one theta for all, so that comparisons of several
    arms with one control agree about the control; ``^+`` is the pseudo-inverse, so that collinear covariates do no harm. For a ratio
    y is the linearised ``(numerator - R denominator) / mean denominator`` of the arm. Adjusted value:
    ``value - theta (mean x - mean x over all arms)``.

    References
    ----------
    Deng, Xu, Kohavi, Walker (2013), Improving the sensitivity of online controlled experiments by utilizing pre-experiment data, eq. 3
    and 6; Deng, Knoblich, Lu (2018), Applying the delta method in metric analytics, eq. 4.
    """
    one_of("of", of, Of)
    first = 1 if of == "mean" else 2
    kept = {name: moments for name, moments in arms.items() if moments.n > 0}
    k = len(next(iter(arms.values())).mean)
    x = np.arange(first, k) if covariates else np.arange(0)
    value: dict[str, float] = {}
    influence: dict[str, Array] = {}
    for name, moments in kept.items():
        a = np.zeros(k)
        if of == "mean":
            value[name], a[0] = float(moments.mean[0]), 1.0
        else:
            below = float(moments.mean[1])
            value[name] = float(moments.mean[0]) / below if below else math.nan
            a[:2] = (1 / below, -value[name] / below) if below else (math.nan, math.nan)
        influence[name] = a
    usable = {name: m for name, m in kept.items() if np.isfinite(influence[name]).all() and np.isfinite(m.m2).all()}
    theta, removed = np.zeros(len(x)), 0.0
    if len(x) and usable:
        s_xx = np.zeros((len(x), len(x)))
        s_xy, s_yy = np.zeros(len(x)), 0.0
        for name, m in usable.items():
            s_xx += m.m2[np.ix_(x, x)]
            s_xy += m.m2[x] @ influence[name]
            s_yy += float(influence[name] @ m.m2 @ influence[name])
        scale = np.sqrt(np.where(np.diag(s_xx) > 0, np.diag(s_xx), 1.0))
        theta = np.linalg.pinv(s_xx / np.outer(scale, scale), rcond=1e-10, hermitian=True) @ (s_xy / scale) / scale
        removed = min(1.0, max(0.0, float(theta @ s_xy) / s_yy)) if s_yy > 0 else 0.0
        n = sum(m.n for m in kept.values())
        overall = sum((m.mean[x] * (m.n / n) for m in kept.values()), np.zeros(len(x)))
        for name, m in kept.items():
            value[name] -= float(theta @ (m.mean[x] - overall))
            influence[name] = influence[name].copy()
            influence[name][x] -= theta
    return Adjusted(value, influence, theta, removed, kept)


def difference(
    arms: Mapping[str, Moments],
    *,
    control: str,
    treatment: str,
    alpha: float,
    sides: Sides = "two",
    of: Of = "mean",
    covariates: bool = True,
    variance: Variance = "unequal",
    distribution: Distribution = "t",
    null: float = 0.0,
) -> Estimate:
    """Absolute difference, treatment minus control.

    Means: Welch's t-test (``unequal``, ddof 1, Satterthwaite's degrees of freedom) or Student's (``pooled``), or their normal
    versions. Ratios always use the normal distribution and unequal variances.

    Examples
    --------
    >>> arms = {"a": Moments.of(np.array([[1.0], [2.0], [3.0]])), "b": Moments.of(np.array([[2.0], [4.0], [6.0]]))}
    >>> found = difference(arms, control="a", treatment="b", alpha=0.05)
    >>> round(found.value, 3), round(found.pvalue, 3), found.method
    (2.0, 0.221, "difference of means, Welch's t")
    """
    _check(arms, control, treatment, alpha, variance, distribution)
    told = f"difference of {'means' if of == 'mean' else 'ratios'}, {_name(of, variance, distribution)}{_adjusted(arms, of, covariates)}"
    counts = {"n_control": arms[control].n, "n_treatment": arms[treatment].n}
    reason = _too_little(arms, control, treatment, of)
    if reason:
        return not_computable(told, reason, **counts)
    values = adjusted(arms, of=of, covariates=covariates)
    n_c, n_t = arms[control].n, arms[treatment].n
    v_c, v_t = values.variance(control), values.variance(treatment)
    df = math.inf
    if variance == "pooled" and of == "mean":
        pooled = (v_c * n_c * (n_c - 1) + v_t * n_t * (n_t - 1)) / (n_c + n_t - 2)
        v_c, v_t, df = pooled / n_c, pooled / n_t, n_c + n_t - 2
    elif v_c + v_t > 0:
        df = (v_c + v_t) ** 2 / (v_c**2 / (n_c - 1) + v_t**2 / (n_t - 1))
    if of == "ratio" or distribution == "z":
        df = math.inf
    value = values.value[treatment] - values.value[control]
    return estimate(value, math.sqrt(v_c + v_t), alpha=alpha, sides=sides, null=null, df=df, method=told, **counts)


def relative_difference(
    arms: Mapping[str, Moments],
    *,
    control: str,
    treatment: str,
    alpha: float,
    sides: Sides = "two",
    of: Of = "mean",
    covariates: bool = True,
    method: RelativeMethod = "log_ratio",
    null: float = 0.0,
) -> Estimate:
    """Relative change, treatment by control minus 1, on the normal distribution.

    ``log_ratio``: delta method on the logarithm, the interval exponentiated; needs two values of the same sign. ``fieller``: the set of
    ratios that a test of ``treatment - ratio control`` does not reject; a control that is not different from 0 at `alpha` makes it
    unbounded, and the result not computable. With covariates the pooled means of the covariates move both arms, and that covariance
    is part of the error.

    References
    ----------
    Fieller (1954), J. R. Stat. Soc. B 16, 175-185; Deng, Knoblich, Lu (2018), section 2.2.
    """
    _check(arms, control, treatment, alpha, "unequal", "z")
    one_of("method", method, RelativeMethod)
    scale = "log ratio" if method == "log_ratio" else "Fieller"
    told = f"relative difference of {'means' if of == 'mean' else 'ratios'}, {scale}{_adjusted(arms, of, covariates)}"
    counts = {"n_control": arms[control].n, "n_treatment": arms[treatment].n}
    reason = _too_little(arms, control, treatment, of)
    if reason:
        return not_computable(told, reason, **counts)
    values = adjusted(arms, of=of, covariates=covariates)
    c, t = values.value[control], values.value[treatment]
    if c == 0 or (method == "log_ratio" and not c * t > 0):
        return not_computable(told, "undefined: an arm is 0 or the signs differ; look at the difference", **counts)
    cov = _covariance(values, control, treatment)
    if method == "log_ratio":
        gradient = np.array([-1 / c, 1 / t])
        error = math.sqrt(max(0.0, float(gradient @ cov @ gradient)))
        if 1 + null <= 0:
            raise ConfigError(f"null is {null}; a relative change is above -1")
        logarithm = estimate(math.log(t / c), error, alpha=alpha, sides=sides, null=math.log1p(null), method=told, **counts)
        return on_ratio_scale(logarithm)
    return _fieller(c, t, cov, alpha=alpha, sides=sides, null=null, told=told, counts=counts)


def _fieller(c: float, t: float, cov: Array, *, alpha: float, sides: Sides, null: float, told: str, counts: dict[str, int]) -> Estimate:
    ratio = 1 + null
    at_null = estimate(
        t - ratio * c,
        math.sqrt(max(0.0, cov[1, 1] - 2 * ratio * cov[0, 1] + ratio**2 * cov[0, 0])),
        alpha=alpha,
        sides=sides if c > 0 or sides == "two" else ("less" if sides == "greater" else "greater"),
        method=told,
        **counts,
    )
    if at_null.reason:
        return at_null
    z = float(-_ppf(alpha / 2 if sides == "two" else alpha))
    g = z * z * cov[0, 0] / (c * c)
    if g >= 1:
        return not_computable(told, "undefined: the control is not different from 0 at this level; look at the difference", **counts)
    middle = t * c - z * z * cov[0, 1]
    root = math.sqrt(max(0.0, middle**2 - (c * c - z * z * cov[0, 0]) * (t * t - z * z * cov[1, 1])))
    low, high = sorted(((middle - root) / (c * c - z * z * cov[0, 0]), (middle + root) / (c * c - z * z * cov[0, 0])))
    r = t / c
    error = math.sqrt(max(0.0, cov[1, 1] - 2 * r * cov[0, 1] + r * r * cov[0, 0])) / abs(c)
    return Estimate(
        r - 1,
        error,
        -math.inf if sides == "less" else low - 1,
        math.inf if sides == "greater" else high - 1,
        at_null.statistic,
        at_null.pvalue,
        at_null.log10_pvalue,
        counts["n_control"],
        counts["n_treatment"],
        told,
    )


def _covariance(values: Adjusted, control: str, treatment: str) -> Array:
    """Covariance of the values of control and treatment: (2, 2).

    Both hold the means of the covariates over all arms, which every arm moves by its share of the units.
    """
    n = sum(m.n for m in values.arms.values())
    k = len(next(iter(values.influence.values())))
    cov = np.zeros((2, 2))
    for name, moments in values.arms.items():
        if moments.n < 2:
            continue
        through_pool = np.zeros(k)
        if len(values.theta):
            through_pool[k - len(values.theta) :] = values.theta * (moments.n / n)
        gradient = np.stack([through_pool + (values.influence[arm] if arm == name else 0.0) for arm in (control, treatment)])
        cov += gradient @ moments.cov() @ gradient.T / moments.n
    return cov


def _ppf(p: float) -> float:
    from scipy import special

    return float(special.ndtri(p))


def _check(arms: Mapping[str, Moments], control: str, treatment: str, alpha: float, variance: str, distribution: str) -> None:
    between("alpha", alpha, 0, 1)
    one_of("variance", variance, Variance)
    one_of("distribution", distribution, Distribution)
    for arm in (control, treatment):
        if arm not in arms:
            raise ConfigError(f"no arm '{arm}'{closest(arm, arms)} (arms: {', '.join(arms)})")


def _too_little(arms: Mapping[str, Moments], control: str, treatment: str, of: Of) -> str:
    for arm in (control, treatment):
        moments = arms[arm]
        if moments.n < 2:
            return f"arm '{arm}' has {moments.n} unit{'' if moments.n == 1 else 's'}; a test needs at least 2 in each arm"
        if not np.isfinite(moments.mean).all() or not np.isfinite(moments.m2).all():
            return f"the moments of arm '{arm}' are not finite numbers; look for missing or infinite values"
        if of == "ratio" and moments.mean[1] == 0:
            return f"the denominators of arm '{arm}' sum to 0; a ratio is not defined"
    return ""


def _name(of: Of, variance: str, distribution: str) -> str:
    if of == "ratio":
        return "delta method"
    if distribution == "z":
        return "z"
    return "Welch's t" if variance == "unequal" else "Student's t"


def _adjusted(arms: Mapping[str, Moments], of: Of, covariates: bool) -> str:
    k = len(next(iter(arms.values())).mean) - (1 if of == "mean" else 2)
    return ", CUPED" if covariates and k else ""
