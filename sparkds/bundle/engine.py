"""Engine: what happens to the tasks of a job, in graph order - conditions, repetitions, retries, timeouts, failures, repairs.

Takes a job's tree and something that executes one piece of work, and gives the outcome of every task; knows no processes and no Spark.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from sparkds.bundle.commands import for_each_inputs
from sparkds.bundle.documents import Map
from sparkds.bundle.dynamic_values import filled
from sparkds.bundle.workflow import Dependency, Task, in_order, parameters_of, tasks_of
from sparkds.errors import ConfigError, closest

SUCCESS: Final = "SUCCESS"
FAILED: Final = "FAILED"
TIMED_OUT: Final = "TIMED_OUT"
UPSTREAM_FAILED: Final = "UPSTREAM_FAILED"
EXCLUDED: Final = "EXCLUDED"
CANCELED: Final = "CANCELED"
"""States of a task, with the platform's names."""
BAD: Final = frozenset({FAILED, TIMED_OUT, UPSTREAM_FAILED, CANCELED})
NUMERIC: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "GREATER_THAN": lambda left, right: left > right,
    "GREATER_THAN_OR_EQUAL": lambda left, right: left >= right,
    "LESS_THAN": lambda left, right: left < right,
    "LESS_THAN_OR_EQUAL": lambda left, right: left <= right,
}


class Work(NamedTuple):
    """One attempt at a task.

    Attributes
    ----------
    name : str
        Key of the task; ``months[2]`` for the third input of a for-each.
    kind : str
    body : dict
        Of the task's kind, with all values filled in.
    attempt : int
        From 1.
    timeout : float
        Seconds; infinite if none is set.
    """

    name: str
    kind: str
    body: Mapping[str, Any]
    attempt: int
    timeout: float


class Done(NamedTuple):
    """What came of an attempt.

    Attributes
    ----------
    state : str
        `SUCCESS`, `FAILED` or `TIMED_OUT`.
    message : str
    values : mapping of str to value
        Task values that it told.
    """

    state: str
    message: str = ""
    values: Mapping[str, Any] = {}


@dataclass(frozen=True)
class Outcome:
    """What came of a task.

    Attributes
    ----------
    state : str
    attempts : int
    seconds : float
    message : str
    values : dict of str to value
    result : str
        ``true`` or ``false`` of a condition; empty for others.
    kept : bool
        Of an earlier run, which a repair has not repeated.
    """

    state: str
    attempts: int = 0
    seconds: float = 0.0
    message: str = ""
    values: dict[str, Any] = field(default_factory=dict)
    result: str = ""
    kept: bool = False


Execute = Callable[[Work], Done]
Tell = Callable[[str], None]


