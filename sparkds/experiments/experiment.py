"""Experiments: which arms are compared, on which exposures and facts, by which metrics and rules, as declarations.

One declaration, the same in Python and YAML, from which the unit table, the statistics and the results follow.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, model_validator

from sparkds.declaration import Declaration
from sparkds.errors import closest
from sparkds.experiments.measures import Measure
from sparkds.experiments.metrics import AnyMetric, Attribute, Metric, PrePeriod, variants


class Exposures(Declaration):
    """Table of who saw which arm when.

    Attributes
    ----------
    table : str
    experiment, unit, arm, time : str
        Its columns; `time` is a timestamp, or one without zone together with ``time_zone`` of the set.
    randomised_by : str, optional
        Column of what was randomised (a household, a shop) where the unit is finer; a check then says whether errors can be trusted.
    """

    table: str = Field(description="table in the input location")
    randomised_by: str | None = Field(
        default=None, description="column that names what was randomised, where that is coarser than the unit"
    )
    experiment: str = Field(default="experiment", description="column that names the experiment")
    unit: str = Field(default="unit", description="column that names the unit")
    arm: str = Field(default="arm", description="column that names the arm")
    time: str = Field(default="time", description="timestamp column")
    columns: dict[str, str] | None = Field(default=None, description="column: type, for CSV and JSON; inferred if absent")


class Facts(Declaration):
    """Table of what units did when; rows without a unit or a time are counted and left out."""

    name: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="name by which metrics call it")
    table: str = Field(description="table in the input location")
    unit: str = Field(default="unit", description="column that names the unit")
    time: str = Field(default="time", description="timestamp column")
    columns: dict[str, str] | None = Field(default=None, description="column: type, for CSV and JSON; inferred if absent")


class Phase(Declaration):
    """Weights in force from an instant on.

    Attributes
    ----------
    start : datetime
    weights : dict of str to float
        Arm to its share of the traffic.
    """

    start: AwareDatetime = Field(description="instant from which the weights hold, with its zone")
    weights: dict[str, float] = Field(description="arm: planned share of the units")


class Trigger(Declaration):
    """Condition on facts: only units that met it after their exposure are compared, from that instant on."""

    fact: str = Field(description="fact table")
    where: str = Field(min_length=1, description="SQL predicate over its columns")


class FixedHorizon(Declaration):
    """One analysis when `planned_n` units are there; before, the result is marked as not final."""

    kind: Literal["fixed"] = "fixed"
    planned_n: int | None = Field(default=None, gt=0, description="units over all arms; from then on the result is final")


class GroupSequential(Declaration):
    """Planned looks at shares of `planned_n`, with a spending function."""

    kind: Literal["group_sequential"] = "group_sequential"
    planned_n: int = Field(gt=0, description="units over all arms at the last look")
    looks: tuple[float, ...] = Field(min_length=1, description="planned information fractions, ascending, the last 1")
    spending: Literal["obrien_fleming", "pocock", "power"] = Field(description="spending function")
    rho: float = Field(default=2.0, gt=0, description="exponent of the power spending function")

    @model_validator(mode="after")
    def _ascending(self) -> GroupSequential:
        if list(self.looks) != sorted(set(self.looks)) or self.looks[0] <= 0 or self.looks[-1] != 1:
            raise ValueError(f"looks: {list(self.looks)} must ascend from above 0 to 1")
        return self


class AlwaysValid(Declaration):
    """Confidence sequence: every look is allowed.

    Attributes
    ----------
    method : {"confidence_sequence", "msprt"}
    planned_n : int
        Units over all arms at which the sequence is tightest.
    """

    kind: Literal["always_valid"] = "always_valid"
    method: Literal["confidence_sequence", "msprt"] = Field(default="confidence_sequence", description="asymptotic sequence or mSPRT")
    planned_n: int = Field(gt=0, description="units over all arms at which the sequence is tightest")


class Prior(Declaration):
    """Normal prior of the relative effect of every metric, for a Bayesian result beside the other.

    Attributes
    ----------
    mean : float
        Relative change, e.g. 0.
    std : float
        Relative change, e.g. 0.05 when most changes move a metric by less than 10 %.
    """

    mean: float = Field(default=0.0, description="relative change expected before the experiment")
    std: float = Field(gt=0, description="standard deviation of relative changes seen so far")


class ProportionTest(Declaration):
    """How absolute differences of proportions are tested and bounded.

    Attributes
    ----------
    variance : {"pooled", "unpooled"}
        Under the test.
    continuity : bool
        Yates' correction.
    interval : {"newcombe", "wald", "agresti_caffo", "miettinen_nurminen"}
    exact : {"auto", "never", "fisher", "boschloo", "barnard"}
        Whose p-value is exact: Fisher's where fewer than 5 successes or failures are expected in an arm (auto), nobody's, or everyone's
        by one test.
    """

    variance: Literal["pooled", "unpooled"] = Field(default="pooled", description="variance under the test")
    continuity: bool = Field(default=False, description="Yates' continuity correction")
    interval: Literal["newcombe", "wald", "agresti_caffo", "miettinen_nurminen"] = Field(default="newcombe", description="interval")
    exact: Literal["auto", "never", "fisher", "boschloo", "barnard"] = Field(default="auto", description="exact p-value: when, or which")


Peeking = Annotated[FixedHorizon | GroupSequential | AlwaysValid, Field(discriminator="kind")]


class Experiment(Declaration):
    """One experiment.

    Attributes
    ----------
    name : str
        As it stands in the exposures.
    arms : dict of str to float
        Arm to its planned share; the shares sum to 1. A share of 0 means that no unit may be there.
    control : str
    start, end : datetime
        First instant of exposures, and the instant from which neither exposures nor, for metrics without ``window.days``, facts
        count.
    metrics : tuple of str, optional
        Names of metrics; all if absent.
    segments : tuple of str
        Columns of the exposures, taken at the first exposure.
    crossover : {"exclude", "first", "error"}
        What happens to units that were seen in several arms.
    trigger : Trigger, optional
    phases : tuple of Phase
        Changes of the weights after the start.
    alpha : float
    sides : {"two", "one"}
        One: towards the metric's better direction.
    correction : str
        Over the family of primary metrics × arms, and over segments apart.
    peeking : FixedHorizon, GroupSequential or AlwaysValid
    proportions : ProportionTest
    relative : {"log_ratio", "fieller"}
        Interval of relative changes; Fieller's with a fixed horizon only.
    strata : str, optional
        Segment over which effects are post-stratified, in rows of the variant ``post_stratified``; the phases, where there are some and
        this is absent. It must be known before the exposure.
    prior : Prior, optional
        Rows of the variant ``bayesian`` then give posterior, chance to beat and expected loss.
    novelty_days : int
        Days since exposure whose effects are computed one by one for primary metrics; 0 for none.
    srm_alpha : float
    """

    name: str = Field(min_length=1, description="name in the exposures")
    hypothesis: str = Field(default="", description="what is expected, in words")
    arms: dict[str, float] = Field(min_length=2, description="arm: planned share of the units")
    control: str = Field(description="arm that the others are compared with")
    start: AwareDatetime = Field(description="first instant, with its zone")
    end: AwareDatetime | None = Field(default=None, description="instant after the last, with its zone")
    metrics: tuple[str, ...] | None = Field(default=None, description="metrics of this experiment; all if absent")
    segments: tuple[str, ...] = Field(default=(), description="columns of the exposures")
    top_segments: int = Field(default=20, ge=1, description="values of a segment that are shown; the rest is '(other)'")
    smallest_segment: int = Field(default=100, ge=2, description="units that an arm needs in a segment to be analysed")
    crossover: Literal["exclude", "first", "error"] = Field(default="exclude", description="units seen in several arms")
    trigger: Trigger | None = Field(default=None, description="compare only units that met a condition")
    phases: tuple[Phase, ...] = Field(default=(), description="changes of the weights")
    alpha: float = Field(gt=0, lt=0.5, description="level of the tests")
    sides: Literal["two", "one"] = Field(default="two", description="two-sided, or one-sided towards the better")
    correction: Literal["none", "bonferroni", "holm", "hochberg", "sidak", "holm_sidak", "bh", "by"] = Field(
        description="correction over primary metrics × arms"
    )
    peeking: Peeking = Field(description="when a look is allowed")
    proportions: ProportionTest = Field(default=ProportionTest(), description="test and interval of proportions")
    relative: Literal["log_ratio", "fieller"] = Field(default="log_ratio", description="interval of relative changes")
    strata: str | None = Field(default=None, description="segment over which effects are post-stratified too")
    prior: Prior | None = Field(default=None, description="normal prior of the relative effects, for a Bayesian result")
    novelty_days: int = Field(default=0, ge=0, le=60, description="days since exposure shown one by one for primary metrics")
    srm_alpha: float = Field(default=0.001, gt=0, lt=0.5, description="level of the sample ratio mismatch test")

    @model_validator(mode="after")
    def _arms(self) -> Experiment:
        where = f"experiment '{self.name}'"
        for weights in (self.arms, *(phase.weights for phase in self.phases)):
            unknown = [arm for arm in weights if arm not in self.arms]
            if unknown:
                raise ValueError(
                    f"{where}: a phase names arm '{unknown[0]}'{closest(unknown[0], self.arms)} (arms: {', '.join(self.arms)})"
                )
            if any(share < 0 for share in weights.values()) or abs(sum(weights.values()) - 1) > 1e-9:
                raise ValueError(f"{where}: weights {weights} must be at least 0 and sum to 1; they sum to {sum(weights.values()):g}")
        if self.control not in self.arms:
            raise ValueError(
                f"{where}: control '{self.control}' is no arm{closest(self.control, self.arms)} (arms: {', '.join(self.arms)})"
            )
        if self.end is not None and self.end <= self.start:
            raise ValueError(f"{where}: end {self.end} is not after start {self.start}")
        if self.strata is not None and self.strata not in self.segments:
            raise ValueError(f"{where}: strata '{self.strata}' is no segment{closest(self.strata, self.segments)}; add it to segments")
        if self.relative == "fieller" and self.peeking.kind != "fixed":
            raise ValueError(f"{where}: Fieller's interval holds for a fixed horizon only; take relative: log_ratio")
        starts: list[datetime] = [self.start, *(phase.start for phase in self.phases)]
        if starts != sorted(set(starts)):
            raise ValueError(f"{where}: phases must start after the experiment and one after another")
        return self

    @property
    def treatments(self) -> tuple[str, ...]:
        """Arms other than the control."""
        return tuple(arm for arm in self.arms if arm != self.control)

    def weights_by_phase(self) -> list[tuple[datetime, dict[str, float]]]:
        """Start and weights of every phase, the first one included."""
        return [(self.start, self.arms), *((phase.start, {arm: phase.weights.get(arm, 0.0) for arm in self.arms}) for phase in self.phases)]


class ExperimentSet(Declaration):
    """Experiments that share exposures, facts and metrics.

    Attributes
    ----------
    exposures : Exposures
    facts : tuple of Facts
    metrics : tuple of metrics
    experiments : tuple of Experiment
    time_zone : str
        IANA zone of the days in which results are dated, and of times without zone.

    Examples
    --------
    >>> spec = ExperimentSet.model_validate(
    ...     {
    ...         "time_zone": "UTC",
    ...         "exposures": {"table": "exposures"},
    ...         "facts": [{"name": "orders", "table": "orders"}],
    ...         "metrics": [{"kind": "sum", "name": "revenue", "fact": "orders", "column": "amount"}],
    ...         "experiments": [
    ...             {
    ...                 "name": "button",
    ...                 "arms": {"a": 0.5, "b": 0.5},
    ...                 "control": "a",
    ...                 "start": "2026-01-01T00:00Z",
    ...                 "alpha": 0.05,
    ...                 "correction": "none",
    ...                 "peeking": {"kind": "fixed"},
    ...             }
    ...         ],
    ...     }
    ... )
    >>> [m.column for m in spec.measures]
    ['amount']
    """

    time_zone: str = Field(description="IANA time zone of the days")
    exposures: Exposures = Field(description="who saw which arm when")
    facts: tuple[Facts, ...] = Field(min_length=1, description="what units did when")
    metrics: tuple[AnyMetric, ...] = Field(min_length=1, description="what is compared")
    experiments: tuple[Experiment, ...] = Field(min_length=1, description="experiments")

    @model_validator(mode="after")
    def _references(self) -> ExperimentSet:
        from zoneinfo import available_timezones

        if self.time_zone not in available_timezones():
            raise ValueError(f"time_zone: '{self.time_zone}' is not an IANA time zone{closest(self.time_zone, available_timezones())}")
        for what, names in (
            ("metric", [m.name for m in self.metrics]),
            ("fact table", [f.name for f in self.facts]),
            ("experiment", [e.name for e in self.experiments]),
        ):
            twice = {name for name in names if names.count(name) > 1}
            if twice:
                raise ValueError(f"{what} '{sorted(twice)[0]}' is declared twice; give each its own name")
        facts = [f.name for f in self.facts]
        for metric in self.metrics:
            for value in metric.values:
                if value.fact not in facts:
                    raise ValueError(
                        f"metric '{metric.name}': no fact table '{value.fact}'{closest(value.fact, facts)} (tables: {', '.join(facts)})"
                    )
        for experiment in self.experiments:
            self._metrics_exist(experiment)
            if experiment.trigger is not None and experiment.trigger.fact not in facts:
                raise ValueError(f"experiment '{experiment.name}': trigger: no fact table '{experiment.trigger.fact}'")
        return self

    def _metrics_exist(self, experiment: Experiment) -> None:
        names = [m.name for m in self.metrics]
        for name in experiment.metrics or ():
            if name not in names:
                raise ValueError(f"experiment '{experiment.name}': no metric '{name}'{closest(name, names)} (metrics: {', '.join(names)})")

    def metrics_of(self, experiment: Experiment) -> tuple[Metric, ...]:
        """Metrics of an experiment, in the order of the set."""
        return tuple(m for m in self.metrics if experiment.metrics is None or m.name in experiment.metrics)

    @property
    def measures(self) -> tuple[Measure, ...]:
        """All measures, without repetition; those of the days since exposure are the primary metrics'."""
        found = [m for metric in self.metrics for m in metric.measures]
        for experiment in self.experiments:
            for metric in self.metrics_of(experiment):
                for variant in variants(metric, experiment.novelty_days):
                    found += metric.measures_in(variant.stretch)
        return tuple(dict.fromkeys(found))

    @property
    def numbers(self) -> tuple[Measure, ...]:
        """Measures that are one number a unit, in the order of the unit table's ``measures``."""
        return tuple(m for m in self.measures if m.aggregate != "histogram")

    def measures_of(self, fact: str) -> tuple[Measure, ...]:
        """Measures over one fact table."""
        return tuple(m for m in self.measures if m.fact == fact)

    @property
    def attributes(self) -> tuple[str, ...]:
        """Numeric columns of the exposures that are covariates."""
        return tuple(dict.fromkeys(c.column for m in self.metrics for c in m.covariates if isinstance(c, Attribute)))

    @property
    def segments(self) -> tuple[str, ...]:
        """Columns of the exposures that are segments of some experiment."""
        return tuple(dict.fromkeys(name for e in self.experiments for name in e.segments))

    @property
    def longest_pre_days(self) -> float:
        """Days before an exposure that covariates look at."""
        return max((c.days for m in self.metrics for c in m.covariates if isinstance(c, PrePeriod)), default=0.0)


def by_name(metrics: Sequence[Metric]) -> dict[str, Metric]:
    """Metrics by their names."""
    return {metric.name: metric for metric in metrics}
