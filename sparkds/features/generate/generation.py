"""Generation: derived features of a table - which, fitted on which rows, and which of them must not be null.

Takes the declaration and resolves it into levels, each of which needs only columns of the levels before; fitting and applying are
handed over to the Spark modules.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import Field, model_validator

from sparkds.declaration import Declaration
from sparkds.features.generate.calendar import Calendar, Holiday, TimeSincePrevious
from sparkds.features.generate.categorical import Frequency, OneHot
from sparkds.features.generate.derivation import Derivation
from sparkds.features.generate.fitted_state import FittedState
from sparkds.features.generate.imputation import Impute
from sparkds.features.generate.interactions import Difference, Polynomials, Product, Ratio
from sparkds.features.generate.numeric import Clip, Log1p, QuantileBins, Standardise
from sparkds.features.generate.slices import NullGate, Slice
from sparkds.features.generate.target_encoding import TargetEncoding
from sparkds.features.generate.text import Embedding, TextSvd, TfIdf

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from sparkds.features.generate.applying import Step
    from sparkds.features.generate.fitting import Given

AnyDerivation = Annotated[
    Ratio
    | Difference
    | Product
    | Polynomials  # interactions
    | OneHot
    | Frequency
    | TargetEncoding  # categorical
    | Log1p
    | Clip
    | Standardise
    | QuantileBins  # numeric
    | Impute
    # -- kinds of temporal and text
    | Calendar
    | Holiday
    | TimeSincePrevious
    | TfIdf
    | TextSvd
    | Embedding,
    Field(discriminator="kind"),
]
"""Every kind of derivation; the registry."""


class Generation(Declaration):
    """Derived features of a table of features.

    Attributes
    ----------
    derivations : tuple of derivations
        In any order; one may read what another makes.
    fit : Slice, optional
        The training slice; required when anything is fitted.
    gate : NullGate, optional

    Examples
    --------
    >>> from datetime import date
    >>> made = Generation(
    ...     derivations=(
    ...         Standardise(columns=("amount_log1p",), ddof=0),
    ...         Log1p(columns=("amount",)),
    ...     ),
    ...     fit=Slice(until=date(2026, 3, 31)),
    ... )
    >>> [[derivation.title for derivation in level] for level in made.levels]
    [['log1p(amount)'], ['standardise(amount_log1p)']]

    On a session: ``states = made.fitted(features)``, then ``made.applied(features, states)`` is a lazy DataFrame.
    """

    derivations: tuple[AnyDerivation, ...] = Field(min_length=1, description="what is derived, in any order")
    fit: Slice | None = Field(default=None, description="training slice; required when anything is fitted")
    gate: NullGate | None = Field(default=None, description="features that must not be null")

    @model_validator(mode="after")
    def _resolves(self) -> Self:
        titles = [derivation.title for derivation in self.derivations]
        for title in titles:
            if titles.count(title) > 1:
                raise ValueError(f"two derivations are named '{title}'; give one of them a name")
        made: dict[str, str] = {}
        for derivation in self.derivations:
            for name in derivation.names:
                if name.lower() in made:
                    raise ValueError(
                        f"'{derivation.title}' and '{made[name.lower()]}' both make the column '{name}' (letters' case does not count); "
                        "give one of them another suffix"
                    )
                made[name.lower()] = derivation.title
        _ = self.levels
        return self

    @property
    def levels(self) -> tuple[tuple[Derivation, ...], ...]:
        """Derivations by level: each reads only columns of the table and of the levels before.

        Raises
        ------
        ValueError
            Derivations stand on each other in a circle.
        """
        return levels_of(self.derivations)

    def hashes(self) -> dict[str, str]:
        """Definition hash of each derivation's state: of itself, the training slice, and the derivations it stands on."""
        told: dict[str, str] = {}
        made: dict[str, str] = {}
        slice_told = self.fit.model_dump(mode="json", exclude={"test_from"}) if self.fit else None
        for level in self.levels:
            for derivation in level:
                before = [told[made[column]] for column in derivation.inputs if column in made]
                told[derivation.title] = derivation.fit_hash(slice_told, before)
            made |= {name: derivation.title for derivation in level for name in derivation.names}
        return told

    @property
    def rows_hash(self) -> str:
        """Hash of what derived rows hang on, apart from the versions of states: 16 hexadecimal digits."""
        told = {"derivations": [d.model_dump(mode="json") for d in self.derivations], "fit": self.fit.sql if self.fit else None}
        return hashlib.sha256(json.dumps(told, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:16]

    def fitted(
        self,
        frame: DataFrame,
        *,
        kept: Iterable[FittedState] = (),
        refit: bool = False,
        fitted_on: str = "",
        given: Given | None = None,
        steps: Mapping[str, Step] | None = None,
    ) -> dict[str, FittedState]:
        """State of every derivation that has one; see `sparkds.features.generate.fitting.fitted_states`."""
        from sparkds.features.generate.fitting import fitted_states

        return fitted_states(self, frame, kept=kept, refit=refit, fitted_on=fitted_on, given=given, steps=steps)

    def applied(self, frame: DataFrame, states: Mapping[str, FittedState], steps: Mapping[str, Step] | None = None) -> DataFrame:
        """Frame with the derived columns behind its own; see `sparkds.features.generate.applying.derived_frame`."""
        from sparkds.features.generate.applying import derived_frame

        return derived_frame(self, frame, states, steps)


def levels_of(derivations: Iterable[Derivation]) -> tuple[tuple[Derivation, ...], ...]:
    """Derivations by level, as `Generation.levels`."""
    waiting = list(derivations)
    makers = {name: derivation.title for derivation in waiting for name in derivation.names}
    done: set[str] = set()
    levels: list[tuple[Derivation, ...]] = []
    while waiting:
        ready = tuple(d for d in waiting if all(makers.get(column, "") in {"", *done} for column in d.inputs))
        if not ready:
            circle = ", ".join(f"'{derivation.title}'" for derivation in waiting)
            raise ValueError(f"derivations stand on each other in a circle: {circle}; let one of them read a column of the table")
        levels.append(ready)
        done |= {derivation.title for derivation in ready}
        waiting = [derivation for derivation in waiting if derivation.title not in done]
    return tuple(levels)
