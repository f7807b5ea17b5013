"""Fitting: everything that derivations have to know of the training slice, in one aggregation and one grouped pass a level.

Takes a generation and a frame and gives a state for every derivation that fits anything; states that are kept are used as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sparkds import collect
from sparkds.errors import ConfigError, DataError
from sparkds.features.generate.aggregated import aggregated
from sparkds.features.generate.applying import Step, inputs_of, with_level
from sparkds.features.generate.derivation import Derivation, Fits, Fitted, Grouped, Sample
from sparkds.features.generate.fitted_state import FittedState, serving
from sparkds.features.generate.generation import Generation
from sparkds.predicates import predicate_column

FIT: Final = "__sparkds_fit"
"""Column of a row's keys while they are counted."""


def fitted_states(
    generation: Generation,
    frame: DataFrame,
    *,
    kept: Iterable[FittedState] = (),
    refit: bool = False,
    fitted_on: str = "",
    where: str = "the frame",
    given: Given | None = None,
    steps: Mapping[str, Step] | None = None,
) -> dict[str, FittedState]:
    """State of every derivation that has one, fitted on the training slice only.

    Parameters
    ----------
    generation : Generation
    frame : DataFrame
        All rows; those outside the training slice are not looked at.
    kept : iterable of FittedState
        States fitted before; the newest that fits a derivation is used again.
    refit : bool
        Fit everything again, as new versions.
    fitted_on : str
        Table and version of `frame`, kept with the states.
    where : str
        Name of the frame in messages.
    given : callable, optional
        Gives a derivation what it needs from outside the frame; asked only when it is fitted.
    steps : mapping of kind to Step, optional
        Steps of frames from outside, beside `applying.STEPS`.

    Returns
    -------
    dict of title to FittedState
        In the order of the levels.

    Raises
    ------
    ConfigError
        Something is to be fitted and no training slice is declared, or it reaches into the test part.
    ColumnError
        A column is absent or of the wrong type.
    DataError
        The slice has no rows, a column of it only nulls, or a vocabulary is larger than declared.
    TableError
        A kept state is of another definition, kind or type.
    """
    kept = list(kept)
    hashes = generation.hashes()
    states: dict[str, FittedState] = {}
    current = frame
    for level in generation.levels:
        of = inputs_of(generation, current, where)
        asked: dict[str, tuple[Derivation, Fits]] = {}
        for derivation in level:
            derivation.check(of)
            fits = derivation.fits(of)
            if not fits:
                continue
            types = {column: of.dtype(column) for column in derivation.inputs}
            found = None if refit else serving(derivation, hashes[derivation.title], types, kept)
            if found is None:
                asked[derivation.title] = (derivation, fits)
            else:
                states[derivation.title] = found
        if asked:
            brought = {title: _brought(derivation, fits, given) for title, (derivation, fits) in asked.items() if fits.given}
            passes = {title: Fitted(0, {}, {}) for title in asked}
            reading = {title: fits for title, (_, fits) in asked.items() if fits.reads}
            if reading:
                if generation.fit is None:
                    raise ConfigError(
                        f"'{next(iter(reading))}' is fitted, but no training slice is declared; give fit, e.g. fit: {{until: 2026-03-31}}"
                    )
                generation.fit.check(of.types, where)
                if generation.fit.where is not None:
                    predicate_column(current, generation.fit.where, key="fit.where")
                passes |= fit_passes(current.where(F.expr(generation.fit.sql)), reading, generation.fit.overlap_sql)
            passes = {title: replace(fitted, given=brought.get(title)) for title, fitted in passes.items()}
            for title, (derivation, _) in asked.items():
                version = 1 + max((state.version for state in kept if state.derivation == title), default=0)
                states[title] = FittedState(
                    title,
                    version,
                    derivation.kind,
                    hashes[title],
                    {column: of.dtype(column) for column in derivation.inputs},
                    derivation.state(passes[title]),
                    passes[title].n_rows,
                    fitted_on if title in reading else "",
                    generation.fit.sql if generation.fit is not None and title in reading else "",
                )
        current = with_level(generation, current, level, states, {}, steps)
    return states


Given = Callable[[Derivation], Any]
"""Gives a derivation what it needs from outside the frame."""


def _brought(derivation: Derivation, fits: Fits, given: Given | None) -> Any:
    if given is None:
        raise ConfigError(f"'{derivation.title}' needs {fits.given}, which nobody gives; run it in the feature job, or pass given")
    return given(derivation)


