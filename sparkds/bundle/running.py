"""Run: a job of a bundle on local Spark, by the wheel just built, with the parameters of a target; and the repair of such a run.

Takes a folder, a target and a job; makes the wheel and its environment, puts the declared inputs in place, gives what came of the tasks.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from sparkds.bundle.documents import Items, Map, read_bundle
from sparkds.bundle.engine import JobRun, Outcome, state_of_job
from sparkds.bundle.environments import environment
from sparkds.bundle.local_inputs import LocalRun, local_run_of, write_inputs
from sparkds.bundle.processes import Processes
from sparkds.bundle.references import Target, resolved
from sparkds.bundle.wheels import build, built, read_wheel
from sparkds.bundle.workflow import parameters_of
from sparkds.errors import ConfigError, closest

FOLDER: Final = "results/bundle"
FILE_KEYS: Final = ("python_file", "notebook_path")


class Ran(NamedTuple):
    """What came of a run.

    Attributes
    ----------
    state : str
        ``SUCCESS``, ``SUCCESS_WITH_FAILURES`` or ``FAILED``.
    outcomes : dict of str to Outcome
        By task.
    logs : Path
    catalogs : Path
        Where the tables are.
    """

    state: str
    outcomes: dict[str, Outcome]
    logs: Path
    catalogs: Path


def run_job(
    path: str | Path,
    *,
    target: str | None = None,
    job: str,
    session: Literal["classic", "connect"] = "classic",
    first: str | None = None,
    refuses: bool = False,
    variables: Mapping[str, str] | None = None,
    parameters: Mapping[str, str] | None = None,
    folder: str | Path | None = None,
    customers: float = 1.0,
    builds: bool = True,
    python: str | Path | None = None,
    inputs: str | Path | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> Ran:
    """Run a job's tasks in graph order on this machine.

    Parameters
    ----------
    path : str or Path
        Folder of ``databricks.yml``.
    target : str, optional
        The default target if absent.
    job : str
        Key of the job.
    session : {"classic", "connect"}
        Kind of the tasks' Spark sessions.
    first : str, optional
        Repair the last run from this task on; what succeeded before it is kept, and so are the parameters.
    refuses : bool
        Let the session refuse what serverless compute refuses; needs ``session="connect"``.
    variables, parameters : mapping of str to str, optional
        Of the bundle, and of the job; they win over the target's and over ``local_run.yml``.
    folder : path, optional
        Holds tables, logs and states of runs; ``results/bundle/<target>`` of the bundle if absent.
    customers : float
        Share of CDNOW's customers in declared inputs.
    builds : bool
        Build the wheel first; else the one in ``dist/`` is taken.
    python : path, optional
        Interpreter that has the wheel already; an environment of its own is made if absent.
    inputs : path, optional
        Declaration of inputs; ``local_run.yml`` of the bundle if absent.
    tell : callable
        Is told of progress.

    Raises
    ------
    ConfigError
        The bundle does not resolve; there is no such target, job, task or parameter; there is no run to repair; another run of the job is
        under way in the same folder; the wheel or its environment cannot be made; an input is not there.

    Examples
    --------
    >>> run_job(".", target="dev", job="features_backfill").state  # doctest: +SKIP
    'SUCCESS'
    """
    if refuses and session != "connect":
        raise ConfigError("serverless compute is Spark Connect: give --session connect with --serverless")
    document = read_bundle(path)
    name = target or document.default_target
    if not name:
        raise ConfigError(f"no target is the default; give --target (targets: {', '.join(document.target_names) or 'none'})")
    told = resolved(document, name, variables=variables, workspace={"file_path": str(document.root)})
    if told.problems:
        raise ConfigError("\n".join(f"{p.place or p.path}: {p.message}" for p in told.problems) + "\nsee `sparkds bundle check`")
    jobs = told.resources("jobs")
    if job not in jobs:
        raise ConfigError(f"target '{name}' has no job '{job}'{closest(job, jobs)} (jobs: {', '.join(jobs) or 'none'})")
    place = Path(folder).absolute() if folder is not None else document.root / FOLDER / name
    logs = place / "runs" / job
    with _alone(logs, job):
        tree = _with_files(jobs[job], document.root)
        before = _state(logs, job, first)
        given = _parameters(tree, local_run_of(document.root, inputs), parameters, before)
        repairs = 0 if before is None else int(before.get("repairs", 0)) + 1
        where = _interpreter(told, builds, python, tell)
        catalogs = place / "catalogs"
        for table in write_inputs(local_run_of(document.root, inputs), told, catalogs, customers=customers):
            tell(f"input {table} is written")
        execute = Processes(where, catalogs, logs, session, refuses)

        def keep(outcomes: Mapping[str, Outcome]) -> None:
            _keep(logs, job, given, outcomes, repairs)

        run = JobRun(job, tree, execute, given, _facts(job, repairs), tell, keep)
        outcomes = run.run(before=None if before is None else before["outcomes"], first=first)
    return Ran(state_of_job(tree, outcomes), outcomes, logs, catalogs)


def _interpreter(target: Target, builds: bool, python: str | Path | None, tell: Callable[[str], None]) -> Path:
    if python is not None:
        return Path(python)
    tell("building the wheel" if builds else "looking for the wheel")
    wheel = read_wheel(build(target) if builds else built(target))
    tell(f"installing {wheel.path.name} (the first time takes a minute or two)")
    return environment(wheel, root=target.document.root, folder=target.document.root / FOLDER)


def _with_files(job: Map, root: Path) -> Map:
    """Job whose Python files and notebooks are absolute: they stand relative to the file that names them."""

    def told(value: Any) -> Any:
        if isinstance(value, Map):
            copy = Map({key: told(below) for key, below in value.items()}, place=value.place, places=value.places)
            for key in FILE_KEYS:
                if isinstance(copy.get(key), str) and not copy[key].startswith("/"):
                    at = value.places.get(key)
                    path = (root / (Path(at.file).parent if at is not None else "") / copy[key]).resolve()
                    copy[key] = str(path if path.exists() else path.with_name(f"{path.name}.py"))
            return copy
        return Items([told(below) for below in value], place=value.place, places=value.places) if isinstance(value, Items) else value

    made: Map = told(job)
    return made


def _parameters(tree: Map, declared: LocalRun, given: Mapping[str, str] | None, before: Mapping[str, Any] | None) -> dict[str, str]:
    there = parameters_of(tree)
    told = {name: value for name, value in declared.parameters.items() if name in there}
    return {**told, **(before["parameters"] if before is not None else {}), **(given or {})}


def _facts(job: str, repairs: int) -> dict[str, Any]:
    """What every run knows of itself; the engine adds what an attempt at a task knows."""
    now = datetime.now(UTC)
    of_time: dict[str, Any] = {name: getattr(now, name) for name in ("year", "month", "day", "hour", "minute", "second")}
    of_time |= {
        "iso_date": now.date().isoformat(),
        "iso_datetime": now.isoformat(timespec="seconds"),
        "is_weekday": now.isoweekday() < 6,
        "timestamp_ms": int(now.timestamp() * 1000),
    }
    return {
        "job.id": "0",
        "job.name": job,
        "job.run_id": str(int(now.timestamp())),
        "job.repair_count": repairs,
        "job.trigger.type": "manual",
        **{f"{time}.{name}": value for time in ("job.start_time", "job.trigger.time") for name, value in of_time.items()},
        "workspace.id": "0",
        "workspace.url": "localhost",
        "backfill.iso_date": of_time["iso_date"],
        "backfill.iso_datetime": of_time["iso_datetime"],
    }


@contextmanager
def _alone(logs: Path, job: str) -> Iterator[None]:
    """Hold the job's lock, since a table has one writer at a time."""
    logs.mkdir(parents=True, exist_ok=True)
    path = logs / "lock"
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            who = file.read().strip() or "another process"
            raise ConfigError(f"job '{job}' is running already in {logs} ({who}); wait for it, or give another --folder") from error
        file.truncate(0)
        file.write(f"process {os.getpid()}, since {time.strftime('%H:%M:%S')}")
        file.flush()
        yield


def _state(logs: Path, job: str, first: str | None) -> dict[str, Any] | None:
    """The last run, to repair it; None where a new one is asked for."""
    if first is None:
        for old in (*logs.glob("*.log"), *logs.glob("*.out"), *logs.glob("run.json")):
            old.unlink()
        return None
    try:
        told: dict[str, Any] = json.loads((logs / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"there is no run of job '{job}' to repair in {logs}; run it without --from first") from error
    told["outcomes"] = {key: Outcome(**outcome) for key, outcome in told["outcomes"].items()}
    return told


def _keep(logs: Path, job: str, parameters: Mapping[str, str], outcomes: Mapping[str, Outcome], repairs: int) -> None:
    told = {
        "job": job,
        "parameters": dict(parameters),
        "repairs": repairs,
        "outcomes": {key: dataclasses.asdict(one) for key, one in outcomes.items()},
    }
    part = logs / "run.json.part"
    part.write_text(json.dumps(told, indent=1, default=str), encoding="utf-8")
    part.replace(logs / "run.json")
