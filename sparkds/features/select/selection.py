"""Selection on Spark: which columns of a labelled table are kept as features, and why the others are not.

Takes a frame of training rows and a declaration, and gives a decision per column; five passes over the rows, or fewer, for up to a
thousand columns, and a sample of declared size on the driver.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sparkds import collect
from sparkds.errors import ColumnError, ConfigError
from sparkds.features.relevance import LabelledCounts, is_feature, labelled_counts
from sparkds.features.select.column_figures import column_figures
from sparkds.features.select.correlation import Centre, correlated_pairs
from sparkds.features.select.decisions import ColumnDecision, selected_columns
from sparkds.features.select.declaration import FeatureSelection, Importance, Task
from sparkds.features.select.elimination import Eliminated, eliminated
from sparkds.features.select.importance import SCORES, Judged, Rows, judged, splits
from sparkds.features.select.rules import ColumnFigures, Correlated, Drop, correlated_drops, dropped_by, percent
from sparkds.features.select.sample import Sample, training_sample
from sparkds.sql import finite
from sparkds.stats.relevance import Relevance, relevances
from sparkds.stats.stability import covering_set, ranks, selection_stability


@dataclass(frozen=True)
class ImportanceFacts:
    """What importance rests on.

    Attributes
    ----------
    n_sampled : int
        Rows of the sample.
    by_class : dict of str to int
        Of these, by class; rare classes are drawn more often than in proportion.
    n_fits : int
        Folds and seeds that could be judged.
    score_kind : str
        ``roc_auc``, ``negative_log_loss`` or ``r2``.
    score, score_sd : float
        Mean and standard deviation over folds and seeds, of all columns that pass the rules, on held-out rows.
    importance_of : str
        Unit of the importances.
    stability : float
        Of the selections of folds and seeds (Nogueira et al. 2018), at most 1; NaN if it cannot be computed.
    covered : float
        Share of all importance that the kept columns have.
    curve : list of (int, float, float)
        Recursive elimination: number of columns, mean score, standard error; empty without it.
    """

    n_sampled: int
    by_class: dict[str, int]
    n_fits: int
    score_kind: str
    score: float
    score_sd: float
    importance_of: str
    stability: float
    covered: float
    curve: list[tuple[int, float, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Selection:
    """Decisions about all candidates.

    Attributes
    ----------
    decisions : list of ColumnDecision
        In the order of the table.
    task : {"binary", "multiclass", "regression"}
    n_rows, n_no_label : int
        Rows looked at, and those left out since they have no label.
    classes : dict of str to int
        Rows by class; empty for a regression.
    importance : ImportanceFacts, optional
        None where none was asked or no column was left to judge.
    warnings : list of str
    """

    decisions: list[ColumnDecision]
    task: Task
    n_rows: int
    n_no_label: int
    classes: dict[str, int]
    importance: ImportanceFacts | None
    warnings: list[str]

    @property
    def features(self) -> tuple[str, ...]:
        """Columns that are kept, in the order of the table."""
        return selected_columns(self.decisions)


@dataclass
class _State:
    """What is known of each candidate while it is decided."""

    figures: dict[str, ColumnFigures]
    relevance: dict[str, Relevance]
    drops: dict[str, Drop]
    correlated: dict[str, Correlated]


def select_features(frame: DataFrame, selection: FeatureSelection) -> Selection:
    """Decide about every candidate column.

    Passes over the rows: one for bins, one for counts, one for different values (only where there are more rows than the sample of the
    bins), one for correlations, one for the sample; and one of the label column alone where the task is not given.

    Parameters
    ----------
    frame : DataFrame
        Training rows only: what a later part of the data shows must not decide which features there are.
    selection : FeatureSelection

    Raises
    ------
    ColumnError, ConfigError
        A column is absent or of a type that cannot be used, the task cannot be told from the label, or there is no candidate.
    DataError
        No row has a label, or it has one class only.

    Examples
    --------
    >>> found = select_features(train, FeatureSelection(label="bought", leave_out=("customer",)))  # doctest: +SKIP
    >>> found.features  # doctest: +SKIP
    ('visits_30d', 'recency')
    """
    types = dict(frame.dtypes)
    candidates, unusable = candidates_of(types, selection)
    task = selection.task or task_of(frame, selection.label)
    counts = labelled_counts(
        frame, label=selection.label, task=task, columns=candidates, n_bins=selection.n_bins, seed=selection.seed
    )  # fmt: skip
    labelled = frame.where(F.expr(finite(selection.label, types[selection.label])).isNotNull())
    told = relevances(counts.features, task=task)
    figures = column_figures(labelled, counts, told)
    state = _State({f.column: f for f in figures}, {r.column: r for r in told}, {}, {})
    for one in figures:
        drop = dropped_by(one, selection.rules)
        if drop is not None:
            state.drops[one.column] = drop
    _drop_correlated(labelled, selection, counts, candidates, state)
    left = [name for name in candidates if name not in state.drops or name in selection.always_keep]
    warnings: list[str] = []
    sample = facts = result = gone = None
    if selection.importance is not None and left:
        sample = _sample(labelled, selection, task, counts, left)
        facts, result, gone = _importance(sample, selection.importance, task, state, warnings, selection.always_keep)
    place = {name: i for i, name in enumerate(frame.columns)}
    decisions = [_decision(name, place[name], types[name], selection, state) for name in candidates]
    if sample is not None and result is not None:
        decisions = _with_importance(decisions, sample, result, gone, selection.importance or Importance())
    decisions += [
        ColumnDecision(name, place[name], types[name], False, "unusable_type", f"{types[name]} is no number, day, instant or text")
        for name in unusable
    ]
    decisions.sort(key=lambda row: row.position)
    classes = {} if task == "regression" else counts.classes
    return Selection(decisions, task, counts.n_rows, counts.n_no_label, classes, facts, warnings)


def candidates_of(types: Mapping[str, str], selection: FeatureSelection) -> tuple[list[str], list[str]]:
    """Candidates in the order of the table, and columns that would be if their type allowed it.

    Raises
    ------
    ColumnError, ConfigError
    """
    group = selection.importance.group if selection.importance else None
    named = (selection.label, *(selection.features or ()), *selection.leave_out, *selection.always_keep, *((group,) if group else ()))
    for name in named:
        if name not in types:
            raise ColumnError.missing(name, types, "the training table")
    asked = set(selection.features or types) | set(selection.always_keep)
    left = [name for name in types if name in asked and name != selection.label and name not in selection.leave_out]
    usable = [name for name in left if is_feature(types[name])]
    if not usable:
        raise ConfigError("no column is a candidate: all are label, left out, or of a type that is no number, day, instant or text")
    return usable, [name for name in left if name not in usable]


def task_of(frame: DataFrame, label: str) -> Task:
    """Task by the label's type and its first three values; reads the label column unless it is a truth value.

    Raises
    ------
    ColumnError
        The type is that of no label.
    ConfigError
        Whole numbers with more than two values can be classes or amounts.
    """
    kind = dict(frame.dtypes)[label].partition("(")[0]
    if kind == "boolean":
        return "binary"
    if kind not in ("string", "tinyint", "smallint", "int", "bigint", "float", "double", "decimal"):
        raise ColumnError(f"label '{label}' is {kind}; a label is text, a truth value or a number")
    values = frame.select(F.expr(finite(label, kind)).alias("label")).where(F.col("label").isNotNull()).distinct().limit(3)
    if len(collect.small_rows(values, most=3)) <= 2:
        return "binary"
    if kind == "string":
        return "multiclass"
    if kind in ("float", "double", "decimal"):
        return "regression"
    raise ConfigError(f"label '{label}' is {kind} with more than two values; say task: multiclass or task: regression")


def _drop_correlated(
    labelled: DataFrame, selection: FeatureSelection, counts: LabelledCounts, candidates: Sequence[str], state: _State
) -> None:
    limit = selection.rules.correlation
    types = dict(labelled.dtypes)
    left = [c for c in candidates if (c not in state.drops or c in selection.always_keep) and types[c] != "string"]
    if limit is None or len(left) < 2:
        return
    centres = []
    for name in left:
        edges = counts.bins.edges[counts.bins.columns.index(name)]
        assert edges is not None
        shift = float(np.median(edges)) if len(edges) else 0.0
        scale = float(np.abs(edges - shift).max()) if len(edges) else 1.0
        centres.append(Centre(shift, scale if scale > 0 else 1.0))
    pairs = correlated_pairs(labelled, left, centres, limit=limit)
    relevance = {name: state.relevance[name].mutual_information for name in left}
    by_pair = {(pair.left, pair.right): pair.correlation for pair in pairs}
    state.correlated = correlated_drops(left, relevance, by_pair, limit=limit, first=selection.always_keep)
    for name, rival in state.correlated.items():
        told = f"correlation {rival.correlation:.4f} with '{rival.column}' is above {limit:g}, and '{rival.column}' is the more relevant"
        if relevance[rival.column] == relevance[name]:
            told = f"correlation {rival.correlation:.4f} with '{rival.column}' is above {limit:g}, as relevant and the earlier column"
        elif rival.column in selection.always_keep:
            told = f"correlation {rival.correlation:.4f} with '{rival.column}' is above {limit:g}, which is always kept"
        state.drops.setdefault(name, Drop("correlated", told))


def _sample(labelled: DataFrame, selection: FeatureSelection, task: Task, counts: LabelledCounts, left: Sequence[str]) -> Sample:
    spec = selection.importance
    assert spec is not None
    return training_sample(
        labelled,
        label=selection.label,
        task=task,
        columns=left,
        bins=counts.bins,
        classes=counts.classes,
        most=spec.max_rows,
        seed=spec.seeds[0],
        group=spec.group,
    )


@dataclass(frozen=True)
class _Result:
    mean: list[float]
    sd: list[float]
    rank: list[int]
    selected_in: list[float]
    kept: list[bool]


def _importance(
    sample: Sample, spec: Importance, task: Task, state: _State, warnings: list[str], always: Sequence[str]
) -> tuple[ImportanceFacts, _Result, Eliminated | None]:
    """Importances of the sample's columns and which of them stay."""
    n_classes = 0 if task == "regression" else len(sample.by_class)
    data = Rows(sample.x, sample.y, sample.is_text, n_classes)
    folds = splits(data, spec, sample.groups)
    if len(folds) < spec.folds * len(spec.seeds):
        warnings.append(f"{spec.folds * len(spec.seeds) - len(folds)} folds lack a class and were not judged; raise max_rows or take fewer")
    found: Judged = judged(data, spec, task, folds)
    mean = found.importance.mean(axis=0)
    sd = found.importance.std(axis=0, ddof=1) if len(folds) > 1 else np.full(len(mean), math.nan)
    gone = None
    curve: list[tuple[int, float, float]] = []
    if spec.keep == "elimination":
        gone = eliminated(data, spec, task, folds)
        kept, selected = gone.kept.copy(), gone.selected
        curve = [(int(n), float(s), float(e)) for n, s, e in zip(gone.sizes, gone.score, gone.score_error, strict=True)]
    else:
        selected = np.stack([covering_set(one, share=spec.coverage) for one in found.importance])
        kept = covering_set(mean, share=spec.coverage) if spec.keep == "coverage" else np.ones(len(mean), dtype=bool)
        if not kept.any():
            warnings.append(f"no column is important to the model (score {found.score.mean():.4g}); all that pass the rules are kept")
            kept = np.ones(len(mean), dtype=bool)
    kept |= np.isin(np.array(sample.columns, dtype=object), list(always))
    positive = np.maximum(mean, 0)
    facts = ImportanceFacts(
        n_sampled=len(sample.y),
        by_class=sample.by_class,
        n_fits=len(folds),
        score_kind=SCORES[task],
        score=float(found.score.mean()),
        score_sd=float(found.score.std(ddof=1)) if len(folds) > 1 else math.nan,
        importance_of=_unit(spec, task),
        stability=selection_stability(selected),
        covered=float(positive[kept].sum() / positive.sum()) if positive.sum() > 0 else math.nan,
        curve=curve,
    )
    result = _Result(mean.tolist(), sd.tolist(), ranks(mean).tolist(), selected.mean(axis=0).tolist(), kept.tolist())
    return facts, result, gone


