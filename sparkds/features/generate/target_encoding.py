"""Target encoding: the mean label of a row's category, shrunk to the mean of all, without the row's own label in it.

Rows of the training slice are encoded out of their fold, and with a time only from labels known strictly before it; all other rows
from the whole training slice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from sparkds.errors import ColumnError, DataError
from sparkds.features.generate.categorical import MOST_VALUES
from sparkds.features.generate.derivation import Aggregate, ColumnsDerivation, Fits, Fitted, Grouped, Output, State
from sparkds.features.generate.expressions import Inputs, double_sql, lookup_sql, text_sql
from sparkds.hashing import BUCKETS, HEX_DIGITS, SEPARATOR
from sparkds.sql import quoted


class TargetEncoding(ColumnsDerivation):
    """Smoothed mean label of a category: ``S = n/(n + m) mean + m/(n + m) prior``.

    Attributes
    ----------
    label : str
        Number or boolean; rows where it is null teach nothing.
    smoothing : float
        m: a category with m labels lies half-way between its own mean and the prior.
    by : tuple of str
        Columns that name the entity, whose rows are in one fold; a row never learns from its own entity's labels.
    n_folds : int
    seed : int
        Of the folds' hash; folds are those of `sparkds.models.splits.HashFolds` of the same seed.
    time, known_at : str, optional
        Date or timestamp of the row, and from when on its label is known, of the same type; given together, a training row is
        encoded only from labels known strictly before its own time.
    most : int
        A vocabulary with more values is refused.

    Notes
    -----
    n and mean are those of the category's labels, prior the mean of all labels: for a row of the training slice of the other folds
    (known before its time), otherwise of the whole training slice. A category without labels, and null, gets the prior; a training row
    before whose time no label at all is known gets null.

    References
    ----------
    Micci-Barreca, D. (2001), A preprocessing scheme for high-cardinality categorical attributes in classification and prediction
    problems, SIGKDD Explorations 3(1), 27-32: the blend of its equation 3, with the weight ``n/(n + m)`` of an empirical Bayes estimate.
    """

    kind: Literal["target_encoding"] = "target_encoding"
    suffix: str = Field(default="target", min_length=1, description="the column made of x is x_{suffix}")
    label: str = Field(min_length=1, description="number or boolean")
    smoothing: float = Field(gt=0, description="labels of a category that lies half-way between its mean and the prior")
    by: tuple[str, ...] = Field(min_length=1, description="columns that name the entity, whose rows are in one fold")
    n_folds: int = Field(default=5, ge=2, le=20, description="number of folds")
    seed: int = Field(ge=0, description="seed of the folds")
    time: str | None = Field(default=None, description="date or timestamp of the row")
    known_at: str | None = Field(default=None, description="from when on its label is known")
    most: int = Field(default=1_000, ge=1, le=MOST_VALUES, description="a vocabulary with more values is refused")

    @model_validator(mode="after")
    def _told(self) -> Self:
        if (self.time is None) != (self.known_at is None):
            raise ValueError("time and known_at go together: the row's own time, and from when on its label is known")
        if self.label in self.columns:
            raise ValueError(f"the label '{self.label}' cannot be encoded by itself")
        return self

    @property
    def in_one_row(self) -> bool:
        return self.time is None

    @property
    def inputs(self) -> tuple[str, ...]:
        times = [column for column in (self.time, self.known_at) if column is not None]
        return tuple(dict.fromkeys((*self.columns, self.label, *self.by, *times)))

    def check(self, of: Inputs) -> None:
        for column in (*self.columns, *self.by):
            of.category(column)
        _ = self.label_sql(of)
        if self.time is not None and self.known_at is not None:
            types = of.dtype(self.time), of.dtype(self.known_at)
            if types[0] != types[1] or types[0] not in ("date", "timestamp"):
                raise ColumnError(
                    f"columns '{self.time}' and '{self.known_at}' in {of.where} have types {types[0]} and {types[1]}; "
                    "both must be dates or both timestamps, so that one is before the other whatever the time zone"
                )

    def label_sql(self, of: Inputs) -> str:
        """SQL of the label as double."""
        if of.dtype(self.label) == "boolean":
            return f"cast({quoted(self.label)} as double)"
        return of.double(self.label)

    def fold_sql(self, of: Inputs) -> str:
        """SQL of a row's fold, 0 … n_folds - 1; of a null entity 0."""
        told = ", ".join(f"{text_sql(SEPARATOR)}, {of.category(column)}" for column in self.by)
        digits = f"substring(sha2(concat({text_sql(f'fold:{self.seed}')}, {told}), 256), 1, {HEX_DIGITS})"
        width = -(-BUCKETS // self.n_folds)
        return f"coalesce(cast(cast(conv({digits}, 16, 10) as bigint) div {width} as int), 0)"

    def fits(self, of: Inputs) -> Fits:
        y, fold = self.label_sql(of), self.fold_sql(of)
        of_fold = {k: f"case when {fold} = {k} then {y} end" for k in range(self.n_folds)}
        sums = {f"sum_{k}": Aggregate("sum({x})", x, "double") for k, x in of_fold.items()}
        counts = {f"n_{k}": Aggregate("count({x})", x, "double") for k, x in of_fold.items()}
        by_value = {name: aggregate.sql for name, aggregate in (sums | counts).items()}
        groups = {}
        for i, column in enumerate(self.columns):
            x = of.category(column)
            keys = f"filter(array(case when {y} is not null then {x} end), k -> k is not null)"
            groups[f"values_{i}"] = Grouped(keys, by_value, self.most, f"'{self.title}': the vocabulary of '{column}'")
        return Fits(sums | counts, groups)

    def state(self, fitted: Fitted) -> State:
        n, total = self._by_fold(fitted.values)
        if sum(n) == 0:
            raise DataError(f"'{self.title}': label '{self.label}' is null in all {fitted.n_rows} training rows; there is nothing to learn")
        if sum(count > 0 for count in n) < 2:
            raise DataError(
                f"'{self.title}': all labels are of one fold, so that none is left to encode it; take another seed or more entities"
            )
        columns: dict[str, dict[str, list[list[float]]]] = {}
        for i, column in enumerate(self.columns):
            columns[column] = {row["key"]: list(self._by_fold(row)) for row in fitted.groups[f"values_{i}"]}
        return {"n": n, "sum": total, "columns": columns}

    def _by_fold(self, found: Any) -> tuple[list[float], list[float]]:
        folds = range(self.n_folds)
        return [found[f"n_{k}"] or 0 for k in folds], [found[f"sum_{k}"] or 0.0 for k in folds]

    def outputs(self, of: Inputs, state: State) -> tuple[Output, ...]:
        priors = [mean_without(state["n"], state["sum"], k) for k in (*range(self.n_folds), None)]
        place = f"case when {of.trains} then {self.fold_sql(of)} else {self.n_folds} end"
        told = []
        for i, column in enumerate(self.columns):
            encoded = {
                value: [
                    smoothed(without(n, k), without(total, k), prior, self.smoothing)
                    for k, prior in zip((*range(self.n_folds), None), priors, strict=True)
                ]
                for value, (n, total) in state["columns"][column].items()
            }
            x = of.category(column)
            if self.in_one_row:
                found = lookup_sql(x, {value: doubles_sql(codes) for value, codes in encoded.items()}, "array<double>")
                sql = f"coalesce(get({found}, {place}), get({doubles_sql(priors)}, {place}))"
            else:
                found = lookup_sql(x, {value: double_sql(codes[-1]) for value, codes in encoded.items()}, "double")
                sql = f"case when {of.trains} then {self._known_sql(i)} else coalesce({found}, {double_sql(priors[-1])}) end"
            comment = f"mean of {self.label} by {column}, smoothed with m = {self.smoothing:g}; training rows out of {self.n_folds} folds"
            if self.time is not None:
                comment += f", from labels known before {self.time}"
            told.append(Output(self.name_of(column), "double", f"{comment} (unit of {self.label})", sql))
        return tuple(told)

    def _known_sql(self, i: int) -> str:
        """SQL of a training row's code from the columns that the step of frames has made: labels of its category, and of all."""
        n, total, m = f"coalesce({self.step}_{i}.n, 0)", f"coalesce({self.step}_{i}.total, 0D)", double_sql(self.smoothing)
        prior = f"({self.step}_all.total / {self.step}_all.n)"
        return f"case when {self.step}_all.n > 0 then ({total} + {m} * {prior}) / ({n} + {m}) end"

    @property
    def step(self) -> str:
        """Stem of the columns that the step of frames makes."""
        return f"__sparkds_target_{self.fit_hash()}"


def without(values: Sequence[float], fold: int | None) -> float:
    """Sum over all folds but one."""
    return sum(value for k, value in enumerate(values) if k != fold)


def mean_without(n: Sequence[float], total: Sequence[float], fold: int | None) -> float:
    """Mean of the labels of all folds but one; of all folds where the others have none."""
    return without(total, fold) / without(n, fold) if without(n, fold) else sum(total) / sum(n)


def smoothed(n: float, total: float, prior: float, m: float) -> float:
    """Blend of a category's mean with the prior.

    Examples
    --------
    >>> smoothed(3, 3.0, 0.5, 3.0)
    0.75
    """
    return (total + m * prior) / (n + m)


def doubles_sql(values: Sequence[float]) -> str:
    """SQL of an array of doubles."""
    return f"array({', '.join(double_sql(value) for value in values)})"
