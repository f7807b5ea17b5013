"""Peeking: an estimate made valid for the way in which an experiment is looked at.

Takes the estimate of the current look, those of earlier looks and the declared plan, and gives the interval and p-value that hold.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from sparkds.experiments.experiment import AlwaysValid, GroupSequential, Peeking
from sparkds.stats.always_valid import confidence_sequence, msprt, tuning_rho
from sparkds.stats.estimate import Estimate, Sides
from sparkds.stats.sequential import Spending, group_sequential


class Look(NamedTuple):
    """What an earlier look saw: units over all arms, effect, standard error."""

    n: int
    value: float
    std_error: float


def peeked(found: Estimate, *, peeking: Peeking, alpha: float, sides: Sides, null: float, n: int, earlier: Sequence[Look] = ()) -> Estimate:
    """Estimate whose interval and p-value hold under the declared way of peeking.

    A fixed horizon leaves it as it is. Group sequential: repeated confidence interval and stage-wise p-value at the looks made so far,
    information being units by the planned number. Always valid: asymptotic confidence sequence, tightest at the planned number, or
    mSPRT with the same mixture.

    Parameters
    ----------
    found : Estimate
        On the scale on which it is normal.
    n : int
        Units over all arms now.
    earlier : sequence of Look
        Earlier looks; those with as many units or more are left out.
    """
    if found.reason or not isinstance(peeking, GroupSequential | AlwaysValid):
        return found
    sign = -1.0 if sides == "less" else 1.0
    looks = [look for look in sorted(earlier) if 0 < look.n < n and look.std_error > 0]
    looks = [look for i, look in enumerate(looks) if i == 0 or look.n > looks[i - 1].n]
    looks.append(Look(n, found.value, found.std_error))
    values, errors = [sign * look.value for look in looks], [look.std_error for look in looks]
    units = [look.n for look in looks]
    if isinstance(peeking, GroupSequential):
        low, high, log10_p, told, reason = _sequential(peeking, values, errors, units, alpha=alpha, sides=sides, null=sign * null)
    else:
        low, high, log10_p, told, reason = _always(peeking, values, errors, units, alpha=alpha, sides=sides, null=sign * null)
    if sign < 0:
        low, high = -high, -low
    pvalue = 10.0**log10_p if math.isfinite(log10_p) else math.nan
    return replace(found, low=low, high=high, pvalue=pvalue, log10_pvalue=log10_p, method=f"{found.method}; {told}", reason=reason)


def _sequential(
    peeking: GroupSequential, values: list[float], errors: list[float], units: list[int], *, alpha: float, sides: Sides, null: float
) -> tuple[float, float, float, str, str]:
    spending = {
        "obrien_fleming": Spending(kind="obrien-fleming"),
        "pocock": Spending(kind="pocock"),
        "power": Spending(kind="power", parameter=peeking.rho),
    }[peeking.spending]
    information = [count / peeking.planned_n for count in units]
    kept = [i for i, t in enumerate(information) if i == len(information) - 1 or information[-1] - t > 1e-3]
    kept = [i for j, i in enumerate(kept) if j == 0 or i == kept[-1] or information[i] - information[kept[j - 1]] > 1e-3]
    looks = group_sequential(
        [values[i] for i in kept],
        [errors[i] for i in kept],
        information=[information[i] for i in kept],
        alpha=alpha,
        sides=2 if sides == "two" else 1,
        spending=spending,
        null=null,
    )
    last = looks[-1]
    told = f"group sequential, {peeking.spending} spending, look {len(looks)} at information {information[-1]:.3g}"
    return last.low, last.high, last.log10_pvalue, told, ""


def _always(
    peeking: AlwaysValid, values: list[float], errors: list[float], units: list[int], *, alpha: float, sides: Sides, null: float
) -> tuple[float, float, float, str, str]:
    two: bool = sides == "two"
    rho = tuning_rho(peeking.planned_n, alpha=alpha, sides=2 if two else 1)
    if peeking.method == "msprt" and two:
        tau = errors[-1] * math.sqrt(units[-1]) * rho
        found = msprt(values, errors, alpha=alpha, tau=tau, null=null)
    else:
        found = confidence_sequence(values, errors, units, alpha=alpha, rho=rho, sides=2 if two else 1, null=null)
    return float(found.low[-1]), float(found.high[-1]), float(found.log10_pvalue[-1]), found.method, found.reason[-1]


def is_final(peeking: Peeking, *, n: int, ended: bool) -> bool:
    """Whether a decision may be taken now: always with a sequential plan, else from the planned number of units or the end on."""
    if isinstance(peeking, GroupSequential | AlwaysValid):
        return True
    return n >= peeking.planned_n if peeking.planned_n is not None else ended


def unplanned_look(peeking: Peeking, *, n: int) -> float | None:
    """Information fraction of a look that is not in a group sequential plan (by more than 0.02); None for a planned one."""
    if not isinstance(peeking, GroupSequential):
        return None
    fraction = n / peeking.planned_n
    return None if any(abs(fraction - look) <= 0.02 for look in peeking.looks) else fraction
