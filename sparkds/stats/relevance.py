"""Relevance: how much one feature alone tells of a label, from the counts of its bins by class or label bin.

Takes small tables of counts and gives mutual information, single-feature AUC or R², chi-square p-values and their false-discovery q-values;
the counts come from one pass over the rows (`sparkds.features.relevance`), or from arrays.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

from sparkds.stats.multiplicity import adjust

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Task = Literal["binary", "multiclass", "regression"]
SKILLS: Final = {"binary": "auc", "multiclass": "auc_one_vs_rest", "regression": "r2"}
"""Task to the kind of its skill."""
GROUPS: Final = 20
"""Bins are brought together to at most this many of about equal weight for mutual information and its test; ranks use all bins."""


class Relevance(NamedTuple):
    """What one feature alone tells of the label.

    Attributes
    ----------
    column : str
    n : int
        Rows with a label.
    null_share : float
        Of those, the share without a value of the feature.
    skill : float
        Over the rows with a value: AUC in [0.5, 1] whatever its direction (binary; of the best class against the rest for several
        classes), or R² in [0, 1] of the label's means by bin, adjusted for the number of bins (regression). NaN with a reason.
    skill_kind : str
        ``auc``, ``auc_one_vs_rest`` or ``r2``.
    mutual_information : float
        In nats, between the feature's bins (null is one) and the label's classes or bins; with the Miller-Madow correction, at least 0.
    pvalue : float
        Of Pearson's chi-square test that they are independent.
    qvalue : float
        The p-value after Benjamini and Hochberg, over all features of the call.
    presence_skill : float
        As `skill`, of the bare fact that the feature has a value, over all rows; 0.5 or 0 if it always or never has.
    reason : str
        Why there is no skill; empty if there is.
    skill_bound : float
        The AUC without bins lies within this of `skill` (half the share of pairs that a bin ties, see `ranking_skill`); NaN for R².
    presence_mutual_information : float
        In nats, between having a value and the label.
    other_share : float
        Of the rows with a value, the share whose text is not among the values that have a bin of their own; 0 for numbers.
    """

    column: str
    n: int
    null_share: float
    skill: float
    skill_kind: str
    mutual_information: float
    pvalue: float
    qvalue: float
    presence_skill: float
    reason: str
    skill_bound: float = math.nan
    presence_mutual_information: float = 0.0
    other_share: float = 0.0


class FeatureCounts(NamedTuple):
    """Counts of one feature by the label.

    Attributes
    ----------
    column : str
    n : (k + 1, c)
        Rows by bin and class or label bin. Bins ascend with the value; the last is for rows without a value.
    label_sum, label_square : (k + 1,)
        Sums by bin of ``z`` and ``z²`` where ``z`` is the label, shifted and scaled by the same constants for all rows; zeros if the label
        has classes.
    is_ordered : bool
        False for texts, whose bins have no order of their own and are ordered by the label.
    other : int
        Number of the bin of texts without a bin of their own; -1 if there is none.
    """

    column: str
    n: Array
    label_sum: Array
    label_square: Array
    is_ordered: bool = True
    other: int = -1


def mutual_information(counts: npt.ArrayLike) -> float:
    """Mutual information in nats of the rows and columns of a table of counts, corrected for its bias.

    The plug-in estimate, each of whose three entropies has Miller and Madow's ``(m - 1) / 2n`` added (m cells that are not empty), so
    ``I + (m_rows + m_columns - m_cells - 1) / 2n``; at least 0. NaN without rows.

    Parameters
    ----------
    counts : (k, c)

    References
    ----------
    Miller (1955); Paninski (2003), Neural Computation 15, 1191-1253, section 4.

    Examples
    --------
    >>> round(mutual_information([[50, 0], [0, 50]]), 4)  # ln 2 + 1/200
    0.6981
    """
    table: Array = np.asarray(counts, dtype=np.float64)
    n = table.sum()
    if n <= 0:
        return math.nan
    rows, columns = table.sum(axis=1), table.sum(axis=0)
    at = table > 0
    expected = np.outer(rows, columns)[at] / n
    plug_in = float((table[at] / n * np.log(table[at] / expected)).sum())
    correction = (int((rows > 0).sum()) + int((columns > 0).sum()) - int(at.sum()) - 1) / (2 * n)
    return max(0.0, plug_in + float(correction))


def independence_pvalue(counts: npt.ArrayLike) -> float:
    """P-value of Pearson's chi-square test of independence, without continuity correction; NaN if there is one row or column only.

    Rows and columns without counts are left out. With expected counts far below 5 the p-value is rough (Cochran 1954).

    Parameters
    ----------
    counts : (k, c)

    Examples
    --------
    >>> round(independence_pvalue([[10, 20], [20, 10]]), 4)
    0.0098
    """
    table: Array = np.asarray(counts, dtype=np.float64)
    table = table[table.sum(axis=1) > 0][:, table.sum(axis=0) > 0]
    if min(table.shape) < 2:
        return math.nan
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    statistic = float(((table - expected) ** 2 / expected).sum())
    return float(stats.chi2.sf(statistic, (table.shape[0] - 1) * (table.shape[1] - 1)))


def ranking_skill(counts: npt.ArrayLike, *, is_ordered: bool = True) -> tuple[float, float]:
    """AUC of ranking by bin, whatever its direction, and how far the AUC without bins can be from it.

    Pairs of rows of one bin count half; so the AUC of the unbinned values differs by at most half the share of such pairs,
    ``sum_b n⁻_b n⁺_b / (2 n⁻ n⁺)``. Bins without order are ordered by their share of positives on these very rows, which flatters
    them: k bins of n rows of pure chance come to about ``0.5 + O(sqrt(k / n))``.

    Parameters
    ----------
    counts : (k, 2)
        Negatives and positives by bin, ascending.
    is_ordered : bool

    Returns
    -------
    float, float
        In [0.5, 1] and [0, 0.5]; NaN if a class has no row.

    Examples
    --------
    >>> ranking_skill([[0, 1], [1, 0]])
    (1.0, 0.0)
    """
    table: Array = np.asarray(counts, dtype=np.float64)
    negative, positive = table[:, 0], table[:, 1]
    pairs = negative.sum() * positive.sum()
    if pairs == 0:
        return math.nan, math.nan
    tied = float((negative * positive).sum() / (2 * pairs))
    if not is_ordered:
        with np.errstate(invalid="ignore"):
            order = np.argsort(np.nan_to_num(positive / (negative + positive)), kind="stable")
        negative, positive = negative[order], positive[order]
    below = np.cumsum(negative) - negative
    area = float((positive * below).sum() / pairs) + tied
    return min(max(area, 1 - area), 1.0), tied


def binned_r2(n: Array, label_sum: Array, label_square: Array) -> float:
    """R² of the label's means by bin, adjusted for the number of bins: ``1 - (1 - R²)(n - 1)/(n - k)``, at least 0.

    It is the adjusted R² of least squares on one indicator a bin, the correlation ratio (Fisher); what a feature tells inside a bin is
    not in it, so it is at most the R² of the best function of the feature. NaN if the label does not vary or there are no more rows
    than bins.

    Parameters
    ----------
    n, label_sum, label_square : (k,)
        As in `FeatureCounts`, without the bin of rows without a value.

    Examples
    --------
    >>> import numpy as np
    >>> round(binned_r2(np.array([2.0, 2.0]), np.array([1.0, 5.0]), np.array([1.0, 13.0])), 4)  # labels 0, 1 | 2, 3
    0.7
    """
    used = n > 0
    n, label_sum, label_square = n[used], label_sum[used], label_square[used]
    total, k = float(n.sum()), len(n)
    if total <= k or k == 0:
        return math.nan
    means = label_sum / n
    mean = float(label_sum.sum() / total)
    inside = float(np.maximum(label_square - n * means**2, 0.0).sum())
    between = float((n * (means - mean) ** 2).sum())
    whole = inside + between
    if whole <= 1e-12 * max(float(label_square.sum()), 1e-300):
        return math.nan
    if k == 1:
        return 0.0
    return min(max(0.0, 1 - inside / whole * (total - 1) / (total - k)), 1.0)


def grouped_bins(n: Array, *, groups: int = GROUPS) -> Ints:
    """Number of the group of each bin, at most `groups` of about equal weight, bins in their order: (k,).

    Where there are no more bins with rows than `groups`, each keeps its own.

    Examples
    --------
    >>> import numpy as np
    >>> grouped_bins(np.array([1.0, 1.0, 1.0, 1.0]), groups=2).tolist()
    [0, 0, 1, 1]
    """
    if int((n > 0).sum()) <= groups:
        return np.arange(len(n), dtype=np.int64)
    middle = (np.cumsum(n) - n / 2) / n.sum()
    group: Ints = np.minimum((middle * groups + 1e-9).astype(np.int64), groups - 1)
    return group


def relevances(counts: Sequence[FeatureCounts], *, task: Task) -> list[Relevance]:
    """Relevance of each feature, in the order given; the q-values are over all of them.

    Parameters
    ----------
    counts : sequence of FeatureCounts
        With one column a class, in the same order everywhere; two for a binary task.
    task : {"binary", "multiclass", "regression"}

    Examples
    --------
    >>> import numpy as np
    >>> n = np.array([[40.0, 10.0], [10.0, 40.0], [0.0, 0.0]])
    >>> (found,) = relevances([FeatureCounts("visits", n, np.zeros(3), np.zeros(3))], task="binary")
    >>> round(found.skill, 2), round(found.mutual_information, 3), found.reason
    (0.8, 0.188, '')
    """
    found = [_relevance(one, task) for one in counts]
    qvalues = adjust([one.pvalue for one in found], method="bh", alpha=0.05).pvalues
    return [one._replace(qvalue=float(q)) for one, q in zip(found, qvalues, strict=True)]


def _relevance(counts: FeatureCounts, task: Task) -> Relevance:
    n = counts.n
    total, without = float(n.sum()), float(n[-1].sum())
    known = total - without
    present: Array = np.stack([n[-1], n[:-1].sum(axis=0)])
    presence = _presence(counts, present, task)
    group = grouped_bins(n[:-1].sum(axis=1)) if counts.is_ordered else np.arange(len(n) - 1)
    grouped = np.zeros((int(group.max(initial=-1)) + 2, n.shape[1]))
    np.add.at(grouped, group, n[:-1])
    grouped[-1] = n[-1]
    skill, bound, reason = _skill(counts, task)
    return Relevance(
        column=counts.column,
        n=int(total),
        null_share=without / total if total else math.nan,
        skill=skill,
        skill_kind=SKILLS[task],
        mutual_information=mutual_information(grouped),
        pvalue=independence_pvalue(grouped),
        qvalue=math.nan,
        presence_skill=presence,
        reason=reason,
        skill_bound=bound,
        presence_mutual_information=mutual_information(present),
        other_share=float(n[counts.other].sum()) / known if counts.other >= 0 and known else 0.0,
    )


def _presence(counts: FeatureCounts, present: Array, task: Task) -> float:
    """Skill of having a value."""
    if task != "regression":
        return best_class_skill(present)[0]
    sums, squares = counts.label_sum, counts.label_square
    return binned_r2(
        present.sum(axis=1), np.array([sums[-1], sums[:-1].sum()]), np.array([squares[-1], squares[:-1].sum()])
    )  # fmt: skip


def _skill(counts: FeatureCounts, task: Task) -> tuple[float, float, str]:
    """Skill, how far it can be from that without bins, and why there is none."""
    n = counts.n[:-1]
    if n.sum() == 0:
        return math.nan, math.nan, "no row with a label has a value"
    if task == "regression":
        skill = binned_r2(n.sum(axis=1), counts.label_sum[:-1], counts.label_square[:-1])
        told = "the label does not vary where the feature has a value, or there are no more rows than bins"
        return skill, math.nan, told if math.isnan(skill) else ""
    skill, bound = best_class_skill(n, is_ordered=counts.is_ordered)
    return skill, bound, "the rows with a value are of one class" if math.isnan(skill) else ""


def best_class_skill(counts: Array, *, is_ordered: bool = True) -> tuple[float, float]:
    """`ranking_skill` of the class that the bins rank best against all others; of two classes, of either.

    Parameters
    ----------
    counts : (k, c)
    is_ordered : bool

    Examples
    --------
    >>> import numpy as np
    >>> best_class_skill(np.array([[3.0, 1.0, 0.0], [3.0, 1.0, 0.0], [0.0, 0.0, 2.0]]))
    (1.0, 0.0)
    """
    total = counts.sum(axis=1)
    classes = range(1, 2) if counts.shape[1] == 2 else range(counts.shape[1])
    found = [ranking_skill(np.stack([total - counts[:, c], counts[:, c]], axis=1), is_ordered=is_ordered) for c in classes]
    return max((one for one in found if not math.isnan(one[0])), default=(math.nan, math.nan))
