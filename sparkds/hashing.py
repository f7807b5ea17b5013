"""Hashing: a number of a unit under a salt, the same on every machine and in every language that has SHA-256.

Takes text or whole numbers and gives 60-bit numbers; thresholds are whole numbers, so that a Spark expression
(`sparkds.hash_columns`) and this module agree on every unit.

The hash of a unit under a salt is the SHA-256 of the UTF-8 bytes of ``salt``, one byte 0x1F (the ASCII unit separator) and the
unit. Its first 15 hexadecimal digits, read as an unsigned big-endian number, are the *bucket*: 60 bits, so that it fits a
signed 64-bit integer. In Spark: ``cast(conv(substr(sha2(concat_ws(char(31), salt, unit), 256), 1, 15), 16, 10) as bigint)``.
A unit that is a whole number is written in decimal, "-" ahead if negative and no zeros ahead (``cast(unit as string)``); text is hashed as
it stands, without Unicode normalisation, so "é" as one code point and as two are two units. ``concat_ws`` skips nulls, so a
null unit must be dropped before; here it is refused.
"""

from __future__ import annotations

import hashlib
from fractions import Fraction
from numbers import Integral
from typing import Final

from sparkds.errors import ConfigError, DataError

SEPARATOR: Final = "\x1f"
HEX_DIGITS: Final = 15
BUCKETS: Final = 1 << 60
"""Number of buckets: 16 to the power of `HEX_DIGITS`."""

Unit = str | int


def bucket(unit: Unit, salt: str) -> int:
    """Whole number in [0, 2^60) of a unit under a salt.

    Parameters
    ----------
    unit : str or int
    salt : str
        Without the separator 0x1F.

    Raises
    ------
    DataError
        For a unit that is null, not text or a whole number, or not valid Unicode.
    ConfigError
        For a salt with the separator in it.

    Examples
    --------
    >>> f"{bucket('user-1', 'arm:checkout'):015x}"
    'cd4088878ab2c9d'
    >>> bucket(42, "arm:checkout") == bucket("42", "arm:checkout")
    True
    """
    if SEPARATOR in salt:
        raise ConfigError(f"salt {salt!r} holds the separator 0x1F; use another name")
    try:
        told = f"{salt}{SEPARATOR}{unit_text(unit)}".encode()
    except UnicodeEncodeError as error:
        raise DataError(f"unit {unit!r} is not valid Unicode and cannot be hashed; mend or drop it") from error
    return int(hashlib.sha256(told).hexdigest()[:HEX_DIGITS], 16)


def unit_text(unit: object) -> str:
    """Text of a unit as it is hashed: itself, or the decimal digits of a whole number.

    Raises
    ------
    DataError
        For null, floats and truth values, whose text differs between languages.
    """
    if isinstance(unit, str):
        return str(unit)
    if isinstance(unit, bool) or not isinstance(unit, Integral):
        raise DataError(f"unit {unit!r} is of type {type(unit).__name__}; give text or a whole number, and drop nulls")
    return str(int(unit))


def threshold(share: float | Fraction) -> int:
    """First bucket beyond a share of the hash space: ``floor(share 2^60)``, the share taken as the decimal it is written as.

    Parameters
    ----------
    share : float or Fraction
        In [0, 1].

    Examples
    --------
    >>> threshold(0.5) == 2**59, threshold(1.0) == 2**60
    (True, True)
    """
    return int(decimal_value(share) * BUCKETS)


def decimal_value(share: float | Fraction) -> Fraction:
    """Exact value of the shortest decimal that reads back as this number, so that 0.1 + 0.2 is 0.3."""
    return share if isinstance(share, Fraction) else Fraction(repr(float(share)))


def rows_hash(n: int, digest: int) -> str:
    """Text that names a set of rows: their number, and the sum of their 64-bit hashes modulo 2^64 in hexadecimal.

    Examples
    --------
    >>> rows_hash(2, -1)
    '2:ffffffffffffffff'
    """
    return f"{n}:{digest % (1 << 64):016x}"
