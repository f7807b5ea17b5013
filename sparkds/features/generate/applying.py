"""Applying: the derived columns of a frame, one lazy select a level, from states that were fitted before.

Takes a generation, a frame and the states and gives the frame with the derived columns behind its own; nothing is joined or moved
unless a derivation looks at other rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sparkds.errors import ColumnError, ConfigError, TableError
from sparkds.features.generate.derivation import Derivation, Output
from sparkds.features.generate.expressions import Inputs
from sparkds.features.generate.fitted_state import FittedState
from sparkds.features.generate.generation import Generation
from sparkds.features.generate.known_labels import with_known_labels
from sparkds.features.generate.text_steps import with_components, with_previous, with_weights
from sparkds.sql import quoted

Step = Callable[[DataFrame, Any, Inputs, Mapping[str, Any]], DataFrame]
"""Gives the frame with every row and column it had, in any order of rows, and the columns that `outputs` of the derivation reads."""

STEPS: Final[dict[str, Step]] = {
    "target_encoding": with_known_labels,
    "time_since_previous": with_previous,
    "tf_idf": with_weights,
    "text_svd": with_components,
}
"""Kind to its step of frames, for kinds whose columns do not follow from the row alone."""


def inputs_of(generation: Generation, frame: DataFrame, where: str = "the frame") -> Inputs:
    """Columns of a frame as a derivation's inputs."""
    return Inputs(dict(frame.dtypes), generation.fit.sql if generation.fit else "false", where)


def derived_frame(
    generation: Generation, frame: DataFrame, states: Mapping[str, FittedState], steps: Mapping[str, Step] | None = None
) -> DataFrame:
    """Frame with the derived columns behind its own, in the order of the declaration.

    Parameters
    ----------
    generation : Generation
    frame : DataFrame
        Of the columns that the states were fitted on; any rows.
    states : mapping of title to FittedState
        Of every derivation that fits anything.
    steps : mapping of kind to Step, optional
        Steps of frames from outside, beside `STEPS`.

    Returns
    -------
    DataFrame
        Lazy; no exchange and no join, but for kinds in `STEPS`.

    Raises
    ------
    ColumnError
        A column is absent, of the wrong type, or stands there already under the name of a derived one.
    TableError
        The state of a derivation is absent.
    """
    own = frame.columns
    frame, made = _derived(generation, frame, states, steps)
    names = [output.name for derivation in generation.derivations for output in made[derivation.title]]
    return frame.select(*(F.col(quoted(name)) for name in (*own, *names)))


def outputs_of(
    generation: Generation, frame: DataFrame, states: Mapping[str, FittedState], steps: Mapping[str, Step] | None = None
) -> dict[str, tuple[Output, ...]]:
    """Derived columns by title of their derivation; raises as `derived_frame`."""
    return _derived(generation, frame, states, steps)[1]


def _derived(
    generation: Generation, frame: DataFrame, states: Mapping[str, FittedState], steps: Mapping[str, Step] | None
) -> tuple[DataFrame, dict[str, tuple[Output, ...]]]:
    made: dict[str, tuple[Output, ...]] = {}
    for level in generation.levels:
        frame = with_level(generation, frame, level, states, made, steps)
    return frame, made


def with_level(
    generation: Generation,
    frame: DataFrame,
    level: Sequence[Derivation],
    states: Mapping[str, FittedState],
    made: dict[str, tuple[Output, ...]],
    steps: Mapping[str, Step] | None = None,
) -> DataFrame:
    """Frame with the columns of one level behind its own; `made` receives them by title."""
    own = frame.columns
    outputs: list[Output] = []
    of = inputs_of(generation, frame)
    for derivation in level:
        derivation.check(of)
        state = _state(derivation, of, states)
        if derivation.stepped:
            frame = _step(derivation, steps)(frame, derivation, of, state)
        own_outputs = derivation.outputs(of, state)
        made[derivation.title] = own_outputs
        outputs += own_outputs
    hold_apart(own, outputs)
    return frame.select(
        *(F.col(quoted(name)) for name in own),
        *(F.expr(f"cast({output.sql} as {output.dtype})").alias(output.name) for output in outputs),
    )


def _step(derivation: Derivation, steps: Mapping[str, Step] | None) -> Step:
    known = {**STEPS, **(steps or {})}
    if derivation.kind not in known:
        raise ConfigError(
            f"'{derivation.title}' is composed with another domain; run it in the feature job, or pass a step for {derivation.kind}"
        )
    return known[derivation.kind]


def hold_apart(own: Sequence[str], outputs: Sequence[Output]) -> None:
    """Refuse two columns of one name.

    Raises
    ------
    ColumnError
    """
    there = {name.lower(): "the table has it" for name in own}
    for output in outputs:
        if output.name.lower() in there:
            raise ColumnError(
                f"derived column '{output.name}' clashes: {there[output.name.lower()]} already (letters' case does not count); "
                "give the derivation another suffix or prefix"
            )
        there[output.name.lower()] = "another derivation makes it"


def _state(derivation: Derivation, of: Inputs, states: Mapping[str, FittedState]) -> Mapping[str, Any]:
    if not derivation.fits(of):
        return {}
    if derivation.title not in states:
        raise TableError(f"'{derivation.title}' has no fitted state (there: {', '.join(states) or 'none'}); fit it before")
    return states[derivation.title].state
