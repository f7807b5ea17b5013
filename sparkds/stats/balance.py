"""Balance: whether the arms of an experiment agree on what was known of their units before it began.

Takes the moments of one covariate by arm and gives, for each treatment arm, the standardised mean difference and Welch's test.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from sparkds.errors import ConfigError
from sparkds.stats.estimate import estimate
from sparkds.stats.group_moments import GroupMoments

METHOD: Final = "Welch t"


@dataclass(frozen=True)
class Balance:
    """One covariate of a treatment arm against the control.

    Attributes
    ----------
    arm : int
        Group of the treatment arm.
    n_control, n_treatment : int
    mean_control, mean_treatment : float
    smd : float
        ``(mean_treatment − mean_control) / √((s²_treatment + s²_control) / 2)``, without unit; variances with ddof 1.
    variance_ratio : float
        ``s²_treatment / s²_control``.
    statistic, pvalue, log10_pvalue : float
        Two-sided.
    method, reason : str
        `reason` is not empty if and only if the test is not computable.
    """

    arm: int
    n_control: int
    n_treatment: int
    mean_control: float
    mean_treatment: float
    smd: float
    variance_ratio: float
    statistic: float
    pvalue: float
    log10_pvalue: float
    method: str
    reason: str = ""


def balance(moments: GroupMoments, *, control: int) -> list[Balance]:
    """Balance of one covariate between the control and every other arm.

    Parameters
    ----------
    moments : GroupMoments
        One column; a group is an arm.
    control : int
        Group of the control arm.

    Returns
    -------
    list of Balance
        In the order of the groups, without the control.

    Raises
    ------
    ConfigError
        There is no such group, or not one column.

    References
    ----------
    Austin (2009), "Balance diagnostics for comparing the distribution of baseline covariates", Statistics in Medicine 28, sec. 3.1;
    Welch (1947), Biometrika 34.

    Examples
    --------
    >>> import numpy as np
    >>> from sparkds.stats.group_moments import grouped
    >>> x, arm = np.array([[1.0], [2.0], [3.0], [2.0], [3.0], [4.0]]), np.array([0, 0, 0, 1, 1, 1])
    >>> (found,) = balance(grouped(x, arm, 2), control=0)
    >>> found.smd, round(found.pvalue, 4)
    (1.0, 0.2879)
    """
    if moments.mean.shape[1] != 1:
        raise ConfigError(f"moments have {moments.mean.shape[1]} columns; give one covariate at a time")
    if not 0 <= control < len(moments.n):
        raise ConfigError(f"control is {control}; there are the groups 0 to {len(moments.n) - 1}")
    return [_against(moments, control, arm) for arm in range(len(moments.n)) if arm != control]


def _against(moments: GroupMoments, control: int, arm: int) -> Balance:
    n_c, n_t = int(moments.n[control]), int(moments.n[arm])
    mean_c, mean_t = (float(moments.mean[g, 0]) if moments.n[g] else math.nan for g in (control, arm))
    var_c, var_t = (float(moments.m2[g, 0, 0]) / (int(moments.n[g]) - 1) if moments.n[g] > 1 else math.nan for g in (control, arm))

    def told(smd: float, statistic: float, pvalue: float, log10_pvalue: float, reason: str = "") -> Balance:
        ratio = var_t / var_c if var_c > 0 else math.nan
        return Balance(arm, n_c, n_t, mean_c, mean_t, smd, ratio, statistic, pvalue, log10_pvalue, METHOD, reason)

    nan = math.nan
    if min(n_c, n_t) < 2:
        return told(nan, nan, nan, nan, "fewer than two units with a value in an arm; wait for more units")
    if not math.isfinite(mean_c + mean_t + var_c + var_t):
        return told(nan, nan, nan, nan, "the covariate has values that are not finite; drop them")
    if max(var_c, var_t) == 0:
        return told(nan, nan, nan, nan, "the covariate does not vary within the arms; leave it out")
    smd = (mean_t - mean_c) / math.sqrt(var_t / 2 + var_c / 2)
    largest = max(var_c, var_t)
    a, b = var_c / largest / n_c, var_t / largest / n_t
    df = (a + b) ** 2 / (a**2 / (n_c - 1) + b**2 / (n_t - 1))
    error = math.sqrt(largest) * math.sqrt(a + b)
    found = estimate(mean_t - mean_c, error, alpha=0.05, df=df, method=METHOD)
    return told(smd, found.statistic, found.pvalue, found.log10_pvalue)
