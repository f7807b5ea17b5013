"""Readout: the results of one experiment as Markdown for people.

Pure: takes result rows and gives text; the numbers are those of the rows, rounded, and nothing is said that no row says.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Final

from sparkds.experiments.experiment import Experiment
from sparkds.experiments.result_rows import Result

VERDICT: Final = {"ship": "ship", "do_not_ship": "do not ship", "inconclusive": "inconclusive"}
ROLES: Final = {"primary": "Primary metrics", "guardrail": "Guardrails", "secondary": "Secondary metrics"}


def markdown(experiment: Experiment, results: Sequence[Result], *, as_of: date, pictures: Mapping[str, str] | None = None) -> str:
    """Readout of an experiment.

    Parameters
    ----------
    experiment : Experiment
    results : sequence of Result
        All rows of the experiment on one day.
    as_of : date
    pictures : mapping of str to str, optional
        Caption to path.

    Returns
    -------
    str
        Decisions first, then what fails or warns, effects by role, segments with their corrected p-values, and how it was computed.
    """
    rows = [row for row in results if row.experiment == experiment.name]
    checks = [row for row in rows if row.kind == "check"]
    effects = [row for row in rows if row.kind == "effect"]
    parts = [f"# {_text(experiment.name)}, as of {as_of}"]
    if experiment.hypothesis:
        parts.append(f"> {experiment.hypothesis}")
    if any(row.status == "not_final" for row in effects):
        parts.append("**Not final: the planned number of units, or the end, has not been reached. No decision may rest on these numbers.**")
    parts.append(_decisions(rows))
    parts.append(_checks(checks))
    for role, title in ROLES.items():
        mine = [row for row in effects if row.role == role and not row.segment and not row.variant.startswith("day_")]
        together = [row for row in mine if row.variant == "omnibus"]
        pairs = [row for row in mine if row.variant != "omnibus"]
        if pairs:
            parts.append(f"## {title}\n\n{_effects(pairs)}")
        if together:
            parts.append("\n".join(f"- all arms of {_text(row.name)} together: {_text(_all_arms(row))}" for row in together))
    segments = [row for row in effects if row.segment and row.scale == "absolute"]
    if segments:
        parts.append(f"## Segments\n\n{_segments(segments)}")
    parts += [f"![{caption}]({path})" for caption, path in (pictures or {}).items()]
    parts.append(_method(experiment, effects))
    return "\n\n".join(part for part in parts if part) + "\n"


def _decisions(rows: Iterable[Result]) -> str:
    lines = []
    decisions = [row for row in rows if row.kind == "decision"]
    for row in sorted(decisions, key=lambda r: (r.arm, r.name != "(all metrics)")):
        verdict = VERDICT.get(row.status, row.status)
        if row.name == "(all metrics)":
            lines.append(f"- **{_text(row.arm)}: {verdict}.** {_text(row.reason)}")
        else:
            lines.append(f"  - {_text(row.name)} ({row.role}): {verdict}; {_text(row.reason)}")
    return "## Decisions\n\n" + "\n".join(lines) if lines else ""


def _checks(checks: Sequence[Result]) -> str:
    if not checks:
        return ""
    told = [row for row in checks if row.status in ("fail", "warn", "not_computable")]
    told.sort(key=lambda row: ("fail", "warn", "not_computable").index(row.status))
    lines = []
    for row in told:
        about = " ".join(part for part in (row.variant, row.arm, row.segment, row.segment_value) if part)
        said = "; ".join(part for part in (row.reason, _p(row) if not math.isnan(row.pvalue) else "", row.action) if part)
        lines.append(f"- **{row.status.replace('_', ' ')}** {row.name}{f' ({_text(about)})' if about else ''}: {_text(said)}")
    passed = sorted({row.name for row in checks if row.status == "ok"} - {row.name for row in told})
    if passed:
        lines.append(f"- ok: {', '.join(passed)}")
    return "## Checks\n\n" + "\n".join(lines)


def _effects(rows: Sequence[Result]) -> str:
    keys = dict.fromkeys((row.name, row.variant, row.arm) for row in rows)
    by_scale = {(row.name, row.variant, row.arm, row.scale): row for row in rows}
    heads = ("metric", "arm", "control", "treatment", "difference", "relative", "interval", "p", "corrected p", "units")
    lines = []
    for name, variant, arm in keys:
        absolute, relative = by_scale.get((name, variant, arm, "absolute")), by_scale.get((name, variant, arm, "relative"))
        row = absolute or relative
        assert row is not None
        shown = f"{name}" if variant == "declared" else f"{name}, {variant}"
        if row.reason:
            lines.append((shown, arm, "", "", "", "", row.reason, "", "", f"{row.n_units:,}"))
            continue
        tested = relative if row.role == "guardrail" and relative is not None and not relative.reason else row
        share = relative is not None and not relative.reason
        interval = _interval(relative, percent=True) if share and relative is not None else _interval(row, percent=False)
        lines.append(
            (
                shown,
                arm,
                _number(row.control_value),
                _number(row.treatment_value),
                _number(absolute.value, signed=True) if absolute is not None else "",
                f"{relative.value:+.2%}" if share and relative is not None else "",
                interval,
                _p(tested),
                "" if math.isnan(tested.adjusted_pvalue) else _rounded_p(tested.adjusted_pvalue),
                f"{row.n_units:,}",
            )
        )
    return _table(heads, lines)


def _all_arms(row: Result) -> str:
    return row.reason or f"p {_p(row)} ({row.method})"


def _segments(rows: Sequence[Result]) -> str:
    heads = ("metric", "arm", "segment", "value", "difference", "interval", "corrected p", "control units", "treatment units")
    lines = []
    for row in rows:
        told = row.reason or _interval(row, percent=False)
        corrected = "" if math.isnan(row.adjusted_pvalue) else _rounded_p(row.adjusted_pvalue)
        difference = "" if row.reason else _number(row.value, signed=True)
        lines.append(
            (row.name, row.arm, row.segment, row.segment_value, difference, told, corrected, f"{row.n_control:,}", f"{row.n_treatment:,}")
        )
    return _table(heads, lines)


def _method(experiment: Experiment, effects: Sequence[Result]) -> str:
    lines = [
        f"- alpha {experiment.alpha:g}, {experiment.sides}-sided; correction over primary metrics × treatments: {experiment.correction}",
        f"- peeking: {experiment.peeking.kind.replace('_', ' ')}; units in several arms: {experiment.crossover}",
    ]
    for method in dict.fromkeys(row.method for row in effects if row.method and not row.segment and not row.variant.startswith("day_")):
        names = dict.fromkeys(row.name for row in effects if row.method == method)
        lines.append(f"- {_text(method)}: {_text(', '.join(names))}")
    saved = {row.name: row.variance_reduction for row in effects if row.variant == "declared" and not math.isnan(row.variance_reduction)}
    lines += [f"- covariates remove {share:.1%} of the variance of {_text(name)}" for name, share in saved.items()]
    return "## How it was computed\n\n" + "\n".join(lines)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    told = [" | ".join(heads), " | ".join("---" for _ in heads), *(" | ".join(_text(cell) for cell in row) for row in rows)]
    return "\n".join(f"| {line} |" for line in told)


def _text(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _interval(row: Result, *, percent: bool) -> str:
    def edge(value: float) -> str:
        if math.isinf(value):
            return "∞" if value > 0 else "-∞"
        return f"{value:+.2%}" if percent else _number(value, signed=True)

    return f"{edge(row.low)} to {edge(row.high)}"


def _p(row: Result) -> str:
    if 0 < row.pvalue < 1e-4 or row.pvalue == 0:
        return f"1e{math.floor(row.log10_pvalue)}" if row.log10_pvalue < -300 else f"{row.pvalue:.1e}"
    return _rounded_p(row.pvalue)


def _rounded_p(pvalue: float) -> str:
    return "< 0.0001" if pvalue < 1e-4 else f"{pvalue:.4f}"


def _number(value: float, *, signed: bool = False) -> str:
    """Four significant digits, whole numbers from a thousand on."""
    if math.isnan(value):
        return ""
    sign = "+" if signed else ""
    return f"{value:{sign},.0f}" if abs(value) >= 1000 else f"{value:{sign}.4g}"
