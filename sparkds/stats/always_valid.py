"""Always-valid inference: intervals and p-values that hold at every look at once, however often one looks and whenever one stops.

Takes estimates with standard errors at any number of looks, and a choice of where in the experiment the method should be at its
best; gives an interval and a p-value for each look.

Both methods mix the likelihood ratio of the estimate over a normal distribution of effects. With ``x = n rho²`` (confidence
sequence) or ``x = tau² / std_error²`` (mSPRT) and z the estimate over its standard error, the mixture is
``(1 + x)^(−1/2) exp(x z² / (2 (1 + x)))``, a nonnegative martingale under the null; by Ville's inequality it ever exceeds
``1 / alpha`` with probability alpha at most. Exactly so for normal data of known variance, asymptotically for means of anything.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from scipy import special

from sparkds.errors import ConfigError
from sparkds.stats.arguments import between

Array = npt.NDArray[np.float64]
LN10: Final = math.log(10)
LARGEST: Final = 1e300
"""Stands for what a double cannot hold, so that logarithms stay finite."""


@dataclass(frozen=True, eq=False)
class AlwaysValid:
    """Intervals and p-values of all looks.

    Attributes
    ----------
    low, high : (n_looks,) arrays
        Interval from the data up to each look. All of them cover the effect together, so that their intersection does too;
        infinite on the open side of a one-sided sequence, NaN where nothing is computable.
    pvalue, log10_pvalue : (n_looks,) arrays
        Smallest of the looks so far. Below alpha from the first look on whose interval leaves out the null.
    method : str
    reason : (n_looks,) tuple of str
        Not empty where the look is not computable.
    """

    low: Array
    high: Array
    pvalue: Array
    log10_pvalue: Array
    method: str
    reason: tuple[str, ...]


def tuning_rho(n_star: float, *, alpha: float, sides: Literal[1, 2] = 2) -> float:
    """Parameter rho of the confidence sequence that is narrowest once `n_star` units have come.

    ``rho² = (−W_{−1}(−alpha² / e) − 1) / n_star`` with Lambert's W, at twice the alpha for a one-sided sequence.

    Parameters
    ----------
    n_star : float
        Units, positive; e.g. the planned total.
    alpha : float
        In (0, 1).
    sides : {1, 2}

    Raises
    ------
    ConfigError

    References
    ----------
    Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas (2024), "Time-uniform central limit theory and asymptotic confidence
    sequences", Annals of Statistics 52, app. B.2.

    Examples
    --------
    >>> round(tuning_rho(10_000, alpha=0.05), 5)
    0.02866
    """
    between("n_star", n_star, 0, math.inf)
    between("alpha", alpha, 0, 0.5 if sides == 1 else 1)
    level = alpha if sides == 2 else 2 * alpha
    x = -special.lambertw(-(level**2) / math.e, -1).real - 1
    return math.sqrt(float(x) / n_star)


def inflation_factor(*, alpha: float, power: float, sides: Literal[1, 2] = 2) -> float:
    """Units that a confidence sequence needs to be as powerful at its narrowest as one fixed look, over those of that look.

    With c the sequence's boundary for the estimate over its standard error at `n_star` units, ``((c + z_power) / (z_alpha + z_power))²``;
    c depends on alpha alone. The chance to have rejected at an earlier look comes on top, so the power is at least what is asked.

    Parameters
    ----------
    alpha : float
        In (0, 1); below 1/2 for a one-sided sequence.
    power : float
        In (alpha, 1).
    sides : {1, 2}

    Returns
    -------
    float
        For `inflation` of a design (`sparkds.stats.designs`). The same for an mSPRT with tau = rho √n_star times the standard
        error that is expected at `n_star`.

    Raises
    ------
    ConfigError

    Examples
    --------
    >>> round(inflation_factor(alpha=0.05, power=0.8), 3)
    1.915
    """
    between("alpha", alpha, 0, 0.5 if sides == 1 else 1)
    between("power", power, alpha, 1)
    narrowest = confidence_sequence([0.0], [1.0], [1.0], alpha=alpha, rho=tuning_rho(1.0, alpha=alpha, sides=sides), sides=sides)
    z_power = float(special.ndtri(power))
    return ((-float(narrowest.low[0]) + z_power) / (z_power - float(special.ndtri(alpha / sides)))) ** 2


def confidence_sequence(
    estimate: npt.ArrayLike,
    std_error: npt.ArrayLike,
    n: npt.ArrayLike,
    *,
    alpha: float,
    rho: float,
    sides: Literal[1, 2] = 2,
    null: float = 0.0,
) -> AlwaysValid:
    """Asymptotic confidence sequence of an effect.

    Two-sided: ``estimate ± std_error √(2 (1 + x) / x · log(√(1 + x) / alpha))`` with ``x = n rho²`` (Waudby-Smith et al. 2024,
    thm 2.2); one-sided: ``log(1 + √(1 + x) / (2 alpha))`` in place of the logarithm, and the lower end only (app. B.1).

    Parameters
    ----------
    estimate, std_error : (n_looks,) array_like
        Of the effect, from all data up to the look.
    n : (n_looks,) array_like
        Units up to the look, all arms together.
    alpha : float
        In (0, 1); below 1/2 for a one-sided sequence.
    rho : float
        Positive, from `tuning_rho`, and chosen before the first look.
    sides : {1, 2}
        One-sided sequences bound the effect from below; turn the sign for an upper bound.
    null : float
        Effect under the null of the p-value.

    Returns
    -------
    AlwaysValid
        The coverage is a limit: start once the arms have some hundred units.

    Raises
    ------
    ConfigError

    Examples
    --------
    >>> found = confidence_sequence([0.3, 0.2], [0.1, 0.04], [1_000, 6_000], alpha=0.05, rho=tuning_rho(6_000, alpha=0.05))
    >>> found.low.round(3), found.high.round(3)
    (array([-0.044,  0.079]), array([0.644, 0.321]))
    """
    if sides not in (1, 2):
        raise ConfigError(f"sides is {sides}; allowed are 1, 2")
    between("alpha", alpha, 0, 0.5 if sides == 1 else 1)
    between("rho", rho, 0, math.inf)
    value, error = _numbers(estimate, std_error)
    units = np.atleast_1d(np.asarray(n, dtype=np.float64))
    if units.shape != value.shape:
        raise ConfigError(f"{value.size} estimates and {units.size} numbers of units; give as many of each")
    x = np.where(units >= 1, units, np.nan) * rho**2
    method = f"asymptotic confidence sequence, rho {rho:.6g}" + (", one-sided" if sides == 1 else "")
    return _mixture(value, error, x, alpha=alpha, sides=sides, null=null, method=method)


def msprt(estimate: npt.ArrayLike, std_error: npt.ArrayLike, *, alpha: float, tau: float, null: float = 0.0) -> AlwaysValid:
    """Mixture sequential probability ratio test of an effect, two-sided.

    The p-value is the least of ``√((V + tau²) / V) exp(−tau² z² / (2 (V + tau²)))`` over the looks, V the squared standard error
    (Johari, Koomen, Pekelis, Walsh 2022, eq. 7 and 8); the interval holds the nulls that would not be rejected.

    Parameters
    ----------
    estimate, std_error : (n_looks,) array_like
        Of the effect, from all data up to the look.
    alpha : float
        In (0, 1).
    tau : float
        Standard deviation of the mixing normal, in the effect's units: the size of effects one expects. Positive, and
        chosen before the first look.
    null : float
        Effect under the null.

    Returns
    -------
    AlwaysValid

    Raises
    ------
    ConfigError

    References
    ----------
    Johari, Koomen, Pekelis, Walsh (2022), "Always valid inference: continuous monitoring of A/B tests", Operations Research 70.

    Examples
    --------
    >>> msprt([0.3, 0.2], [0.1, 0.04], alpha=0.05, tau=0.1).pvalue.round(4)
    array([1.491e-01, 1.000e-04])
    """
    between("alpha", alpha, 0, 1)
    between("tau", tau, 0, math.inf)
    value, error = _numbers(estimate, std_error)
    with np.errstate(divide="ignore", over="ignore"):
        x = np.minimum((tau / error) ** 2, LARGEST)
    return _mixture(value, error, x, alpha=alpha, sides=2, null=null, method=f"mSPRT, tau {tau:.6g}")


def _numbers(estimate: npt.ArrayLike, std_error: npt.ArrayLike) -> tuple[Array, Array]:
    value, error = (np.atleast_1d(np.asarray(given, dtype=np.float64)) for given in (estimate, std_error))
    if value.shape != error.shape or value.ndim != 1:
        raise ConfigError(f"{value.size} estimates and {error.size} standard errors; give as many of each")
    if np.any(error < 0):
        raise ConfigError(f"std_error is {np.nanmin(error)}; give 0 or more")
    return value, error


def _mixture(value: Array, error: Array, x: Array, *, alpha: float, sides: int, null: float, method: str) -> AlwaysValid:
    """Intervals and p-values of a normal mixture, x the information of a look over that of the mixture."""
    known = np.isfinite(value) & np.isfinite(error) & (error > 0) & np.isfinite(x)
    error, x = np.where(known, error, 1.0), np.maximum(np.where(known, x, 1.0), 1 / LARGEST)
    value = np.where(known, value, null)
    log_root = np.log1p(x) / 2
    with np.errstate(over="ignore"):
        z = (value - null) / error
        exponent = np.minimum(z / (1 + 1 / x) * z / 2, LARGEST)
    if sides == 2:
        width = np.sqrt(2 * (1 + 1 / x) * (log_root - math.log(alpha)))
        log_p = log_root - exponent
    else:
        width = np.sqrt(2 * (1 + 1 / x) * np.logaddexp(0.0, log_root - math.log(2 * alpha)))
        up = np.where(z > 0, exponent, 1.0)
        # alpha of log(1 + √(1 + x) / (2 alpha)) = exponent; log(exp(u) − 1) = u + log(1 − exp(−u))
        log_p = np.where(z > 0, log_root - math.log(2) - up - np.log(-np.expm1(-np.maximum(up, 1e-300))), 0.0)
    log_p = np.minimum.accumulate(np.where(known, np.minimum(log_p, 0.0), 0.0))
    with np.errstate(over="ignore"):  # an interval may be everything
        low, high = value - width * error, value + width * error

    def shown(numbers: Array) -> Array:
        return np.where(known, numbers, np.nan)

    reason = tuple("" if ok else "no estimate with a standard error yet; wait for more units" for ok in known)
    top = shown(high) if sides == 2 else shown(np.full_like(high, np.inf))
    return AlwaysValid(shown(low), top, shown(np.exp(log_p)), shown(log_p / LN10), method, reason)
