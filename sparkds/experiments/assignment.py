"""Assignment: which arm of an experiment a unit is in, from nothing but its name.

Takes a declared experiment and the unit's identifier and gives the arm, the same on every machine and in every language that
has SHA-256; thresholds are whole numbers, so that a Spark expression and this module agree on every unit.

The hash of a unit under a salt is the *bucket* of `sparkds.hashing`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from fractions import Fraction
from functools import cached_property
from typing import Annotated, Final, NamedTuple, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from sparkds.declaration import Declaration
from sparkds.errors import DataError
from sparkds.hashing import BUCKETS, Unit, bucket, decimal_value, threshold, unit_text

FLOAT_BITS: Final = 53
WEIGHT_SLACK: Final = 1e-9
"""How far the weights may be from a sum of 1; what is over or missing is shared in proportion."""

Name = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]+$")]
"""Not empty and without control characters, so that a salt never holds the separator."""


def uniform(unit: Unit, salt: str) -> float:
    """Number in [0, 1) of a unit under a salt: the bucket's upper 53 bits, which a double holds exactly.

    Compare buckets with `threshold`, not this, where a cut must be exact.

    Parameters
    ----------
    unit : str or int
    salt : str

    Raises
    ------
    DataError, ConfigError
        As `bucket`.
    """
    return float((bucket(unit, salt) >> (60 - FLOAT_BITS)) / (1 << FLOAT_BITS))


class Cut(NamedTuple):
    """A unit is inside if ``low <= bucket(unit, salt) < high``."""

    salt: str
    low: int
    high: int

    def holds(self, unit: Unit) -> bool:
        """Whether the unit is inside."""
        return self.low <= bucket(unit, self.salt) < self.high


class ArmEdge(NamedTuple):
    """An arm and the first bucket beyond it."""

    arm: str
    high: int


class Layer(Declaration):
    """Part of a hash space that experiments share, each with a range of its own.

    Experiments of one layer with ranges that do not overlap never have a unit in common. Two layers are independent.

    Attributes
    ----------
    name : str
    low, high : float
        Range [low, high) in [0, 1].
    """

    name: Name = Field(description="name of the layer; experiments of one layer may exclude each other")
    low: float = Field(ge=0, lt=1, description="share of the layer where the range begins, included")
    high: float = Field(gt=0, le=1, description="share of the layer where the range ends, excluded")

    @model_validator(mode="after")
    def _has_room(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"range of layer '{self.name}' is [{self.low}, {self.high}); give low below high")
        return self


class Holdout(Declaration):
    """Units that are kept out of every experiment that names the holdout.

    Attributes
    ----------
    name : str
    share : float
        In (0, 1). Raising it takes units out of experiments and puts none in.
    """

    name: Name = Field(description="name of the holdout; experiments that name it keep the same units out")
    share: float = Field(gt=0, lt=1, description="share of all units that are kept out")


class Assignment(Declaration):
    """How units come into an experiment and into its arms.

    A unit is assigned if it is not held out, lies in the layer's range and is covered; each of these has a salt of its own, and
    the arm has another. So a larger coverage adds units and moves none, and an arm says nothing about what happened to the
    unit elsewhere. Other weights do move units between arms; so does another name of the experiment.

    Arms lie in the hash space in the order of their names, whatever order they are told in: two declarations that are equal
    as YAML mappings assign alike.

    Attributes
    ----------
    experiment : str
        Its name, which is the salt.
    arms : dict of str to float
        Weights, positive, with sum 1 to within 1e-9.
    coverage : float
        Share of the eligible units that are in the experiment, in (0, 1].
    layer : Layer, optional
    holdout : Holdout, optional

    Examples
    --------
    >>> half = Assignment(experiment="checkout", arms={"control": 0.5, "treatment": 0.5}, coverage=0.1)
    >>> half.arm_edges[0].arm, half.arm_edges[0].high == 2**59
    ('control', True)
    """

    experiment: Name = Field(description="name of the experiment, and salt of its assignment")
    arms: dict[Name, Annotated[float, Field(gt=0, le=1)]] = Field(min_length=1, description="weight of each arm; sum 1")
    coverage: float = Field(gt=0, le=1, description="share of the eligible units that are in the experiment")
    layer: Layer | None = Field(default=None, description="range of a layer, for mutually exclusive experiments")
    holdout: Holdout | None = Field(default=None, description="units kept out of every experiment that names the holdout")

    @field_validator("arms")
    @classmethod
    def _weights_are_shares(cls, arms: dict[str, float]) -> dict[str, float]:
        total = float(sum(map(decimal_value, arms.values())))
        if abs(total - 1) > WEIGHT_SLACK:
            raise ValueError(f"weights of the arms sum to {total:.12g}; they must sum to 1")
        return arms

    @cached_property
    def cuts(self) -> tuple[Cut, ...]:
        """What a unit must be inside of to be assigned; cuts that leave nobody out are left out themselves."""
        cuts = []
        if self.holdout is not None:
            cuts.append(Cut(f"holdout:{self.holdout.name}", threshold(self.holdout.share), BUCKETS))
        if self.layer is not None:
            cuts.append(Cut(f"layer:{self.layer.name}", threshold(self.layer.low), threshold(self.layer.high)))
        cuts.append(Cut(f"coverage:{self.experiment}", 0, threshold(self.coverage)))
        return tuple(cut for cut in cuts if (cut.low, cut.high) != (0, BUCKETS))

    @property
    def arm_salt(self) -> str:
        """Salt of the bucket that chooses the arm."""
        return f"arm:{self.experiment}"

    @cached_property
    def arm_edges(self) -> tuple[ArmEdge, ...]:
        """Arms in the order of their names, each with the first bucket beyond it; the last one ends at 2^60."""
        total = sum(map(decimal_value, self.arms.values()), Fraction(0))
        edges, reached = [], Fraction(0)
        for arm in sorted(self.arms):
            reached += decimal_value(self.arms[arm]) / total
            edges.append(ArmEdge(arm, threshold(reached)))
        return tuple(edges)

    def includes(self, unit: Unit) -> bool:
        """Whether the unit is in the experiment.

        Raises
        ------
        DataError
            As `bucket`.
        """
        unit_text(unit)
        return all(cut.holds(unit) for cut in self.cuts)

    def arm_of(self, unit: Unit) -> str | None:
        """Arm of a unit; None if it is not in the experiment.

        Parameters
        ----------
        unit : str or int

        Raises
        ------
        DataError
            As `bucket`.
        """
        return self._arm_at(bucket(unit, self.arm_salt)) if self.includes(unit) else None

    def _arm_at(self, place: int) -> str:
        return next(edge.arm for edge in self.arm_edges if place < edge.high)

    def stratified_arms(self, units: Sequence[Unit], strata: Sequence[Unit]) -> list[str | None]:
        """Arms of a closed list of units, with the weights kept in every stratum.

        The n units of a stratum that are in the experiment are ranked by their bucket (equal buckets by name). Rank i takes the
        place ``(i 2^60 + b) / n`` of the arms' space, b the stratum's own bucket: systematic sampling with a random start
        (Cochran 1977, ch. 8). So an arm of weight w gets n w units rounded down or up, every unit has probability w, and
        strata of a single unit do not all go to the same arm.

        The arms depend on the whole list: a unit that comes later needs a new list, or `arm_of`.

        Parameters
        ----------
        units : (n_units,) sequence of str or int
            Each once.
        strata : (n_units,) sequence of str or int

        Returns
        -------
        (n_units,) list of str or None
            In the order of `units`, whatever order that is; None for units that are not in the experiment.

        Raises
        ------
        DataError
            For a unit given twice, lists of different lengths, and as `bucket`.
        """
        if len(units) != len(strata):
            raise DataError(f"{len(units)} units and {len(strata)} strata; give one stratum for each unit")
        names = [unit_text(unit) for unit in units]
        if repeated := len(names) - len(set(names)):
            raise DataError(f"{repeated} units are given twice; give each unit once")
        members: dict[str, list[tuple[int, str]]] = defaultdict(list)
        for name, stratum in zip(names, strata, strict=True):
            if self.includes(name):
                members[unit_text(stratum)].append((bucket(name, f"rank:{self.experiment}"), name))
        arms: dict[str, str] = {}
        for stratum, ranked in members.items():
            start = bucket(stratum, f"stratum:{self.experiment}")
            for rank, (_, name) in enumerate(sorted(ranked)):
                arms[name] = self._arm_at((rank * BUCKETS + start) // len(ranked))
        return [arms.get(name) for name in names]


def overlapping(assignments: Iterable[Assignment]) -> dict[tuple[str, str], str]:
    """Pairs of experiments that may share units although they are in one layer.

    Parameters
    ----------
    assignments : iterable of Assignment

    Returns
    -------
    dict of (experiment, experiment) to the layer's name
        Empty if the ranges of every layer are disjoint. Experiments without a layer share units freely and are not told.
    """
    ranged = sorted(
        (a.layer.name, threshold(a.layer.low), threshold(a.layer.high), a.experiment) for a in assignments if a.layer is not None
    )
    found = {}
    for i, (layer, _, high, experiment) in enumerate(ranged):
        for other, low, _, next_experiment in ranged[i + 1 :]:
            if other != layer or low >= high:
                break
            found[experiment, next_experiment] = layer
    return found
