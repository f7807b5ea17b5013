"""Columns: which columns of a table are looked at and as what, from their types and the check's statement.

Takes types by name and gives features by kind; refuses a table that lacks what the check names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sparkds.errors import ColumnError, ConfigError
from sparkds.features.leakage.leakage_check import Instant, LeakageCheck, instant_of

WHOLE: Final = ("tinyint", "smallint", "int", "bigint")
TIMES: Final = ("date", "timestamp", "timestamp_ntz")


@dataclass(frozen=True)
class Columns:
    """Features by kind, in the order of the table.

    Attributes
    ----------
    numbers : tuple of str
        Whole numbers, decimals and floats.
    texts : tuple of str
        Texts and truth values.
    times : tuple of str
        Dates and timestamps; held against the label's time, and their nulls are looked at, but no distribution.
    types : mapping of str to str
        Of all columns of the table.
    skipped : mapping of str to str
        Columns that are not looked at, with their type.
    """

    numbers: tuple[str, ...]
    texts: tuple[str, ...]
    times: tuple[str, ...]
    types: Mapping[str, str]
    skipped: Mapping[str, str]

    @property
    def names(self) -> tuple[str, ...]:
        """All features, in the order of the table."""
        wanted = {*self.numbers, *self.texts, *self.times}
        return tuple(name for name in self.types if name in wanted)

    @property
    def countable(self) -> tuple[str, ...]:
        """Features whose distribution is looked at."""
        return (*self.numbers, *self.texts)

    @property
    def nameable(self) -> tuple[str, ...]:
        """Features that could name a row: texts and whole numbers."""
        return tuple(name for name in self.names if self.types[name] in WHOLE or (name in self.texts and self.types[name] != "boolean"))


def columns_of(types: Mapping[str, str], check: LeakageCheck, where: str) -> Columns:
    """Features of a table.

    Parameters
    ----------
    types : mapping of str to str
        Spark type names by column.
    check : LeakageCheck
    where : str
        What was looked at, e.g. ``table 'training_set'``.

    Raises
    ------
    ColumnError
        A named column is absent, a feature has a type that is none, a time has no time, or no feature is left.
    """
    roles = check.roles
    named = dict(roles) | dict.fromkeys(check.features or (), "feature")
    for name, role in named.items():
        if name not in types and role != "ignored":
            raise ColumnError.missing(name, types, f"{where}, named as {role}")
    for given in _instants(check):
        if types[given.column] not in TIMES:
            raise ColumnError(
                f"column '{given.column}' of {where} is {types[given.column]}; a time is a date or a timestamp: cast it before"
            )
    for window in check.windows:
        if window.as_of is not None and types[window.as_of] != "date":
            raise ColumnError(f"column '{window.as_of}' of {where} is {types[window.as_of]}; the last day of a window is a date: cast it")
    wanted = [name for name in types if name in check.features] if check.features is not None else [n for n in types if n not in roles]
    kinds = {name: kind_of(types[name]) for name in wanted}
    skipped = {name: types[name] for name, kind in kinds.items() if not kind}
    if check.features is not None and skipped:
        name, kind = next(iter(skipped.items()))
        raise ColumnError(f"feature '{name}' of {where} is {kind}; a feature is a number, a truth value, text or a time: leave it out")
    if len(skipped) == len(kinds):
        raise ColumnError(f"no feature in {where}: its columns are {', '.join(f'{n} ({roles.get(n, types[n])})' for n in types)}")
    for window in check.windows:
        if not any(window.covers(name) for name in wanted):
            raise ConfigError(f"no feature of {where} is called {' or '.join(window.features)}; mend `features` of the window")
    by = {kind: tuple(name for name in wanted if kinds[name] == kind) for kind in ("number", "text", "time")}
    return Columns(by["number"], by["text"], by["time"], dict(types), skipped)


def zone_of(check: LeakageCheck, types: Mapping[str, str], times: Sequence[str]) -> str:
    """Zone in which dates become instants; UTC where all times are dates, which then only meet each other.

    Raises
    ------
    ConfigError
        It is needed and not declared.
    """
    if check.time_zone is not None:
        return check.time_zone
    kinds = {types[given.column] for given in _instants(check)} | {types[name] for name in times}
    needs = "timestamp_ntz" in kinds or len(kinds) > 1 or any(window.as_of or window.last_day is not None for window in check.windows)
    until = check.split is not None and check.split.until is not None
    if (needs or until) and kinds - {"date"}:
        raise ConfigError(
            f"times are of types {', '.join(sorted(kinds))}, whose order depends on a zone; give time_zone, e.g. Europe/Berlin"
        )
    return "UTC"


def _instants(check: LeakageCheck) -> list[Instant]:
    told = [check.moment, check.label_start, check.label_end, *map(instant_of, (*check.known_at, *(check.feature_times or ())))]
    return [instant for instant in told if instant is not None]


def kind_of(dtype: str) -> str:
    """Kind of a feature: number, text (truth values too) or time; empty for a type that is none."""
    if dtype in WHOLE or dtype in ("float", "double") or dtype.startswith("decimal"):
        return "number"
    if dtype in ("string", "boolean"):
        return "text"
    return "time" if dtype in TIMES else ""
