"""Lineage: from which columns of which tables every feature follows, one step back or all the way to the sources.

Takes declarations and records of columns and gives (table, column) pairs; nothing is read.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Final, NamedTuple

from sparkds.features.feature_set import FeatureSet
from sparkds.features.registry.definitions import column_definitions

TEXT: Final = re.compile(r"'(?:[^'\\]|\\.|'')*'|\"(?:[^\"\\]|\\.)*\"")
NAME: Final = re.compile(r"`((?:[^`]|``)+)`|(?<![\w.`])([^\W\d]\w*)(?!\w*\s*\()")


class Source(NamedTuple):
    """A column of a table."""

    table: str
    column: str


class Origin(NamedTuple):
    """What a column is and where it comes from.

    Attributes
    ----------
    unit : str
        As its comment tells it; empty where there is none.
    comment : str
    definition : str
        Hash of what its values depend on.
    sources : tuple of Source
        One step back.
    """

    unit: str
    comment: str
    definition: str
    sources: tuple[Source, ...]


class Step(NamedTuple):
    """A column on the way back to the sources.

    Attributes
    ----------
    depth : int
        0 for the column that is asked.
    source : Source
    known : bool
        Whether the registry has its table, so that the way goes on.
    """

    depth: int
    source: Source
    known: bool


def named_columns(predicate: str, columns: Collection[str]) -> tuple[str, ...]:
    """Columns that a SQL predicate names, in their own spelling and order; texts and functions are no columns.

    Examples
    --------
    >>> named_columns("Channel = 'amount' and date(`paid on`) > '2026-01-01'", ["amount", "channel", "date", "paid on"])
    ('channel', 'paid on')
    """
    bare = TEXT.sub(" ", predicate)
    told = {(quoted or plain).replace("``", "`").lower() for quoted, plain in NAME.findall(bare)}
    return tuple(column for column in columns if column.lower() in told)


def origins_of(spec: FeatureSet, source: str, columns: Collection[str]) -> dict[str, Origin]:
    """Origins of the columns of a windowed feature table.

    Parameters
    ----------
    spec : FeatureSet
    source : str
        Table of events.
    columns : collection of str
        Columns of the events, to find those that predicates name.
    """
    definitions = column_definitions(spec)
    told: dict[str, Origin] = {}
    for feature in spec.computed:
        aggregation = feature.aggregation
        named = [c for state in aggregation.needs for c in (state.column, state.tie) if c]
        named += [c for state in aggregation.needs if state.where is not None for c in named_columns(state.where, columns)]
        own = dict.fromkeys((*named, spec.event_time))
        column = getattr(aggregation, "column", None)
        unit = aggregation.unit or (f"unit of {column}" if column else "")
        told[feature.name] = Origin(
            unit, aggregation.comment(feature.window), definitions[feature.name], tuple(Source(source, name) for name in own)
        )
    if spec.rfm is not None:
        measured = dict.fromkeys(s for name in spec.rfm.measures for s in told[name].sources)
        for name in spec.rfm_columns:
            if name not in told:
                told[name] = Origin("", "", definitions[name], tuple(measured))
    return told


def steps_back(asked: Source, origins: Mapping[str, Mapping[str, tuple[Source, ...]]]) -> Iterator[Step]:
    """Every column from which a column follows, depth first, the column itself first; none twice on one way.

    Parameters
    ----------
    asked : Source
    origins : mapping of table to mapping of column to its sources
        Tables that the registry has.
    """

    def walk(source: Source, depth: int, on_the_way: frozenset[Source]) -> Iterator[Step]:
        known = source.column in origins.get(source.table, {})
        yield Step(depth, source, known)
        if not known or source in on_the_way:
            return
        for before in origins[source.table][source.column]:
            yield from walk(before, depth + 1, on_the_way | {source})

    yield from walk(asked, 0, frozenset())
