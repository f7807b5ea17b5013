"""Local inputs: tables that are there before any job of a bundle runs, and the real data that stand in for them on a laptop.

They are declared in ``local_run.yml`` beside the bundle, since the workspace's own tables are no resource of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final, Literal

from pydantic import Field

from sparkds import config
from sparkds.bundle.commands import table_of
from sparkds.bundle.references import Target, text_of
from sparkds.declaration import Declaration
from sparkds.errors import ConfigError
from sparkds.locations import stand_in

FILE: Final = "local_run.yml"


class Input(Declaration):
    """A table that somebody else writes.

    Attributes
    ----------
    location : str
        Directory, volume or ``catalog.schema``; may have ``${var.…}``.
    table : str
    dataset : {"cdnow.transactions", "cdnow.exposures"}, optional
        Real data of the package that a local run puts there; without one the table must be there already.
    """

    location: str = Field(min_length=1, description="directory, volume or catalog.schema; may have ${var.…}")
    table: str = Field(min_length=1, description="name of the table")
    dataset: Literal["cdnow.transactions", "cdnow.exposures"] | None = Field(default=None, description="what a local run puts there")


class TaskTables(Declaration):
    """Tables of a task that is no command of this package; names may have ``${var.…}``.

    Attributes
    ----------
    reads, writes : tuple of str
        ``catalog.schema.table``, or ``folder/table``.
    """

    reads: tuple[str, ...] = Field(default=(), description="tables that the task reads")
    writes: tuple[str, ...] = Field(default=(), description="tables that the task writes")


class LocalRun(Declaration):
    """What a local run stands in for.

    Attributes
    ----------
    inputs : tuple of Input
    tasks : dict of str to TaskTables
        By ``job.task``.
    parameters : dict of str to str
        Values of job parameters in a local run, where a job has one of that name.
    """

    inputs: tuple[Input, ...] = Field(default=(), description="tables that are there before any job runs")
    tasks: dict[str, TaskTables] = Field(default={}, description="tables of tasks that are no command of sparkds, by job.task")
    parameters: dict[str, str] = Field(default={}, description="values of job parameters in a local run")


def local_run_of(root: Path, path: str | Path | None = None) -> LocalRun:
    """Declaration of a bundle's local run; nothing where there is no file.

    Raises
    ------
    ConfigError
        A named file is absent, or it does not load.
    """
    if path is not None:
        return config.load(LocalRun, path, environ={})
    return config.load(LocalRun, root / FILE, environ={}) if (root / FILE).is_file() else LocalRun()


def locations_of(declared: LocalRun, target: Target) -> list[str]:
    """Location of every input in a target.

    Raises
    ------
    ConfigError
        A location refers to what the bundle does not have.
    """
    return _told(target, [one.location for one in declared.inputs])


def _told(target: Target, texts: Iterable[str]) -> list[str]:
    told, problems = [], []
    for text in texts:
        value, unknown = text_of(target, text)
        told.append(value)
        problems += [f"{FILE}: {problem.message}" for problem in unknown]
    if problems:
        raise ConfigError("\n".join(problems))
    return told


def task_tables(declared: LocalRun, target: Target) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """Tables that declared tasks read and write in a target, by ``job.task``.

    Raises
    ------
    ConfigError
        A name refers to what the bundle does not have.
    """
    return {name: (tuple(_told(target, one.reads)), tuple(_told(target, one.writes))) for name, one in declared.tasks.items()}


def input_tables(declared: LocalRun, target: Target) -> tuple[str, ...]:
    """Names of all inputs in a target, as `sparkds.bundle.commands.table_of` spells them."""
    return tuple(table_of(location, one.table) for location, one in zip(locations_of(declared, target), declared.inputs, strict=True))


def write_inputs(declared: LocalRun, target: Target, catalogs: Path, *, customers: float = 1.0) -> list[str]:
    """Put the declared data where a local run looks for them, unless they are there; gives what was written.

    Parameters
    ----------
    declared : LocalRun
    target : Target
    catalogs : Path
        Folder that stands in for catalogs and volumes.
    customers : float
        Share of CDNOW's customers, chosen by a hash of their id.

    Raises
    ------
    ConfigError
        A table without a dataset is not there.
    """
    from sparkds.datasets import write_cdnow

    told = []
    for location, one in zip(locations_of(declared, target), declared.inputs, strict=True):
        folder = Path(stand_in(location, environ={"SPARKDS_CATALOGS": str(catalogs)}))
        there = folder / one.table
        if there.exists() or there.with_suffix(".csv").exists():
            continue
        if one.dataset is None:
            raise ConfigError(f"input '{table_of(location, one.table)}' has no dataset and is not in {folder}; put it there")
        folder.mkdir(parents=True, exist_ok=True)
        if one.dataset == "cdnow.transactions":
            write_cdnow(folder, name=one.table, customers=customers)
        else:
            from sparkds.demo_experiment import write_exposures

            write_exposures(folder, name=one.table, share=customers)
        told.append(table_of(location, one.table))
    return told