@dataclass
class JobRun:
    """A run of a job.

    Attributes
    ----------
    key : str
    tree : Map
        The job, resolved.
    parameters : mapping of str to str
        Values of the job's parameters; defaults for the others.
    known : mapping of str to value
        Values of further ``{{…}}``.
    execute : callable
        Does one piece of work.
    tell : callable
        Is told of progress.
    keep : callable
        Is given all outcomes after every task, so that a run that is interrupted can be repaired.
    clock, sleep : callable
        Time in seconds, and waiting.
    """

    key: str
    tree: Map
    execute: Execute
    parameters: Mapping[str, str] = field(default_factory=dict)
    known: Mapping[str, Any] = field(default_factory=dict)
    tell: Tell = lambda text: None
    keep: Callable[[Mapping[str, Outcome]], None] = lambda told: None
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def run(self, *, before: Mapping[str, Outcome] | None = None, first: str | None = None) -> dict[str, Outcome]:
        """Run all tasks, or repair a run.

        Parameters
        ----------
        before : mapping of str to Outcome, optional
            Outcomes of the run to repair: what succeeded and does not come after `first` is kept.
        first : str, optional
            Task to repair from.

        Returns
        -------
        dict of str to Outcome
            By task key, in the order in which they ran.

        Raises
        ------
        ConfigError
            Tasks wait for each other; there is no task `first`; the job has no such parameter.

        Notes
        -----
        Tasks run one after the other, whatever their graph or `concurrency` would allow, since they share a laptop.
        """
        order, cycle = in_order(tasks_of(self.tree))
        if cycle:
            raise ConfigError(f"tasks of job '{self.key}' wait for each other: {' -> '.join(cycle)}")
        keys = [task.key for task in order]
        if first is not None and first not in keys:
            raise ConfigError(f"job '{self.key}' has no task '{first}'{closest(first, keys)} (tasks: {', '.join(keys)})")
        declared = parameters_of(self.tree)
        for name in self.parameters:
            if name not in declared:
                there = f"{closest(name, declared)} (parameters: {', '.join(declared) or 'none'})"
                raise ConfigError(f"job '{self.key}' has no parameter '{name}'{there}")
        again = _after(order, first)
        told: dict[str, Outcome] = {}
        begun = self.clock()
        limit = float(self.tree.get("timeout_seconds") or 0) or math.inf
        for task in order:
            was = (before or {}).get(task.key)
            if was is not None and was.state == SUCCESS and task.key not in again:
                told[task.key] = Outcome(was.state, was.attempts, was.seconds, was.message, was.values, was.result, kept=True)
                continue
            left = limit - (self.clock() - begun)
            if left <= 0:
                told[task.key] = Outcome(CANCELED, message=f"the job's timeout of {limit:g} s was over")
            else:
                told[task.key] = self._task(task, told, left)
            self.keep(told)
            self.tell(f"{task.key}: {told[task.key].state}" + (f" ({told[task.key].message})" if told[task.key].message else ""))
        return told

    def _task(self, task: Task, told: Mapping[str, Outcome], left: float) -> Outcome:
        stays = _skipped(task, told)
        if stays is not None:
            return stays
        known = self._values(told)
        begun = self.clock()
        try:
            if task.kind == "condition_task":
                return self._condition(task, known)
            if task.repeated is not None:
                return self._repeated(task, task.repeated, known, left)
            done, attempts = self._attempts(task, task.key, known, left)
        except ConfigError as error:
            return Outcome(FAILED, message=str(error), seconds=self.clock() - begun)
        return Outcome(done.state, attempts, self.clock() - begun, done.message, dict(done.values))

    def _values(self, told: Mapping[str, Outcome]) -> dict[str, Any]:
        known = {f"job.parameters.{name}": value for name, value in {**parameters_of(self.tree), **self.parameters}.items()}
        known |= dict(self.known)
        for key, outcome in told.items():
            known[f"tasks.{key}.result_state"] = outcome.state.lower()
            known |= {f"tasks.{key}.values.{name}": value for name, value in outcome.values.items()}
        return known

    def _condition(self, task: Task, known: Mapping[str, Any]) -> Outcome:
        left, right = (filled(str(task.body.get(side, "")), known) for side in ("left", "right"))
        op = str(task.body.get("op", ""))
        if op in ("EQUAL_TO", "NOT_EQUAL"):
            holds = (left == right) == (op == "EQUAL_TO")
        elif op in NUMERIC:
            try:
                holds = NUMERIC[op](float(left), float(right))
            except ValueError:
                return Outcome(FAILED, message=f"{op} compares numbers, these are '{left}' and '{right}'")
        else:
            return Outcome(FAILED, message=f"op '{op}' is none of EQUAL_TO, NOT_EQUAL, {', '.join(NUMERIC)}")
        return Outcome(SUCCESS, 1, message=f"'{left}' {op} '{right}': {str(holds).lower()}", result=str(holds).lower())

    def _repeated(self, task: Task, inner: Task, known: Mapping[str, Any], left: float) -> Outcome:
        inputs = for_each_inputs(task, known)
        left = min(left, float(task.tree.get("timeout_seconds") or 0) or math.inf)
        begun, attempts = self.clock(), 0
        bad: list[str] = []
        state = SUCCESS
        for i, value in enumerate(inputs):
            name = f"{task.key}[{i}]"
            done, n = self._attempts(inner, name, {**known, "input": value}, left - (self.clock() - begun))
            attempts += n
            self.tell(f"{name} of {len(inputs)}: {done.state}" + (f" ({done.message})" if done.message else ""))
            if done.state != SUCCESS:
                state = FAILED
                bad.append(f"{name}: {done.message or done.state}")
        return Outcome(state, attempts, self.clock() - begun, "; ".join(bad))

    def _attempts(self, task: Task, name: str, known: Mapping[str, Any], left: float) -> tuple[Done, int]:
        """Outcome of the last attempt, and their number."""
        retries = int(task.tree.get("max_retries") or 0)  # -1 is without end
        pause = float(task.tree.get("min_retry_interval_millis") or 0) / 1000
        limit = float(task.tree.get("timeout_seconds") or 0) or math.inf
        begun, attempt = self.clock(), 0
        while True:
            attempt += 1
            rest = left - (self.clock() - begun)
            if rest <= 0:
                return Done(TIMED_OUT, "the timeout of the job, or of the for-each around it, was over"), attempt - 1
            of_attempt = {"task.name": task.key, "task.run_id": f"{known.get('job.run_id', 0)}{attempt}", "task.execution_count": attempt}
            body = dict(_filled_tree(task.body, {**known, **of_attempt}))
            self.tell(f"{name}: running" + (f", attempt {attempt}" if attempt > 1 else ""))
            done = self.execute(Work(name, task.kind, body, attempt, min(limit, rest)))
            ends = done.state == SUCCESS or (done.state == TIMED_OUT and not task.tree.get("retry_on_timeout"))
            if ends or (0 <= retries < attempt):
                return done, attempt
            self.tell(f"{name}: {done.state} ({done.message}); again in {pause:g} s")
            self.sleep(pause)


