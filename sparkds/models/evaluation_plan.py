"""Evaluation plan: which rows and models are evaluated, by what groups and periods, and which gates decide.

A declaration; says nothing of where tables are read.
"""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field, StrictBool, StrictFloat, StrictInt, StrictStr, field_validator, model_validator

from sparkds.declaration import Declaration
from sparkds.models.estimators import Task
from sparkds.models.gates import (
    DEFAULT_GATES,
    AnyGate,
    FairnessGate,
    Gate,
    ImportanceGate,
    LatencyGate,
    LeakageGate,
    NotWorseGate,
    OverfitGate,
    ReproducibleGate,
    SignatureGate,
)
from sparkds.models.score_metrics import Cost

CANDIDATE: Final = "candidate"
CHAMPION: Final = "champion"
REGRESSION_GATES: Final[tuple[Gate, ...]] = (
    OverfitGate(metric="r2", at_most=0.05),
    ImportanceGate(at_least=0.9),
    ReproducibleGate(),
    NotWorseGate(than="champion", metric="rmse"),
    NotWorseGate(than="baselines", metric="rmse"),
    LatencyGate(seconds=1.0),
    SignatureGate(),
    LeakageGate(),
)
"""Gates of a regression when none are declared."""


class Period(Declaration):
    """Periods by which figures are shown, to see whether they are stable.

    Attributes
    ----------
    time : str
        Date column.
    by : {"day", "week", "month"}
    """

    time: str = Field(description="date column")
    by: Literal["day", "week", "month"] = Field(default="month", description="length of a period")


class Slices(Declaration):
    """Where the model is looked at for slices in which it is worst.

    Attributes
    ----------
    columns : tuple of str, optional
        The five most important features of the training, and the groups, if absent.
    bins : int
        Parts of about the same size into which a numeric column is cut.
    least : int
        Rows of a slice.
    most : int
        Slices that are shown.
    """

    columns: tuple[str, ...] | None = Field(default=None, description="columns; the most important features and the groups if absent")
    bins: int = Field(default=5, ge=2, le=20, description="parts of a numeric column")
    least: int = Field(default=100, ge=2, description="rows that a slice must have")
    most: int = Field(default=10, ge=1, le=100, description="slices that are shown")


class Latency(Declaration):
    """Batches that are timed on the driver's machine.

    Attributes
    ----------
    rows, batches : int
    """

    rows: int = Field(default=1000, ge=1, le=100_000, description="rows of a batch")
    batches: int = Field(default=20, ge=1, le=1000, description="batches that are timed")


class Card(Declaration):
    """What only people know of a model, for its card.

    Attributes
    ----------
    purpose, limits, owner : str
    """

    purpose: str = Field(default="", description="what the model is for, and for whom")
    limits: str = Field(default="", description="what it must not be used for, and where it is known to fail")
    owner: str = Field(default="", description="who answers for it")


