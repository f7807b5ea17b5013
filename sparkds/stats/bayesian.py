"""Bayesian comparison of two arms: how probable is it that treatment beats control, and what is lost if it does not.

Takes an effect with its standard error and a normal prior, or successes of two arms and beta priors; gives the posterior of the effect, a
credible interval, the chance to beat and the expected loss of either choice. Larger is better; turn the sign of an effect, or
count failures, where smaller is.

The normal case is closed. The beta case is one integral over the logit of the narrower arm's share, where every beta density is
smooth and falls off on both sides; densities are taken relative to their mode, so that 1e8 units an arm cost no digits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

from sparkds.errors import ConfigError
from sparkds.stats.arguments import between

Array = npt.NDArray[np.float64]

LN10: Final = math.log(10)
DROP: Final = 45.0
"""Where a density has fallen by exp(−45) from its largest value, the integral ends."""
RARE: Final = 1e-6
"""A chance below is integrated about its own peak, which is far from the densities' modes."""
TINY: Final = 1e-250
NOTHING: Final = 1e-25
"""A probability that changes no digit of a sum that is near 1e-3 or more."""
ENDS: Final = 100.0
"""Logits between which a line of shares is integrated."""
LEAST_SHAPE: Final = 0.1
"""Below, a prior puts its mass on shares that a double cannot hold."""
MOST_LOG: Final = 700.0
"""Largest log ratio of shares that is told."""
NODES, WEIGHTS = np.polynomial.legendre.leggauss(32)
PIECES: Final = 24


@dataclass(frozen=True, kw_only=True)
class Posterior:
    """What is known about the effect, treatment minus control.

    Attributes
    ----------
    mean, std : float
    low, high : float
        Credible interval, equal tails.
    chance_to_beat : float
        Probability that the effect is above 0.
    log10_chance_to_lose : float
        Of its complement, finite however small that is.
    loss_treatment : float
        Expected loss of choosing treatment, ``E max(−effect, 0)``, in the effect's units.
    loss_control : float
        Expected loss of choosing control, ``E max(effect, 0)``.
    method, reason : str
        `reason` is not empty if and only if nothing is computable; the numbers are NaN then.
    """

    mean: float
    std: float
    low: float
    high: float
    chance_to_beat: float
    log10_chance_to_lose: float
    loss_treatment: float
    loss_control: float
    method: str
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class SharesPosterior(Posterior):
    """What is known about the difference of two shares, and about their ratio.

    Attributes
    ----------
    lift_median, lift_low, lift_high : float
        Median and credible interval of ``treatment / control − 1``, which may have no mean.
    """

    lift_median: float
    lift_low: float
    lift_high: float


def normal_effect(estimate: float, std_error: float, *, prior_mean: float, prior_std: float, level: float) -> Posterior:
    """Posterior of an effect whose estimate is normal, under a normal prior.

    Precisions add, and the mean is weighted by them (Gelman et al. 2013, eq. 2.12). With u = mean / std the chance to beat is
    Φ(u), and the loss of choosing treatment is ``std (φ(u) − u Φ(−u))``.

    Parameters
    ----------
    estimate, std_error : float
        Of the effect, absolute or relative, as long as the prior is the same.
    prior_mean : float
    prior_std : float
        Positive; infinite for a flat prior.
    level : float
        Of the credible interval, in (0, 1).

    Returns
    -------
    Posterior

    Raises
    ------
    ConfigError

    Examples
    --------
    >>> found = normal_effect(0.3, 0.1, prior_mean=0.0, prior_std=0.1, level=0.95)
    >>> round(found.mean, 3), round(found.chance_to_beat, 3)
    (0.15, 0.983)
    """
    between("level", level, 0, 1)
    between("prior_mean", prior_mean, -math.inf, math.inf)
    between("prior_std", prior_std, 0, math.inf, closed="high")
    if std_error < 0:
        raise ConfigError(f"std_error is {std_error}; give 0 or more")
    method = f"normal effect, normal prior of mean {prior_mean:g} and std {prior_std:g}"
    if not (math.isfinite(estimate) and math.isfinite(std_error) and std_error > 0):
        nan = math.nan
        reason = "no estimate with a standard error; wait for more units"
        return Posterior(
            mean=nan, std=nan, low=nan, high=nan, chance_to_beat=nan, log10_chance_to_lose=nan, loss_treatment=nan, loss_control=nan,
            method=method, reason=reason,
        )  # fmt: skip
    kept = 1 / (1 + (std_error / prior_std) ** 2)  # share of the estimate in the mean
    mean = prior_mean + kept * (estimate - prior_mean)
    std = std_error * math.sqrt(kept)
    u = mean / std
    half = -float(special.ndtri((1 - level) / 2)) * std
    return Posterior(
        mean=mean,
        std=std,
        low=mean - half,
        high=mean + half,
        chance_to_beat=float(special.ndtr(u)),
        log10_chance_to_lose=float(special.log_ndtr(-u)) / LN10,
        loss_treatment=std * _unit_loss(u),
        loss_control=std * _unit_loss(-u),
        method=method,
    )


