"""Measured values: a number with its interval and the rows behind it, or the reason why there is none.

Takes counts and gives the one shape that metrics of models share; intervals of shares are Wilson's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from sparkds.stats.arguments import between

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Measured:
    """A metric of one set of rows.

    Attributes
    ----------
    value : float
    low, high : float
        Interval; what it covers is said in `method`. NaN where there is none.
    n : float
        Rows, or their total weight, that the value rests on.
    method : str
    reason : str
        Not empty if and only if the value is not computable, and NaN.
    """

    value: float
    low: float = math.nan
    high: float = math.nan
    n: float = 0
    method: str = ""
    reason: str = ""


def undefined(reason: str, *, n: float = 0, method: str = "") -> Measured:
    """Metric without a value."""
    return Measured(math.nan, n=n, method=method, reason=reason)


def wilson(successes: Array | float, n: Array | float, *, alpha: float) -> tuple[Array, Array]:
    """Wilson's score interval of shares: low and high, NaN where `n` is 0.

    Parameters
    ----------
    successes, n : (k,) or float
    alpha : float
        The interval has coverage ``1 - alpha``.

    References
    ----------
    Wilson (1927), J. Am. Stat. Assoc. 22, 209-212.

    Examples
    --------
    >>> low, high = wilson(50, 100, alpha=0.05)
    >>> round(float(low), 4), round(float(high), 4)
    (0.4038, 0.5962)
    """
    between("alpha", alpha, 0, 1)
    x, total = np.asarray(successes, dtype=np.float64), np.asarray(n, dtype=np.float64)
    z2 = float(special.ndtri(alpha / 2)) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        share = x / total
        middle = (share + z2 / (2 * total)) / (1 + z2 / total)
        reach = np.sqrt(z2 * (share * (1 - share) / total + z2 / (4 * total**2))) / (1 + z2 / total)
        return np.maximum(middle - reach, 0.0), np.minimum(middle + reach, 1.0)


def share(successes: float, n: float, *, alpha: float, nothing: str) -> Measured:
    """Share with Wilson's interval; `nothing` is the reason when `n` is 0.

    Examples
    --------
    >>> share(0, 0, alpha=0.05, nothing="no positives").reason
    'no positives'
    """
    told = "share, Wilson interval"
    if n <= 0:
        return undefined(nothing, method=told)
    low, high = wilson(successes, n, alpha=alpha)
    return Measured(successes / n, float(low), float(high), n, told)