class EvaluationPlan(Declaration):
    """What is evaluated.

    Attributes
    ----------
    table : str
        Labels and features (or scores), one row per key.
    columns : dict of str to str, optional
        Types of a CSV or JSON table.
    keys : tuple of str
    label : str
    positive : str, int, float or bool, optional
        Value of the label that is the positive class; required for task binary.
    task : {"binary", "regression"}
    training : str, optional
        Stem of the tables that model_trainer wrote to the same output: the test part of their split is evaluated, at the version of the
        table that was trained on; overfitting, importance and folds are taken from them.
    day : str, optional
        Date column by which ``--as-of``, ``--start`` and ``--end`` choose rows; not with `training`.
    weight : str, optional
    model : str, optional
        Address of the model that is judged.
    score : str, optional
        Its output that is evaluated, where that cannot be told.
    scores : dict of str to str
        Models whose scores are columns of the table already.
    judged : str, optional
        Which of `scores` is judged, where there is no `model`.
    champion : str, optional
        Address of the model in use; the alias ``champion`` of the same registered model if absent.
    baselines : bool
        Score the baselines that were logged beside the model, on the same rows.
    compared : dict of str to str
        Further models: name to address.
    groups : tuple of str or tuple of str
        Columns by which fairness is judged; several columns are their intersection.
    period : Period, optional
    slices : Slices, optional
    thresholds : tuple of float
        At which rows are selected; the model's own (tag ``sparkds.threshold``), or 0.5, if empty. The first is that of fairness.
    bins : int or "distinct"
        Score bins of the pass; ``distinct`` keeps every score, for exact ranking metrics.
    cost : Cost, optional
        Of wrong decisions; tells the cheapest threshold on these rows beside the one in use.
    quantiles : tuple of float
        Of a regression: shares whose pinball loss is shown.
    n_groups : int
        Groups of scores of calibration and lift.
    alpha : float
    least : int
        Rows that a rate of a group must rest on to take part in a disparity.
    replicates, seed : int
        Of the paired bootstrap.
    gates : tuple of Gate, optional
        The default set of the task if absent, without fairness where no group is declared.
    selected : tuple of str, optional
        The selected features, for the gate on importance; those whose importance is above twice its standard deviation if absent.
    closed_findings : tuple of str
        Features whose finding of leakage somebody has looked at and closed.
    latency : Latency
    card : Card
    """

    table: str = Field(description="labels and features (or scores), one row per key")
    columns: dict[str, str] | None = Field(default=None, description="column: type, for CSV and JSON; inferred if absent")
    keys: tuple[str, ...] = Field(min_length=1, description="columns that name a row")
    label: str = Field(description="column that was predicted")
    positive: StrictBool | StrictInt | StrictFloat | StrictStr | None = Field(
        default=None, description="value of the label that is the positive class; required for task binary"
    )
    task: Task = Field(default="binary", description="binary or regression")
    training: str | None = Field(
        default=None, description="stem of model_trainer's tables in the same output; their test part is evaluated"
    )
    day: str | None = Field(default=None, description="date column by which the command line chooses rows")
    weight: str | None = Field(default=None, description="column with weights of rows")
    model: str | None = Field(default=None, description="address of the model that is judged, e.g. models:/prospects@challenger")
    score: str | None = Field(default=None, description="its output that is evaluated, where that cannot be told")
    scores: dict[str, str] = Field(default_factory=dict, description="model: column, for scores that are in the table")
    judged: str | None = Field(default=None, description="which of scores is judged, where there is no model")
    champion: str | None = Field(default=None, description="address of the model in use; alias champion of the same model if absent")
    baselines: bool = Field(default=True, description="score the baselines that were logged beside the model")
    compared: dict[str, str] = Field(default_factory=dict, description="name: address, of further models")
    groups: tuple[str | tuple[str, ...], ...] = Field(default=(), description="columns for fairness; a list is their intersection")
    period: Period | None = Field(default=None, description="periods by which figures are shown")
    slices: Slices | None = Field(default=Slices(), description="search for the worst slices; null for none")
    thresholds: tuple[float, ...] = Field(default=(), description="score thresholds; the model's own, or 0.5, if empty")
    bins: int | Literal["distinct"] = Field(default=2000, description="score bins, or distinct")
    cost: Cost | None = Field(default=None, description="costs of wrong decisions; tells the cheapest threshold on these rows")
    quantiles: tuple[float, ...] = Field(default=(), description="shares whose pinball loss is shown, of a regression")
    n_groups: int = Field(default=10, ge=2, le=100, description="groups of scores of calibration and lift")
    alpha: float = Field(default=0.05, gt=0, lt=1, description="intervals have coverage 1 - alpha")
    least: int = Field(default=30, ge=1, description="rows that a rate of a group must rest on to be compared")
    replicates: int = Field(default=500, ge=10, description="of the paired bootstrap")
    seed: int = Field(default=0, ge=0, description="of the paired bootstrap")
    gates: tuple[AnyGate, ...] | None = Field(default=None, description="what decides; the default set of the task if absent")
    selected: tuple[str, ...] | None = Field(default=None, description="selected features; those above their noise if absent")
    closed_findings: tuple[str, ...] = Field(default=(), description="features whose finding of leakage is closed")
    latency: Latency = Field(default=Latency(), description="batches that are timed")
    card: Card = Field(default=Card(), description="what only people know of the model")

    @field_validator("compared", "scores")
    @classmethod
    def _names(cls, named: dict[str, str]) -> dict[str, str]:
        for name in named:
            if not name.isidentifier():
                raise ValueError(f"model name '{name}' is made into a column; give letters, digits and _")
        return named

    @model_validator(mode="after")
    def _fits(self) -> EvaluationPlan:
        if (self.model is None) == (self.judged is None):
            raise ValueError("give model (an address) or judged (one of scores), not both and not none")
        if self.judged is not None and self.judged not in self.scores:
            raise ValueError(f"judged '{self.judged}' is not among scores ({', '.join(self.scores) or 'none are given'})")
        taken = {CANDIDATE, CHAMPION} & {*self.compared, *self.scores} if self.model is not None else set()
        twice = taken | ({*self.compared} & {*self.scores})
        if twice:
            raise ValueError(f"model name '{min(twice)}' is taken; name it otherwise")
        if self.training is not None and self.day is not None:
            raise ValueError("training evaluates the test part of its split; leave day out, or leave training out")
        if self.task == "binary" and self.positive is None:
            raise ValueError("task binary needs `positive`: the value of the label that the model gives the probability of")
        return self

    @property
    def name_judged(self) -> str:
        """Name of the judged model in the evaluation."""
        return self.judged or CANDIDATE

    @property
    def group_columns(self) -> tuple[str, ...]:
        """Columns of all groups."""
        parts = (group if isinstance(group, tuple) else (group,) for group in self.groups)
        return tuple(dict.fromkeys(column for part in parts for column in part))

    @property
    def gates_judged(self) -> tuple[Gate, ...]:
        """Gates that are declared, or the default set."""
        if self.gates is not None:
            return self.gates
        default = DEFAULT_GATES if self.task == "binary" else REGRESSION_GATES
        return tuple(gate for gate in default if self.groups or not isinstance(gate, FairnessGate))
