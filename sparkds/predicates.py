"""Predicates: conditions that people write as SQL, held against a frame's columns before anything is scanned."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyspark.errors import AnalysisException, ParseException
from pyspark.sql import functions as F

from sparkds.errors import ConfigError

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame


def predicate_column(frame: DataFrame, where: str, *, key: str = "where", of: str = "") -> Column:
    """SQL predicate as a column: true or false, false where it is null.

    Parameters
    ----------
    frame : DataFrame
        Whose columns it names; only analysed.
    where : str
    key : str
        Key of the declaration that has it, for messages.
    of : str
        What the frame is, for messages, e.g. ``table 'orders'``; nothing if empty.

    Raises
    ------
    ConfigError
        It cannot be read, or gives something else than true or false.

    Examples
    --------
    >>> events.where(predicate_column(events, "amount >= 50"))  # doctest: +SKIP
    """
    on = f" on {of}" if of else ""
    try:
        kind = frame.select(F.expr(where).alias("told")).dtypes[0][1]
    except (AnalysisException, ParseException) as error:
        raise ConfigError(f"{key}: {where!r} cannot be read{on}: {str(error).splitlines()[0]}") from error
    if kind != "boolean":
        raise ConfigError(f"{key}: {where!r}{on} gives {kind}; a predicate gives true or false")
    return F.coalesce(F.expr(where), F.lit(False))
