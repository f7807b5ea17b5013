"""Evaluation: from the counts of a scored table to rows of results in one long shape, for every model, group and pair of models.

Pure: takes what the score pass found and gives rows that tables hold, gates judge and figures draw.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final, Literal

import numpy as np

from sparkds.models.score_evidence import ScoreEvidence
from sparkds.stats.classification import (
    RankMetric,
    area_under_roc,
    average_precision,
    best_threshold,
    brier,
    calibration,
    calibration_error,
    confusion,
    kolmogorov_smirnov,
    largest_calibration_gap,
    lift,
    log_loss,
    one_class,
    roc_curve,
    threshold_metrics,
)
from sparkds.stats.estimate import Estimate
from sparkds.stats.fairness import disparities, group_rates
from sparkds.stats.measured import Measured, share, undefined
from sparkds.stats.paired_models import delong, mcnemar, mean_difference, paired_bootstrap
from sparkds.stats.residuals import Residuals, bias, mae, mape, quantile_loss, r_squared, residual_table, rmse
from sparkds.stats.score_counts import ScoreCounts
from sparkds.stats.slices import METHOD, Slice

Kind = Literal["metric", "rows", "calibration", "lift", "curve", "threshold", "fairness", "comparison", "residual", "slice"]

COLUMNS: Final = {
    "kind": "metric, rows (what was counted), calibration, lift, curve, threshold, fairness, comparison, residual or slice",
    "model": "model",
    "other_model": "model with which it is compared; empty else",
    "group": "column of the group, or columns joined by ×; empty for all rows",
    "group_value": "value of the group; empty for all rows and for a figure between groups",
    "name": "name of the figure",
    "at": "threshold, group of scores (1 = lowest; of lift: highest) or abscissa of the curve; null where there is none",
    "value": "the figure",
    "low": "lower end of its interval; null where there is none",
    "high": "upper end",
    "pvalue": "p-value of a comparison or slice, corrected over the family of slices",
    "n": "rows (or their weight) that the figure rests on",
    "method": "how the figure and its interval are made",
    "reason": "why there is no figure",
}
"""Columns of the evaluation table with their comments."""

MOST_POINTS: Final = 200
HISTOGRAM_BINS: Final = 50


@dataclass(frozen=True)
class EvaluationRow:
    """One figure; see `COLUMNS`."""

    kind: Kind
    model: str
    name: str
    other_model: str = ""
    group: str = ""
    group_value: str = ""
    at: float = math.nan
    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    pvalue: float = math.nan
    n: float = 0
    method: str = ""
    reason: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Values in the order of `COLUMNS`."""
        return {name: getattr(self, name) for name in COLUMNS}


assert {field.name for field in fields(EvaluationRow)} == set(COLUMNS)


def evaluation_rows(
    evidence: ScoreEvidence,
    *,
    thresholds: Sequence[float] = (0.5,),
    alpha: float = 0.05,
    n_groups: int = 10,
    least: int = 30,
    costs: tuple[float, float] | None = None,
    fair: Sequence[str] | None = None,
    replicates: int = 500,
    seed: int = 0,
) -> list[EvaluationRow]:
    """Every figure of every model.

    Parameters
    ----------
    evidence : ScoreEvidence
    thresholds : sequence of float
        At which rows are selected; the first is that of fairness. Those of the pass, else the figures are not computable.
    alpha : float
        Intervals have coverage ``1 - alpha``.
    n_groups : int
        Groups of scores of the calibration and lift tables.
    least : int
        Smallest number of rows that a rate of a group must rest on to take part in a disparity.
    costs : (float, float), optional
        Of a false positive and a false negative; gives the best threshold.
    fair : sequence of str, optional
        Groups by which fairness is looked at; all if absent.
    replicates, seed : int
        Of the paired bootstrap of losses.

    Examples
    --------
    >>> from sparkds.stats.score_counts import counted
    >>> evidence = ScoreEvidence({("m", "", ""): counted([0, 1, 1], [0.2, 0.6, 0.9])}, {}, {})
    >>> [row.value for row in evaluation_rows(evidence) if row.name == "auc"]
    [1.0]
    """
    rows: list[EvaluationRow] = []
    for (model, group, value), counts in sorted(evidence.counts.items(), key=lambda item: item[0]):
        where = {"model": model, "group": group, "group_value": value}
        rows += metric_rows(where, counts, alpha=alpha, n_groups=n_groups)
        rows += calibration_rows(where, counts, alpha=alpha, n_groups=n_groups)
        rows += threshold_rows(where, counts, thresholds, alpha=alpha)
        if not group:
            rows += lift_rows(where, counts, n_groups=n_groups)
            rows += curve_rows(where, counts)
            rows += _cost_rows(where, counts, costs)
    rows += counted_rows(evidence)
    for model in evidence.models:
        for group in evidence.groups if fair is None else fair:
            rows += fairness_rows(evidence, model, group, threshold=thresholds[0], alpha=alpha, least=least)
    for pair in sorted(evidence.pairs):
        rows += comparison_rows(evidence, pair, threshold=thresholds[0], alpha=alpha, replicates=replicates, seed=seed)
    return rows


