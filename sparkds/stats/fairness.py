"""Fairness: rates of a classifier by group at a threshold, and how far groups lie apart.

Takes `ScoreCounts` of each group and gives rates with intervals, differences and ratios; what a group cannot tell is undefined, not 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

from sparkds.stats.arguments import between, one_of
from sparkds.stats.classification import NOT_PROBABILITIES, threshold_metrics
from sparkds.stats.measured import Measured, share, undefined, wilson
from sparkds.stats.proportions import two_proportions
from sparkds.stats.score_counts import ScoreCounts

Criterion = Literal["demographic_parity", "equal_opportunity", "equalised_odds", "predictive_parity"]
RATES_OF: Final[dict[Criterion, tuple[str, ...]]] = {
    "demographic_parity": ("selection_rate",),
    "equal_opportunity": ("recall",),
    "equalised_odds": ("recall", "false_positive_rate"),
    "predictive_parity": ("precision",),
}
"""Criterion to the rates that must be equal; of several the worst counts."""


@dataclass(frozen=True)
class Disparity:
    """How far groups lie apart in one criterion.

    Attributes
    ----------
    difference : Measured
        Largest rate minus smallest; its interval is Newcombe's for these two groups, as if they had been named before; having been
        found among many makes it too narrow.
    ratio : Measured
        Smallest rate by largest.
    highest, lowest : str
        The two groups.
    rate : str
        The rate that was worst.
    left_out : tuple of str
        Groups in which the rate is undefined or that are too small.
    """

    difference: Measured
    ratio: Measured
    highest: str
    lowest: str
    rate: str
    left_out: tuple[str, ...]


def group_rates(counts: ScoreCounts, threshold: float, *, alpha: float = 0.05) -> dict[str, Measured]:
    """Rates of one group at a threshold.

    Parameters
    ----------
    counts : ScoreCounts
    threshold : float
        A row is selected when its score is at least this.

    Returns
    -------
    dict of str to Measured
        ``base_rate``, ``selection_rate``, ``recall`` (TPR), ``false_positive_rate``, ``precision`` (PPV), ``accuracy``, and
        ``observed_by_expected``: the positives by the sum of the scores.

    Examples
    --------
    >>> from sparkds.stats.score_counts import counted
    >>> rates = group_rates(counted([0, 0], [0.2, 0.6]), 0.5)
    >>> rates["selection_rate"].value, rates["recall"].reason
    (0.5, 'there are no positives')
    """
    at_threshold = threshold_metrics(counts, threshold, alpha=alpha)
    names = ("selection_rate", "recall", "false_positive_rate", "precision", "accuracy")
    base = share(counts.n_positive, counts.n_total, alpha=alpha, nothing="there are no rows")
    if counts.weighted:
        base = Measured(base.value, n=base.n, method="weighted share", reason=base.reason)
    return {"base_rate": base, **{name: at_threshold[name] for name in names}, "observed_by_expected": _calibration(counts, alpha)}


def disparities(groups: Mapping[str, ScoreCounts], threshold: float, *, least: int = 1, alpha: float = 0.05) -> dict[Criterion, Disparity]:
    """Differences and ratios between the groups.

    Parameters
    ----------
    groups : mapping of str to ScoreCounts
        Value of the attribute to the state of its rows.
    threshold : float
    least : int
        Smallest number of rows that a rate must rest on for its group to take part.

    Returns
    -------
    dict of criterion to Disparity
        Demographic parity (equal selection rates), equal opportunity (equal TPR), equalised odds (equal TPR and FPR; the worse of both),
        predictive parity (equal PPV). Undefined with fewer than two groups.

    References
    ----------
    Hardt, Price, Srebro (2016), Equality of opportunity in supervised learning; Chouldechova (2017), Fair prediction with disparate impact.
    """
    between("least", least, 0, math.inf, closed="low")
    rates = {value: threshold_metrics(counts, threshold, alpha=alpha) for value, counts in groups.items()}
    weighted = any(counts.weighted for counts in groups.values())
    return {criterion: disparity(criterion, rates, least=least, alpha=alpha, weighted=weighted) for criterion in RATES_OF}


def disparity(
    criterion: Criterion, rates: Mapping[str, Mapping[str, Measured]], *, least: int = 1, alpha: float = 0.05, weighted: bool = False
) -> Disparity:
    """One criterion, from the rates of each group."""
    one_of("criterion", criterion, Criterion)
    found = [_of_rate(name, {value: of[name] for value, of in rates.items()}, least, alpha, weighted) for name in RATES_OF[criterion]]
    undefined_ones = [part for part in found if part.difference.reason]
    if undefined_ones:
        return undefined_ones[0]
    worst = max(found, key=lambda part: part.difference.value)
    lowest_ratio = min((part.ratio for part in found), key=lambda ratio: math.inf if ratio.reason else ratio.value)
    left_out = tuple(dict.fromkeys(value for part in found for value in part.left_out))
    return replace(worst, ratio=lowest_ratio, left_out=left_out)


def _of_rate(name: str, rates: Mapping[str, Measured], least: int, alpha: float, weighted: bool) -> Disparity:
    defined = {value: rate for value, rate in rates.items() if not rate.reason and rate.n >= max(least, 1)}
    left_out = tuple(value for value in rates if value not in defined)
    if len(defined) < 2:
        why = f"{name} is defined on at least {least} rows in {len(defined)} of {len(rates)} groups; at least two are needed"
        nothing = undefined(why, method=f"difference of {name}")
        return Disparity(nothing, replace(nothing, method=f"ratio of {name}"), "", "", name, left_out)
    highest, lowest = max(defined, key=lambda v: defined[v].value), min(defined, key=lambda v: defined[v].value)
    top, bottom = defined[highest], defined[lowest]
    n = top.n + bottom.n
    told = f"{name} of '{highest}' minus that of '{lowest}'" + (f", {len(left_out)} groups left out" if left_out else "")
    low = high = math.nan
    if not weighted:
        parts = (round(bottom.value * bottom.n), round(bottom.n), round(top.value * top.n), round(top.n))
        apart = two_proportions(*parts, alpha=alpha, variance="unpooled")
        low, high = (apart.low, apart.high) if not apart.reason else (math.nan, math.nan)
    difference = Measured(top.value - bottom.value, low, high, n, told)
    ratio = f"{name} of '{lowest}' by that of '{highest}'"
    if top.value == 0:
        return Disparity(difference, undefined(f"{name} is 0 in all groups", n=n, method=ratio), highest, lowest, name, left_out)
    return Disparity(difference, Measured(bottom.value / top.value, n=n, method=ratio), highest, lowest, name, left_out)


def _calibration(counts: ScoreCounts, alpha: float) -> Measured:
    method = "positives by the sum of the scores, Wilson interval of the positives"
    expected = float(counts.score.sum())
    if counts.n_total == 0:
        return undefined("there are no rows", method=method)
    if not counts.are_probabilities:
        return undefined(NOT_PROBABILITIES, n=counts.n_total, method=method)
    if expected <= 0:
        return undefined("all scores are 0", n=counts.n_total, method=method)
    low, high = wilson(counts.n_positive, counts.n_total, alpha=alpha)
    scale = counts.n_total / expected
    ends = (math.nan, math.nan) if counts.weighted else (float(low) * scale, float(high) * scale)
    return Measured(counts.n_positive / expected, *ends, counts.n_total, method)