def _unit_loss(u: float) -> float:
    """``E max(−X, 0)`` of a normal of mean u and standard deviation 1: φ(u) − u Φ(−u) = φ(u) (1 − u Mills(u)) for u > 0."""
    if u < 0:
        return -u + _unit_loss(-u)
    mills = math.sqrt(math.pi / 2) * float(special.erfcx(u / math.sqrt(2)))
    return math.exp(-u * u / 2) / math.sqrt(2 * math.pi) * max(0.0, 1 - u * mills)


@dataclass(frozen=True)
class _Beta:
    """Beta(a, b) law of a share, seen on the logit scale."""

    a: float
    b: float

    @property
    def mean(self) -> float:
        return self.a / (self.a + self.b)

    @property
    def variance(self) -> float:
        return self.mean * (self.b / (self.a + self.b)) / (self.a + self.b + 1)

    @property
    def relative_variance(self) -> float:
        """Variance over the squared mean: nearly that of the logarithm."""
        return self.variance / self.mean**2

    @property
    def mode(self) -> float:
        """Logit where the density of the logit is largest."""
        return math.log(self.a) - math.log(self.b)

    @property
    def width(self) -> float:
        """Standard deviation of the logit, nearly."""
        return math.sqrt(1 / self.a + 1 / self.b)

    def more(self) -> _Beta:
        """Law with one more success: that of the share weighted by itself."""
        return _Beta(self.a + 1, self.b)

    def log_density(self, y: Array) -> Array:
        """Log density of the logit at y over that at the mode: ``a d − (a + b) log(1 + mean (e^d − 1))`` with d from the mode."""
        d = y - self.mode
        # the larger side first, so that the exponential never overflows
        up = self.a * d - (self.a + self.b) * np.log1p(self.mean * np.expm1(np.minimum(d, 0)))
        down = -self.b * d - (self.a + self.b) * np.log1p((1 - self.mean) * np.expm1(np.minimum(-d, 0)))
        return np.where(d <= 0, up, down)

    @cached_property
    def edges(self) -> Array:
        """Logits that divide the range where the density is within exp(−45) of its largest value."""

        def fallen(distance: float) -> float:
            return float(self.log_density(np.array(self.mode + distance))) + DROP

        low, high = (_first_below(fallen, sign * self.width) for sign in (-1, 1))
        return np.linspace(self.mode + low, self.mode + high, PIECES + 1)

    @cached_property
    def log_peak(self) -> float:
        """Log density of the logit at the mode, by quadrature: a beta function of 1e8 has fewer digits."""
        y, width = _pieces(self.edges)
        return -math.log(float(np.exp(self.log_density(y)) @ width))

    def nodes(self) -> tuple[Array, Array]:
        """Logits, and the probability at them."""
        y, width = _pieces(self.edges)
        return y, np.exp(self.log_density(y) + self.log_peak) * width

    def below(self, x: Array, rest: Array) -> Array:
        """Probability of a share below x; `rest` is 1 − x, told apart so that neither loses digits."""
        left = x < 0.5
        found = np.empty(x.shape)
        found[left] = special.betainc(self.a, self.b, np.clip(x[left], 0, 1))
        found[~left] = special.betaincc(self.b, self.a, np.clip(rest[~left], 0, 1))
        return found

    def above(self, x: Array, rest: Array) -> Array:
        """Probability of a share above x."""
        return _Beta(self.b, self.a).below(rest, x)

    def log_below(self, y: Array) -> Array:
        """Log probability of a logit below y, far in the lower tail too.

        There the density falls at least exponentially, with rate ``r = a − (a + b) x``, and
        ``F(y) = f(y) / r ∫ exp(log f(y − u / r) − log f(y)) du`` over u > 0.
        """
        direct = self.below(special.expit(y), special.expit(-y))
        found = np.log(np.maximum(direct, TINY))
        far = direct <= TINY
        y = y[far]
        rate = self.a * special.expit(-y) - self.b * special.expit(y)
        u, width = _pieces(np.linspace(0.0, DROP, PIECES + 1))
        fall = self.log_density(y[:, None] - u / rate[:, None]) - self.log_density(y)[:, None]
        inner = np.exp(np.minimum(fall, 0)) @ width
        found[far] = self.log_peak + self.log_density(y) - np.log(rate) + np.log(inner)
        return found


