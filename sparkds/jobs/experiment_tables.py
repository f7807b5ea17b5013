"""Experiment tables: names, comments, keys and layout of the tables that the analyzer writes."""

from __future__ import annotations

from sparkds.experiments.experiment import ExperimentSet
from sparkds.experiments.measures import MICROSECONDS_A_DAY, Measure
from sparkds.experiments.result_rows import COLUMNS
from sparkds.tables import TableSpec

RESULT_SCHEMA = (
    "experiment string, kind string, name string, variant string, arm string, segment string, segment_value string, scale string, "
    "role string, value double, std_error double, low double, high double, statistic double, pvalue double, log10_pvalue double, "
    "adjusted_pvalue double, adjusted_low double, adjusted_high double, control_value double, treatment_value double, "
    "n_control bigint, n_treatment bigint, n_units bigint, variance_reduction double, chance_to_beat double, expected_loss double, "
    "method string, status string, action string, reason string, as_of date"
)


def table_names(name: str) -> dict[str, str]:
    """Names of the output tables by what they hold."""
    return {what: f"{name}_{what}" for what in ("units", "statistics", "counts", "results")}


def _told(measure: Measure) -> str:
    """Comment of a measure's column."""
    low, high = (None if edge is None else f"{edge / MICROSECONDS_A_DAY:g}" for edge in (measure.stretch.start, measure.stretch.end))
    where = f" where {' then '.join(measure.where)}" if measure.where else ""
    what = f"{measure.aggregate} of {measure.column or 'rows'} of {measure.fact}{where}"
    return f"{what}, days {low} to {high or 'the end'} after the anchor"


def unit_spec(spec: ExperimentSet) -> TableSpec:
    """Units: one row per experiment and exposed unit."""
    histograms = {measure.name: _told(measure) for measure in spec.measures if measure.aggregate == "histogram"}
    numbers = "; ".join(f"{place}: {_told(measure)}" for place, measure in enumerate(spec.numbers))
    return TableSpec(
        comment="Exposed units of each experiment with their measures, through the day of the commit's metadata",
        columns={
            "arm": "arm of the first exposure",
            "first_exposure": "instant of the first exposure",
            "anchor": "instant from which facts count; null when the trigger was not met",
            "n_exposures": "exposures, count",
            "n_arms": "different arms in which the unit was seen",
            "measures": f"one number each, by place: {numbers}",
            **histograms,
        },
        keys=("experiment", "unit"),
        cluster_by=("experiment",),
    )


def statistics_spec() -> TableSpec:
    """Statistics: one row per as_of, experiment, metric, variant, segment, value and arm."""
    return TableSpec(
        comment="Mergeable statistics of each metric by arm and segment",
        columns={
            "as_of": "last local day that the row covers",
            "variant": "declared, uncapped, or day_<n> since exposure",
            "segment": "column of the segment; empty for all units",
            "n": "units with an observation",
            "n_not_observed": "units without an observation, left out",
            "n_incomplete": "units whose window is not complete, left out",
            "n_capped": "units at or above the cap",
            "mean": "mean of each term",
            "m2": "sums of products of deviations from the mean, row by row",
            "terms": "value or numerator and denominator, then covariates",
            "bins": "log histogram of the first term, for quantiles",
            "cap": "largest value that counted; null without a cap",
            "definition_hash": "hash of the metric's declaration",
        },
        keys=("as_of", "experiment", "metric", "variant", "segment", "segment_value", "arm"),
        cluster_by=("as_of", "experiment"),
    )


def counts_spec() -> TableSpec:
    """Units by arm, in all, by segment, local day of exposure and phase."""
    return TableSpec(
        comment="Units by arm: exposed, analysed, seen in several arms",
        columns={"segment": "empty, a segment's column, (day) or (phase)", "exposed": "units, count", "analysed": "units, count"},
        keys=("as_of", "experiment", "segment", "segment_value", "arm"),
        cluster_by=("as_of", "experiment"),
    )


def results_spec() -> TableSpec:
    """Effects, checks and decisions."""
    return TableSpec(
        comment="Effects, checks and decisions of each experiment",
        columns={**COLUMNS, "as_of": "last local day that the row covers"},
        keys=("as_of", "experiment", "kind", "name", "variant", "arm", "segment", "segment_value", "scale"),
        cluster_by=("as_of", "experiment"),
    )
