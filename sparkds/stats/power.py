"""Power: how many units, how long, how small an effect, before an experiment starts.

Takes a design and a hypothesis (`sparkds.stats.designs`) with effects or numbers of units, and gives frozen results, or lists of
rows for a curve and a table.

Arms are told by ``n`` or ``weights``, control first; every treatment arm is compared with the control at the level that the
correction leaves, and what is reported is the power of the comparison that has least. Far tails are counted: a two-sided
test may also reject in the wrong direction.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from scipy import optimize

from sparkds.errors import ConfigError
from sparkds.stats.arguments import between, one_of
from sparkds.stats.designs import Design, Hypothesis, ProportionDesign
from sparkds.stats.rejection import Power, arms_of, check_claim, rejection_probability

MOST_UNITS: Final = 10**15
ROUNDING: Final = 1e-6
"""Part of a unit that is taken for rounding of the weights."""


@dataclass(frozen=True)
class SampleSize:
    """Units that reach the wanted power.

    Attributes
    ----------
    n : tuple of int, optional
        Per arm, control first; None if not computable.
    n_total : int, optional
        Sum of `n`.
    power : float
        Reached with the rounded-up `n`.
    method, reason : str
        `reason` is not empty if and only if `n` is None.
    """

    n: tuple[int, ...] | None
    n_total: int | None
    power: float
    method: str
    reason: str = ""


@dataclass(frozen=True)
class MinimumDetectableEffect:
    """Smallest effect that reaches the wanted power.

    Attributes
    ----------
    absolute : float
        In the metric's units; negative for a decrease.
    relative : float
        ``absolute / baseline``; NaN where the baseline is 0 or not known.
    method, reason : str
        `reason` is not empty if and only if `absolute` is NaN.
    """

    absolute: float
    relative: float
    method: str
    reason: str = ""


def power(
    design: Design, hypothesis: Hypothesis, *, n: Sequence[float], effect: float | None = None, relative_effect: float | None = None
) -> Power:
    """Power of a planned comparison by formula.

    The formulas stand at `sparkds.stats.rejection.rejection_probability`; their names at the designs.

    Parameters
    ----------
    design : ProportionDesign, MeanDesign or RatioDesign
    hypothesis : Hypothesis
    n : (n_arms,) sequence of numbers
        Units per arm, control first.
    effect, relative_effect : float
        True effect, one of the two: treatment minus control, or that over the baseline.

    Returns
    -------
    Power
        The formula's name is in `method`; it is exact for the t and z of normal data, asymptotic for shares and ratios.

    Raises
    ------
    ConfigError
        For arguments that make no sense together.

    Examples
    --------
    >>> design = ProportionDesign(baseline=0.05, test="pooled")
    >>> round(power(design, Hypothesis(kind="two-sided", alpha=0.05), n=(31_234, 31_234), relative_effect=0.1).value, 4)
    0.8
    """
    check_claim(design, hypothesis)
    arms = arms_of("n", n)
    absolute, reason = _absolute(design, effect, relative_effect)
    reason = reason or design.trouble(absolute) or _too_few(design, arms)
    if reason:
        return Power(math.nan, design.method, reason=reason)
    return Power(_least_power(design, hypothesis, absolute, arms), design.method)


def sample_size(
    design: Design,
    hypothesis: Hypothesis,
    *,
    power: float,
    effect: float | None = None,
    relative_effect: float | None = None,
    weights: Sequence[float] = (1, 1),
) -> SampleSize:
    """Fewest units that reach the wanted power.

    Control gets the smallest whole number N for which arms of ``ceil(N weight / weight of control)`` units reach `power`, so
    ``N − 1`` does not.

    Parameters
    ----------
    design : ProportionDesign, MeanDesign or RatioDesign
    hypothesis : Hypothesis
    power : float
        Wanted in every comparison, in (0, 1).
    effect, relative_effect : float
        True effect, one of the two.
    weights : (n_arms,) sequence of numbers
        Shares of the units, control first, in any unit.

    Returns
    -------
    SampleSize

    Raises
    ------
    ConfigError

    Examples
    --------
    >>> claim = Hypothesis(kind="two-sided", alpha=0.05)
    >>> sample_size(ProportionDesign(baseline=0.05, test="pooled"), claim, power=0.8, relative_effect=0.1).n
    (31234, 31234)
    """
    check_claim(design, hypothesis)
    between("power", power, 0, 1)
    shares = arms_of("weights", weights)
    absolute, reason = _absolute(design, effect, relative_effect)
    reason = reason or design.trouble(absolute)
    if not reason and not hypothesis.holds(absolute):
        reason = f"an effect of {absolute:g} is within the null of {hypothesis.kind}; no number of units shows it"
    if reason:
        return SampleSize(None, None, math.nan, design.method, reason)

    def arms(n_control: int) -> tuple[int, ...]:
        return tuple(max(1, math.ceil(n_control * share / shares[0] - ROUNDING)) for share in shares)

    def reached(n_control: int) -> float:
        if _too_few(design, arms(n_control)):
            return 0.0
        return _least_power(design, hypothesis, absolute, arms(n_control))

    low, high = 0, 1
    while reached(high) < power:
        low, high = high, 2 * high
        if high > MOST_UNITS:
            return SampleSize(None, None, math.nan, design.method, f"more than {MOST_UNITS:.0e} units are needed; plan for a larger effect")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if reached(middle) < power else (low, middle)
    return SampleSize(arms(high), sum(arms(high)), reached(high), design.method)


def minimum_detectable_effect(
    design: Design,
    hypothesis: Hypothesis,
    *,
    n: Sequence[float],
    power: float,
    direction: Literal["increase", "decrease"] = "increase",
) -> MinimumDetectableEffect:
    """Smallest true effect that reaches the wanted power with given arms.

    The power as a function of the effect is inverted by Brent's method, so that the variance of a share changes with the
    effect as in `power`. For non-inferiority it is the true effect from which the margin is kept, often near 0 and of either sign.

    Parameters
    ----------
    design : ProportionDesign, MeanDesign or RatioDesign
    hypothesis : Hypothesis
        Not an equivalence, whose question is `minimum_margin`.
    n : (n_arms,) sequence of numbers
        Units per arm, control first.
    power : float
        In (0, 1), and above the level of a comparison.
    direction : {"increase", "decrease"}
        For a two-sided claim: the side that is asked. The other claims have theirs.

    Returns
    -------
    MinimumDetectableEffect

    Raises
    ------
    ConfigError

    Examples
    --------
    >>> from sparkds.stats.designs import MeanDesign
    >>> claim = Hypothesis(kind="two-sided", alpha=0.05)
    >>> round(minimum_detectable_effect(MeanDesign(std=1.0, test="z"), claim, n=(100, 100), power=0.8).absolute, 4)
    0.3962
    """
    check_claim(design, hypothesis)
    between("power", power, 0, 1)
    one_of("direction", direction, Literal["increase", "decrease"])
    if hypothesis.kind == "equivalence":
        raise ConfigError("an equivalence has no minimum detectable effect; ask minimum_margin for the margin that can be shown")
    arms = arms_of("n", n)
    between("power", power, hypothesis.alpha_per_comparison(len(arms) - 1), 1)
    sign = -1.0 if hypothesis.shows_smaller or (hypothesis.kind == "two-sided" and direction == "decrease") else 1.0
    start = -sign * hypothesis.margin

    def missing(reason: str) -> MinimumDetectableEffect:
        return MinimumDetectableEffect(math.nan, math.nan, design.method, reason)

    # a share is asked a little inside its ends, where something varies
    inside = start + sign * 1e-12 if isinstance(design, ProportionDesign) else start
    if isinstance(design, ProportionDesign) and not 0 <= design.baseline + inside <= 1:
        inside = -design.baseline if inside < 0 else 1 - design.baseline
    if reason := design.trouble(inside) or _too_few(design, arms):
        return missing(reason)

    def gap(distance: float) -> float:
        return _least_power(design, hypothesis, inside + sign * distance, arms) - power

    if gap(0.0) >= 0:
        return missing("every effect reaches this power; ask for more power or fewer units")
    if isinstance(design, ProportionDesign):
        most = (1 - design.baseline if sign > 0 else design.baseline) + sign * -inside
        most = math.nextafter(most, 0.0)
    else:
        most = max(design.std_errors(0.0, arms[0], n_arm)[1] for n_arm in arms[1:])
        while gap(most) < 0 and most < 1e300:
            most *= 2
    if most <= 0 or gap(most) < 0:
        return missing("no effect reaches this power; plan for more units")
    distance = float(optimize.brentq(gap, 0.0, most, xtol=most * 1e-14, rtol=1e-13, maxiter=500))
    absolute = inside + sign * distance
    return MinimumDetectableEffect(absolute, _relative(design, absolute), design.method)


def minimum_margin(
    design: Design, hypothesis: Hypothesis, *, n: Sequence[float], power: float, effect: float = 0.0
) -> MinimumDetectableEffect:
    """Smallest margin of a non-inferiority or equivalence claim that reaches the wanted power with given arms.

    Parameters
    ----------
    design : ProportionDesign, MeanDesign or RatioDesign
    hypothesis : Hypothesis
        Its own margin is not looked at.
    n : (n_arms,) sequence of numbers
        Units per arm, control first.
    power : float
        In (0, 1).
    effect : float
        True effect, absolute; usually 0.

    Returns
    -------
    MinimumDetectableEffect
        The margin, positive, as `absolute` and over the size of the baseline as `relative`.

    Raises
    ------
    ConfigError
    """
    if not hypothesis.has_margin:
        raise ConfigError(f"kind {hypothesis.kind!r} has no margin; ask minimum_detectable_effect")
    check_claim(design, hypothesis)
    between("power", power, 0, 1)
    arms = arms_of("n", n)
    if reason := design.trouble(effect) or _too_few(design, arms):
        return MinimumDetectableEffect(math.nan, math.nan, design.method, reason)

    def gap(margin: float) -> float:
        return _least_power(design, hypothesis, effect, arms, margin) - power

    worst = max(design.std_errors(effect, arms[0], n_arm)[1] for n_arm in arms[1:])
    side = -effect if hypothesis.better == "larger" else effect
    least = side if hypothesis.kind == "non-inferiority" else abs(effect)
    low, step = least - worst, worst
    while gap(low) >= 0 and step < 1e300:
        low, step = low - step, 2 * step
    high, step = least + worst, worst
    while gap(high) < 0 and step < 1e300:
        high, step = high + step, 2 * step
    margin = float(optimize.brentq(gap, low, high, xtol=step * 1e-14, rtol=1e-13, maxiter=500))
    if margin <= 0:
        reason = "the effect alone shows it at any margin; ask for a superiority claim instead"
        return MinimumDetectableEffect(math.nan, math.nan, design.method, reason)
    return MinimumDetectableEffect(margin, abs(_relative(design, margin)), design.method)


def duration_weeks(n_total: int, *, units_per_day: float) -> int:
    """Whole weeks until enough units have come, so that each weekday is met equally often.

    Parameters
    ----------
    n_total : int
        Units of all arms.
    units_per_day : float
        New units per day that enter the experiment.

    Raises
    ------
    ConfigError

    Examples
    --------
    >>> duration_weeks(62_468, units_per_day=5_000)
    2
    """
    between("n_total", n_total, 1, math.inf, closed="low")
    between("units_per_day", units_per_day, 0, math.inf)
    return max(1, math.ceil(n_total / (7 * units_per_day) * (1 - 1e-12)))


def power_curve(
    design: Design,
    hypothesis: Hypothesis,
    *,
    n_control: Sequence[int],
    effects: Sequence[float],
    weights: Sequence[float] = (1, 1),
) -> list[dict[str, Any]]:
    """Power over numbers of units and effects.

    Parameters
    ----------
    design : ProportionDesign, MeanDesign or RatioDesign
    hypothesis : Hypothesis
    n_control : sequence of int
        Units in the control arm; the others follow from the weights, rounded up.
    effects : sequence of float
        Absolute.
    weights : (n_arms,) sequence of numbers

    Returns
    -------
    list of dict
        ``effect, relative_effect, n_control, n_total, power, method, reason``, one row per effect and number.
    """
    shares = arms_of("weights", weights)
    rows = []
    for effect in effects:
        for count in n_control:
            arms = [math.ceil(count * share / shares[0] - ROUNDING) for share in shares]
            found = power(design, hypothesis, n=arms, effect=effect)
            row = {"effect": effect, "relative_effect": _relative(design, effect), "n_control": count, "n_total": sum(arms)}
            rows.append(row | {"power": found.value, "method": found.method, "reason": found.reason})
    return rows


def sensitivity(
    design: Design, hypothesis: Hypothesis, *, effects: Sequence[float], powers: Sequence[float], weights: Sequence[float] = (1, 1)
) -> list[dict[str, Any]]:
    """Units needed over effects and powers.

    Parameters
    ----------
    design : ProportionDesign, MeanDesign or RatioDesign
    hypothesis : Hypothesis
    effects : sequence of float
        Absolute.
    powers : sequence of float
        In (0, 1).
    weights : (n_arms,) sequence of numbers

    Returns
    -------
    list of dict
        ``effect, relative_effect, power, n_control, n_total, method, reason``, one row per effect and power; the
        numbers are None where there is a reason.
    """
    rows = []
    for effect in effects:
        for wanted in powers:
            found = sample_size(design, hypothesis, power=wanted, effect=effect, weights=weights)
            row: dict[str, Any] = {"effect": effect, "relative_effect": _relative(design, effect), "power": wanted}
            row |= {"n_control": None if found.n is None else found.n[0], "n_total": found.n_total}
            rows.append(row | {"method": found.method, "reason": found.reason})
    return rows


def _absolute(design: Design, effect: float | None, relative_effect: float | None) -> tuple[float, str]:
    """Effect in the metric's units, or why there is none."""
    if (effect is None) == (relative_effect is None):
        raise ConfigError(f"effect is {effect} and relative_effect is {relative_effect}; give one of the two")
    given = effect if effect is not None else relative_effect
    assert given is not None
    if not math.isfinite(given):
        raise ConfigError(f"the effect is {given}; give a finite number")
    if effect is not None:
        return given, ""
    if math.isnan(design.baseline) or design.baseline == 0:
        return math.nan, f"an effect relative to a baseline of {design.baseline:g} has no size; give an absolute effect"
    return given * design.baseline, ""


def _relative(design: Design, absolute: float) -> float:
    return absolute / design.baseline if design.baseline else math.nan


def _too_few(design: Design, arms: Sequence[float]) -> str:
    if all(design.df(arms[0], n) > 0 for n in arms[1:]):
        return ""
    return "too few units for a variance; plan for at least two in each arm (two clusters where units come in clusters)"


def _least_power(design: Design, hypothesis: Hypothesis, effect: float, arms: Sequence[float], margin: float | None = None) -> float:
    alpha = hypothesis.alpha_per_comparison(len(arms) - 1)
    return min(
        rejection_probability(design, hypothesis, alpha=alpha, effect=effect, n=(arms[0], n), margin=margin)
        for n in dict.fromkeys(arms[1:])
    )