def metric_rows(where: dict[str, str], counts: ScoreCounts, *, alpha: float, n_groups: int) -> Iterator[EvaluationRow]:
    """Metrics of one set of rows; of ranking metrics also how much the bins can hide."""
    base = share(counts.n_positive, counts.n_total, alpha=alpha, nothing="there are no rows")
    yield _row("metric", where, "base_rate", base if not counts.weighted else Measured(base.value, n=base.n, method="weighted share"))
    yield _row("metric", where, "mean_score", Measured(counts.mean_score, n=counts.n_total, method="mean"))
    ranked: dict[str, RankMetric] = {
        "auc": area_under_roc(counts),
        "average_precision": average_precision(counts),
        "ks": kolmogorov_smirnov(counts),
    }
    for name, metric in ranked.items():
        yield _row("metric", where, name, metric.measured(alpha=alpha))
        hidden = max(metric.value - metric.bin_low, metric.bin_high - metric.value)
        bound = Measured(hidden, n=counts.n_total, method="largest change by the order inside score bins", reason=metric.reason)
        yield _row("metric", where, f"{name}_hidden_by_bins", bound)
    yield _row("metric", where, "log_loss", log_loss(counts))
    yield _row("metric", where, "brier", brier(counts))
    yield _row("metric", where, "calibration_error", calibration_error(counts, n_groups=n_groups))
    yield _row("metric", where, "largest_calibration_gap", largest_calibration_gap(counts, n_groups=n_groups))


def calibration_rows(where: dict[str, str], counts: ScoreCounts, *, alpha: float, n_groups: int) -> Iterator[EvaluationRow]:
    """Mean score and observed share by group of scores, and their difference (observed minus mean score)."""
    if not counts.are_probabilities:
        return
    told = f"{n_groups} groups of equal size by rank, ties together"
    table = calibration(counts, n_groups=n_groups, alpha=alpha)
    for i, number in enumerate(table.group.tolist()):
        n = float(table.n[i])
        observed = Measured(float(table.observed[i]), float(table.low[i]), float(table.high[i]), n, f"{told}; Wilson interval")
        mean = float(table.mean_score[i])
        gap = Measured(observed.value - mean, observed.low - mean, observed.high - mean, n, f"observed minus mean score; {told}")
        yield _row("calibration", where, "mean_score", Measured(mean, n=n, method=told), at=number)
        yield _row("calibration", where, "observed", observed, at=number)
        yield _row("calibration", where, "gap", gap, at=number)


def lift_rows(where: dict[str, str], counts: ScoreCounts, *, n_groups: int) -> Iterator[EvaluationRow]:
    """Lift and gain by group of scores from the top."""
    if counts.n_total == 0:
        return
    table = lift(counts, n_groups=n_groups)
    told = f"{n_groups} groups of equal size by rank from the top, ties together"
    reason = "" if counts.n_positive else "there are no positives"
    n = np.diff(np.concatenate([[0.0], table.n_share])) * counts.n_total
    for i, number in enumerate(table.group.tolist()):
        for name in ("n_share", "gain", "lift", "cumulative_lift"):
            why = "" if name == "n_share" else reason
            found = Measured(float(getattr(table, name)[i]), n=round(float(n[i]), 9), method=told, reason=why)
            yield _row("lift", where, name, found, at=number)


def threshold_rows(where: dict[str, str], counts: ScoreCounts, thresholds: Sequence[float], *, alpha: float) -> Iterator[EvaluationRow]:
    """Shares and counts at each threshold."""
    for threshold in thresholds:
        for name, found in threshold_metrics(counts, threshold, alpha=alpha).items():
            yield _row("threshold", where, name, found, at=threshold)
        cells = confusion(counts, threshold)
        if cells is not None:
            for name, count in cells._asdict().items():
                yield _row("threshold", where, name, Measured(count, n=counts.n_total, method="count"), at=threshold)