def _pieces(edges: Array) -> tuple[Array, Array]:
    """Gauss-Legendre nodes and weights between neighbouring edges."""
    half = np.diff(edges)[:, None] / 2
    return (edges[:-1, None] + half + half * NODES).ravel(), (half * WEIGHTS).ravel()


def _first_below(function: Callable[[float], float], step: float) -> float:
    """Where a function that falls from a positive value at 0 passes 0, going in the direction of `step`."""
    far = step
    while function(far) > 0:
        far *= 2
    return float(optimize.brentq(function, 0.0, far, rtol=1e-3))


def _log_chance_below(first: _Beta, second: _Beta) -> float:
    """Log probability that a share of the first law is below one of the second."""
    if first.width > second.width:
        y, mass = second.nodes()
        direct = float(mass @ first.below(special.expit(y), special.expit(-y)))
    else:
        y, mass = first.nodes()
        direct = float(mass @ second.above(special.expit(y), special.expit(-y)))
    if direct > RARE:
        return min(0.0, math.log(direct))

    def height(logit: float) -> float:
        at = np.array([logit])
        return float((second.log_density(at) + first.log_below(at))[0])

    peak = float(optimize.minimize_scalar(lambda v: -height(v), bounds=sorted((second.mode, first.mode)), method="bounded").x)
    top = height(peak)
    reach = [_first_below(lambda d: height(peak + d) - top + DROP, sign * second.width) for sign in (-1, 1)]
    y, width = _pieces(np.linspace(peak + reach[0], peak + reach[1], PIECES + 1))
    heights = second.log_density(y) + first.log_below(y)
    return float(special.logsumexp(heights, b=width)) + second.log_peak


def _share_of_line(outer: _Beta, inner: _Beta, *, low: tuple[float, float], top: tuple[float, float], span: tuple[float, float]) -> float:
    """Probability that the inner share is below its point of a line, the outer share telling the point.

    Places s in (0, 1) of the line are ``low + span s`` of either share, whose rests are ``top + span (1 − s)``. An outer share
    above the line has every inner share below. The integral is over the logit of s, where neither end is sharp.
    """
    x, rest = special.expit(outer.edges), special.expit(-outer.edges)
    inside = (x > low[0]) & (rest > top[0])
    known = np.log(x[inside] - low[0]) - np.log(rest[inside] - top[0])
    w, width = _pieces(np.unique(np.concatenate([known, np.linspace(-ENDS, ENDS, PIECES + 1)])))
    s, left = special.expit(w), special.expit(-w)
    x, rest = low[0] + span[0] * s, top[0] + span[0] * left
    mass = np.exp(outer.log_density(np.log(x) - np.log(rest)) + outer.log_peak) * span[0] * s * left / (x * rest) * width
    counts = mass > NOTHING
    below = inner.below((low[1] + span[1] * s)[counts], (top[1] + span[1] * left)[counts])
    return float(mass[counts] @ below + outer.above(np.array([1 - top[0]]), np.array([top[0]]))[0])


def _difference_below(control: _Beta, treatment: _Beta, d: float) -> float:
    """P(treatment − control ≤ d), integrated over the arm that is narrower as a share."""
    if abs(d) >= 1:
        return float(d > 0)
    if control.variance > treatment.variance:
        return 1 - _difference_below(treatment, control, -d)
    up, down = max(d, 0.0), max(-d, 0.0)
    return _share_of_line(control, treatment, low=(down, up), top=(up, down), span=(1 - abs(d),) * 2)


def _log_ratio_below(control: _Beta, treatment: _Beta, v: float) -> float:
    """P(log(treatment / control) ≤ v), integrated over the arm that is narrower as a logarithm."""
    if control.relative_variance > treatment.relative_variance:
        return 1 - _log_ratio_below(treatment, control, -v)
    if v > 0:
        return _share_of_line(control, treatment, low=(0, 0), top=(-math.expm1(-v), 0), span=(math.exp(-v), 1))
    return _share_of_line(control, treatment, low=(0, 0), top=(0, -math.expm1(v)), span=(1, math.exp(v)))


def _quantile(chance: Callable[[float], float], probability: float, middle: float, step: float, *, low: float, high: float) -> float:
    """Value where a distribution function passes a probability; the end of its range if it does not."""
    left, right = middle - step, middle + step
    while chance(max(left, low)) > probability and left > low:
        left -= 2 * (right - left)
    while chance(min(right, high)) < probability and right < high:
        right += 2 * (right - left)
    left, right = max(left, low), min(right, high)
    if not chance(left) <= probability <= chance(right):
        return left if chance(left) > probability else right
    return float(optimize.brentq(lambda v: chance(v) - probability, left, right, xtol=1e-13 * max(step, abs(middle)), rtol=1e-12))


