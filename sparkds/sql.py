"""SQL: names and values as text of Spark SQL, so that nothing is spliced into a statement unquoted."""

from __future__ import annotations


def quoted(name: str) -> str:
    """Identifier, whatever characters it has.

    Examples
    --------
    >>> print(quoted("a`b"))
    `a``b`
    """
    return "`" + name.replace("`", "``") + "`"


def text_literal(value: str) -> str:
    r"""Text as a literal of Spark SQL.

    Examples
    --------
    >>> print(text_literal("it's"))
    'it\'s'
    """
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def is_float(dtype: str) -> bool:
    """Whether a Spark type name is a binary floating-point number."""
    return dtype in ("float", "double")


def finite(column: str, dtype: str) -> str:
    """Column with NaN and infinities made null."""
    name = quoted(column)
    if not is_float(dtype):
        return name
    return f"case when abs({name}) < cast('Infinity' as {dtype}) then {name} end"
