"""Score tally: what one worker knows of the rows it has seen, by model, group, score bin and label.

Takes arrays of scores, labels and group codes and gives rows of sums that add over workers; nothing of the size of the data is kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from sparkds.stats.score_counts import bins_of, row_losses, score_edges, summed

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Rows = dict[str, Any]

THRESHOLD: Final = "threshold"
"""Marks a row that names a threshold of the pass, in the column ``bin``, and no data."""
QUALITIES: Final = ("scored", "label_missing", "score_missing", "score_not_finite", "label_invalid", "weight_invalid", "too_many_values")
"""What became of a row: counted with its score, or why not. `too_many_values` marks a group with more values than are kept."""
SCORED, LABEL_MISSING, SCORE_MISSING, NOT_FINITE, LABEL_INVALID, WEIGHT_INVALID, TOO_MANY = range(7)
MOST_VALUES: Final = 1_000
KEYS: Final = ("model", "other_model", "group", "group_value", "quality", "bin", "other_bin", "label")
SUMS: Final = ("n", "weight", "score", "squared_error", "log_loss")


@dataclass(frozen=True, eq=False)
class Layout:
    """Bins of a pass; None for one by distinct score.

    Attributes
    ----------
    edges : (m,)
        Of the bins of all rows.
    group_edges, pair_edges : (k,)
        Of the wider bins of groups and of pairs of models; among `edges`.
    thresholds : tuple of float
        Among all edges.
    """

    edges: Array
    group_edges: Array
    pair_edges: Array
    thresholds: tuple[float, ...]

    @classmethod
    def of(cls, bins: int, group_bins: int, pair_bins: int, thresholds: Sequence[float]) -> Layout:
        """Edges that all hold the thresholds."""
        group, pair = score_edges(group_bins, thresholds), score_edges(pair_bins, thresholds)
        return cls(np.unique(np.concatenate([score_edges(bins, thresholds), group, pair])), group, pair, tuple(thresholds))

    def wider(self, edges: Array) -> Ints:
        """Number of the bin between `edges` in which each bin of all rows lies: (m + 1,)."""
        return bins_of(np.concatenate([[-np.inf], self.edges]), edges)


@dataclass
class _Cells:
    """Sums of one model and one group, by value, bin and label; grows with the values."""

    n_bins: int
    values: dict[str, int] = field(default_factory=dict)
    too_many: bool = False
    sums: dict[str, Array] = field(default_factory=dict)
    skipped: Ints = field(default_factory=lambda: np.zeros((0, len(QUALITIES)), dtype=np.int64))

    def slots(self, values: Sequence[str]) -> Ints | None:
        """Slot of each value; None when there are more than are kept."""
        for value in values:
            self.values.setdefault(value, len(self.values))
        self.too_many = self.too_many or len(self.values) > MOST_VALUES
        if self.too_many:
            return None
        missing = len(self.values) - len(self.skipped)
        if missing:
            self.skipped = np.concatenate([self.skipped, np.zeros((missing, len(QUALITIES)), dtype=np.int64)])
            for name in (*SUMS, "low", "high"):
                start = {"low": np.inf, "high": -np.inf}.get(name, 0.0)
                more = np.full((missing, self.n_bins) if name in ("low", "high") else (missing, self.n_bins, 2), start)
                self.sums[name] = np.concatenate([self.sums[name], more]) if name in self.sums else more
        return np.array([self.values[value] for value in values], dtype=np.int64)

    def add(self, slot: Ints, bin_of: Ints, label: Array, score: Array, weight: Array | None) -> None:
        """Add scored rows."""
        n_slots = len(self.skipped)
        cell = slot * self.n_bins + bin_of
        found = summed(cell, n_slots * self.n_bins, label, score, weight)
        rows = found[0] if weight is None else np.bincount(2 * cell + (label == 1), minlength=2 * n_slots * self.n_bins)
        for name, more in zip(SUMS, (rows, *found[:4]), strict=True):
            self.sums[name] += more.reshape(n_slots, self.n_bins, 2)
        np.minimum(self.sums["low"], found[4].reshape(n_slots, self.n_bins), out=self.sums["low"])
        np.maximum(self.sums["high"], found[5].reshape(n_slots, self.n_bins), out=self.sums["high"])

    def rows(self) -> Rows:
        """Cells that have rows."""
        names = np.array(list(self.values), dtype=object)
        if not self.sums:
            return {}
        slot, bin_of, label = np.nonzero(self.sums["n"])
        told: Rows = {name: self.sums[name][slot, bin_of, label] for name in SUMS}
        told |= {name: self.sums[name][slot, bin_of] for name in ("low", "high")}
        return told | {"group_value": names[slot], "bin": bin_of.astype(np.float64), "label": label}


class ScoreTally:
    """Sums of all models, groups and pairs.

    Parameters
    ----------
    models : sequence of str
    groups : sequence of str
    pairs : sequence of (str, str)
        Models whose scores of the same row are kept together.
    layout : Layout, optional
        Bins; by distinct score if None, so that sums have to be taken as they come.
    """

    def __init__(self, models: Sequence[str], groups: Sequence[str], pairs: Sequence[tuple[str, str]], layout: Layout | None) -> None:
        self.models, self.groups, self.pairs, self.layout = tuple(models), ("", *groups), tuple(pairs), layout
        n_bins = {group: 0 if layout is None else len(layout.group_edges if group else layout.edges) + 1 for group in self.groups}
        self._cells = {(model, group): _Cells(n_bins[group]) for model in models for group in self.groups}
        self._odd_labels: list[float] = []
        self._waiting: list[Rows] = []
        self._pair_sums: dict[tuple[str, str], Array] = {}

    def add(
        self,
        label: Array,
        weight: Array | None,
        scores: dict[str, tuple[Array, npt.NDArray[np.bool_]]],
        groups: Mapping[str, tuple[Ints, Sequence[str]]],
    ) -> None:
        """Add rows.

        Parameters
        ----------
        label : (n,)
            NaN where missing.
        weight : (n,), optional
            NaN where missing.
        scores : dict of model to ((n,), (n,) bool)
            Scores, and which of them are null.
        groups : dict of group to ((n,) int64, values)
            Code of each row's value, and the values.
        """
        n = len(label)
        coded: dict[str, tuple[Ints, Sequence[str]]] = {"": (np.zeros(n, dtype=np.int64), ("",)), **groups}
        quality = np.zeros(n, dtype=np.int64)
        quality[np.isnan(label)] = LABEL_MISSING
        odd = ~np.isnan(label) & (label != 0) & (label != 1)
        quality[odd] = LABEL_INVALID
        self._odd_labels += label[odd][:1].tolist() if len(self._odd_labels) < 5 else []
        if weight is not None:
            quality[~(np.isfinite(weight) & (weight >= 0))] = WEIGHT_INVALID
        usable: dict[str, Ints] = {}
        bin_of: dict[str, Ints] = {}
        for model in self.models:
            score, null = scores[model]
            of_model = quality.copy()
            of_model[(quality == SCORED) & ~np.isfinite(score)] = NOT_FINITE
            of_model[(quality == SCORED) & null] = SCORE_MISSING
            rows = np.flatnonzero(of_model == SCORED)
            all_scored = len(rows) == n
            usable[model] = rows
            s, y = (score, label) if all_scored else (score[rows], label[rows])
            w = weight if weight is None or all_scored else weight[rows]
            if self.layout is not None:
                bin_of[model] = bins_of(s, self.layout.edges)
            for group in self.groups:
                codes, values = coded[group]
                cells = self._cells[model, group]
                of_value = cells.slots(values)
                if of_value is None:
                    continue
                slot = of_value[codes]
                if not all_scored:
                    at = slot * len(QUALITIES) + of_model
                    size = cells.skipped.size
                    cells.skipped += np.bincount(at[of_model != SCORED], minlength=size).reshape(cells.skipped.shape)
                    slot = slot[rows]
                if self.layout is None:
                    self._add_distinct(model, group, cells, slot, y, s, w)
                else:
                    b = bin_of[model]
                    cells.add(slot, self.layout.wider(self.layout.group_edges)[b] if group else b, y, s, w)
        for first, second in self.pairs:
            self._add_pair((first, second), label, weight, scores, usable, bin_of)

    def _add_distinct(self, model: str, group: str, cells: _Cells, slot: Ints, y: Array, s: Array, w: Array | None) -> None:
        if len(s) == 0:
            return
        at, row_cell = np.unique(np.stack([slot.astype(np.float64), s]), axis=1, return_inverse=True)
        cell = row_cell.ravel().astype(np.int64)
        *sums, low, high = summed(cell, at.shape[1], y, s, w)
        rows = sums[0] if w is None else np.bincount(2 * cell + (y == 1), minlength=2 * at.shape[1]).reshape(-1, 2)
        i, label = np.nonzero(rows)
        names = np.array(list(cells.values), dtype=object)
        told: Rows = {name: x[i, label] for name, x in zip(SUMS, (rows, *sums), strict=True)}
        told |= {"low": low[i], "high": high[i], "bin": at[1, i], "label": label, "group_value": names[at[0, i].astype(np.int64)]}
        self._waiting.append(told | {"model": model, "group": group, "quality": QUALITIES[SCORED]})

    def _add_pair(
        self,
        pair: tuple[str, str],
        label: Array,
        weight: Array | None,
        scores: dict[str, tuple[Array, npt.NDArray[np.bool_]]],
        usable: dict[str, Ints],
        bin_of: dict[str, Ints],
    ) -> None:
        """Joint sums of two models over the rows that both have scored; differences are first minus second."""
        rows, i, j = np.intersect1d(usable[pair[0]], usable[pair[1]], assume_unique=True, return_indices=True)
        if len(rows) == 0:
            return
        a, b, y = scores[pair[0]][0][rows], scores[pair[1]][0][rows], label[rows]
        w = np.ones(len(rows)) if weight is None else weight[rows]
        (squared_a, loss_a), (squared_b, loss_b) = row_losses(y, a), row_losses(y, b)
        parts = np.ones(len(rows)), w, w * (squared_a - squared_b), w * (loss_a - loss_b)
        if self.layout is None:
            at, row_cell = np.unique(np.stack([a, b, y]), axis=1, return_inverse=True)
            joint: Array = np.stack([np.bincount(row_cell.ravel(), weights=x) for x in parts]).astype(np.float64)
            self._waiting.append(_pair_rows(pair, at[0], at[1], at[2].astype(np.int64), joint))
            return
        wide = self.layout.wider(self.layout.pair_edges)
        k = len(self.layout.pair_edges) + 1
        cell = ((wide[bin_of[pair[0]][i]] * k + wide[bin_of[pair[1]][j]]) * 2 + (y == 1)).astype(np.int64)
        found: Array = np.stack([np.bincount(cell, weights=x, minlength=2 * k * k) for x in parts]).astype(np.float64)
        self._pair_sums[pair] = self._pair_sums[pair] + found if pair in self._pair_sums else found

    def handed_over(self) -> list[Rows]:
        """Rows by distinct score since the last call."""
        waiting, self._waiting = self._waiting, []
        return waiting

    def finish(self) -> list[Rows]:
        """All other rows, when no more data come."""
        told = []
        for (model, group), cells in self._cells.items():
            if cells.too_many:
                told.append({"model": model, "group": group, "quality": QUALITIES[TOO_MANY], "n": np.ones(1)})
                continue
            names = np.array(list(cells.values), dtype=object)
            slot, quality = np.nonzero(cells.skipped)
            n = cells.skipped[slot, quality].astype(np.float64)
            odd = np.array(self._odd_labels or [np.nan])
            at = quality == LABEL_INVALID
            limits = {"low": np.where(at, odd.min(), np.nan), "high": np.where(at, odd.max(), np.nan)}
            skipped = {"model": model, "group": group, "quality": np.array(QUALITIES, dtype=object)[quality], "n": n, **limits}
            told += [skipped | {"group_value": names[slot]}] if len(n) else []
            scored = cells.rows()
            told += [scored | {"model": model, "group": group, "quality": QUALITIES[SCORED]}] if self.layout is not None and scored else []
        for pair, sums in self._pair_sums.items():
            assert self.layout is not None
            cell = np.flatnonzero(sums[0])
            first, second = np.divmod(cell // 2, len(self.layout.pair_edges) + 1)
            lowest = np.concatenate([[-np.inf], self.layout.pair_edges])
            told.append(_pair_rows(pair, lowest[first], lowest[second], cell % 2, sums[:, cell]))
        if self.layout is not None:
            told.append(
                {"quality": THRESHOLD, "bin": np.array([-np.inf, *self.layout.thresholds]), "n": np.zeros(1 + len(self.layout.thresholds))}
            )
        return told


def _pair_rows(pair: tuple[str, str], first: Array, second: Array, label: Ints, sums: Array) -> Rows:
    told: Rows = dict(zip(("n", "weight", "squared_error", "log_loss"), sums, strict=True))
    return told | {
        "model": pair[0],
        "other_model": pair[1],
        "quality": QUALITIES[SCORED],
        "bin": first,
        "other_bin": second,
        "label": label,
    }
