"""Paired models: two models on the same rows, compared by AUC, by right decisions, and by any metric under resampling.

Takes the scores of both models row by row, or joint counts of them, and gives estimates of first minus second with tests and intervals.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from sparkds.errors import ConfigError, DataError
from sparkds.stats.arguments import between, one_of
from sparkds.stats.estimate import LN10, Estimate, estimate, not_computable

Array = npt.NDArray[np.float64]
Exact = Literal["auto", "always", "never"]
FEW_DISCORDANT = 25


def delong(
    first: npt.ArrayLike, second: npt.ArrayLike, label: npt.ArrayLike, *, n: npt.ArrayLike | None = None, alpha: float = 0.05
) -> Estimate:
    """Difference of the AUC of two models on the same rows, with DeLong's test and interval.

    Parameters
    ----------
    first, second : (k,)
        Scores, or anything that rises with them.
    label : (k,)
        0 or 1.
    n : (k,), optional
        Rows that each entry stands for, so that joint counts can be compared; scores of one bin count as ties.
    alpha : float
        The interval has coverage ``1 - alpha``.

    Returns
    -------
    Estimate
        ``n_control`` are negatives, ``n_treatment`` positives. Not computable with fewer than two rows of a class, or when both models rank
        all rows alike.

    References
    ----------
    DeLong, DeLong, Clarke-Pearson (1988), Biometrics 44, 837-845; placements by midranks as in Sun, Xu (2014), IEEE Signal Processing
    Letters 21, 1389-1393.

    Examples
    --------
    >>> found = delong([0.1, 0.4, 0.35, 0.8], [0.3, 0.2, 0.4, 0.1], [0, 0, 1, 1])
    >>> found.value
    0.25
    """
    a, b, y, many = _rows(first, second, label, n)
    method = "difference of AUC, DeLong"
    positive, negative = y == 1, y == 0
    n_positive, n_negative = float(many[positive].sum()), float(many[negative].sum())
    counts = {"n_control": int(n_negative), "n_treatment": int(n_positive)}
    if n_positive < 2 or n_negative < 2:
        return not_computable(method, f"{n_positive:g} positives and {n_negative:g} negatives; at least two of each are needed", **counts)
    placed = np.stack([placements(scores, y, many) for scores in (a, b)])
    areas = placed[:, positive] @ many[positive] / n_positive
    apart = placed[0] - placed[1] - (areas[0] - areas[1])
    variance = float(many[positive] @ apart[positive] ** 2) / (n_positive - 1) / n_positive
    variance += float(many[negative] @ apart[negative] ** 2) / (n_negative - 1) / n_negative
    if variance <= 1e-28:
        return not_computable(method, "both models rank all rows alike; nothing can be tested", **counts)
    value, error = float(areas[0] - areas[1]), math.sqrt(variance)
    return estimate(value, error, alpha=alpha, n_control=int(n_negative), n_treatment=int(n_positive), method=method)


def placements(score: Array, label: Array, n: Array) -> Array:
    """Placement of each row among those of the other class, ties half: (k,).

    For a positive: the share of negatives below its score; for a negative: the share of positives above its score, less 1. The mean is
    the AUC over positives, and the AUC less 1 over negatives.
    """
    _, place = np.unique(score, return_inverse=True)
    k = int(place.max()) + 1
    sums = [np.bincount(place, weights=n * (label == side), minlength=k) for side in (0, 1)]
    below_negative, below_positive = ((np.cumsum(x) - x / 2) / x.sum() for x in sums)
    found: Array = np.where(label == 1, below_negative[place], -below_positive[place])
    return found


def mcnemar(only_first: float, only_second: float, n: float, *, exact: Exact = "auto", alpha: float = 0.05) -> Estimate:
    """Difference of the shares of right decisions of two models on the same rows.

    Parameters
    ----------
    only_first, only_second : float
        Rows that only the first model decides right, and only the second.
    n : float
        All rows.
    exact : {"auto", "always", "never"}
        Binomial test, or chi-square without continuity correction; ``auto`` is exact below 25 discordant rows.
    alpha : float
        The interval (Wald's for paired shares) has coverage ``1 - alpha``.

    References
    ----------
    McNemar (1947), Psychometrika 12, 153-157; interval: Agresti (2013), Categorical Data Analysis, eq. 11.2.

    Examples
    --------
    >>> found = mcnemar(30, 12, 200)
    >>> round(found.value, 3), round(found.pvalue, 4)
    (0.09, 0.0055)
    """
    one_of("exact", exact, Exact)
    between("alpha", alpha, 0, 1)
    if min(only_first, only_second) < 0 or only_first + only_second > n:
        raise ConfigError(f"discordant rows are {only_first:g} and {only_second:g} of {n:g}; they are at least 0 and at most all rows")
    discordant = only_first + only_second
    by_count = exact == "always" or (exact == "auto" and discordant < FEW_DISCORDANT)
    method = f"difference of right decisions, McNemar ({'exact' if by_count else 'chi-square'}), Wald interval"
    if discordant == 0:
        return not_computable(method, "both models decide all rows alike; nothing can be tested", n_control=int(n), n_treatment=int(n))
    value = (only_first - only_second) / n
    error = math.sqrt(discordant - (only_first - only_second) ** 2 / n) / n
    if by_count:
        smaller = round(min(only_first, only_second))
        statistic = float(smaller)
        log_p = min(0.0, math.log(2) + float(stats.binom.logcdf(smaller, round(discordant), 0.5)))
    else:
        statistic = (only_first - only_second) ** 2 / discordant
        log_p = float(math.log(2) + special.log_ndtr(-math.sqrt(statistic)))
    reach = float(-special.ndtri(alpha / 2)) * error
    return Estimate(value, error, value - reach, value + reach, statistic, math.exp(log_p), log_p / LN10, int(n), int(n), method)


def paired_bootstrap(
    difference: Callable[[Array], float], n: npt.ArrayLike, *, replicates: int = 500, seed: int, alpha: float = 0.05, of: str = "difference"
) -> Estimate:
    """Difference of a metric of two models under Poisson weights for the rows, the same for both models.

    A row's weight is Poisson with mean 1; an entry that stands for n rows has the sum of their weights, which is Poisson with mean n. So
    joint counts are resampled exactly as their rows would be, and the answer depends on the seed and the counts only.

    Parameters
    ----------
    difference : callable
        Weights (k,) to the metric of the first model minus that of the second, e.g. from `auc_difference` or `mean_difference`.
    n : (k,)
        Rows that each entry stands for.
    replicates : int
        At least 20.
    seed : int
        The same seed and numpy give the same answer.
    alpha : float
        Percentile interval with coverage ``1 - alpha``; the p-value is twice the smaller share of replicates beyond 0.
    of : str
        Name of the metric, for `method`.

    References
    ----------
    Hanley, MacGibbon (2006), Creating non-parametric bootstrap samples using Poisson frequencies; Davison, Hinkley (1997), chapter 5.
    """
    between("alpha", alpha, 0, 1)
    if replicates < 20:
        raise ConfigError(f"replicates is {replicates}; give at least 20")
    many = np.asarray(n, dtype=np.float64)
    rows = int(many.sum())
    method = f"{of}, {replicates} Poisson bootstraps, seed {seed}, percentile interval"
    value = difference(many) if rows else math.nan
    if not math.isfinite(value):
        return not_computable(method, "the difference is not computable on these rows", n_control=rows, n_treatment=rows)
    random = np.random.default_rng(seed)
    found = np.array([difference(random.poisson(many).astype(np.float64)) for _ in range(replicates)])
    kept = found[np.isfinite(found)]
    if len(kept) < replicates / 2 or np.ptp(kept) == 0:
        return not_computable(
            method, "resampling gives no spread; both models agree or a class is too rare", n_control=rows, n_treatment=rows
        )
    low, high = np.quantile(kept, [alpha / 2, 1 - alpha / 2])
    beyond = min((kept <= 0).sum(), (kept >= 0).sum())
    pvalue = min(1.0, 2 * (1 + beyond) / (len(kept) + 1))
    error = float(kept.std(ddof=1))
    told = Estimate(value, error, float(low), float(high), value / error, pvalue, math.log10(pvalue), rows, rows, method)
    return replace(told, method=f"{method}, {replicates - len(kept)} left out") if len(kept) < replicates else told


def auc_difference(first: npt.ArrayLike, second: npt.ArrayLike, label: npt.ArrayLike) -> Callable[[Array], float]:
    """AUC of the first model minus that of the second, as a function of the weights of the rows; NaN when a class has no weight."""
    a, b, y, _ = _rows(first, second, label, None)
    places = [np.unique(scores, return_inverse=True)[1] for scores in (a, b)]

    def difference(weight: Array) -> float:
        areas = []
        for place in places:
            negative, positive = (np.bincount(place, weights=weight * (y == side)) for side in (0, 1))
            with np.errstate(divide="ignore", invalid="ignore"):
                areas.append(float(positive @ (np.cumsum(negative) - negative / 2) / (positive.sum() * negative.sum())))
        return areas[0] - areas[1]

    return difference


def mean_difference(row_difference: npt.ArrayLike) -> Callable[[Array], float]:
    """Weighted mean of a difference of the losses of each row, as a function of the weights; NaN without weight."""
    apart = np.asarray(row_difference, dtype=np.float64)
    return lambda weight: float(weight @ apart / weight.sum()) if weight.sum() > 0 else math.nan


def _rows(first: npt.ArrayLike, second: npt.ArrayLike, label: npt.ArrayLike, n: npt.ArrayLike | None) -> tuple[Array, Array, Array, Array]:
    a, b, y = (np.asarray(x, dtype=np.float64).ravel() for x in (first, second, label))
    many = np.ones(len(y)) if n is None else np.asarray(n, dtype=np.float64).ravel()
    if not (len(a) == len(b) == len(y) == len(many)):
        raise DataError(f"{len(a)} and {len(b)} scores, {len(y)} labels and {len(many)} counts; give one of each a row")
    if np.isnan(a).any() or np.isnan(b).any():
        raise DataError("a score is missing; compare the rows that both models have scored")
    if not np.isin(y, (0.0, 1.0)).all():
        raise DataError(f"a label is {y[~np.isin(y, (0.0, 1.0))][0]:g}; allowed are 0 and 1")
    return a, b, y, many
