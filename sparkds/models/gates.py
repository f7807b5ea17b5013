"""Gates: what a model must reach before it may take over, as declarations, and the verdict of each.

Takes the rows of an evaluation and what is known of the training, and gives a row per gate; what is not known does not pass. To add a
kind, write one class here and name it in the union at the foot of the file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from sparkds.declaration import Declaration
from sparkds.models.evaluation import EvaluationRow
from sparkds.stats.fairness import Criterion

Status = Literal["pass", "fail", "not_computable"]

COLUMNS: Final = {
    "gate": "name of the gate",
    "model": "model",
    "figure": "what was found; null where it is not computable",
    "comparison": "at_least or at_most",
    "threshold": "what is asked for",
    "status": "pass, fail or not_computable",
    "reason": "what the status rests on, or why the figure is not computable",
}
"""Columns of the gates table with their comments."""

LOWER_IS_BETTER: Final = frozenset(
    {"brier", "log_loss", "calibration_error", "largest_calibration_gap", "false_positive_rate", "rmse", "mae", "mape", "lowest_cost"}
)


@dataclass(frozen=True)
class Verdict:
    """One gate of one model; see `COLUMNS`."""

    gate: str
    model: str
    figure: float
    comparison: Literal["at_least", "at_most"]
    threshold: float
    status: Status
    reason: str


@dataclass(frozen=True)
class Findings:
    """What gates look at; what is None or absent is not known.

    Attributes
    ----------
    model : str
        The model that is judged, as it is named in `rows`.
    rows : sequence of EvaluationRow
        On the test rows, of this and of other models.
    champion : str, optional
        Name in `rows` of the model that is in use; none is in use if empty.
    baselines : tuple of str
        Names in `rows` of the baselines.
    train, validation : mapping of str to float
        Metric to its value on the training and on the validation rows.
    importance : mapping of str to float
        Feature to its importance, of all features; not negative.
    selected : tuple of str
        Features of the selected set.
    retrained_equal : bool, optional
        Whether a second training with the same data and seed gave the same predictions.
    batch_seconds : sequence of float
        Measured times of scoring one batch.
    has_signature : bool, optional
    open_leakage_findings : sequence of str, optional
        Findings that nobody has closed; None when nobody has looked.
    """

    model: str
    rows: Sequence[EvaluationRow]
    champion: str = ""
    baselines: tuple[str, ...] = ()
    train: Mapping[str, float] = field(default_factory=dict)
    validation: Mapping[str, float] = field(default_factory=dict)
    importance: Mapping[str, float] = field(default_factory=dict)
    selected: tuple[str, ...] = ()
    retrained_equal: bool | None = None
    batch_seconds: Sequence[float] = ()
    has_signature: bool | None = None
    open_leakage_findings: Sequence[str] | None = None

    def metric(self, name: str, *, model: str | None = None, at: float | None = None) -> EvaluationRow | None:
        """Row of a metric over all rows, or of a share at a threshold."""
        kind = "metric" if at is None else "threshold"
        wanted = self.model if model is None else model
        found = (r for r in self.rows if (r.kind, r.name, r.model, r.group) == (kind, name, wanted, "") and (at is None or r.at == at))
        return next(found, None)


class Gate(Declaration):
    """Fields that every gate has.

    Attributes
    ----------
    name : str, optional
        Name in the table; made from the gate if empty.
    """

    kind: str
    name: str = Field(default="", description="name in the table; made from the gate if empty")

    @property
    def label(self) -> str:
        """Name in the table."""
        return self.name or self.kind

    def judged(self, found: Findings) -> tuple[Verdict, ...]:
        """Verdicts of the gate."""
        raise TypeError(f"{type(self).__name__} judges nothing")

    def _at_least(self, found: Findings, figure: float, threshold: float, reason: str, label: str = "") -> Verdict:
        status: Status = "pass" if figure >= threshold else "fail"
        return Verdict(label or self.label, found.model, figure, "at_least", threshold, status, reason)

    def _at_most(self, found: Findings, figure: float, threshold: float, reason: str, label: str = "") -> Verdict:
        status: Status = "pass" if figure <= threshold else "fail"
        return Verdict(label or self.label, found.model, figure, "at_most", threshold, status, reason)

    def _unknown(self, found: Findings, comparison: Literal["at_least", "at_most"], threshold: float, why: str, label: str = "") -> Verdict:
        return Verdict(label or self.label, found.model, math.nan, comparison, threshold, "not_computable", why)


class MetricGate(Gate):
    """A metric on the test rows is at least, or at most, a number.

    Attributes
    ----------
    metric : str
        Name of a metric row, e.g. ``auc``, or of a share at a threshold, e.g. ``recall`` with `at`.
    at_least, at_most : float
        One of both.
    at : float, optional
        Score threshold of the share.
    end : {"value", "interval"}
        What is compared: the value, or the end of its interval that is harder to pass.
    """

    kind: Literal["metric"] = "metric"
    metric: str = Field(description="name of the metric, e.g. auc, brier, log_loss, recall")
    at_least: float | None = Field(default=None, description="smallest value that passes")
    at_most: float | None = Field(default=None, description="largest value that passes")
    at: float | None = Field(default=None, description="score threshold, for shares at a threshold")
    end: Literal["value", "interval"] = Field(default="value", description="compare the value, or the harder end of its interval")

    @model_validator(mode="after")
    def _one_side(self) -> MetricGate:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError(f"gate on '{self.metric}': give at_least or at_most, not both and not none")
        return self

    @property
    def label(self) -> str:
        """Name in the table."""
        return self.name or self.metric

    def judged(self, found: Findings) -> tuple[Verdict, ...]:
        """Verdict on the metric."""
        up = self.at_least is not None
        side: Literal["at_least", "at_most"] = "at_least" if up else "at_most"
        threshold = float(self.at_least if self.at_least is not None else self.at_most or 0.0)
        row = found.metric(self.metric, at=self.at)
        where = "" if self.at is None else f" at {self.at:g}"
        if row is None:
            return (self._unknown(found, side, threshold, f"'{self.metric}'{where} was not evaluated"),)
        figure = row.value if self.end == "value" else row.low if up else row.high
        if row.reason or math.isnan(figure):
            why = row.reason or f"'{self.metric}' has no interval here"
            return (self._unknown(found, side, threshold, why),)
        hidden = found.metric(f"{self.metric}_hidden_by_bins")
        if self.end == "value" and hidden is not None and abs(figure - threshold) < hidden.value:
            why = f"{figure:.6g} is nearer to {threshold:g} than the score bins can tell ({hidden.value:.2g}); use more bins"
            return (self._unknown(found, side, threshold, why),)
        told = f"{self.metric}{where} {row.value:.4g} on {row.n:g} rows"
        told += f", interval {row.low:.4g} to {row.high:.4g}" if math.isfinite(row.low) and math.isfinite(row.high) else ""
        return ((self._at_least if up else self._at_most)(found, figure, threshold, told),)


class CalibrationGate(Gate):
    """In each group of scores the observed share lies within some points of the mean score.

    Attributes
    ----------
    within : float
        Largest gap, as a share (0.05 are 5 points).
    """

    kind: Literal["calibration"] = "calibration"
    within: float = Field(default=0.05, gt=0, lt=1, description="largest gap in any group, as a share")

    def judged(self, found: Findings) -> tuple[Verdict, ...]:
        """Verdict on the largest gap."""
        gaps = [r for r in found.rows if (r.kind, r.name, r.model, r.group) == ("calibration", "gap", found.model, "")]
        if not gaps:
            return (self._unknown(found, "at_most", self.within, "there is no calibration table; scores may be no probabilities"),)
        worst = max(gaps, key=lambda r: abs(r.value))
        outside = [f"{r.at:g}" for r in gaps if abs(r.value) > self.within]
        told = f"largest gap {worst.value:+.4f} in group {worst.at:g} of {len(gaps)} ({worst.n:g} rows)"
        told += f"; outside: {', '.join(outside)}" if outside else ""
        return (self._at_most(found, abs(worst.value), self.within, told),)


class OverfitGate(Gate):
    """The metric is not much better on the training rows than on the validation rows.

    The gap is how much better the training rows are (train minus validation; validation minus train where lower is better), by the size of
    the training rows' value if `relative`. Below 0 the validation rows are better, which passes.

    Attributes
    ----------
    metric : str
    at_most : float
    relative : bool
    """

    kind: Literal["overfit"] = "overfit"
    metric: str = Field(default="auc", description="the same metric on both parts")
    at_most: float = Field(default=0.05, ge=0, description="largest gap")
    relative: bool = Field(default=True, description="gap as a share of the training value, else in units of the metric")

    def judged(self, found: Findings) -> tuple[Verdict, ...]:
        """Verdict on the gap."""
        train, validation = found.train.get(self.metric, math.nan), found.validation.get(self.metric, math.nan)
        label = self.name or f"overfit_{self.metric}"
        missing = [part for part, value in (("training", train), ("validation", validation)) if math.isnan(value)]
        if missing:
            why = f"'{self.metric}' on the {' and '.join(missing)} rows is not known"
            return (self._unknown(found, "at_most", self.at_most, why, label),)
        gap = validation - train if self.metric in LOWER_IS_BETTER else train - validation
        if self.relative:
            if train == 0:
                return (self._unknown(found, "at_most", self.at_most, "the training value is 0; a relative gap is undefined", label),)
            gap /= abs(train)
        told = f"{self.metric} {train:.4g} on the training rows, {validation:.4g} on the validation rows"
        return (self._at_most(found, gap, self.at_most, told + (", gap relative to the former" if self.relative else ""), label),)


class FairnessGate(Gate):
    """Groups do not lie far apart in a criterion; one verdict per group column.

    Attributes
    ----------
    criterion : str
    at_most : float
        Largest difference of the rates.
    groups : tuple of str, optional
        Columns that are judged; all that were evaluated if absent.
    """

    kind: Literal["fairness"] = "fairness"
    criterion: Criterion = Field(description="demographic_parity, equal_opportunity, equalised_odds or predictive_parity")
    at_most: float = Field(default=0.1, ge=0, le=1, description="largest difference between two groups")
    groups: tuple[str, ...] | None = Field(default=None, description="group columns; all that were evaluated if absent")

    def judged(self, found: Findings) -> tuple[Verdict, ...]:
        """Verdict on each group column."""
        label = self.name or self.criterion
        name = f"{self.criterion}_difference"
        rows = {r.group: r for r in found.rows if (r.kind, r.name, r.model, r.group_value) == ("fairness", name, found.model, "")}
        if not rows and self.groups is None:
            return (self._unknown(found, "at_most", self.at_most, "no group was evaluated", label),)
        told = []
        for group in sorted(rows) if self.groups is None else self.groups:
            row, of_group = rows.get(group), f"{label}:{group}"
            if row is None or row.reason:
                why = f"group '{group}' was not evaluated" if row is None else row.reason
                told.append(self._unknown(found, "at_most", self.at_most, why, of_group))
            else:
                told.append(self._at_most(found, row.value, self.at_most, row.method, of_group))
        return tuple(told)


class ImportanceGate(Gate):
    """The selected features hold a share of the importance of all features."""

    kind: Literal["importance"] = "importance"
    at_least: float = Field(default=0.9, gt=0, le=1, description="smallest share of the importance")

    def judged(self, found: Findings) -> tuple[Verdict, ...]:
        """Verdict on the share."""
        total = sum(found.importance.values())
        if not found.importance or not found.selected:
            return (self._unknown(found, "at_least", self.at_least, "importances or the selected set are not known"),)
        absent = [name for name in found.selected if name not in found.importance]
        if absent:
            return (self._unknown(found, "at_least", self.at_least, f"importance of '{absent[0]}' is not known"),)
        if min(found.importance.values()) < 0 or total <= 0:
            return (self._unknown(found, "at_least", self.at_least, "importances are negative or all 0; a share is undefined"),)
        covered = sum(found.importance[name] for name in set(found.selected)) / total
        told = f"{len(set(found.selected))} of {len(found.importance)} features"
        return (self._at_least(found, covered, self.at_least, told),)


class ReproducibleGate(Gate):
    """A second training with the same data and seed gives the same predictions."""

    kind: Literal["reproducible"] = "reproducible"

    def judged(self, found: Findings) -> tuple[Verdict, ...]:
        """Verdict: 1 when both trainings agree."""
        if found.retrained_equal is None:
            return (self._unknown(found, "at_least", 1, "the model was not trained twice"),)
        told = (
            "both trainings predict the same" if found.retrained_equal else "two trainings with the same data and seed predict differently"
        )
        return (self._at_least(found, float(found.retrained_equal), 1, told),)


class NotWorseGate(Gate):
    """The model is not worse than the champion, or than any baseline, on the same test rows.

    Attributes
    ----------
    than : {"champion", "baselines"}
    metric : str
    margin : float
        How much worse is still accepted, in units of the metric.
    by : {"value", "interval"}
        ``interval``: the interval of the paired difference must leave out anything worse than `margin` (non-inferiority).
    """

    kind: Literal["not_worse"] = "not_worse"
    than: Literal["champion", "baselines"] = Field(description="with whom the model is compared")
    metric: str = Field(default="auc", description="metric of both")
    margin: float = Field(default=0.0, ge=0, description="how much worse is accepted, in units of the metric")
    by: Literal["value", "interval"] = Field(default="value", description="compare the values, or use the paired interval")

    def judged(self, found: Findings) -> tuple[Verdict, ...]:
        """Verdict on each other model."""
        label = self.name or f"not_worse_than_{self.than}"
        others = found.baselines if self.than == "baselines" else (found.champion,) if found.champion else ()
        if not others and self.than == "champion":
            told = "no model is in use yet; nothing to be worse than"
            return (Verdict(label, found.model, math.nan, "at_least", -self.margin, "pass", told),)
        if not others:
            return (self._unknown(found, "at_least", -self.margin, "no baseline was evaluated", label),)
        return tuple(self._against(found, other, f"{label}:{other}") for other in others)

    def _against(self, found: Findings, other: str, label: str) -> Verdict:
        sign = -1.0 if self.metric in LOWER_IS_BETTER else 1.0
        if self.by == "interval":
            name = f"{self.metric}_difference"
            rows = [r for r in found.rows if (r.kind, r.name, r.model, r.other_model) == ("comparison", name, found.model, other)]
            if not rows or rows[0].reason or not math.isfinite(rows[0].low) or not math.isfinite(rows[0].high):
                why = rows[0].reason or "the difference has no interval" if rows else f"'{self.metric}' was not compared with '{other}'"
                return self._unknown(found, "at_least", -self.margin, why, label)
            figure = rows[0].low if sign > 0 else -rows[0].high
            return self._at_least(found, figure, -self.margin, f"worst end of the interval of the difference; {rows[0].method}", label)
        mine, theirs = found.metric(self.metric), found.metric(self.metric, model=other)
        for row, who in ((mine, found.model), (theirs, other)):
            if row is None or row.reason:
                why = f"'{self.metric}' of '{who}' {'was not evaluated' if row is None else 'is not computable: ' + row.reason}"
                return self._unknown(found, "at_least", -self.margin, why, label)
        assert mine is not None
        assert theirs is not None
        told = f"{self.metric} {mine.value:.4g} against {theirs.value:.4g} of '{other}'; above 0 the model is better"
        return self._at_least(found, sign * (mine.value - theirs.value), -self.margin, told, label)


class LatencyGate(Gate):
    """Scoring a batch is fast enough: a percentile of the measured times, by nearest rank.

    Attributes
    ----------
    seconds : float
    share : float
        Which percentile; it needs at least ``1 / (1 - share)`` measured batches.
    """

    kind: Literal["latency"] = "latency"
    seconds: float = Field(gt=0, description="longest time of a batch")
    share: float = Field(default=0.95, gt=0, lt=1, description="share of batches that must be as fast")

    def judged(self, found: Findings) -> tuple[Verdict, ...]:
        """Verdict on the percentile."""
        times, needed = sorted(found.batch_seconds), math.ceil(1 / (1 - self.share) - 1e-9)
        if len(times) < needed:
            why = f"{len(times)} batches were timed; percentile {100 * self.share:g} needs {needed}"
            return (self._unknown(found, "at_most", self.seconds, why),)
        figure = times[math.ceil(self.share * len(times) - 1e-9) - 1]
        return (self._at_most(found, figure, self.seconds, f"percentile {100 * self.share:g} of {len(times)} batches, seconds"),)


class SignatureGate(Gate):
    """The model says which columns it takes."""

    kind: Literal["signature"] = "signature"

    def judged(self, found: Findings) -> tuple[Verdict, ...]:
        """Verdict: 1 when there is a signature."""
        if found.has_signature is None:
            return (self._unknown(found, "at_least", 1, "nobody has looked for a signature"),)
        told = "the model has a signature" if found.has_signature else "the model has no signature; log it with its input columns"
        return (self._at_least(found, float(found.has_signature), 1, told),)


class LeakageGate(Gate):
    """No finding of leakage is open."""

    kind: Literal["leakage"] = "leakage"

    def judged(self, found: Findings) -> tuple[Verdict, ...]:
        """Verdict on the number of findings."""
        if found.open_leakage_findings is None:
            return (self._unknown(found, "at_most", 0, "nobody has looked for leakage"),)
        told = "; ".join(found.open_leakage_findings) or "none is open"
        return (self._at_most(found, len(found.open_leakage_findings), 0, told),)


AnyGate = Annotated[
    MetricGate
    | CalibrationGate
    | OverfitGate
    | FairnessGate
    | ImportanceGate
    | ReproducibleGate
    | NotWorseGate
    | LatencyGate
    | SignatureGate
    | LeakageGate,
    Field(discriminator="kind"),
]
"""Every kind of gate; the registry."""

DEFAULT_GATES: Final[tuple[Gate, ...]] = (
    MetricGate(metric="auc", at_least=0.85),
    MetricGate(metric="brier", at_most=0.15),
    CalibrationGate(within=0.05),
    OverfitGate(metric="auc", at_most=0.05),
    FairnessGate(criterion="demographic_parity", at_most=0.1),
    FairnessGate(criterion="equalised_odds", at_most=0.1),
    ImportanceGate(at_least=0.9),
    ReproducibleGate(),
    NotWorseGate(than="champion"),
    NotWorseGate(than="baselines"),
    LatencyGate(seconds=1.0),
    SignatureGate(),
    LeakageGate(),
)
"""Gates of a binary classifier when none are declared."""


def judged(gates: Sequence[Gate], found: Findings) -> list[Verdict]:
    """Verdicts of all gates, in their order.

    Examples
    --------
    >>> row = EvaluationRow("metric", "m", "auc", value=0.9, n=100)
    >>> [v.status for v in judged([MetricGate(metric="auc", at_least=0.85), SignatureGate()], Findings("m", [row]))]
    ['pass', 'not_computable']
    """
    return [verdict for gate in gates for verdict in gate.judged(found)]


def all_pass(verdicts: Sequence[Verdict]) -> bool:
    """Whether every gate passes; one that is not computable does not, and no gate at all neither."""
    return bool(verdicts) and all(verdict.status == "pass" for verdict in verdicts)
