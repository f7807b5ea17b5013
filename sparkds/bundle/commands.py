"""Commands: which sparkds command a task calls, with which tables, as told by that command's own parser and configuration.

Takes a task with its parameters filled in and gives the call, or what is wrong with it; nothing is run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import PurePosixPath
from typing import Any, Final, NamedTuple

import click

from sparkds import config
from sparkds.bundle.documents import Items, Map
from sparkds.bundle.dynamic_values import DYNAMIC, OF_RUN, filled, names_in
from sparkds.bundle.workflow import Task, parameters_of
from sparkds.errors import ConfigError, SparkdsError
from sparkds.locations import is_directory

PACKAGE: Final = "sparkds"
A_DAY: Final = "2026-01-31"


class Call(NamedTuple):
    """A job as a task calls it.

    Attributes
    ----------
    job : str
    reads, needs, writes : tuple of str
        Tables as ``location.table`` or ``location/table``: of the input, of the output before the job, of the output after it.
    """

    job: str
    reads: tuple[str, ...]
    needs: tuple[str, ...]
    writes: tuple[str, ...]


def arguments_of(task: Task) -> list[str]:
    """Arguments of a task's program, with ``{{…}}`` as they stand; ``named_parameters`` are ``--key=value``."""
    told = task.body.get("parameters")
    if isinstance(told, Items):
        return [str(value) for value in told]
    named = task.body.get("named_parameters")
    return [f"--{key}={value}" for key, value in named.items()] if isinstance(named, Map) else []


def is_ours(task: Task) -> bool:
    """Whether a task calls a command of this package."""
    if task.kind == "python_wheel_task":
        return task.body.get("package_name") == PACKAGE and task.body.get("entry_point") == PACKAGE
    return task.kind == "spark_python_task" and PurePosixPath(str(task.body.get("python_file", ""))).stem in _jobs()


def _jobs() -> Mapping[str, str]:
    from sparkds import cli

    return cli.JOBS


def sample_values(job: Map, task: Task) -> dict[str, Any]:
    """Values with which a task's parameters can be tried: defaults of the job's parameters, and made-up ones of what a run knows."""
    known: dict[str, Any] = {f"job.parameters.{name}": value for name, value in parameters_of(job).items()}
    known |= {name: A_DAY if name.endswith("iso_date") else "1" for name in OF_RUN}
    for argument in arguments_of(task):
        known |= {name: "1" for name in names_in(argument) if name.startswith("tasks.")}
    return known


def for_each_inputs(task: Task, known: Mapping[str, Any]) -> list[Any]:
    """Values of a for-each task.

    Raises
    ------
    ConfigError
        They are no JSON list.
    """
    told = task.body.get("inputs")
    text = told if isinstance(told, str) else json.dumps(told)
    if DYNAMIC.search(text):
        text = filled(text, known)
    try:
        values = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"inputs of a for-each are a JSON list, these cannot be read ({error}): {text}") from error
    if not isinstance(values, list) or not values:
        raise ConfigError(f"inputs of a for-each are a JSON list with at least one value, these are {text}")
    return values


def calls_of(job: Map, task: Task, *, inputs: list[Any] | None = None) -> Iterator[Call]:
    """Calls of a task: one, or one for each input of the for-each around it.

    Raises
    ------
    ConfigError
        The parser refuses the parameters, the configuration does not load, or a reference has no value.
    """
    known = sample_values(job, task)
    for value in inputs if inputs is not None else [None]:
        told = known if value is None else {**known, "input": value}
        yield call([filled(argument, told) for argument in _command_line(task)])


def _command_line(task: Task) -> list[str]:
    arguments = arguments_of(task)
    if task.kind == "spark_python_task":
        return [PurePosixPath(str(task.body["python_file"])).stem, *arguments]
    return arguments


def call(arguments: list[str]) -> Call:
    """What a command line would do.

    Raises
    ------
    ConfigError
        The parser refuses it, or the configuration does not load.

    Examples
    --------
    >>> call(["batch_scorer", "--input", "main.f", "--output", "main.s", "--config", "conf/batch_scorer.yml"]).writes  # doctest: +SKIP
    ('main.s.scores', 'main.s.scores_staging')
    """
    from sparkds import cli

    top = click.Context(cli.commands, info_name=PACKAGE)
    try:
        if not arguments:
            raise click.UsageError("no command is given")
        name, command, rest = cli.commands.resolve_command(top, arguments)
        if command is None or name is None:
            raise click.UsageError(f"no command '{arguments[0]}'")
        told = command.make_context(name, rest, parent=top).params
    except click.exceptions.Exit as error:
        raise ConfigError(f"'{PACKAGE} {' '.join(arguments)}' only prints and ends") from error
    except click.ClickException as error:
        raise ConfigError(f"{PACKAGE} {arguments[0] if arguments else ''}: {error.format_message()}") from error
    if name not in cli.JOBS:
        return Call(name, (), (), ())
    try:
        declared: Any = config.load(import_module(cli.JOBS[name]).Config, told["config_path"], overrides=told["overrides"])
    except SparkdsError as error:
        raise ConfigError(f"{name}: {error}") from error
    source, target = str(told["input"]), str(told["output"])
    return Call(
        name,
        tuple(table_of(source, table) for table in declared.tables_read),
        tuple(table_of(target, table) for table in declared.tables_needed),
        tuple(table_of(target, table) for table in declared.tables_written),
    )


def table_of(location: str, table: str) -> str:
    """Name of a table in a location.

    Examples
    --------
    >>> table_of("main.sales", "orders"), table_of("/Volumes/main/raw/landing/", "orders")
    ('main.sales.orders', '/Volumes/main/raw/landing/orders')
    """
    return f"{location.rstrip('/')}/{table}" if is_directory(location) else f"{location}.{table}"