def _unit(spec: Importance, task: Task) -> str:
    if spec.measure == "permutation":
        return f"fall of {SCORES[task]} on held-out rows when the column is shuffled"
    return "mean absolute Shapley value of the predicted " + ("value" if task == "regression" else "chance")


def _decision(name: str, position: int, dtype: str, selection: FeatureSelection, state: _State) -> ColumnDecision:
    figures, told = state.figures[name], state.relevance[name]
    drop, rival = state.drops.get(name), state.correlated.get(name)
    kept = drop is None or name in selection.always_keep
    reason = "passes all rules" if drop is None else drop.reason
    if drop is not None and kept:
        reason = f"always kept by declaration, although {drop.rule}: {drop.reason}"
    return ColumnDecision(
        column=name,
        position=position,
        dtype=dtype,
        kept=kept,
        rule="" if kept or drop is None else drop.rule,
        reason=reason,
        n=figures.n,
        null_share=figures.null_share,
        n_distinct=figures.n_distinct,
        distinct_share=figures.distinct_share,
        frequency_ratio=figures.frequency_ratio,
        skill=told.skill,
        skill_kind=told.skill_kind,
        skill_bound=told.skill_bound,
        mutual_information=told.mutual_information,
        pvalue=told.pvalue,
        qvalue=told.qvalue,
        presence_skill=told.presence_skill,
        correlated_with=rival.column if rival and not kept else "",
        correlation=rival.correlation if rival and not kept else math.nan,
    )