def curve_rows(where: dict[str, str], counts: ScoreCounts) -> Iterator[EvaluationRow]:
    """Points of the ROC and the precision-recall curve, and the share of each class by score, for figures."""
    if one_class(counts):
        return
    curve = roc_curve(counts)
    true, false = curve.true_positive / counts.n_positive, curve.false_positive / counts.n_negative
    for i in _spread(false + true):
        yield _row("curve", where, "roc", Measured(float(true[i]), n=counts.n_total, method="recall at a false-positive rate"), at=false[i])
    precision = curve.true_positive[1:] / (curve.true_positive[1:] + curve.false_positive[1:])
    for i in _spread(true[1:]):
        found = Measured(float(precision[i]), n=counts.n_total, method="precision at a recall")
        yield _row("curve", where, "precision_recall", found, at=true[1:][i])
    if counts.are_probabilities:
        n = counts.n.sum(axis=1)
        place = np.minimum((counts.score.sum(axis=1) / np.where(n > 0, n, 1) * HISTOGRAM_BINS).astype(np.int64), HISTOGRAM_BINS - 1)
        for column, name in enumerate(("score_share_negative", "score_share_positive")):
            shares = np.bincount(place, weights=counts.n[:, column], minlength=HISTOGRAM_BINS) / counts.n[:, column].sum()
            for i, value in enumerate(shares.tolist()):
                found = Measured(
                    value, n=float(counts.n[:, column].sum()), method=f"share of the class, {HISTOGRAM_BINS} bins by mean score"
                )
                yield _row("curve", where, name, found, at=i / HISTOGRAM_BINS)


def counted_rows(evidence: ScoreEvidence) -> Iterator[EvaluationRow]:
    """Rows that are in the metrics, and those that are not, by what is wrong with them."""
    for key in sorted({*evidence.counts, *evidence.skipped}):
        where = dict(zip(("model", "group", "group_value"), key, strict=True))
        skipped = evidence.skipped.get(key, {})
        state = evidence.counts.get(key)
        scored = state.n_total if state is not None else 0.0
        told = "weight of the rows with a score and a label" if state is not None and state.weighted else "rows with a score and a label"
        yield _row("rows", where, "scored", Measured(scored, n=scored, method=told))
        for name in ("label_missing", "score_missing", "score_not_finite"):
            n = float(skipped.get(name, 0))
            yield _row("rows", where, name, Measured(n, n=n, method="rows in no metric"))


def fairness_rows(
    evidence: ScoreEvidence, model: str, group: str, *, threshold: float, alpha: float, least: int
) -> Iterator[EvaluationRow]:
    """Rates of each value of a group, and disparities between the values."""
    states = {value: evidence.counts[model, group, value] for value in evidence.values(model, group)}
    for value, counts in states.items():
        where = {"model": model, "group": group, "group_value": value}
        for name, found in group_rates(counts, threshold, alpha=alpha).items():
            yield _row("fairness", where, name, found, at=threshold)
    between = {"model": model, "group": group, "group_value": ""}
    for criterion, found_apart in disparities(states, threshold, least=least, alpha=alpha).items():
        yield _row("fairness", between, f"{criterion}_difference", found_apart.difference, at=threshold)
        yield _row("fairness", between, f"{criterion}_ratio", found_apart.ratio, at=threshold)


def residual_rows(
    states: Mapping[tuple[str, str, str], Residuals], skipped: Mapping[tuple[str, str, str], Mapping[str, int]], *, n_groups: int = 10
) -> Iterator[EvaluationRow]:
    """Metrics of a regression, errors by group of the prediction, and the rows that are in no metric.

    Parameters
    ----------
    states : mapping of (model, group, value) to Residuals
    skipped : mapping of (model, group, value) to counts by what is wrong with the rows
    n_groups : int
        Groups of predictions.
    """
    told = f"{n_groups} groups of equal size by rank of the prediction, those within 0.1 % together"
    metrics = {"rmse": rmse, "mae": mae, "bias": bias, "r_squared": r_squared, "mape": mape}
    for key in sorted({*states, *skipped}):
        where = dict(zip(("model", "group", "group_value"), key, strict=True))
        if key in states:
            state = states[key]
            for name, metric in metrics.items():
                yield _row("metric", where, name, metric(state))
            for level in state.shares:
                yield _row("metric", where, f"pinball_{level:g}", quantile_loss(state, level))
            table = residual_table(state, n_groups=n_groups)
            for i, number in enumerate(table.group.tolist()):
                for name in ("mean_prediction", "mean_label", "bias", "rmse", "mae"):
                    found = Measured(float(getattr(table, name)[i]), n=float(table.n[i]), method=told)
                    yield _row("residual", where, name, found, at=number)
        scored = states[key].n_total if key in states else 0.0
        yield _row("rows", where, "scored", Measured(scored, n=scored, method="rows (or their weight) with a prediction and a label"))
        for name in ("label_missing", "label_not_finite", "score_missing", "score_not_finite"):
            n = float(skipped.get(key, {}).get(name, 0))
            yield _row("rows", where, name, Measured(n, n=n, method="rows in no metric"))