def beta_binomial(
    successes_control: float,
    n_control: float,
    successes_treatment: float,
    n_treatment: float,
    *,
    prior: tuple[float, float],
    level: float,
    prior_treatment: tuple[float, float] | None = None,
) -> SharesPosterior:
    """Posterior of the difference and the ratio of two shares, under beta priors.

    The shares are Beta(a + successes, b + failures), independent. The chance to beat and the distribution functions of
    difference and ratio are integrals of a density of one arm times a distribution function of the other, good to
    1e-9; the loss of choosing treatment is ``m_c P(T < C+) − m_t P(T+ < C)``, with means m and + for one more success,
    from ``x Beta(x; a, b) = mean Beta(x; a + 1, b)``.

    Parameters
    ----------
    successes_control, n_control, successes_treatment, n_treatment : float
        Counts; no units at all leaves the prior.
    prior : (float, float)
        a and b, at least 0.1; (1, 1) is uniform, (0.5, 0.5) Jeffreys'.
    level : float
        Of the credible intervals, in (0, 1).
    prior_treatment : (float, float), optional
        For treatment, if another.

    Returns
    -------
    SharesPosterior

    Raises
    ------
    ConfigError

    Examples
    --------
    >>> found = beta_binomial(50, 1_000, 70, 1_000, prior=(1, 1), level=0.95)
    >>> round(found.chance_to_beat, 4), round(found.lift_median, 2)
    (0.9699, 0.39)
    """
    between("level", level, 0, 1)
    counts = (successes_control, n_control, successes_treatment, n_treatment)
    shapes = (*prior, *(prior if prior_treatment is None else prior_treatment))
    for name, shape in zip(("prior a", "prior b", "prior_treatment a", "prior_treatment b"), shapes, strict=True):
        between(name, shape, LEAST_SHAPE, math.inf, closed="low")
    method = f"beta-binomial, priors Beta({shapes[0]:g}, {shapes[1]:g}) and Beta({shapes[2]:g}, {shapes[3]:g})"
    if any(math.isnan(count) for count in counts):
        nan = math.nan
        return SharesPosterior(
            mean=nan, std=nan, low=nan, high=nan, chance_to_beat=nan, log10_chance_to_lose=nan, loss_treatment=nan, loss_control=nan,
            lift_median=nan, lift_low=nan, lift_high=nan, method=method, reason="counts are not known; count successes and units",
        )  # fmt: skip
    for arm, successes, n in (("control", *counts[:2]), ("treatment", *counts[2:])):
        between(f"n_{arm}", n, 0, math.inf, closed="low")
        between(f"successes_{arm}", successes, 0, n, closed="both")
    control = _Beta(shapes[0] + counts[0], shapes[1] + counts[1] - counts[0])
    treatment = _Beta(shapes[2] + counts[2], shapes[3] + counts[3] - counts[2])
    mean, std = treatment.mean - control.mean, math.sqrt(control.variance + treatment.variance)
    tails = ((1 - level) / 2, (1 + level) / 2)
    low, high = (_quantile(partial(_difference_below, control, treatment), tail, mean, std, low=-1, high=1) for tail in tails)
    log_ratio = math.log(treatment.mean) - math.log(control.mean)
    spread = math.sqrt(control.relative_variance + treatment.relative_variance)
    lift_low, lift_median, lift_high = (
        math.expm1(_quantile(partial(_log_ratio_below, control, treatment), tail, log_ratio, spread, low=-MOST_LOG, high=MOST_LOG))
        for tail in (tails[0], 0.5, tails[1])
    )
    log_win, log_lose = _log_chance_below(control, treatment), _log_chance_below(treatment, control)
    return SharesPosterior(
        mean=mean,
        std=std,
        low=low,
        high=high,
        chance_to_beat=math.exp(log_win),
        log10_chance_to_lose=log_lose / LN10,
        loss_treatment=_loss(chosen=treatment, other=control),
        loss_control=_loss(chosen=control, other=treatment),
        method=method,
        lift_median=lift_median,
        lift_low=lift_low,
        lift_high=lift_high,
    )


def _loss(*, chosen: _Beta, other: _Beta) -> float:
    """``E max(other − chosen, 0)``."""
    return max(
        0.0,
        other.mean * math.exp(_log_chance_below(chosen, other.more())) - chosen.mean * math.exp(_log_chance_below(chosen.more(), other)),
    )