def fit_passes(rows: DataFrame, asked: Mapping[str, Fits], overlap: str | None = None) -> dict[str, Fitted]:
    """What one aggregation and one grouped pass over the training slice find for each title.

    Raises
    ------
    ConfigError
        Rows of the slice belong to the test part.
    DataError
        No rows, or more keys than allowed.
    """
    found = aggregated(rows, [aggregate for fits in asked.values() for aggregate in fits.values.values()], overlap)
    if found.overlap:
        raise ConfigError(
            f"{found.overlap} of the {found.n} rows of the training slice belong to the test part; end it before test_from, or what is "
            "fitted knows what it is judged on"
        )
    if not found.n:
        raise DataError("the training slice has no rows, so that nothing can be fitted; look at fit.until and fit.where")
    by_group = _grouped_pass(rows, [group for fits in asked.values() for group in fits.groups.values()])
    sampled = {sample: _sampled(rows, sample) for sample in dict.fromkeys(s for fits in asked.values() for s in fits.samples.values())}
    return {
        title: Fitted(
            found.n,
            {name: found.values[aggregate] for name, aggregate in fits.values.items()},
            {name: by_group[group.keys, tuple(group.values.items()), group.least] for name, group in fits.groups.items()},
            {name: sampled[sample] for name, sample in fits.samples.items()},
        )
        for title, fits in asked.items()
    }


def _sampled(rows: DataFrame, sample: Sample) -> list[list[str]]:
    """Texts of the sampled rows; each task keeps no more rows than the sample has."""
    at = f"xxhash64({sample.seed}, {', '.join(sample.by)})"
    told = rows.select(F.expr(sample.value).alias("value"), F.expr(at).alias("at")).where(F.size("value") > 0)
    table = collect.training_rows(told.orderBy("at", "value").limit(sample.rows), most=sample.rows)
    texts: list[list[str]] = table.column("value").to_pylist()
    return texts


Key = tuple[str, tuple[tuple[str, str], ...], int]


def _grouped_pass(rows: DataFrame, groups: Sequence[Grouped]) -> dict[Key, list[dict[str, Any]]]:
    """Rows of every grouped fit: each row of the slice is told once for each of its keys, reduced before anything moves."""
    if not groups:
        return {}
    keys = list(dict.fromkeys((group.keys, group.least) for group in groups))
    values = list(dict.fromkeys((keys.index((group.keys, group.least)), sql) for group in groups for sql in group.values.values()))
    told = ", ".join(f"transform({sql}, k -> named_struct('fit', {i}, 'key', k))" for i, (sql, _) in enumerate(keys))
    counted = rows.select("*", F.expr(f"explode(concat({told}))").alias(FIT))
    grouped = counted.groupBy(F.col(f"{FIT}.fit").alias("fit"), F.col(f"{FIT}.key").alias("key")).agg(
        *(F.expr(f"{sql} filter (where {FIT}.fit = {i})").alias(f"v{n}") for n, (i, sql) in enumerate(values)),
        F.count(F.lit(1)).alias("n"),
    )
    kept = " or ".join(f"fit = {i} and n >= {least}" for i, (_, least) in enumerate(keys))
    if any(least > 1 for _, least in keys):
        grouped = grouped.where(kept)
    most = {i: max(group.most for group in groups if (group.keys, group.least) == told) for i, told in enumerate(keys)}
    try:
        found = collect.small_rows(grouped, most=sum(most.values()))
    except DataError:
        counts = {row["fit"]: row["n"] for row in collect.small_rows(grouped.groupBy("fit").agg(F.count(F.lit(1)).alias("n")))}
    else:
        counts = {i: sum(row["fit"] == i for row in found) for i in range(len(keys))}
    for group in groups:
        n = counts.get(keys.index((group.keys, group.least)), 0)
        if n > group.most:
            raise DataError(
                f"{group.what} has {n} different values in the training slice, more than the declared {group.most}; "
                "raise the maximum, or keep the most frequent ones only"
            )
    in_order = sorted(found, key=lambda row: (row["key"] is not None, row["key"] or ""))
    told_rows: dict[Key, list[dict[str, Any]]] = {}
    for group in groups:
        i = keys.index((group.keys, group.least))
        at = {name: f"v{values.index((i, sql))}" for name, sql in group.values.items()}
        own = [row for row in in_order if row["fit"] == i]
        told_rows[group.keys, tuple(group.values.items()), group.least] = [
            {"key": row["key"], **{name: row[place] for name, place in at.items()}} for row in own
        ]
    return told_rows
