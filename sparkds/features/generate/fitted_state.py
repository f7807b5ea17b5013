"""Fitted states: what was fitted for a derivation, by which definition and from which rows; one row of the table of states.

Gives records to and from plain values, and finds the one that serves a derivation, or says why none does.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sparkds.errors import TableError
from sparkds.features.generate.derivation import Derivation, State

FORMAT: Final = 1
"""Of the JSON of states; states of a later format are refused."""
MOST_BYTES: Final = 4_000_000
"""Of the JSON of one state."""


@dataclass(frozen=True)
class FittedState:
    """What was fitted for one derivation.

    Attributes
    ----------
    derivation : str
        Title of the derivation.
    version : int
        1 for the first fit.
    kind : str
    definition_hash : str
        Of the derivation, the training slice and the derivations it stands on.
    types : mapping of input column to Spark type
    state : mapping
    n_rows : int
        Rows of the training slice.
    fitted_on : str
        Table and version, as far as known.
    slice : str
        SQL predicate of the training slice.
    format : int
    """

    derivation: str
    version: int
    kind: str
    definition_hash: str
    types: Mapping[str, str]
    state: State
    n_rows: int
    fitted_on: str
    slice: str
    format: int = FORMAT

    @property
    def row(self) -> dict[str, Any]:
        """Values of the columns of the table of states."""
        told = {name: getattr(self, name) for name in COLUMNS}
        return {**told, "types": json.dumps(self.types, ensure_ascii=False), "state": state_json(self.derivation, self.state)}

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> FittedState:
        """Record of a row.

        Raises
        ------
        TableError
            The row is of a later format, or no record.
        """
        told = {name: row[name] for name in COLUMNS}
        where = f"state of '{told['derivation']}', version {told['version']}"
        if told["format"] > FORMAT:
            raise TableError(f"{where} has format {told['format']}; this package reads up to {FORMAT}: update it, or refit")
        try:
            return cls(**{**told, "types": json.loads(told["types"]), "state": json.loads(told["state"])})
        except (TypeError, ValueError) as error:
            raise TableError(f"{where} cannot be read ({error}); refit") from error


COLUMNS: Final = {
    "derivation": "string",
    "version": "int",
    "kind": "string",
    "definition_hash": "string",
    "types": "string",
    "state": "string",
    "n_rows": "bigint",
    "fitted_on": "string",
    "slice": "string",
    "format": "int",
}
"""Columns of the table of states with their types."""


def state_json(derivation: str, state: State) -> str:
    """JSON of a state.

    Raises
    ------
    TableError
        It is larger than `MOST_BYTES`.
    """
    told = json.dumps(state, ensure_ascii=False, allow_nan=False)
    if len(told.encode("utf-8", "surrogatepass")) > MOST_BYTES:
        raise TableError(
            f"state of '{derivation}' has {len(told) / 1e6:.1f} MB, more than {MOST_BYTES / 1e6:.0f}; "
            "lower its vocabulary or split its columns over several derivations"
        )
    return told


def serving(
    derivation: Derivation, definition_hash: str, types: Mapping[str, str], kept: Iterable[FittedState], version: int | None = None
) -> FittedState | None:
    """Newest state of a derivation, or the one of a version; None when there is none of its name.

    Raises
    ------
    TableError
        There is one, but of another kind, definition, or type of its columns; or not the asked version.
    """
    own = sorted((state for state in kept if state.derivation == derivation.title), key=lambda state: state.version)
    if not own:
        return None
    found = own[-1] if version is None else next((state for state in own if state.version == version), None)
    what = f"state of '{derivation.title}'"
    if found is None:
        raise TableError(f"{what} has no version {version} (there: {', '.join(str(state.version) for state in own)})")
    what += f", version {found.version},"
    mend = "refit it as a new version, or give the derivation another name"
    if found.kind != derivation.kind:
        raise TableError(f"{what} is of kind {found.kind}, now {derivation.kind}; {mend}")
    other = {column: dtype for column, dtype in types.items() if found.types.get(column) != dtype}
    if other:
        column, dtype = next(iter(other.items()))
        raise TableError(f"{what} was fitted on column '{column}' of type {found.types.get(column)}, now {dtype}; {mend}")
    if found.definition_hash != definition_hash:
        raise TableError(f"{what} is of another definition ({found.definition_hash}, now {definition_hash}; slice {found.slice}); {mend}")
    return found