def _with_importance(
    decisions: Sequence[ColumnDecision], sample: Sample, result: _Result, gone: Eliminated | None, spec: Importance
) -> list[ColumnDecision]:
    at = {name: i for i, name in enumerate(sample.columns)}
    d = len(at)
    found = []
    for row in decisions:
        i = at.get(row.column)
        if i is None:
            found.append(row)
            continue
        told = f"importance {result.mean[i]:.4g} (rank {result.rank[i]} of {d}, in {percent(round(result.selected_in[i], 4))} of the sets)"
        kept, rule, reason = True, "", f"{row.reason}; {told}"
        if not result.kept[i]:
            kept = False
            if gone is not None:
                rule, n_kept = "elimination", int(gone.kept.sum())
                reason = f"{told}: {n_kept} of {d} columns score within one standard error of the best size, without it"
            else:
                rule, reason = "low_importance", f"{told}: not in the smallest set that covers {percent(spec.coverage)}"
        found.append(
            row._replace(
                kept=kept,
                rule=rule,
                reason=reason,
                importance=result.mean[i],
                importance_sd=result.sd[i],
                importance_rank=result.rank[i],
                selected_in=result.selected_in[i],
                elimination_rank=0 if gone is None else int(gone.rank[i]),
            )
        )
    return found


__all__ = ["ImportanceFacts", "Selection", "candidates_of", "select_features", "task_of"]
