"""Result rows: effects, checks and decisions of an experiment in one shape.

What the analysis gives, the results table holds and the readout shows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final, Literal

from sparkds.stats.estimate import Estimate

Kind = Literal["effect", "check", "decision"]
Status = Literal["ok", "warn", "fail", "not_final", "not_computable", "ship", "do_not_ship", "inconclusive", ""]

COLUMNS: Final = {
    "experiment": "experiment",
    "kind": "effect, check or decision",
    "name": "metric of an effect or decision, or name of a check",
    "variant": "declared, uncapped, unadjusted, post_stratified, omnibus, equivalence, bayesian, day_<n>, or what a check looked at",
    "arm": "treatment arm; empty for a check or a test over all arms",
    "segment": "column of a segment; empty for all units",
    "segment_value": "value of the segment",
    "scale": "absolute, or relative to the control (share, not percent)",
    "role": "primary, secondary or guardrail",
    "value": "effect: treatment against control; of a check its figure",
    "std_error": "standard error of value",
    "low": "lower end of the interval at the experiment's alpha, valid for the way of peeking",
    "high": "upper end of the interval",
    "statistic": "test statistic",
    "pvalue": "p-value, valid for the way of peeking",
    "log10_pvalue": "its decimal logarithm, where the p-value underflows too",
    "adjusted_pvalue": "p-value after the correction over the family; null outside of one",
    "adjusted_low": "lower end of the interval that belongs to the corrected decision",
    "adjusted_high": "upper end of that interval",
    "control_value": "value of the control arm",
    "treatment_value": "value of the treatment arm",
    "n_control": "units of the control arm",
    "n_treatment": "units of the treatment arm",
    "n_units": "units of all arms together",
    "variance_reduction": "share of the variance that covariates remove",
    "chance_to_beat": "probability that the treatment is better, under the prior",
    "expected_loss": "expected loss of choosing the treatment, in the units of value, under the prior",
    "method": "test and interval",
    "status": "ok, warn, fail; not_final, not_computable; ship, do_not_ship, inconclusive",
    "action": "what to do",
    "reason": "why there is no number, or what the status rests on",
}
"""Columns of the results table with their comments."""


@dataclass(frozen=True)
class Result:
    """One row; see `COLUMNS`."""

    experiment: str
    kind: Kind
    name: str
    variant: str = ""
    arm: str = ""
    segment: str = ""
    segment_value: str = ""
    scale: str = ""
    role: str = ""
    value: float = math.nan
    std_error: float = math.nan
    low: float = math.nan
    high: float = math.nan
    statistic: float = math.nan
    pvalue: float = math.nan
    log10_pvalue: float = math.nan
    adjusted_pvalue: float = math.nan
    adjusted_low: float = math.nan
    adjusted_high: float = math.nan
    control_value: float = math.nan
    treatment_value: float = math.nan
    n_control: int = 0
    n_treatment: int = 0
    n_units: int = 0
    variance_reduction: float = math.nan
    chance_to_beat: float = math.nan
    expected_loss: float = math.nan
    method: str = ""
    status: Status = ""
    action: str = ""
    reason: str = ""

    def with_estimate(self, found: Estimate) -> Result:
        """Row with the numbers of an estimate; not computable where it has a reason."""
        return replace(
            self,
            value=found.value,
            std_error=found.std_error,
            low=found.low,
            high=found.high,
            statistic=found.statistic,
            pvalue=found.pvalue,
            log10_pvalue=found.log10_pvalue,
            n_control=found.n_control,
            n_treatment=found.n_treatment,
            method=found.method,
            reason=found.reason,
            status="not_computable" if found.reason else self.status,
        )
