"""Findings: what is wrong with a bundle, where, and what to do; and what every rule is given to look at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from sparkds.bundle.documents import Map, Place
from sparkds.bundle.references import Target
from sparkds.bundle.wheels import Wheel
from sparkds.bundle.workflow import Task, tasks_of


class Finding(NamedTuple):
    """A rule that a target breaks.

    Attributes
    ----------
    rule : str
    target : str
    where : str
        Path of the value.
    place : str
        ``file:line``; empty if not known.
    message : str
        What was given, what is allowed, what to do.
    """

    rule: str
    target: str
    where: str
    place: str
    message: str

    def __str__(self) -> str:
        """One line for people."""
        return f"{self.place or self.where}: [{self.rule}] {self.message} ({self.target}: {self.where})"


@dataclass(frozen=True)
class View:
    """What a rule looks at.

    Attributes
    ----------
    target : Target
    wheel : Wheel or None
        The wheel just built; None where it could not be, which is a finding of its own.
    wheel_problem : str
        Why there is none.
    inputs : tuple of str
        Tables that exist before any job runs, as ``location.table`` or ``location/table``.
    task_tables : mapping of str to two tuples of str
        Tables that tasks which are no command of this package read and write, by ``job.task``.
    """

    target: Target
    wheel: Wheel | None = None
    wheel_problem: str = ""
    inputs: Sequence[str] = ()
    task_tables: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = field(default_factory=dict)

    @property
    def jobs(self) -> dict[str, Map]:
        """Jobs by key."""
        return self.target.resources("jobs")

    @property
    def root(self) -> Path:
        """Folder of the bundle."""
        return self.target.document.root

    def tasks(self) -> Iterator[tuple[str, Map, Task]]:
        """Every task with its job's key and tree, repeated tasks of for-each tasks too."""
        for key, job in self.jobs.items():
            for task in tasks_of(job):
                yield key, job, task
                if task.repeated is not None:
                    yield key, job, task.repeated


class Broken(NamedTuple):
    """What a rule yields: where, and what is wrong.

    Attributes
    ----------
    where : str
    place : Place or None
    message : str
    """

    where: str
    place: Place | None
    message: str


Rule = Callable[[View], Iterator[Broken]]


def of_task(job: str, task: Task) -> str:
    """Path of a task, for people."""
    return f"resources.jobs.{job}.tasks.{task.key}"


def texts(value: Any) -> Iterator[str]:
    """Every text below a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for below in value.values():
            yield from texts(below)
    elif isinstance(value, list):
        for below in value:
            yield from texts(below)
