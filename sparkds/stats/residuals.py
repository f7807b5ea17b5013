"""Residuals: the state of a regression on rows with labels, its merge, and its metrics.

Takes predictions and labels, keeps sums by bin of the prediction, and gives errors, shares of variance and tables by decile; means and sums
of squares about them are merged pairwise, never as sums of squared labels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from sparkds.errors import ConfigError, DataError
from sparkds.stats.measured import Measured, undefined

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MANTISSA_BITS: Final = 10
"""Predictions share a bin when their sign, power of two and first bits of the fraction are the same: within 0.1 %."""
SUMS: Final = ("n", "prediction", "error", "squared", "absolute", "percentage", "n_zero")


@dataclass(frozen=True, eq=False)
class Residuals:
    """Rows by bin of the prediction, ascending; an error is prediction minus label.

    Attributes
    ----------
    key : (k,) int64
        Number of the bin.
    n : (k,)
        Rows, or their total weight.
    mean_label : (k,)
    m2_label : (k,)
        Sum of weight times (label - mean of the bin)².
    prediction, error, squared, absolute : (k,)
        Sums of the prediction, and of the error, its square and its size.
    percentage : (k,)
        Sum of the size of error / label over rows whose label is not 0.
    n_zero : (k,)
        Rows whose label is 0.
    pinball : (k, q)
        Sum of the quantile loss at each of `shares`.
    shares : (q,)
    """

    key: Ints
    n: Array
    mean_label: Array
    m2_label: Array
    prediction: Array
    error: Array
    squared: Array
    absolute: Array
    percentage: Array
    n_zero: Array
    pinball: Array
    shares: tuple[float, ...] = ()

    @property
    def n_total(self) -> float:
        """Rows in all."""
        return float(self.n.sum())


class ResidualTable(NamedTuple):
    """Groups of about equal size by prediction, ascending; rows of one bin stay together.

    Attributes
    ----------
    group : (g,) int64
        1 for the lowest predictions.
    n, mean_prediction, mean_label, bias, rmse, mae : (g,)
    """

    group: Ints
    n: Array
    mean_prediction: Array
    mean_label: Array
    bias: Array
    rmse: Array
    mae: Array


def prediction_bins(x: Array) -> Ints:
    """Bin of each prediction: (n,) int64, ascending with the prediction, all of a bin within 0.1 %.

    Examples
    --------
    >>> prediction_bins(np.array([-1.0, 0.0, 1.0, 1.0001])).tolist()
    [-1047552, 0, 1047552, 1047552]
    """
    size = np.abs(np.ascontiguousarray(x, dtype=np.float64)).view(np.int64) >> (52 - MANTISSA_BITS)
    signed: Ints = np.where(x < 0, -size, size)
    return signed


def measured_residuals(
    label: npt.ArrayLike, prediction: npt.ArrayLike, *, weight: npt.ArrayLike | None = None, shares: Sequence[float] = ()
) -> Residuals:
    """State of arrays.

    Parameters
    ----------
    label, prediction : (n,)
        Finite.
    weight : (n,), optional
        At least 0.
    shares : sequence of float
        In (0, 1): quantiles of which the prediction is judged.

    Raises
    ------
    DataError
        A value is not finite or a weight negative.
    ConfigError
        A share is not in (0, 1).

    Examples
    --------
    >>> found = measured_residuals([1.0, 2.0, 4.0], [1.5, 2.0, 3.0])
    >>> round(mae(found).value, 3)
    0.5
    """
    y, p = np.asarray(label, dtype=np.float64).ravel(), np.asarray(prediction, dtype=np.float64).ravel()
    w = np.ones(len(y)) if weight is None else np.asarray(weight, dtype=np.float64).ravel()
    if not all(0 < share < 1 for share in shares):
        raise ConfigError(f"quantile shares are {tuple(shares)}; give numbers in (0, 1)")
    if not (len(y) == len(p) == len(w)):
        raise DataError(f"{len(y)} labels, {len(p)} predictions and {len(w)} weights; give one of each a row")
    if not (np.isfinite(y).all() and np.isfinite(p).all()):
        raise DataError("a label or prediction is missing or not finite; leave such rows out and count them")
    if not (np.isfinite(w).all() and (w >= 0).all()):
        raise DataError("a weight is negative, missing or not finite; weights are at least 0")
    kept = w > 0
    keys, group = np.unique(prediction_bins(p[kept]), return_inverse=True)
    return grouped_residuals(keys, group.astype(np.int64), y[kept], p[kept], w[kept], tuple(shares))


def grouped_residuals(keys: Ints, group: Ints, y: Array, p: Array, w: Array, shares: tuple[float, ...]) -> Residuals:
    """State by group of rows: `group` (n,) numbers the `keys`; every group has weight above 0."""
    k = len(keys)

    def total(x: Array) -> Array:
        found: Array = np.bincount(group, weights=w * x, minlength=k).astype(np.float64)
        return found

    one = np.ones(len(y))
    n = total(one)
    mean = total(y) / n
    error = p - y
    not_zero = y != 0
    percentage = np.divide(np.abs(error), np.abs(y), out=np.zeros(len(y)), where=not_zero)
    pinball = [total(np.maximum(share * -error, (1 - share) * error)) for share in shares]
    return Residuals(
        key=keys,
        n=n,
        mean_label=mean,
        m2_label=total((y - mean[group]) ** 2),
        prediction=total(p),
        error=total(error),
        squared=total(error**2),
        absolute=total(np.abs(error)),
        percentage=total(percentage),
        n_zero=total(one - not_zero),
        pinball=np.stack(pinball, axis=1) if shares else np.zeros((k, 0)),
        shares=shares,
    )


def combined(state: Residuals, into: Ints, keys: Ints) -> Residuals:
    """State in which bins are put together: bin i goes to ``keys[into[i]]``.

    References
    ----------
    Chan, Golub, LeVeque (1983), Algorithms for computing the sample variance, eq. 2.1, for many parts at once.
    """
    k = len(keys)

    def total(x: Array) -> Array:
        found: Array = np.bincount(into, weights=x, minlength=k).astype(np.float64)
        return found

    sums = {name: total(getattr(state, name)) for name in SUMS}
    mean = total(state.mean_label * (state.n / sums["n"][into]))
    m2 = total(state.m2_label + state.n * (state.mean_label - mean[into]) ** 2)
    pinball = np.stack([total(column) for column in state.pinball.T], axis=1) if state.shares else np.zeros((k, 0))
    return Residuals(key=keys, mean_label=mean, m2_label=m2, pinball=pinball, shares=state.shares, **sums)


def merged_residuals(parts: Sequence[Residuals]) -> Residuals:
    """State of all rows of several states of different rows with the same `shares`.

    Raises
    ------
    ConfigError
        States have different shares.
    """
    if len({part.shares for part in parts}) != 1:
        raise ConfigError(f"states have the quantile shares {sorted({part.shares for part in parts})}; merge states of the same shares")
    names = (*SUMS, "key", "mean_label", "m2_label", "pinball")
    joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    keys, into = np.unique(joined["key"], return_inverse=True)
    return combined(Residuals(shares=parts[0].shares, **joined), into.astype(np.int64), keys)


def rmse(state: Residuals) -> Measured:
    """Root of the mean squared error."""
    found = _mean(state, state.squared, "root of the mean squared error")
    return found if found.reason else Measured(math.sqrt(found.value), n=found.n, method=found.method)


def mae(state: Residuals) -> Measured:
    """Mean size of the error."""
    return _mean(state, state.absolute, "mean size of the error")


def bias(state: Residuals) -> Measured:
    """Mean of prediction minus label."""
    return _mean(state, state.error, "mean of prediction minus label")


def r_squared(state: Residuals) -> Measured:
    """Share of the variance of the label that the prediction explains; below 0 when the mean would be better."""
    method = "1 - squared errors by squared deviations from the mean"
    if state.n_total == 0:
        return undefined("there are no rows", method=method)
    whole = combined(state, np.zeros(len(state.key), dtype=np.int64), np.zeros(1, dtype=np.int64))
    deviations = float(whole.m2_label[0])
    if deviations <= 0:
        return undefined("all labels are the same", n=state.n_total, method=method)
    return Measured(1 - float(state.squared.sum()) / deviations, n=state.n_total, method=method)


def mape(state: Residuals) -> Measured:
    """Mean of the size of the error by that of the label, over rows whose label is not 0; as a share, not percent."""
    zeros = float(state.n_zero.sum())
    method = "mean of |error / label| where the label is not 0" + (f"; {zeros:g} rows with label 0 left out" if zeros else "")
    n = state.n_total - zeros
    if n <= 0:
        return undefined("all labels are 0" if zeros else "there are no rows", method=method)
    return Measured(float(state.percentage.sum()) / n, n=n, method=method)


def quantile_loss(state: Residuals, share: float) -> Measured:
    """Mean pinball loss at a share: ``share`` times the size of errors below the label, ``1 - share`` times those above.

    Raises
    ------
    ConfigError
        The state was made without this share.

    References
    ----------
    Koenker, Bassett (1978), Econometrica 46, 33-50.
    """
    if share not in state.shares:
        raise ConfigError(f"quantile share {share:g} is not in the state; it has {', '.join(map(str, state.shares)) or 'none'}")
    return _mean(state, state.pinball[:, state.shares.index(share)], f"mean pinball loss at {share:g}")


def residual_table(state: Residuals, *, n_groups: int = 10) -> ResidualTable:
    """Errors by group of the prediction, e.g. by decile.

    A bin goes where the middle of its ranks lies; rows of one bin (within 0.1 %) stay together, so that groups can be unequal and fewer
    than `n_groups`, e.g. when all predictions are nearly the same.
    """
    if n_groups < 1:
        raise ConfigError(f"n_groups is {n_groups}; give at least 1")
    middle = (np.cumsum(state.n) - state.n / 2) / state.n_total if len(state.n) else np.zeros(0)
    numbers, into = np.unique(np.minimum((middle * n_groups + 1e-9).astype(np.int64), n_groups - 1), return_inverse=True)
    t = combined(state, into.astype(np.int64), numbers)
    return ResidualTable(numbers + 1, t.n, t.prediction / t.n, t.mean_label, t.error / t.n, np.sqrt(t.squared / t.n), t.absolute / t.n)


def _mean(state: Residuals, sums: Array, method: str) -> Measured:
    if state.n_total == 0:
        return undefined("there are no rows", method=method)
    return Measured(float(sums.sum()) / state.n_total, n=state.n_total, method=method)
