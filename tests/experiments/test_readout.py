"""The readout: what it says first, how numbers are shown, what is left out."""

from dataclasses import replace
from datetime import date

from sparkds.experiments.experiment import Experiment
from sparkds.experiments.readout import markdown
from sparkds.experiments.result_rows import Result

EXPERIMENT = Experiment.model_validate(
    {
        "name": "a|b", "hypothesis": "It helps.", "arms": {"c": 0.5, "t": 0.5}, "control": "c", "start": "2026-01-01T00:00Z",
        "alpha": 0.05, "correction": "holm", "peeking": {"kind": "fixed"},
    }
)  # fmt: skip
EFFECT = Result(
    "a|b", "effect", "revenue", "declared", "t", scale="absolute", role="primary", value=1.23456, std_error=0.1, low=1.0, high=1.4, pvalue=0.0,
    log10_pvalue=-345.4, adjusted_pvalue=0.031, control_value=10.0, treatment_value=11.23, n_control=500, n_treatment=510, n_units=1010,
    method="difference of means, Welch's t", variance_reduction=0.25,
)  # fmt: skip
RELATIVE = replace(EFFECT, scale="relative", value=0.1234, low=0.1, high=float("inf"))
ROWS = [
    EFFECT,
    RELATIVE,
    Result(
        "a|b", "effect", "load", "declared", "t", scale="absolute", role="guardrail", reason="arm 't' has 0 units", status="not_computable"
    ),
    Result(
        "a|b", "effect", "revenue", "declared", "t", "country", "D|E", "absolute", "primary", 0.5, low=0.1, high=0.9, adjusted_pvalue=0.2
    ),
    Result(
        "a|b", "check", "sample_ratio", "analysed", status="fail", pvalue=1e-9, log10_pvalue=-9.0, action="find out why", reason="deviates"
    ),
    Result("a|b", "check", "crossover", status="ok"),
    Result("a|b", "decision", "revenue", arm="t", role="primary", status="ship", reason="better, p 0.01"),
    Result("a|b", "decision", "(all metrics)", arm="t", status="do_not_ship", reason="worse: load"),
    Result("other", "check", "crossover", status="fail", reason="not mine"),
]


def test_decisions_stand_before_checks_before_effects():
    text = markdown(EXPERIMENT, ROWS, as_of=date(2026, 2, 1), pictures={"Effects": "x.png"})
    places = [text.index(part) for part in (r"# a\|b, as of 2026-02-01", "> It helps.", "**t: do not ship.** worse: load",
              "revenue (primary): ship", "**fail** sample_ratio (analysed): deviates; 1.0e-09; find out why", "- ok: crossover",
              "## Primary metrics", "## Guardrails", "## Segments", "![Effects](x.png)", "## How it was computed")]  # fmt: skip
    assert places == sorted(places)
    assert "not mine" not in text


def test_numbers_are_shown_as_people_read_them():
    text = markdown(EXPERIMENT, ROWS, as_of=date(2026, 2, 1))
    assert "| revenue | t | 10 | 11.23 | +1.235 | +12.34% | +10.00% to ∞ | 1e-346 | 0.0310 | 1,010 |" in text
    assert "arm 't' has 0 units" in text
    assert r"| D\|E | +0.5 | +0.1 to +0.9 | 0.2000 |" in text
    assert "covariates remove 25.0% of the variance of revenue" in text


def test_what_is_not_final_is_said_loudly():
    told = markdown(EXPERIMENT, [replace(EFFECT, status="not_final")], as_of=date(2026, 2, 1))
    assert "**Not final:" in told
    assert "Not final" not in markdown(EXPERIMENT, ROWS, as_of=date(2026, 2, 1))


def test_an_experiment_without_rows_has_a_readout_too():
    assert markdown(EXPERIMENT, [], as_of=date(2026, 2, 1)).startswith("# a")


def test_a_test_of_all_arms_is_a_line_and_not_a_pair():
    together = Result(
        "a|b", "effect", "revenue", "omnibus", role="primary", pvalue=0.012, log10_pvalue=-1.92, method="Welch's analysis of variance"
    )
    told = markdown(EXPERIMENT, [*ROWS, together], as_of=date(2026, 2, 1))
    assert "- all arms of revenue together: p 0.0120 (Welch's analysis of variance)" in told
