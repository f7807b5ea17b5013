"""Leakage report: what was found, what was looked at, and how the parts differ, as a document for those who decide.

Takes an inspection's rows and gives blocks of a document; computes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

from sparkds.document import Block, Bullets, Heading, Paragraph, Table
from sparkds.features.leakage.finding import TITLES, Finding, Gate, counts, found, stopping
from sparkds.features.leakage.states import AlignmentRow
from sparkds.stats.relevance import Relevance

MOST_FINDINGS: Final = 200
MOST_COLUMNS: Final = 50
MOST_SKILLS: Final = 20


def report(
    title: str,
    findings: Sequence[Finding],
    alignment: Sequence[AlignmentRow],
    relevances: Sequence[Relevance],
    *,
    gate: Gate,
    facts: Mapping[str, str],
    warnings: Sequence[str] = (),
) -> list[Block]:
    """Blocks of the report.

    Parameters
    ----------
    title : str
    findings : sequence of Finding
    alignment : sequence of AlignmentRow
    relevances : sequence of Relevance
    gate : {"none", "info", "warning", "error"}
    facts : mapping of str to str
        What was looked at.
    warnings : sequence of str
        What was left out.
    """
    blocks: list[Block] = [Heading(title, 1), Paragraph(verdict(findings, gate), strong=True), *_findings(findings)]
    blocks += [Heading("What was looked at"), *_looked(findings), *_skills(relevances), *_alignment(alignment)]
    if warnings:
        blocks += [Heading("Left out"), Bullets(list(warnings))]
    return [*blocks, Heading("Facts"), Bullets([f"{name}: {value}" for name, value in facts.items()])]


def verdict(findings: Sequence[Finding], gate: Gate) -> str:
    """One sentence: how many findings there are, and whether they stop.

    Examples
    --------
    >>> verdict([], "error")
    'Nothing was found.'
    """
    n = counts(findings)
    told = [f"{n[level]} {level}{'s' if n[level] != 1 and level != 'info' else ''}" for level in ("error", "warning", "info") if n[level]]
    if not told:
        return "Nothing was found."
    stops = len(stopping(findings, gate))
    effect = f"{stops} of them stop{'s' if stops == 1 else ''} at gate '{gate}'." if stops else f"None of them stops at gate '{gate}'."
    return f"Found: {', '.join(told)}. {effect}"


def _findings(findings: Sequence[Finding]) -> list[Block]:
    worst = found(findings)
    if not worst:
        return []
    lines = [(one.severity, one.kind.replace("_", " "), one.what, one.to_do) for one in worst[:MOST_FINDINGS]]
    more = [Paragraph(f"{len(worst) - MOST_FINDINGS} more are in the table of findings.")] if len(worst) > MOST_FINDINGS else []
    return [Heading("Findings"), Table(("severity", "kind", "what was found", "what to do"), lines), *more]


def _looked(findings: Sequence[Finding]) -> list[Block]:
    lines = []
    for kind, what in TITLES.items():
        of_kind = [one for one in findings if one.kind == kind]
        worst = found(of_kind)
        if worst:
            lines.append((what, f"{len(worst)} found", "; ".join(one.column for one in worst[:5] if one.column)))
        else:
            lines += [(what, "nothing found" if one.severity == "ok" else "skipped", one.what) for one in of_kind]
    return [Table(("looked for", "result", "figures"), lines)]


def _skills(relevances: Sequence[Relevance]) -> list[Block]:
    known = sorted((one for one in relevances if not math.isnan(one.skill)), key=lambda one: -one.skill)
    if not known:
        return []
    lines = [
        (one.column, _number(one.skill), _number(one.presence_skill), f"{one.null_share:.1%}", _number(one.qvalue))
        for one in known[:MOST_SKILLS]
    ]
    kind = known[0].skill_kind.upper() if known[0].skill_kind == "auc" else "R²"
    heads = ("feature", f"{kind} alone", f"{kind} of having a value", "nulls", "q")
    return [Heading("Strongest features"), Table(heads, lines)]


def _alignment(alignment: Sequence[AlignmentRow]) -> list[Block]:
    if not alignment:
        return []
    order = sorted(alignment, key=lambda row: (-(row.psi if not math.isnan(row.psi) else -1.0), row.column, row.part))
    lines = [
        (
            row.column, row.part, f"{row.n:,}", _share(row.null_share_reference), _share(row.null_share), _number(row.psi),
            _number(row.psi_expected), _number(row.ks), _share(row.unseen_share), row.reason,
        )
        for row in order[:MOST_COLUMNS]
    ]  # fmt: skip
    heads = ("column", "part", "rows", "nulls in training", "nulls", "PSI", "by chance", "KS", "unseen", "why not")
    more = [Paragraph(f"{len(order) - MOST_COLUMNS} more rows are in the table of alignment.")] if len(order) > MOST_COLUMNS else []
    return [Heading("Alignment with the training part"), Table(heads, lines), *more]


def _share(share: float) -> str:
    return "" if math.isnan(share) else f"{share:.1%}"


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3g}"
