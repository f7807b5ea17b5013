"""Classification metrics: how well scores rank and how well they are calibrated, from counts by score bin and label.

Takes `ScoreCounts` and gives metrics with intervals; what bins hide is bounded, and what rests on sums is exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import special

from sparkds.errors import ConfigError
from sparkds.stats.arguments import between
from sparkds.stats.measured import Measured, share, undefined, wilson
from sparkds.stats.score_counts import ScoreCounts, coarser

Array = npt.NDArray[np.float64]
NOT_PROBABILITIES: Final = "scores lie outside [0, 1], so they are no probabilities"


@dataclass(frozen=True)
class RankMetric:
    """Metric of the ranking, with what the bins hide.

    Attributes
    ----------
    value : float
        With scores of one bin taken as ties; right when every bin has one score.
    bin_low, bin_high : float
        Bounds of the value by distinct score; equal to `value` when every bin has one score.
    std_error : float
        Sampling error; NaN where none is known.
    n_negative, n_positive : float
    method : str
    reason : str
        Not empty if and only if the value is not computable, and NaN.
    """

    value: float
    bin_low: float
    bin_high: float
    std_error: float
    n_negative: float
    n_positive: float
    method: str
    reason: str = ""

    def measured(self, *, alpha: float) -> Measured:
        """As a measured value: the interval covers the sampling error (normal on the logit scale) and what the bins hide.

        There is no interval where no sampling error is known.
        """
        n = self.n_negative + self.n_positive
        if self.reason:
            return undefined(self.reason, n=n, method=self.method)
        if math.isnan(self.std_error):
            return Measured(self.value, n=n, method=self.method)
        low, high = logit_interval(self.value, self.std_error, alpha=alpha)
        return Measured(
            self.value, max(0.0, low - (self.value - self.bin_low)), min(1.0, high + self.bin_high - self.value), n, self.method
        )


class Curve(NamedTuple):
    """Counts above every cut between bins, from the highest cut (no row above) to the lowest (all rows above).

    Attributes
    ----------
    threshold : (k + 1,)
        Lowest score that is above the cut; ∞ first.
    true_positive, false_positive : (k + 1,)
    """

    threshold: Array
    true_positive: Array
    false_positive: Array


class RankedTable(NamedTuple):
    """Groups of about equal size by score, ascending by score; ties stay together.

    Attributes
    ----------
    group : (g,) int64
        1 for the lowest scores.
    n, n_positive : (g,)
    mean_score, observed : (g,)
        Observed is the share of positives.
    low, high : (g,)
        Wilson's interval of `observed`; NaN for weighted counts.
    lowest_score, highest_score : (g,)
    """

    group: npt.NDArray[np.int64]
    n: Array
    n_positive: Array
    mean_score: Array
    observed: Array
    low: Array
    high: Array
    lowest_score: Array
    highest_score: Array


class LiftTable(NamedTuple):
    """Groups by score, descending, and all rows down to each.

    Attributes
    ----------
    group : (g,) int64
        1 for the highest scores.
    n_share : (g,)
        Share of all rows down to and with this group.
    gain : (g,)
        Share of all positives among them (sensitivity).
    lift : (g,)
        Share of positives in the group by that of all rows.
    cumulative_lift : (g,)
        The same over all rows down to and with this group.
    """

    group: npt.NDArray[np.int64]
    n_share: Array
    gain: Array
    lift: Array
    cumulative_lift: Array


class Confusion(NamedTuple):
    """Counts at one threshold; a row is selected when its score is at least the threshold."""

    true_negative: float
    false_positive: float
    false_negative: float
    true_positive: float


class BestThreshold(NamedTuple):
    """Threshold of the lowest cost: select a row when its score is at least this; ∞ selects none.

    Attributes
    ----------
    threshold : float
    cost : float
        Mean cost a row.
    """

    threshold: float
    cost: float


def logit_interval(value: float, std_error: float, *, alpha: float) -> tuple[float, float]:
    """Interval of a value in (0, 1), normal on the logit scale; NaN without an error, the value itself at 0 and 1.

    References
    ----------
    Pepe (2003), The Statistical Evaluation of Medical Tests for Classification and Prediction, section 5.2.
    """
    between("alpha", alpha, 0, 1)
    if not math.isfinite(std_error):
        return math.nan, math.nan
    if not 0 < value < 1 or std_error == 0:
        return value, value
    reach = float(-special.ndtri(alpha / 2)) * std_error / (value * (1 - value))
    middle = float(special.logit(value))
    return float(special.expit(middle - reach)), float(special.expit(middle + reach))


def one_class(counts: ScoreCounts) -> str:
    """Reason why nothing that compares classes is computable; empty when both are there."""
    if counts.n_total == 0:
        return "there are no rows"
    if counts.n_positive == 0:
        return "all labels are 0; a metric of ranking needs both classes"
    if counts.n_negative == 0:
        return "all labels are 1; a metric of ranking needs both classes"
    return ""


def roc_curve(counts: ScoreCounts) -> Curve:
    """Counts above every cut between bins; a straight line between two points of the ROC curve is a tie or a bin."""
    cumulated = np.concatenate([np.zeros((1, 2)), np.cumsum(counts.n[::-1], axis=0)])
    return Curve(np.concatenate([[math.inf], counts.low[::-1]]), cumulated[:, 1], cumulated[:, 0])


def area_under_roc(counts: ScoreCounts) -> RankMetric:
    """Chance that a positive has a higher score than a negative, ties counted half.

    The bound counts every pair inside a bin as lost or won. The error is DeLong's, from the placement of each row among those of the other
    class.

    References
    ----------
    DeLong, DeLong, Clarke-Pearson (1988), Biometrics 44, 837-845, eq. 2-5.

    Examples
    --------
    >>> from sparkds.stats.score_counts import counted
    >>> area_under_roc(counted([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])).value
    0.75
    """
    method = "AUC, DeLong error"
    reason = one_class(counts)
    if reason:
        return _unranked(counts, method, reason)
    negative, positive = counts.n[:, 0], counts.n[:, 1]
    n_negative, n_positive = counts.n_negative, counts.n_positive
    below = (np.cumsum(negative) - negative / 2) / n_negative
    above = (n_positive - np.cumsum(positive) + positive / 2) / n_positive
    value = float(positive @ below / n_positive)
    hidden = float((negative * positive)[counts.low < counts.high].sum() / (2 * n_negative * n_positive))
    error = math.nan
    if not counts.weighted and n_positive > 1 and n_negative > 1:
        variance = positive @ (below - value) ** 2 / (n_positive - 1) / n_positive
        variance += negative @ (above - value) ** 2 / (n_negative - 1) / n_negative
        error = math.sqrt(float(variance))
    return RankMetric(value, value - hidden, value + hidden, error, n_negative, n_positive, method)


def average_precision(counts: ScoreCounts) -> RankMetric:
    """Precision at each cut, weighted by the rise of recall (no interpolation); scikit-learn's definition.

    The lower bound ranks the negatives of a bin above its positives, the upper bound below.

    Examples
    --------
    >>> from sparkds.stats.score_counts import counted
    >>> round(average_precision(counted([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])).value, 4)
    0.8333
    """
    method = "average precision"
    reason = "" if counts.n_positive > 0 else one_class(counts)
    if reason:
        return _unranked(counts, method, reason)
    curve = roc_curve(counts)
    positive, negative = np.diff(curve.true_positive), np.diff(curve.false_positive)
    before, wrong_before = curve.true_positive[:-1], curve.false_positive[:-1]
    after, wrong = curve.true_positive[1:], curve.false_positive[1:]
    mixed = (counts.low < counts.high)[::-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        exact = np.where(positive > 0, positive * after / (after + wrong), 0.0)
        best = np.where(positive > 0, positive * after / (after + wrong_before), 0.0)
        worst = np.where(positive > 0, positive - wrong * np.log((after + wrong) / (before + wrong)), 0.0)
    worst = np.where((wrong == 0) & (positive > 0), positive, worst)
    hidden = mixed & (negative + positive > 0)
    total = counts.n_positive
    value = float(exact.sum() / total)
    low, high = float(np.where(hidden, worst, exact).sum() / total), float(np.where(hidden, best, exact).sum() / total)
    return RankMetric(value, min(low, value), max(high, value), math.nan, counts.n_negative, total, method)


def kolmogorov_smirnov(counts: ScoreCounts) -> RankMetric:
    """Largest distance between the score distributions of positives and negatives.

    The upper bound ranks each bin in the order that makes the distance largest.
    """
    method = "largest distance between the distributions of both classes"
    reason = one_class(counts)
    if reason:
        return _unranked(counts, method, reason)
    curve = roc_curve(counts)
    true, false = curve.true_positive / counts.n_positive, curve.false_positive / counts.n_negative
    value = float(np.abs(true - false).max())
    corner = np.maximum(true[1:] - false[:-1], false[1:] - true[:-1])[(counts.low < counts.high)[::-1]]
    return RankMetric(value, value, max(value, float(corner.max(initial=0))), math.nan, counts.n_negative, counts.n_positive, method)


def log_loss(counts: ScoreCounts) -> Measured:
    """Mean of -log of the chance given to the label; scores are clipped to ``[2.2e-16, 1 - 2.2e-16]`` here. Exact whatever the bins."""
    return _mean(counts, counts.log_loss, "log loss, scores clipped to 2.2e-16")


def brier(counts: ScoreCounts) -> Measured:
    """Mean of (score - label)². Exact whatever the bins."""
    return _mean(counts, counts.squared_error, "mean of (score - label)²")


def calibration(counts: ScoreCounts, *, n_groups: int = 10, alpha: float = 0.05) -> RankedTable:
    """Mean score and observed share of positives by group of score, e.g. by decile.

    Groups are of about equal size by rank; rows of equal score, and of one bin, stay together, so that groups can be unequal and fewer than
    `n_groups`: scores that are all the same make one group. Nothing is averaged over empty groups.
    """
    grouped, numbers = coarser(counts, n_groups)
    n, positive = grouped.n.sum(axis=1), grouped.n[:, 1]
    low, high = wilson(positive, n, alpha=alpha)
    if counts.weighted:
        low, high = np.full(len(n), math.nan), np.full(len(n), math.nan)
    return RankedTable(numbers + 1, n, positive, grouped.score.sum(axis=1) / n, positive / n, low, high, grouped.low, grouped.high)


def calibration_error(counts: ScoreCounts, *, n_groups: int = 10) -> Measured:
    """Expected calibration error: mean gap between mean score and share of positives over the groups of `calibration`.

    Groups are weighted by their rows.

    References
    ----------
    Naeini, Cooper, Hauskrecht (2015), AAAI 29, 2901-2907, with groups of equal size in the place of equal width.
    """
    method = f"mean gap over {n_groups} groups of equal size"
    reason = _no_probabilities(counts)
    if reason:
        return undefined(reason, n=counts.n_total, method=method)
    table = calibration(counts, n_groups=n_groups)
    gap = float(table.n @ np.abs(table.mean_score - table.observed) / table.n.sum())
    return Measured(gap, n=counts.n_total, method=method)


def largest_calibration_gap(counts: ScoreCounts, *, n_groups: int = 10) -> Measured:
    """Largest gap between mean score and share of positives among the groups of `calibration`."""
    method = f"largest gap among {n_groups} groups of equal size"
    reason = _no_probabilities(counts)
    if reason:
        return undefined(reason, n=counts.n_total, method=method)
    table = calibration(counts, n_groups=n_groups)
    return Measured(float(np.abs(table.mean_score - table.observed).max()), n=counts.n_total, method=method)


def lift(counts: ScoreCounts, *, n_groups: int = 10) -> LiftTable:
    """Lift and gain by group of score from the top; NaN without positives. Groups as in `calibration`."""
    grouped, numbers = coarser(counts, n_groups)
    n, positive = grouped.n.sum(axis=1)[::-1], grouped.n[::-1, 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = positive.sum() / n.sum()
        n_share, gain = np.cumsum(n) / n.sum(), np.cumsum(positive) / positive.sum()
        return LiftTable(n_groups - numbers[::-1], n_share, gain, positive / n / rate, gain / n_share)


def confusion(counts: ScoreCounts, threshold: float) -> Confusion | None:
    """Counts at a threshold; None when a bin has scores on both sides of it."""
    selected = counts.low >= threshold
    if (~selected & (counts.high >= threshold) & (counts.n.sum(axis=1) > 0)).any():
        return None
    above, below = counts.n[selected].sum(axis=0), counts.n[~selected].sum(axis=0)
    return Confusion(float(below[0]), float(above[0]), float(below[1]), float(above[1]))


def threshold_metrics(counts: ScoreCounts, threshold: float, *, alpha: float = 0.05) -> dict[str, Measured]:
    """Precision, recall, F1, specificity, false-positive rate, selection rate and accuracy at a threshold, with Wilson's intervals.

    Examples
    --------
    >>> from sparkds.stats.score_counts import counted
    >>> found = threshold_metrics(counted([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]), 0.4)
    >>> found["precision"].value, found["recall"].value
    (0.5, 0.5)
    """
    names = ("precision", "recall", "specificity", "false_positive_rate", "selection_rate", "accuracy", "f1")
    cells = confusion(counts, threshold)
    if cells is None:
        told = f"the threshold {threshold:g} lies inside a score bin; name it among the thresholds of the pass"
        return {name: undefined(told, n=counts.n_total) for name in names}
    tn, fp, fn, tp = cells
    of = {
        "precision": (tp, tp + fp, "no row is selected"),
        "recall": (tp, tp + fn, "there are no positives"),
        "specificity": (tn, tn + fp, "there are no negatives"),
        "false_positive_rate": (fp, tn + fp, "there are no negatives"),
        "selection_rate": (tp + fp, tn + fp + fn + tp, "there are no rows"),
        "accuracy": (tn + tp, tn + fp + fn + tp, "there are no rows"),
    }
    found = {name: share(x, n, alpha=alpha, nothing=nothing) for name, (x, n, nothing) in of.items()}
    if counts.weighted:
        found = {name: Measured(m.value, n=m.n, method="weighted share", reason=m.reason) for name, m in found.items()}
    harmonic = "harmonic mean of precision and recall"
    if 2 * tp + fp + fn > 0:
        found["f1"] = Measured(2 * tp / (2 * tp + fp + fn), n=tp + fp + fn, method=harmonic)
    else:
        found["f1"] = undefined("there are neither positives nor selected rows", method=harmonic)
    return found


def best_threshold(counts: ScoreCounts, *, cost_false_positive: float, cost_false_negative: float) -> BestThreshold:
    """Cut between bins with the lowest mean cost a row; of equal costs the highest threshold, which selects fewest.

    Raises
    ------
    ConfigError
        A cost is negative or not finite, or both are 0.

    Examples
    --------
    >>> from sparkds.stats.score_counts import counted
    >>> best_threshold(counted([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]), cost_false_positive=1, cost_false_negative=5)
    BestThreshold(threshold=0.35, cost=0.25)
    """
    costs = cost_false_positive, cost_false_negative
    if not all(math.isfinite(cost) and cost >= 0 for cost in costs) or sum(costs) == 0:
        raise ConfigError(f"costs are {costs}; give two finite numbers of at least 0, not both 0")
    if counts.n_total == 0:
        return BestThreshold(math.nan, math.nan)
    curve = roc_curve(counts)
    cost = cost_false_positive * curve.false_positive + cost_false_negative * (counts.n_positive - curve.true_positive)
    at = int(np.argmin(cost))
    return BestThreshold(float(curve.threshold[at]), float(cost[at] / counts.n_total))


def _unranked(counts: ScoreCounts, method: str, reason: str) -> RankMetric:
    nan = math.nan
    return RankMetric(nan, nan, nan, nan, counts.n_negative, counts.n_positive, method, reason)


def _no_probabilities(counts: ScoreCounts) -> str:
    if counts.n_total == 0:
        return "there are no rows"
    return "" if counts.are_probabilities else NOT_PROBABILITIES


def _mean(counts: ScoreCounts, sums: Array, method: str) -> Measured:
    reason = _no_probabilities(counts)
    if reason:
        return undefined(reason, n=counts.n_total, method=method)
    return Measured(float(sums.sum() / counts.n_total), n=counts.n_total, method=method)