def comparison_rows(
    evidence: ScoreEvidence, pair: tuple[str, str], *, threshold: float, alpha: float, replicates: int, seed: int
) -> Iterator[EvaluationRow]:
    """Differences of two models on the rows that both have scored, first minus second.

    AUC by DeLong's test and right decisions by McNemar's, losses by the paired bootstrap; scores of one bin of the pair count as ties, and
    in the bootstrap the rows of one joint bin and label have their mean difference of losses.
    """
    where = {"model": pair[0], "group": "", "group_value": ""}
    found = evidence.pairs[pair]
    if any(state.weighted for key, state in evidence.counts.items() if key == (pair[0], "", "")):
        for name in ("auc_difference", "accuracy_difference", "brier_difference", "log_loss_difference"):
            nothing = undefined("paired tests are not given for weighted rows", n=float(found.n.sum()))
            yield replace(_row("comparison", where, name, nothing), other_model=pair[1])
        return
    yield _compared(where, pair, "auc_difference", delong(found.first, found.second, found.label, n=found.n, alpha=alpha))
    if evidence.thresholds is not None and threshold not in evidence.thresholds:
        told = f"the threshold {threshold:g} is not among those of the pass"
        nothing = undefined(told, n=float(found.n.sum()))
        yield replace(_row("comparison", where, "accuracy_difference", nothing, at=threshold), other_model=pair[1])
    else:
        right = [(scores >= threshold) == (found.label == 1) for scores in (found.first, found.second)]
        only = [float(found.n[right[i] & ~right[1 - i]].sum()) for i in (0, 1)]
        tested = mcnemar(only[0], only[1], float(found.n.sum()), alpha=alpha)
        yield replace(_compared(where, pair, "accuracy_difference", tested), at=threshold)
    for name, sums in (("brier_difference", found.squared_error), ("log_loss_difference", found.log_loss)):
        told = f"difference of {name.removesuffix('_difference').replace('_', ' ')}"
        per_row = mean_difference(sums / found.n)
        yield _compared(where, pair, name, paired_bootstrap(per_row, found.n, replicates=replicates, seed=seed, alpha=alpha, of=told))


def slice_rows(model: str, worst: Sequence[Slice], *, loss: str = "log loss") -> Iterator[EvaluationRow]:
    """Rows of the slices in which a model is worst, worst first: difference of the loss, effect size and share of the loss in excess."""
    for found in worst:
        where = {"model": model, "group": found.group, "group_value": found.value}
        told = f"{loss}: {METHOD}"
        difference = Measured(found.difference, found.low, math.inf, found.n, told)
        yield replace(_row("slice", where, "loss_difference", difference), pvalue=found.pvalue)
        yield _row("slice", where, "loss", Measured(found.mean, n=found.n, method=f"mean {loss} in the slice"))
        yield _row(
            "slice", where, "effect_size", Measured(found.effect_size, n=found.n, method="difference by the pooled standard deviation")
        )
        excess = Measured(found.excess, n=found.n, method=f"share of all {loss} above what the other rows' mean would give")
        yield _row("slice", where, "excess", excess if math.isfinite(found.excess) else undefined("all losses are 0", n=found.n))


def _compared(where: dict[str, str], pair: tuple[str, str], name: str, found: Estimate) -> EvaluationRow:
    row = _row("comparison", where, name, Measured(found.value, found.low, found.high, 0, found.method, found.reason))
    n = found.n_control + found.n_treatment if name == "auc_difference" else found.n_control
    return replace(row, other_model=pair[1], pvalue=found.pvalue, n=n)


def _cost_rows(where: dict[str, str], counts: ScoreCounts, costs: tuple[float, float] | None) -> Iterator[EvaluationRow]:
    if costs is None:
        return
    method = f"lowest mean cost, {costs[0]:g} a false positive and {costs[1]:g} a false negative"
    if counts.n_total == 0:
        yield _row("threshold", where, "best_threshold", undefined("there are no rows", method=method))
        return
    best = best_threshold(counts, cost_false_positive=costs[0], cost_false_negative=costs[1])
    yield _row("threshold", where, "best_threshold", Measured(best.threshold, n=counts.n_total, method=method))
    yield _row("threshold", where, "lowest_cost", Measured(best.cost, n=counts.n_total, method=method))


def _spread(place: Any) -> list[int]:
    """At most about `MOST_POINTS` points of a curve, evenly by `place`, which only rises; always the first and last."""
    wanted = np.linspace(float(place[0]), float(place[-1]), MOST_POINTS)
    found: list[int] = np.unique(np.concatenate([[0], np.searchsorted(place, wanted).clip(0, len(place) - 1), [len(place) - 1]])).tolist()
    return found


def _row(kind: Kind, where: dict[str, str], name: str, found: Measured, *, at: float = math.nan) -> EvaluationRow:
    value = math.nan if found.reason else found.value
    row = EvaluationRow(kind, where["model"], name, "", where["group"], where["group_value"], float(at), value, found.low, found.high)
    return replace(row, n=found.n, method=found.method, reason=found.reason)
