"""Arguments: words and numbers that a statistic cannot work with, refused by name.

Takes what was given and what is allowed, and raises an error that says both.
"""

from __future__ import annotations

from typing import get_args

from sparkds.errors import ConfigError


def one_of(name: str, given: object, allowed: object) -> None:
    """Refuse a word that is not among the members of a Literal.

    Raises
    ------
    ConfigError
    """
    words = get_args(allowed)
    if given not in words:
        raise ConfigError(f"{name} is {given!r}; allowed are {', '.join(map(repr, words))}")


def between(name: str, given: float, low: float, high: float, *, closed: str = "neither") -> None:
    """Refuse a number outside a range; NaN is outside every range.

    Parameters
    ----------
    closed : {"neither", "low", "high", "both"}
        Which ends belong to the range.

    Raises
    ------
    ConfigError
    """
    above = given >= low if closed in ("low", "both") else given > low
    below = given <= high if closed in ("high", "both") else given < high
    if not (above and below):
        left = "[" if closed in ("low", "both") else "("
        right = "]" if closed in ("high", "both") else ")"
        raise ConfigError(f"{name} is {given}; give a number in {left}{low:g}, {high:g}{right}")