def _after(order: Sequence[Task], first: str | None) -> set[str]:
    """Keys of a task and of all that come after it."""
    told = {first} if first is not None else set()
    for task in order:
        if {d.task for d in task.depends_on} & told:
            told.add(task.key)
    return {key for key in told if key is not None}


def _skipped(task: Task, told: Mapping[str, Outcome]) -> Outcome | None:
    """Outcome of a task that its dependencies keep from running; None where it runs."""
    if not task.depends_on:
        return None
    states = [_as_seen(dependency, told) for dependency in task.depends_on]
    if all(state == EXCLUDED for state in states):
        return Outcome(EXCLUDED, message=f"{', '.join(d.task for d in task.depends_on)} did not lead here")
    bad = [d.task for d, state in zip(task.depends_on, states, strict=True) if state in BAD]
    good = SUCCESS in states
    whole = not bad
    runs = {
        "ALL_SUCCESS": whole,
        "ALL_DONE": True,
        "NONE_FAILED": whole and good,
        "AT_LEAST_ONE_SUCCESS": good,
        "ALL_FAILED": len(bad) == len(states),
        "AT_LEAST_ONE_FAILED": bool(bad),
    }
    if runs.get(task.run_if, False):
        return None
    if task.run_if in ("ALL_FAILED", "AT_LEAST_ONE_FAILED"):
        return Outcome(EXCLUDED, message=f"run_if {task.run_if} does not hold")
    return Outcome(UPSTREAM_FAILED, message=f"{', '.join(bad) or 'what it waits for'} did not succeed")


def _as_seen(dependency: Dependency, told: Mapping[str, Outcome]) -> str:
    """State of a task as the one that waits for it sees it: excluded where a condition came out otherwise."""
    outcome = told.get(dependency.task)
    if outcome is None:
        return UPSTREAM_FAILED
    return EXCLUDED if dependency.outcome and outcome.state == SUCCESS and outcome.result != dependency.outcome else outcome.state


def _filled_tree(value: Any, known: Mapping[str, Any]) -> Any:
    if isinstance(value, str):
        return filled(value, known)
    if isinstance(value, dict):
        return {key: _filled_tree(below, known) for key, below in value.items()}
    return [_filled_tree(below, known) for below in value] if isinstance(value, list) else value


def state_of_job(tree: Map, told: Mapping[str, Outcome]) -> str:
    """State of a job's run: it fails when a task that nothing waits for did not succeed, or none did.

    Examples
    --------
    >>> state_of_job(Map(), {})
    'SUCCESS'
    """
    waited = {d.task for task in tasks_of(tree) for d in task.depends_on}
    leaves = [outcome for key, outcome in told.items() if key not in waited]
    if any(outcome.state in BAD for outcome in leaves):
        return FAILED
    return "SUCCESS_WITH_FAILURES" if any(outcome.state in BAD for outcome in told.values()) else SUCCESS


def summary(told: Mapping[str, Outcome]) -> Iterator[str]:
    """Lines of a table: task, state, attempts, seconds, what happened."""
    width = max([len(key) for key in told] + [4])
    yield f"{'task':<{width}}  {'state':<16}{'attempts':>9}{'seconds':>9}  "
    for key, outcome in told.items():
        state = f"{outcome.state} (kept)" if outcome.kept else outcome.state
        message = outcome.message.splitlines()[0] if outcome.message else ""
        yield f"{key:<{width}}  {state:<16}{outcome.attempts:>9}{outcome.seconds:>9.1f}  {message}".rstrip()
