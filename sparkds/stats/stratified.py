"""Stratified effects: how much an effect is when every stratum has the same weight in both arms.

Takes the moments of every arm in each stratum (phases with other weights, segments known before the exposure) and gives the
post-stratified difference or relative change, of means and of ratios of means.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from sparkds.errors import ConfigError
from sparkds.stats.arguments import one_of
from sparkds.stats.estimate import Estimate, Sides, estimate, not_computable, on_ratio_scale
from sparkds.stats.moments import Moments

Array = npt.NDArray[np.float64]
Scale = Literal["absolute", "relative"]
Of = Literal["mean", "ratio"]


def post_stratified(
    strata: Sequence[Mapping[str, Moments]],
    *,
    control: str,
    treatment: str,
    alpha: float,
    sides: Sides = "two",
    of: Of = "mean",
    scale: Scale = "absolute",
    null: float = 0.0,
) -> Estimate:
    """Effect of the arms' means weighted over strata, on the normal distribution.

    Parameters
    ----------
    strata : sequence of mapping of arm to Moments
        Over the columns value, or numerator and denominator; further columns are left aside. A stratum's weight is its share of the units
        of both arms.
    control, treatment : str
    alpha : float
    sides : {"two", "greater", "less"}
    of : {"mean", "ratio"}
        A ratio is that of the weighted means.
    scale : {"absolute", "relative"}
        Relative by the logarithm of the ratio of both arms.
    null : float

    Returns
    -------
    Estimate
        Its variance is that of the means within strata (ddof 1), and of the weights, which are estimated and move both arms. Not
        computable if a stratum with units has fewer than 2 in an arm.

    References
    ----------
    Miratrix, Sekhon, Yu (2013), Adjusting treatment effect estimates by post-stratification in randomized experiments, J. R. Stat. Soc. B
    75, 369-396, eq. 4; Cochran (1977), Sampling techniques, section 5A.9.

    Examples
    --------
    >>> new = {"a": Moments.of(np.array([[1.0], [2.0], [3.0]])), "b": Moments.of(np.array([[2.0], [3.0], [4.0]]))}
    >>> old = {"a": Moments.of(np.array([[11.0], [13.0]])), "b": Moments.of(np.array([[12.0], [14.0], [16.0], [14.0]]))}
    >>> post_stratified([new, old], control="a", treatment="b", alpha=0.05).value
    1.5
    """
    one_of("of", of, Of)
    one_of("scale", scale, Scale)
    if not strata:
        raise ConfigError("no strata; give the moments of the arms of each")
    told = f"post-stratified {'difference' if scale == 'absolute' else 'relative difference'} of {of}s over {len(strata)} strata, z"
    k = 1 if of == "mean" else 2
    pairs = [(stratum.get(control), stratum.get(treatment)) for stratum in strata]
    n = [sum(m.n for m in pair if m is not None) for pair in pairs]
    counts = {
        "n_control": sum(c.n for c, _ in pairs if c is not None),
        "n_treatment": sum(t.n for _, t in pairs if t is not None),
    }
    total = sum(n)
    mean, cov, gaps = np.zeros(2 * k), np.zeros((2 * k, 2 * k)), []
    for number, (c, t) in enumerate(pairs):
        if n[number] == 0:
            continue
        if c is None or t is None or min(c.n, t.n) < 2:
            return not_computable(told, f"stratum {number + 1} of {len(strata)} has fewer than 2 units in an arm; merge strata", **counts)
        weight = n[number] / total
        both = np.concatenate([c.mean[:k], t.mean[:k]])
        mean += weight * both
        cov[:k, :k] += weight**2 * c.cov()[:k, :k] / c.n
        cov[k:, k:] += weight**2 * t.cov()[:k, :k] / t.n
        gaps.append((weight, both))
    for weight, both in gaps:
        cov += weight * np.outer(both - mean, both - mean) / total
    if not gaps:
        return not_computable(told, "no stratum has units", **counts)
    return _of(mean, cov, k, scale, told, counts, alpha=alpha, sides=sides, null=null)


def _of(
    mean: Array, cov: Array, k: int, scale: Scale, told: str, counts: dict[str, int], *, alpha: float, sides: Sides, null: float
) -> Estimate:
    """Estimate of what the mean vectors of control and treatment come to."""
    value, gradient = np.zeros(2), np.zeros((2, 2 * k))
    for arm in (0, 1):
        m = mean[arm * k : (arm + 1) * k]
        if k == 2 and m[1] == 0:
            return not_computable(told, "the denominators of an arm sum to 0; a ratio is not defined", **counts)
        value[arm] = m[0] if k == 1 else m[0] / m[1]
        gradient[arm, arm * k : (arm + 1) * k] = [1.0] if k == 1 else [1 / m[1], -value[arm] / m[1]]
    both = gradient @ cov @ gradient.T
    if scale == "absolute":
        error = math.sqrt(max(0.0, both[0, 0] + both[1, 1] - 2 * both[0, 1]))
        return estimate(float(value[1] - value[0]), error, alpha=alpha, sides=sides, null=null, method=told, **counts)
    if not value[0] * value[1] > 0:
        return not_computable(told, "undefined: an arm is 0 or the signs differ; look at the difference", **counts)
    if 1 + null <= 0:
        raise ConfigError(f"null is {null}; a relative change is above -1")
    slope = np.array([-1 / value[0], 1 / value[1]])
    error = math.sqrt(max(0.0, float(slope @ both @ slope)))
    logarithm = estimate(math.log(value[1] / value[0]), error, alpha=alpha, sides=sides, null=math.log1p(null), method=told, **counts)
    return on_ratio_scale(logarithm)
