"""Workflow: the tasks of a job as a graph - who waits for whom, in which order they can run.

Takes a job's tree and gives its tasks in an order in which every task comes after those it depends on, or the cycle that forbids it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from sparkds.bundle.documents import Items, Map, Place

KINDS: Final = (
    "python_wheel_task",
    "spark_python_task",
    "notebook_task",
    "condition_task",
    "for_each_task",
    "run_job_task",
    "sql_task",
    "dbt_task",
    "pipeline_task",
    "spark_jar_task",
    "spark_submit_task",
    "dashboard_task",
    "clean_rooms_notebook_task",
)
"""What a task can be; the first five run on a laptop."""
RUN_IF: Final = ("ALL_SUCCESS", "ALL_DONE", "NONE_FAILED", "AT_LEAST_ONE_SUCCESS", "ALL_FAILED", "AT_LEAST_ONE_FAILED")


class Dependency(NamedTuple):
    """A task that another waits for.

    Attributes
    ----------
    task : str
    outcome : str
        ``true`` or ``false`` of a condition; empty where any will do.
    """

    task: str
    outcome: str


class Task(NamedTuple):
    """A task of a job.

    Attributes
    ----------
    key : str
    kind : str
        Of `KINDS`; empty where the task says nothing of the sort.
    tree : Map
    place : Place or None
    depends_on : tuple of Dependency
    """

    key: str
    kind: str
    tree: Map
    place: Place | None
    depends_on: tuple[Dependency, ...]

    @property
    def body(self) -> Map:
        """What stands below the task's kind."""
        told = self.tree.get(self.kind)
        return told if isinstance(told, Map) else Map()

    @property
    def repeated(self) -> Task | None:
        """Task that a for-each repeats; None for other kinds."""
        inner = self.body.get("task") if self.kind == "for_each_task" else None
        return _task(inner, self.place) if isinstance(inner, Map) else None

    @property
    def run_if(self) -> str:
        """Condition on the tasks before it."""
        return str(self.tree.get("run_if") or "ALL_SUCCESS")


def tasks_of(job: Map) -> list[Task]:
    """Tasks of a job as they stand."""
    told = job.get("tasks")
    if not isinstance(told, Items):
        return []
    places = told.places
    return [_task(tree, places[i] if i < len(places) else None) for i, tree in enumerate(told) if isinstance(tree, Map)]


def _task(tree: Map, place: Place | None) -> Task:
    kind = next((name for name in KINDS if name in tree), "")
    told = tree.get("depends_on")
    before = tuple(
        Dependency(str(item.get("task_key", "")), str(item.get("outcome", "") or "").lower())
        for item in (told if isinstance(told, Items) else ())
        if isinstance(item, Map)
    )
    return Task(str(tree.get("task_key", "")), kind, tree, tree.places.get("task_key", place), before)


def in_order(tasks: Sequence[Task]) -> tuple[list[Task], list[str]]:
    """Tasks, each after those it depends on, and otherwise as they stand; and the keys of a cycle, empty if there is none.

    A dependency on a task that is not there is left out; the rule about references tells it.

    Examples
    --------
    >>> in_order([])
    ([], [])
    """
    keys = {task.key for task in tasks}
    waiting = {task.key: {d.task for d in task.depends_on} & keys for task in tasks}
    order: list[Task] = []
    left = list(tasks)
    while left:
        ready = next((task for task in left if not waiting[task.key]), None)
        if ready is None:
            return order, _cycle(waiting)
        left.remove(ready)
        order.append(ready)
        del waiting[ready.key]
        for before in waiting.values():
            before.discard(ready.key)
    return order, []


def _cycle(waiting: Mapping[str, set[str]]) -> list[str]:
    at, path = next(iter(waiting)), list[str]()
    while at not in path:
        path.append(at)
        at = min(waiting[at] & set(waiting))
    return [*path[path.index(at) :], at]


def upstream(tasks: Sequence[Task]) -> dict[str, set[str]]:
    """Keys of all tasks before each task, directly or not."""
    order, _ = in_order(tasks)
    told: dict[str, set[str]] = {}
    for task in order:
        told[task.key] = {d.task for d in task.depends_on}.union(*(told.get(d.task, set()) for d in task.depends_on))
    return told


def parameters_of(job: Map) -> dict[str, Any]:
    """Parameters of a job with their defaults."""
    told = job.get("parameters")
    return {str(item.get("name")): item.get("default") for item in (told if isinstance(told, Items) else ()) if isinstance(item, Map)}
