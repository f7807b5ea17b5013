"""Interactions: ratios, differences, products and polynomials of numbers, in types that hold every result.

No whole number or decimal overflows: the result has the narrowest of bigint, decimal and double that holds it for all inputs;
a double that would become infinite fails the run, and names the column.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations, combinations_with_replacement
from typing import Final, Literal, Self

from pydantic import Field, field_validator, model_validator

from sparkds.features.generate.derivation import ColumnsDerivation, Derivation, Output, State, told_columns
from sparkds.features.generate.expressions import WHOLE_BITS, WHOLE_DIGITS, Inputs, text_sql
from sparkds.features.states import DECIMAL_DIGITS, decimal_type

BIGINT_BITS: Final = 62
"""Products of magnitudes of this many bits fit bigint, also with the lowest values of all."""
DECIMAL_BITS: Final = 126
"""2^126 < 10^38: fits decimal(38,0)."""


class OneColumn(Derivation):
    """A derivation that makes one column of several.

    Attributes
    ----------
    column : str, optional
        Name of the column made; from the inputs if absent.
    """

    column: str | None = Field(default=None, min_length=1, description="name of the column made; from the inputs if absent")

    @property
    def default_column(self) -> str:
        """Name of the column when none is given."""
        raise TypeError(f"{type(self).__name__} makes no column")

    @property
    def made(self) -> str:
        """Name of the column made."""
        return self.column or self.default_column

    @property
    def names(self) -> tuple[str, ...]:
        return (self.made,)

    def check(self, of: Inputs) -> None:
        for column in self.inputs:
            of.number(column)


class Ratio(OneColumn):
    """Numerator over denominator as double; null where one of them is.

    Attributes
    ----------
    numerator, denominator : str
    zero : {"null", "zero", "one", "refuse"}
        Result over a denominator of 0, also of 0 / 0; ``refuse`` fails the run.
    """

    kind: Literal["ratio"] = "ratio"
    numerator: str = Field(min_length=1)
    denominator: str = Field(min_length=1)
    zero: Literal["null", "zero", "one", "refuse"] = Field(description="result over a denominator of 0")

    @property
    def inputs(self) -> tuple[str, ...]:
        return (self.numerator, self.denominator)

    @property
    def default_column(self) -> str:
        return f"{self.numerator}_per_{self.denominator}"

    def outputs(self, of: Inputs, state: State) -> tuple[Output, ...]:
        top, bottom = of.double(self.numerator), of.double(self.denominator)
        refused = f"column '{self.made}': the denominator '{self.denominator}' is 0, which zero: refuse does not allow"
        rule = {"null": "null", "zero": "0D", "one": "1D", "refuse": f"cast(raise_error({text_sql(refused)}) as double)"}[self.zero]
        value = finite_or_failure(f"{top} / {bottom}", self.made)
        sql = f"case when {top} is null or {bottom} is null then null when {bottom} = 0 then {rule} else {value} end"
        comment = f"{self.numerator} / {self.denominator}, {self.zero} where the denominator is 0"
        return (Output(self.made, "double", f"{comment} (unit of {self.numerator} per unit of {self.denominator})", sql),)


class Difference(OneColumn):
    """Minuend less subtrahend; exact for whole numbers and decimals."""

    kind: Literal["difference"] = "difference"
    minuend: str = Field(min_length=1)
    subtrahend: str = Field(min_length=1)

    @property
    def inputs(self) -> tuple[str, ...]:
        return (self.minuend, self.subtrahend)

    @property
    def default_column(self) -> str:
        return f"{self.minuend}_minus_{self.subtrahend}"

    def outputs(self, of: Inputs, state: State) -> tuple[Output, ...]:
        dtype, first, second = difference_type(*(of.dtype(column) for column in self.inputs))
        told = f"cast({of.number(self.minuend)} as {first}) - cast({of.number(self.subtrahend)} as {second})"
        sql = finite_or_failure(told, self.made) if dtype == "double" else told
        return (Output(self.made, dtype, f"{self.minuend} - {self.subtrahend} (unit of {self.minuend})", sql),)


class Product(OneColumn):
    """Product of columns; exact for whole numbers and decimals as far as 38 digits go, else double."""

    kind: Literal["product"] = "product"
    columns: tuple[str, ...] = Field(min_length=2, max_length=8, description="factors")

    @property
    def title(self) -> str:
        return self.name or f"product({told_columns(self.columns)})"

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.columns))

    @property
    def default_column(self) -> str:
        return "_x_".join(self.columns)

    def outputs(self, of: Inputs, state: State) -> tuple[Output, ...]:
        return (product_output(of, self.columns, self.made),)


class Polynomials(Derivation):
    """All products of 2 … `degree` factors out of the columns, powers among them unless `powers` is false.

    Attributes
    ----------
    columns : tuple of str
    degree : int
    powers : bool
        Whether a column may be a factor more than once.
    crossed : bool
        Whether different columns may be factors of one product.
    most : int
        More columns than this are refused; n columns have ``C(n + degree, degree) - n - 1`` products.

    Notes
    -----
    Names: ``a_pow2``, ``a_x_b``, ``a_pow2_x_b``.
    """

    kind: Literal["polynomials"] = "polynomials"
    columns: tuple[str, ...] = Field(min_length=1, description="columns that are multiplied")
    degree: int = Field(ge=2, le=5, description="most factors of a product")
    powers: bool = Field(default=True, description="a column may be a factor more than once")
    crossed: bool = Field(default=True, description="different columns may be factors of one product")
    most: int = Field(default=500, ge=1, le=5_000, description="more columns are refused")

    @field_validator("columns")
    @classmethod
    def _once(cls, columns: tuple[str, ...]) -> tuple[str, ...]:
        return ColumnsDerivation._once(columns)

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if not self.powers and not self.crossed:
            raise ValueError("neither powers nor crossed products are wanted; let one of them be true")
        n, d = len(self.columns), self.degree
        if self.powers and self.crossed:
            made = math.comb(n + d, d) - n - 1
        else:
            made = n * (d - 1) if self.powers else sum(math.comb(n, k) for k in range(2, d + 1))
        if made > self.most:
            raise ValueError(
                f"{n} columns to degree {d} make {made} columns, more than most={self.most}; name fewer columns, lower the degree, "
                "let crossed be false, or raise most"
            )
        if made == 0:
            raise ValueError("one column without powers makes nothing; name more columns")
        return self

    @property
    def title(self) -> str:
        return self.name or f"polynomials({told_columns(self.columns)}; {self.degree})"

    @property
    def inputs(self) -> tuple[str, ...]:
        return self.columns

    @property
    def products(self) -> tuple[tuple[str, ...], ...]:
        """Factors of every column made."""
        told: list[tuple[str, ...]] = []
        for k in range(2, self.degree + 1):
            if not self.crossed:
                told += [(column,) * k for column in self.columns]
            elif self.powers:
                told += combinations_with_replacement(self.columns, k)
            else:
                told += combinations(self.columns, k)
        return tuple(told)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(product_name(factors) for factors in self.products)

    def check(self, of: Inputs) -> None:
        for column in self.columns:
            of.number(column)

    def outputs(self, of: Inputs, state: State) -> tuple[Output, ...]:
        return tuple(product_output(of, factors, product_name(factors)) for factors in self.products)


def product_name(factors: Sequence[str]) -> str:
    """Name of a product.

    Examples
    --------
    >>> product_name(("a", "a", "b"))
    'a_pow2_x_b'
    """
    counts = {column: factors.count(column) for column in factors}
    return "_x_".join(column if n == 1 else f"{column}_pow{n}" for column, n in counts.items())


def product_output(of: Inputs, factors: Sequence[str], name: str) -> Output:
    """Column of a product."""
    dtype, types = product_type([of.dtype(column) for column in factors])
    told = " * ".join(f"cast({of.number(column)} as {t})" for column, t in zip(factors, types, strict=True))
    sql = finite_or_failure(told, name) if dtype == "double" else told
    return Output(name, dtype, f"{' x '.join(factors)} (product of their units)", sql)


def product_type(dtypes: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """Type that holds every product of such columns, and the types in which they are multiplied.

    Examples
    --------
    >>> product_type(["int", "int"])
    ('bigint', ('bigint', 'bigint'))
    >>> product_type(["bigint", "bigint"])
    ('decimal(38,0)', ('decimal(19,0)', 'decimal(19,0)'))
    >>> product_type(["decimal(10,2)", "int"])
    ('decimal(21,2)', ('decimal(10,2)', 'decimal(10,0)'))
    """
    as_double = "double", ("double",) * len(dtypes)
    if all(dtype in WHOLE_BITS for dtype in dtypes):
        bits = sum(WHOLE_BITS[dtype] - 1 for dtype in dtypes)
        if bits <= BIGINT_BITS:
            return "bigint", ("bigint",) * len(dtypes)
        if bits > DECIMAL_BITS:
            return as_double
        return "decimal(38,0)", tuple(f"decimal({WHOLE_DIGITS[dtype]},0)" for dtype in dtypes)
    digits = [number_digits(dtype) for dtype in dtypes]
    if None in digits:
        return as_double
    known = [told for told in digits if told is not None]
    precision, scale = sum(p for p, _ in known) + len(known) - 1, sum(s for _, s in known)
    if precision > DECIMAL_DIGITS:
        return as_double
    return f"decimal({precision},{scale})", tuple(f"decimal({p},{s})" for p, s in known)


def difference_type(first: str, second: str) -> tuple[str, str, str]:
    """Type that holds every difference, and the types in which it is taken.

    Examples
    --------
    >>> difference_type("int", "tinyint"), difference_type("bigint", "int")[0], difference_type("decimal(10,2)", "int")[0]
    (('bigint', 'bigint', 'bigint'), 'decimal(20,0)', 'decimal(13,2)')
    """
    if all(dtype in WHOLE_BITS and dtype != "bigint" for dtype in (first, second)):
        return "bigint", "bigint", "bigint"
    one, other = number_digits(first), number_digits(second)
    if one is None or other is None:
        return "double", "double", "double"
    scale = max(one[1], other[1])
    precision = max(one[0] - one[1], other[0] - other[1]) + scale + 1
    if precision > DECIMAL_DIGITS:
        return "double", "double", "double"
    return f"decimal({precision},{scale})", f"decimal({one[0]},{one[1]})", f"decimal({other[0]},{other[1]})"


def number_digits(dtype: str) -> tuple[int, int] | None:
    """Precision and scale that hold a whole number or decimal; None for a float."""
    return (WHOLE_DIGITS[dtype], 0) if dtype in WHOLE_DIGITS else decimal_type(dtype)


def finite_or_failure(value: str, name: str) -> str:
    """SQL of a double that fails the run where it is infinite."""
    told = text_sql(f"column '{name}' overflows a double; scale its inputs, take logarithms, or clip them before")
    return f"case when abs({value}) = double('Infinity') then cast(raise_error({told}) as double) else {value} end"
