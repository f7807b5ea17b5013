"""Sample ratio: whether the arms have the units that the assignment planned.

Takes counts of units by arm and planned weights; a mismatch means that the arms cannot be compared.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from sparkds.errors import ConfigError
from sparkds.stats.arguments import between
from sparkds.stats.estimate import LN10
from sparkds.stats.proportions import log_chi2_sf

MOST_TABLES: Final = 200_000
"""Outcomes that the exact test enumerates at most."""
SMALLEST_EXPECTED: Final = 5


@dataclass(frozen=True)
class SampleRatio:
    """Test of counts against weights.

    Attributes
    ----------
    statistic : float
        Chi-square; of the sequential test the logarithm of the Bayes factor against the plan.
    df : int
    pvalue, log10_pvalue : float
    largest_deviation : float
        Largest ``|share - planned| / planned`` over arms with a weight.
    zero_weight_traffic : bool
        Whether an arm with weight 0 has units.
    method, reason : str
        `reason` is not empty if and only if nothing is computable.
    """

    statistic: float
    df: int
    pvalue: float
    log10_pvalue: float
    largest_deviation: float
    zero_weight_traffic: bool
    method: str
    reason: str = ""


def sample_ratio(counts: Sequence[int], weights: Sequence[float], *, alpha: float) -> SampleRatio:
    """Chi-square test of k counts against planned weights; exact multinomial test where an expected count is below 5.

    Arms of weight 0 are no part of the statistic or its degrees of freedom; units there are told apart. The exact p-value sums all
    outcomes that are not more likely than what was seen.

    Parameters
    ----------
    counts : (k,) sequence of int
    weights : (k,) sequence of float
        At least 0; scaled to sum to 1.
    alpha : float
        Only checked; the caller decides.

    Examples
    --------
    >>> found = sample_ratio([5_000, 5_200], [0.5, 0.5], alpha=0.001)
    >>> round(found.statistic, 3), round(found.pvalue, 3)
    (3.922, 0.048)
    """
    between("alpha", alpha, 0, 1)
    n, share, outside = _checked(counts, weights)
    total, k = int(n.sum()), len(n)
    told = f"chi-square over {k} arms"
    if total == 0:
        return SampleRatio(math.nan, k - 1, math.nan, math.nan, math.nan, outside, told, "no units")
    if k < 2:
        return SampleRatio(math.nan, 0, math.nan, math.nan, math.nan, outside, told, "fewer than two arms have a weight")
    deviation = float(np.max(np.abs(n / total - share) / share))
    expected = total * share
    statistic = float(((n - expected) ** 2 / expected).sum())
    if expected.min() >= SMALLEST_EXPECTED:
        log_p = log_chi2_sf(statistic, k - 1)
        return SampleRatio(statistic, k - 1, math.exp(log_p), log_p / LN10, deviation, outside, told)
    if math.comb(total + k - 1, k - 1) > MOST_TABLES:
        reason = f"an expected count is {expected.min():.1f} and there are too many outcomes for an exact test; wait for more units"
        return SampleRatio(statistic, k - 1, math.nan, math.nan, deviation, outside, told, reason)
    pvalue = _exact(n, share)
    return SampleRatio(statistic, k - 1, pvalue, math.log10(pvalue), deviation, outside, f"exact multinomial over {k} arms")


def phased_sample_ratio(phases: Sequence[tuple[Sequence[int], Sequence[float]]], *, alpha: float) -> SampleRatio:
    """Chi-square over phases with their own weights: statistics and degrees of freedom add.

    Parameters
    ----------
    phases : sequence of (counts, weights)
        A phase without units takes no part.
    """
    parts = [sample_ratio(counts, weights, alpha=alpha) for counts, weights in phases if sum(counts)]
    outside = any(part.zero_weight_traffic for part in parts)
    told = f"chi-square over {len(parts)} phases"
    usable = [part for part in parts if math.isfinite(part.statistic)]
    if not usable:
        return SampleRatio(math.nan, 0, math.nan, math.nan, math.nan, outside, told, "no units")
    statistic, df = sum(part.statistic for part in usable), sum(part.df for part in usable)
    log_p = log_chi2_sf(statistic, df)
    return SampleRatio(statistic, df, math.exp(log_p), log_p / LN10, max(p.largest_deviation for p in usable), outside, told)


def sequential_sample_ratio(counts: npt.ArrayLike, weights: Sequence[float], *, concentration: float = 10_000.0) -> SampleRatio:
    """Anytime-valid test: the Bayes factor of a Dirichlet-multinomial around the plan against the plan.

    Its running maximum exceeds ``1 / alpha`` with probability at most alpha under the plan, however often one looks.

    Parameters
    ----------
    counts : (n_looks, k) array_like of int
        Cumulative counts at each look.
    weights : (k,) sequence of float
    concentration : float
        Of the Dirichlet prior; larger for smaller mismatches.

    References
    ----------
    Lindon, Malek (2022), Anytime-valid inference for multinomial count data, NeurIPS, eq. 4 and theorem 1.
    """
    between("concentration", concentration, 0, math.inf)
    looks = np.atleast_2d(np.asarray(counts, dtype=np.int64))
    told = f"anytime-valid Dirichlet-multinomial, concentration {concentration:g}"
    last, share, outside = _checked(looks[-1].tolist(), weights)
    if last.sum() == 0 or len(last) < 2:
        return SampleRatio(math.nan, 0, math.nan, math.nan, math.nan, outside, told, "no units, or fewer than two arms have a weight")
    n = looks[:, np.asarray(weights, dtype=np.float64) > 0].astype(np.float64)
    prior = concentration * share
    total = n.sum(axis=1)
    log_factor = (
        special.gammaln(concentration)
        - special.gammaln(concentration + total)
        + (special.gammaln(prior + n) - special.gammaln(prior)).sum(axis=1)
        - (n * np.log(share)).sum(axis=1)
    )
    best = max(0.0, float(log_factor.max()))
    deviation = float(np.max(np.abs(last / last.sum() - share) / share))
    return SampleRatio(float(log_factor[-1]), len(last) - 1, math.exp(-best), -best / LN10, deviation, outside, told)


def _checked(counts: Sequence[int], weights: Sequence[float]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], bool]:
    """Counts and shares of the arms with a weight, and whether the others have units."""
    n, w = np.asarray(counts, dtype=np.int64), np.asarray(weights, dtype=np.float64)
    if n.shape != w.shape or not np.isfinite(w).all() or (w < 0).any() or w.sum() <= 0 or (n < 0).any():
        raise ConfigError(f"counts {list(counts)}, weights {list(weights)}: give one of each per arm, none below 0, a weight above 0")
    kept = w > 0
    return n[kept], w[kept] / w.sum(), bool(n[~kept].sum())


def _exact(n: npt.NDArray[np.int64], share: npt.NDArray[np.float64]) -> float:
    total, k = int(n.sum()), len(n)
    outcomes = np.array([np.diff((-1, *bars, total + k - 1)) - 1 for bars in combinations(range(total + k - 1), k - 1)], dtype=np.int64)
    log_chance = stats.multinomial.logpmf(outcomes, total, share)
    seen = float(stats.multinomial.logpmf(n, total, share))
    return min(1.0, float(np.exp(log_chance[log_chance <= seen + 1e-9]).sum()))
