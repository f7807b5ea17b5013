"""Score evidence: the counts of a scored table, sorted out by model, group and pair of models.

Takes the columns that the score pass brought to the driver, refuses what must not be evaluated, and gives states for the metrics.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sparkds.errors import DataError
from sparkds.models.score_tally import MOST_VALUES, THRESHOLD
from sparkds.stats.score_counts import ScoreCounts

Array = npt.NDArray[np.float64]
Key = tuple[str, str, str]


@dataclass(frozen=True, eq=False)
class PairCounts:
    """Rows that two models have both scored, by the score bin of each and the label.

    Attributes
    ----------
    first, second : (k,)
        Lower edge of the bin (or the score itself) of each model.
    label : (k,)
        0 or 1.
    n : (k,)
        Rows, or their total weight.
    squared_error, log_loss : (k,)
        Sums of the first model's loss minus the second's.
    """

    first: Array
    second: Array
    label: Array
    n: Array
    squared_error: Array
    log_loss: Array


@dataclass(frozen=True, eq=False)
class ScoreEvidence:
    """What one pass over a scored table has found.

    Attributes
    ----------
    counts : dict of (model, group, value) to ScoreCounts
        Group and value are empty for all rows.
    skipped : dict of (model, group, value) to dict of quality to int
        Rows that are in no metric: ``label_missing``, ``score_missing``, ``score_not_finite``.
    pairs : dict of (model, other model) to PairCounts
    thresholds : tuple of float, optional
        At which counts of pairs are exact; None when they are by distinct score, so at all.
    """

    counts: dict[Key, ScoreCounts]
    skipped: dict[Key, dict[str, int]]
    pairs: dict[tuple[str, str], PairCounts]
    thresholds: tuple[float, ...] | None = None

    @property
    def models(self) -> tuple[str, ...]:
        """Models of which rows were seen, in alphabetical order."""
        return tuple(sorted({model for model, _, _ in (*self.counts, *self.skipped)}))

    def values(self, model: str, group: str) -> tuple[str, ...]:
        """Values of a group that have scored rows, in alphabetical order."""
        return tuple(sorted(v for m, g, v in self.counts if (m, g) == (model, group)))

    @property
    def groups(self) -> tuple[str, ...]:
        """Groups, in alphabetical order."""
        return tuple(sorted({group for _, group, _ in self.counts if group}))


def score_evidence(columns: Mapping[str, Any], *, label: str = "label", weight: str | None = None) -> ScoreEvidence:
    """Sort out the rows of a score pass.

    Parameters
    ----------
    columns : mapping of str to (n,) array
        As `sparkds.models.score_pass.score_counts_frame` has them.
    label, weight : str
        Names of the columns, for messages; counts are weights when there is one.

    Raises
    ------
    DataError
        A label is neither 0 nor 1, a weight is negative or not finite, or a group has too many values.
    """
    quality, group = columns["quality"], columns["group"]
    _refuse(columns, quality, group, label, weight)
    counts: dict[Key, ScoreCounts] = {}
    pairs: dict[tuple[str, str], PairCounts] = {}
    skipped: dict[Key, dict[str, int]] = {}
    scored = quality == "scored"
    names = ("model", "other_model", "group", "group_value")
    rows_of: dict[tuple[str, ...], list[int]] = {}
    is_threshold = quality == THRESHOLD
    thresholds = tuple(sorted(float(t) for t in columns["bin"][is_threshold] if np.isfinite(t))) if is_threshold.any() else None
    told = zip(*(columns[name] for name in names), strict=True)
    for i, key in enumerate(told):
        if scored[i]:
            rows_of.setdefault(key, []).append(i)
        elif not is_threshold[i]:
            skipped.setdefault((key[0], key[2], key[3]), {})[quality[i]] = int(columns["n"][i])
    for (model, other, name, value), rows in rows_of.items():
        part = {column: np.asarray(columns[column][rows], dtype=np.float64) for column in columns if column not in (*names, "quality")}
        if other:
            order = np.lexsort((part["label"], part["other_bin"], part["bin"]))
            fields = ("bin", "other_bin", "label", "weight", "squared_error", "log_loss")
            pairs[model, other] = PairCounts(*(part[field][order] for field in fields))
        else:
            counts[model, name, value] = _state(part, weighted=weight is not None)
    return ScoreEvidence(counts, skipped, pairs, thresholds)


def _state(part: dict[str, Array], *, weighted: bool) -> ScoreCounts:
    keys, at = np.unique(part["bin"], return_inverse=True)
    label = part["label"].astype(np.int64)

    def spread(name: str) -> Array:
        found = np.zeros((len(keys), 2))
        found[at, label] = part[name]
        return found

    low, high = np.full(len(keys), np.inf), np.full(len(keys), -np.inf)
    np.minimum.at(low, at, part["low"])
    np.maximum.at(high, at, part["high"])
    return ScoreCounts(keys, spread("weight"), spread("score"), spread("squared_error"), spread("log_loss"), low, high, weighted)


def _refuse(columns: Mapping[str, Any], quality: Any, group: Any, label: str, weight: str | None) -> None:
    overall = group == ""
    odd = (quality == "label_invalid") & overall
    if odd.any():
        given = f"{columns['low'][odd].min():g}"
        raise DataError(
            f"label '{label}' has values other than 0 and 1, e.g. {given}; allowed are 0, 1 and null; map its classes to 0 and 1 before"
        )
    if ((quality == "weight_invalid") & overall).any():
        n = int(columns["n"][(quality == "weight_invalid") & overall].max())
        raise DataError(f"weight '{weight}' is negative, missing or not finite in {n} rows; weights are at least 0")
    full = quality == "too_many_values"
    if full.any():
        raise DataError(
            f"group '{group[full][0]}' has more than {MOST_VALUES} values; name those to show, leave it out, or bin the column before"
        )
