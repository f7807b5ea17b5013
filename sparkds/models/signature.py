"""Signature: what a model takes and gives, and how a table's columns become it without loss.

Takes a model's signature and the types of a table, and gives the columns to cast and the columns that come out; what does not fit is
an error before any row is read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from sparkds.errors import ColumnError, ConfigError

Kind = Literal["number", "integer", "text", "boolean"]
INPUT_KINDS: Final[Mapping[str, Kind]] = {
    "double": "number", "float": "number", "long": "integer", "integer": "integer", "string": "text", "boolean": "boolean",
}  # fmt: skip
OUTPUT_TYPES: Final = {
    "double": "double",
    "float": "double",
    "long": "bigint",
    "integer": "bigint",
    "string": "string",
    "boolean": "boolean",
}
WHOLE: Final = ("tinyint", "smallint", "int", "bigint")
FITS: Final[Mapping[Kind, tuple[str, ...]]] = {
    "number": (*WHOLE, "float", "double", "decimal", "boolean"),
    "integer": (*WHOLE, "boolean"),
    "text": ("string",),
    "boolean": ("boolean",),
}
LARGEST_WHOLE: Final = 2**53
"""Whole numbers up to here are doubles without loss."""


@dataclass(frozen=True)
class Input:
    """Column that a model takes.

    Attributes
    ----------
    name : str
    type : str
        Of the signature.
    kind : {"number", "integer", "text", "boolean"}
    """

    name: str
    type: str
    kind: Kind


@dataclass(frozen=True)
class Output:
    """Column that a model gives.

    Attributes
    ----------
    name : str
    type : str
        Spark's.
    """

    name: str
    type: str


def inputs_of(signature: Any, uri: str) -> tuple[Input, ...]:
    """Columns that a model takes.

    Raises
    ------
    ConfigError
        There is no signature; it is of a tensor, or of columns without names, or of a type that no column of a table has.
    """
    if signature is None or signature.inputs is None:
        raise ConfigError(f"model {uri} has no signature; log it with one by columns, so that inputs can be checked")
    if signature.inputs.is_tensor_spec():
        raise ConfigError(f"model {uri} takes a tensor, whose columns have no names; log it with a signature by columns")
    found = []
    for spec in signature.inputs.inputs:
        if not spec.name:
            raise ConfigError(f"model {uri} takes columns by position; log it with a signature that names them")
        told = getattr(spec.type, "name", str(spec.type))
        if told not in INPUT_KINDS:
            raise ConfigError(f"model {uri}: input '{spec.name}' is of type {told}; a table gives {', '.join(INPUT_KINDS)}")
        found.append(Input(str(spec.name), told, INPUT_KINDS[told]))
    return tuple(found)


def outputs_of(signature: Any, uri: str) -> tuple[Output, ...]:
    """Columns that a model gives; one double `prediction` where the signature does not name them.

    Raises
    ------
    ConfigError
        An output is of a type that no column has, or a tensor of more than one number a row.
    """
    if signature is None or signature.outputs is None:
        return (Output("prediction", "double"),)
    if signature.outputs.is_tensor_spec():
        shape = signature.outputs.inputs[0].shape
        if len(shape) == 1 or (len(shape) == 2 and shape[1] == 1):
            return (Output("prediction", "double"),)
        if len(shape) == 2 and shape[1] > 1:
            return tuple(Output(f"prediction_{i}", "double") for i in range(shape[1]))
        raise ConfigError(f"model {uri} gives a tensor of shape {tuple(shape)}; name its outputs in the signature")
    found = []
    for number, spec in enumerate(signature.outputs.inputs):
        told = getattr(spec.type, "name", str(spec.type))
        if told not in OUTPUT_TYPES:
            raise ConfigError(f"model {uri}: output '{spec.name}' is of type {told}; known are {', '.join(OUTPUT_TYPES)}")
        one = len(signature.outputs.inputs) == 1
        found.append(Output(str(spec.name or ("prediction" if one else f"prediction_{number}")), OUTPUT_TYPES[told]))
    return tuple(found)


def check_columns(inputs: Sequence[Input], types: Mapping[str, str], *, uri: str, table: str) -> None:
    """Hold the columns of a table against what a model takes.

    Parameters
    ----------
    inputs : sequence of Input
    types : mapping of column to Spark's type

    Raises
    ------
    ColumnError
        A column is missing, or its type cannot become the model's without loss.
    """
    for one in inputs:
        if one.name not in types:
            raise ColumnError.missing(one.name, tuple(types), f"table '{table}', for model {uri}")
        stem = types[one.name].split("(")[0]
        if stem not in FITS[one.kind]:
            allowed = ", ".join(FITS[one.kind])
            raise ColumnError(
                f"column '{one.name}' of table '{table}' is {types[one.name]}; model {uri} takes {one.type}, which {allowed} can become"
            )
