"""Rejection: with what probability a planned test of two arms rejects its null, at a given true effect.

Takes a design, a hypothesis and two numbers of units; gives the probability by formula (normal, noncentral t, both sides of an
equivalence) or, for shares, by going through all pairs of counts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from sparkds.errors import ConfigError
from sparkds.stats.designs import Design, Hypothesis, ProportionDesign

FEW_DF: Final = 1e7
"""Above, a t is a normal to 1e-7 in every power, and quicker."""
NEVER_ZERO: Final = 1e-150
"""Stands for a standard error of 0, so that a certain difference is certain to be seen."""
TAIL: Final = 1e-13
"""Binomial mass that the enumeration leaves out at each end."""
MOST_CELLS: Final = 40_000_000
"""Pairs of counts that are enumerated; larger designs are simulated."""
DRAWS: Final = 2_000_000
NODES, WEIGHTS = np.polynomial.legendre.leggauss(32)


@dataclass(frozen=True)
class Power:
    """Probability of rejecting the null at a given effect.

    Attributes
    ----------
    value : float
        Of the comparison with least power, in [0, 1]; NaN if not computable.
    std_error : float
        Of a simulation; 0 for a formula or an enumeration.
    method, reason : str
        `reason` is not empty if and only if the value is NaN.
    """

    value: float
    method: str
    std_error: float = 0.0
    reason: str = ""


def check_claim(design: Design, hypothesis: Hypothesis) -> None:
    """Refuse a margin for a test whose null has equal shares.

    Raises
    ------
    ConfigError
    """
    if isinstance(design, ProportionDesign) and hypothesis.has_margin and design.test != "unpooled":
        raise ConfigError(f"test is {design.test!r} for {hypothesis.kind}, whose null has unequal shares; choose test='unpooled'")


def arms_of(name: str, given: Sequence[float]) -> tuple[float, ...]:
    """Numbers of the control and of at least one treatment arm, all positive.

    Raises
    ------
    ConfigError
    """
    arms = tuple(float(number) for number in given)
    if len(arms) < 2 or not all(0 < number < math.inf for number in arms):
        raise ConfigError(f"{name} is {list(given)}; give a positive number for the control and for each treatment arm")
    return arms


def rejection_probability(
    design: Design, hypothesis: Hypothesis, *, alpha: float, effect: float, n: tuple[float, float], margin: float | None = None
) -> float:
    """Probability that one comparison rejects, by formula.

    With effect d, null d0, standard errors s0 (in the statistic) and s1 (true), continuity shift c and level a, one side has
    ``Φ((d − d0 − c − z_a s0) / s1)``; Φ becomes the noncentral t where the design says t. Equivalence is the probability that
    both one-sided tests reject (Phillips 1990 for t; Chow, Shao, Wang 2008, sec. 3.2 for z), not the sum of two bounds.

    Parameters
    ----------
    design : ProportionDesign, MeanDesign or RatioDesign
        That has no `trouble` at this effect and positive degrees of freedom.
    hypothesis : Hypothesis
    alpha : float
        Of this comparison, in (0, 1).
    effect : float
        Absolute.
    n : (float, float)
        Units of control and treatment.
    margin : float, optional
        In place of the hypothesis's own.

    Returns
    -------
    float in [0, 1]
    """
    null_error, error = design.std_errors(effect, *n)
    error = error or NEVER_ZERO
    df = design.df(*n)
    side = alpha / 2 if hypothesis.kind == "two-sided" else alpha
    critical = -float(special.ndtri(side)) if df > FEW_DF else float(stats.t.isf(side, df))
    critical *= null_error / error
    above, below = hypothesis.nulls(margin)
    signal, shift = design.signal(effect), design.shift(*n)
    up, down = (signal - above - shift) / error, (below - signal - shift) / error
    if hypothesis.kind == "equivalence":
        return _both_sides(up, down, critical, df)
    if hypothesis.kind == "two-sided":
        return float(np.clip(_one_side(up, critical, df) + _one_side(down, critical, df), 0, 1))
    return _one_side(down if hypothesis.shows_smaller else up, critical, df)


def _one_side(noncentrality: float, critical: float, df: float) -> float:
    """P(Z > critical S − noncentrality) with S² = chi²/df: a noncentral t beyond its critical value, or a normal.

    The noncentral t of scipy 1.17 is NaN far in the lower tail, so that the integral over S is taken here.
    """
    if df > FEW_DF:
        return float(special.ndtr(noncentrality - critical))
    s, mass = _chi_mass(df, math.inf, np.linspace(noncentrality - 9, noncentrality + 9, 19) / critical)
    return float(np.clip(mass @ special.ndtr(noncentrality - critical * s), 0, 1))


def _both_sides(up: float, down: float, critical: float, df: float) -> float:
    """P(critical S − up < Z < down − critical S) with S² = chi²/df: both one-sided tests reject."""
    if df > FEW_DF:
        return max(0.0, float(special.ndtr(down - critical) - special.ndtr(critical - up)))
    end = (up + down) / (2 * critical)  # beyond, the two rejection regions do not meet
    turns = np.concatenate([np.linspace(side - 9, side + 9, 19) / critical for side in (up, down)])
    s, mass = _chi_mass(df, end, turns)
    return float(mass @ np.maximum(0.0, special.ndtr(down - critical * s) - special.ndtr(critical * s - up)))


def _chi_mass(df: float, end: float, turns: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Nodes below `end` and the probability of S = √(chi²/df) at them, by Gauss-Legendre between neighbouring edges.

    The density is ``s^(df−1) exp(−df s² / 2)`` up to a constant that the same quadrature finds. The edges divide its range,
    lie close at the `turns` of what is integrated, and ever closer at 0, where few degrees of freedom bend the density.
    """
    low, high = np.sqrt(stats.chi2.ppf(1e-17, df) / df), np.sqrt(stats.chi2.isf(1e-17, df) / df)
    edges = np.concatenate([np.linspace(low, high, 17), high * 0.5 ** np.arange(5, 25), turns, [end]])
    edges = np.unique(np.clip(edges, low, high))
    half = np.diff(edges)[:, None] / 2
    s = edges[:-1, None] + half + half * NODES
    mass = np.exp((df - 1) * np.log(s) - df * (s - 1) * (s + 1) / 2) * half * WEIGHTS
    return s.ravel(), np.where(s < end, mass / mass.sum(), 0.0).ravel()


