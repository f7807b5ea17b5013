"""Evaluation report and model card: the rows of an evaluation as documents that people read before they let a model act.

Takes rows, verdicts and facts and gives blocks of a document; computes nothing but sums of what it shows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sparkds.document import Block, Bullets, Heading, Paragraph, Picture, Table
from sparkds.models.evaluation import EvaluationRow
from sparkds.models.evaluation_plan import CANDIDATE, Card, EvaluationPlan
from sparkds.models.gates import Verdict, all_pass

METRICS: Final = {
    "binary": ("auc", "average_precision", "ks", "log_loss", "brier", "calibration_error", "largest_calibration_gap"),
    "regression": ("rmse", "mae", "bias", "r_squared", "mape"),
}
DECISIONS: Final = ("selection_rate", "precision", "recall", "false_positive_rate", "f1", "accuracy")
STATUS: Final = {"pass": "pass", "fail": "FAIL", "not_computable": "NOT COMPUTABLE"}
SIGN: Final = {"at_least": "≥", "at_most": "≤"}


@dataclass(frozen=True)
class Told:
    """What a report tells.

    Attributes
    ----------
    title : str
    rows : sequence of EvaluationRow
    verdicts : sequence of Verdict
    facts : mapping of str to str
        What was evaluated: addresses, table and version, part, threshold.
    training : sequence of mappings
        Rows of the trainer's metrics, of the judged model; empty if they are not known.
    importance : sequence of mappings
        Rows of the trainer's importance, the most important first.
    warnings : sequence of str
    promotion : str
        What became of the aliases.
    pictures : mapping of section to pictures
        ``ranking``, ``calibration``, ``decisions``, ``fairness``, ``importance``, ``training``, ``errors``.
    """

    title: str
    rows: Sequence[EvaluationRow]
    verdicts: Sequence[Verdict]
    facts: Mapping[str, str]
    training: Sequence[Mapping[str, Any]] = ()
    importance: Sequence[Mapping[str, Any]] = ()
    warnings: Sequence[str] = ()
    promotion: str = ""
    pictures: Mapping[str, Sequence[Picture]] = field(default_factory=dict)

    def of(self, kind: str, *, group: str | None = "", model: str | None = None) -> list[EvaluationRow]:
        """Rows of a kind, of all rows or of a group (None for any group but all rows), and of one model."""
        told = [row for row in self.rows if row.kind == kind and (model is None or row.model == model)]
        return [row for row in told if (row.group != "" if group is None else row.group == group)]


def report(plan: EvaluationPlan, told: Told) -> list[Block]:
    """Blocks of the evaluation report.

    Parameters
    ----------
    plan : EvaluationPlan
    told : Told
    """
    judged = plan.name_judged
    blocks: list[Block] = [Heading(told.title, 1), *_verdict(told), Heading("Gates"), _gates(told.verdicts)]
    blocks += [Heading("Models"), _models(plan, told), *_comparisons(told, judged), *told.pictures.get("ranking", ())]
    if plan.task == "binary":
        blocks += [Heading("Calibration"), *_calibration(told, judged), *told.pictures.get("calibration", ())]
        blocks += [Heading("Decisions"), *_decisions(told, judged), *told.pictures.get("decisions", ())]
    else:
        blocks += [Heading("Errors by prediction"), *_residuals(told, judged), *told.pictures.get("errors", ())]
    blocks += _fairness(told, judged)
    blocks += _by_period(plan, told, judged)
    blocks += _slices(told, judged)
    blocks += _importance(told)
    blocks += _training(told)
    blocks += [Heading("What was evaluated"), Bullets([f"{name}: {value}" for name, value in told.facts.items()]), _skipped(told)]
    if told.warnings:
        blocks += [Heading("Warnings"), Bullets(list(told.warnings))]
    return blocks


def card(plan: EvaluationPlan, told: Told, *, tags: Mapping[str, str]) -> list[Block]:
    """Blocks of the model card (Mitchell et al. 2019): purpose, data, figures with intervals, fairness, limits.

    Parameters
    ----------
    plan : EvaluationPlan
    told : Told
    tags : mapping of str to str
        Of the model's version.

    References
    ----------
    M. Mitchell et al., Model Cards for Model Reporting, FAT* 2019.
    """
    known: Card = plan.card
    missing = "not declared; say it in the configuration, under card"
    blocks: list[Block] = [Heading(f"Model card: {told.facts.get('model', told.title)}", 1), *_verdict(told)]
    blocks += [
        Heading("Intended use"),
        Bullets([f"purpose: {known.purpose or missing}", f"limits: {known.limits or missing}", f"owner: {known.owner or missing}"]),
    ]
    shown = ("sparkds.sources", "sparkds.features", "sparkds.split", "sparkds.sample", "sparkds.seed", "sparkds.threshold")
    facts = [f"{name.removeprefix('sparkds.')}: {tags[name]}" for name in shown if name in tags]
    blocks += [Heading("Training"), Bullets(facts) if facts else Paragraph("The model's version does not say how it was trained.")]
    blocks += [Heading("Figures"), _models(plan, told)]
    blocks += _fairness(told, plan.name_judged)
    blocks += _slices(told, plan.name_judged)
    blocks += [Heading("Gates"), _gates(told.verdicts), Heading("Evaluated on")]
    blocks += [Bullets([f"{name}: {value}" for name, value in told.facts.items()])]
    return blocks


def number(value: float, *, signed: bool = False) -> str:
    """Four significant digits, whole numbers from a thousand on; empty for NaN.

    Examples
    --------
    >>> number(0.123456), number(12345.6), number(float("nan"))
    ('0.1235', '12,346', '')
    """
    if math.isnan(value):
        return ""
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    sign = "+" if signed else ""
    return f"{value:{sign},.0f}" if abs(value) >= 1000 else f"{value:{sign}.4g}"


def _figure(row: EvaluationRow | None, *, interval: bool = True) -> str:
    if row is None:
        return ""
    if row.reason:
        return f"not computable: {row.reason}"
    ends = f" ({number(row.low)} to {number(row.high)})" if interval and math.isfinite(row.low) and math.isfinite(row.high) else ""
    return f"{number(row.value)}{ends}"


def _verdict(told: Told) -> list[Block]:
    n_pass = sum(verdict.status == "pass" for verdict in told.verdicts)
    passed = "all gates pass" if all_pass(told.verdicts) else f"{n_pass} of {len(told.verdicts)} gates pass"
    return [Paragraph(f"{passed[0].upper()}{passed[1:]}. {told.promotion}".strip(), strong=True)]


def _gates(verdicts: Sequence[Verdict]) -> Block:
    order = {"fail": 0, "not_computable": 1, "pass": 2}
    lines = [
        (v.gate, STATUS[v.status], number(v.figure), f"{SIGN[v.comparison]} {v.threshold:g}", v.reason)
        for v in sorted(verdicts, key=lambda v: order[v.status])
    ]
    return Table(("gate", "status", "figure", "asked for", "why"), lines) if lines else Paragraph("No gate was declared.", strong=True)


def _models(plan: EvaluationPlan, told: Told) -> Block:
    by = {(row.model, row.name): row for row in told.of("metric")}
    names = sorted({model for model, _ in by}, key=lambda name: (name != plan.name_judged, name != "champion", name))
    wanted = [*METRICS[plan.task], *sorted({name for _, name in by if name.startswith("pinball_")})]
    metrics = [name for name in wanted if any((model, name) in by for model in names)]
    lines = [(name, *(_figure(by.get((name, metric))) for metric in metrics)) for name in names]
    n = {row.model: row.value for row in told.of("rows") if row.name == "scored"}
    told_of = [(line[0], number(n.get(line[0], math.nan)), *line[1:]) for line in lines]
    return Table(("model", "rows", *(metric.replace("_", " ") for metric in metrics)), told_of)


def _comparisons(told: Told, judged: str) -> list[Block]:
    rows = [row for row in told.of("comparison") if judged in (row.model, row.other_model)]
    if not rows:
        return []
    lines = [
        (
            f"{row.model} minus {row.other_model}",
            row.name.removesuffix("_difference").replace("_", " "),
            (row.reason and f"not computable: {row.reason}") or number(row.value, signed=True),
            f"{number(row.low, signed=True)} to {number(row.high, signed=True)}" if not row.reason else "",
            number(row.pvalue),
            row.method,
        )
        for row in rows
    ]
    heads = ("models", "metric", "difference", "interval", "p", "method")
    return [Paragraph("On the rows that both have scored:"), Table(heads, lines)]


def _calibration(told: Told, judged: str) -> list[Block]:
    by: dict[float, dict[str, EvaluationRow]] = {}
    for row in told.of("calibration", model=judged):
        by.setdefault(row.at, {})[row.name] = row
    if not by:
        return [Paragraph("The scores are no probabilities, so there is no calibration.")]
    lines = [
        (f"{at:g}", number(told_at["mean_score"].n), number(told_at["mean_score"].value), _figure(told_at["observed"]),
         number(told_at["gap"].value, signed=True))
        for at, told_at in sorted(by.items())
    ]  # fmt: skip
    return [Table(("group", "rows", "mean score", "observed share (interval)", "gap"), lines)]


def _decisions(told: Told, judged: str) -> list[Block]:
    rows = told.of("threshold", model=judged)
    by = {(row.at, row.name): row for row in rows}
    ats = sorted({row.at for row in rows if row.name in DECISIONS})
    lines = [(number(at), *(_figure(by.get((at, name))) for name in DECISIONS)) for at in ats]
    blocks: list[Block] = [Table(("threshold", *(name.replace("_", " ") for name in DECISIONS)), lines)] if lines else []
    best = next((row for row in rows if row.name == "best_threshold"), None)
    return blocks + ([Paragraph(f"Cheapest threshold: {_figure(best)} ({best.method}).")] if best else [])


def _residuals(told: Told, judged: str) -> list[Block]:
    by: dict[float, dict[str, EvaluationRow]] = {}
    for row in told.of("residual", model=judged):
        by.setdefault(row.at, {})[row.name] = row
    names = ("mean_prediction", "mean_label", "bias", "rmse", "mae")
    lines = [(f"{at:g}", number(next(iter(one.values())).n), *(_figure(one.get(name)) for name in names)) for at, one in sorted(by.items())]
    return [Table(("group", "rows", *(name.replace("_", " ") for name in names)), lines)] if lines else []


def _fairness(told: Told, judged: str) -> list[Block]:
    rows = told.of("fairness", group=None, model=judged)
    blocks: list[Block] = []
    for group in dict.fromkeys(row.group for row in rows):
        by = {(row.group_value, row.name): row for row in rows if row.group == group}
        values = dict.fromkeys(value for value, _ in by if value)
        rates = ("base_rate", "selection_rate", "recall", "false_positive_rate", "precision")
        lines = [(value, number(max(row.n for (v, _), row in by.items() if v == value)), *(_figure(by.get((value, r))) for r in rates))
                 for value in values]  # fmt: skip
        apart = [
            (row.name.replace("_", " "), _figure(row), row.method)
            for (value, _), row in by.items()
            if not value and row.name.endswith(("_difference", "_ratio"))
        ]
        blocks += [Heading(f"By {group}", 3), Table(("value", "rows", *(rate.replace("_", " ") for rate in rates)), lines)]
        blocks += [Table(("disparity", "figure", "method"), apart)] if apart else []
    return [Heading("Fairness"), *blocks, *told.pictures.get("fairness", ())] if blocks else []


def _by_period(plan: EvaluationPlan, told: Told, judged: str) -> list[Block]:
    if plan.period is None:
        return []
    names = ("base_rate", "mean_score", "auc", "log_loss", "brier") if plan.task == "binary" else ("rmse", "bias", "r_squared")
    rows = told.of("metric", group="period", model=judged)
    by = {(row.group_value, row.name): row for row in rows}
    lines = [(value, *(_figure(by.get((value, name))) for name in names)) for value in sorted({value for value, _ in by})]
    n = {row.group_value: row.value for row in told.of("rows", group="period", model=judged) if row.name == "scored"}
    shown = [(line[0], number(n.get(line[0], math.nan)), *line[1:]) for line in lines]
    heads = (plan.period.by, "rows", *(name.replace("_", " ") for name in names))
    return [Heading("Stability over time"), Table(heads, shown), *told.pictures.get("period", ())]


def _slices(told: Told, judged: str) -> list[Block]:
    found: dict[tuple[str, str], dict[str, EvaluationRow]] = {}
    for row in told.of("slice", group=None, model=judged):
        found.setdefault((row.group, row.group_value), {})[row.name] = row
    if not found:
        return []
    lines = [
        (group, value, number(one["loss"].n), number(one["loss"].value), number(one["loss_difference"].value, signed=True),
         number(one["loss_difference"].pvalue), number(one["effect_size"].value), number(one["excess"].value))
        for (group, value), one in found.items()
    ]  # fmt: skip
    heads = ("column", "value", "rows", "loss", "difference to the others", "corrected p", "effect size", "share of the loss in excess")
    return [Heading("Where the model is worst"), Table(heads, lines)]


def _importance(told: Told) -> list[Block]:
    if not told.importance:
        return []
    lines = [
        (str(row["feature"]), number(row["importance"]), number(row["std"]), number(row["coverage"])) for row in list(told.importance)[:20]
    ]
    heads = ("feature", "permutation importance", "standard deviation", "coverage")
    return [Heading("Importance"), Table(heads, lines), *told.pictures.get("importance", ())]


def _training(told: Told) -> list[Block]:
    wanted = [row for row in told.training if str(row["model"]).startswith(CANDIDATE)]
    gaps = [row for row in wanted if row["part"] == "train_minus_validation"]
    spread = [row for row in wanted if row["part"] in ("folds_mean", "folds_std")]
    items = [f"{row['model']}: {row['metric']} on training rows minus validation rows {number(row['value'], signed=True)}" for row in gaps]
    by = {(row["metric"], row["part"]): row["value"] for row in spread}
    items += [
        f"cross-validation: {metric} {number(by[metric, 'folds_mean'])}, standard deviation over folds {number(by[metric, 'folds_std'])}"
        for metric in dict.fromkeys(row["metric"] for row in spread)
        if (metric, "folds_std") in by and (metric, "folds_mean") in by
    ]
    pictures = told.pictures.get("training", ())
    return [Heading("Training"), Bullets(items), *pictures] if items else []


def _skipped(told: Told) -> Block:
    rows = [row for row in told.of("rows") if row.value]
    names = [name for name in dict.fromkeys(row.name for row in told.of("rows")) if any(row.name == name for row in rows)]
    by = {(row.model, row.name): row.value for row in rows}
    models = dict.fromkeys(row.model for row in told.of("rows"))
    lines = [(model, *(number(by.get((model, name), 0.0)) for name in names)) for model in models]
    return Table(("model", *(name.replace("_", " ") for name in names)), lines)