def exact_power(design: ProportionDesign, hypothesis: Hypothesis, *, n: tuple[int, int], effect: float, seed: int = 0) -> Power:
    """Power of a z-test of two shares over all pairs of binomial counts, not by the normal approximation of `power`.

    All pairs but a mass of 4e-13 are enumerated; where these are more than 40 million, 2 million seeded draws are
    taken and `std_error` says how far the value may be off. A pair without variance (both arms all or none) rejects
    only if its difference is beyond the null.

    Parameters
    ----------
    design : ProportionDesign
        With test "pooled" or "unpooled", independent units and one look.
    hypothesis : Hypothesis
    n : (int, int)
        Units of control and treatment.
    effect : float
        Absolute.
    seed : int

    Returns
    -------
    Power

    Raises
    ------
    ConfigError

    Examples
    --------
    >>> claim = Hypothesis(kind="two-sided", alpha=0.05)
    >>> round(exact_power(ProportionDesign(baseline=0.5, test="pooled"), claim, n=(50, 50), effect=0.25).value, 3)
    0.745
    """
    check_claim(design, hypothesis)
    if design.test == "arcsine" or design.variance_factor != 1:
        raise ConfigError("exact power is for test='pooled' or 'unpooled' of independent units at one look, without a covariate")
    arms = arms_of("n", n)
    if reason := design.trouble(effect):
        return Power(math.nan, "exact", reason=reason)
    shares = (design.baseline, min(1.0, design.baseline + effect))
    ends = [(stats.binom.ppf(TAIL, k, p), stats.binom.isf(TAIL, k, p)) for k, p in zip(arms, shares, strict=True)]
    counts = [np.arange(max(0, low), high + 1) for low, high in ends]
    alpha = hypothesis.alpha_per_comparison(1)
    if len(counts[0]) * len(counts[1]) > MOST_CELLS:
        rng = np.random.default_rng(seed)
        drawn = [rng.binomial(int(k), p, DRAWS).astype(np.float64) for k, p in zip(arms, shares, strict=True)]
        share = float(_rejects(design, hypothesis, alpha, drawn[0], drawn[1], arms).mean())
        return Power(share, f"simulated, {DRAWS} draws, seed {seed}", math.sqrt(share * (1 - share) / DRAWS))
    mass = [stats.binom.pmf(x, k, p) for x, k, p in zip(counts, arms, shares, strict=True)]
    total = 0.0
    step = max(1, 1_000_000 // len(counts[1]))
    for start in range(0, len(counts[0]), step):
        rows = counts[0][start : start + step, None]
        total += float(mass[0][start : start + step] @ (_rejects(design, hypothesis, alpha, rows, counts[1], arms) @ mass[1]))
    return Power(min(1.0, total), "exact, enumerated")


def _rejects(
    design: ProportionDesign, hypothesis: Hypothesis, alpha: float, x_control: Any, x_treatment: Any, n: tuple[float, ...]
) -> npt.NDArray[np.bool_]:
    """Whether the z-test rejects, for counts that broadcast."""
    control, treatment = x_control / n[0], x_treatment / n[1]
    if design.test == "pooled":
        pooled = (x_control + x_treatment) / (n[0] + n[1])
        error = np.sqrt(pooled * (1 - pooled) * (1 / n[0] + 1 / n[1]))
    else:
        error = np.sqrt(control * (1 - control) / n[0] + treatment * (1 - treatment) / n[1])
    shift = design.shift(n[0], n[1])
    z = -special.ndtri(alpha / 2 if hypothesis.kind == "two-sided" else alpha)
    above, below = hypothesis.nulls()
    difference = treatment - control
    larger = (difference - above - shift >= z * error) & (difference - shift > above)
    smaller = (below - difference - shift >= z * error) & (difference + shift < below)
    one_sided = smaller if hypothesis.shows_smaller else larger
    rejects: npt.NDArray[np.bool_] = {"two-sided": larger | smaller, "equivalence": larger & smaller}.get(hypothesis.kind, one_sided)
    return rejects
