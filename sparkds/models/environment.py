"""Environment: whether the libraries of the driver, of the workers and of a model belong together.

Takes the files of a model and a session and gives the differences that matter, each with what to install.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from sparkds import collect

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

COMPARED: Final = ("python", "mlflow", "scikit-learn", "numpy")


def versions_here(names: Sequence[str] = COMPARED) -> dict[str, str]:
    """Versions in this process; empty for what is not installed. MLflow's skinny distribution counts as MLflow."""
    found = {}
    for name in names:
        found[name] = platform.python_version() if name == "python" else _installed(name)
    return found


def _installed(name: str) -> str:
    for candidate in (name, "mlflow-skinny") if name == "mlflow" else (name,):
        try:
            return version(candidate)
        except PackageNotFoundError:
            continue
    return ""


def versions_of_workers(spark: SparkSession) -> list[dict[str, str]]:
    """Versions in the worker processes that two small tasks reach, without repetition."""
    rows = collect.small_rows(spark.range(2, numPartitions=2).mapInArrow(_told, ", ".join(f"`{name}` string" for name in COMPARED)))
    found = [row.asDict() for row in rows]
    return [told for i, told in enumerate(found) if told not in found[:i]]


def _told(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for _ in batches:
        yield pa.RecordBatch.from_pydict({name: [told] for name, told in versions_here().items()})


def versions_of_model(path: str) -> dict[str, str]:
    """Versions that a model was logged with, as far as its files pin them."""
    folder, found = Path(path), {}
    requirements = folder / "requirements.txt"
    if requirements.exists():
        for line in requirements.read_text(encoding="utf-8").splitlines():
            pin = re.match(r"\s*([A-Za-z0-9_.-]+)\s*==\s*([^\s;]+)", line)
            if pin and pin[1].lower().replace("_", "-") in COMPARED:
                found[pin[1].lower().replace("_", "-")] = pin[2]
    python = folder / "python_env.yaml"
    if python.exists():
        told = re.search(r"^python:\s*['\"]?([0-9.]+)", python.read_text(encoding="utf-8"), re.M)
        if told:
            found["python"] = told[1]
    return found


def differences(model: Mapping[str, str], driver: Mapping[str, str], workers: Sequence[Mapping[str, str]]) -> list[str]:
    """Sentences about every library whose major or minor version differs.

    Parameters
    ----------
    model, driver : mapping of library to version
        A library that the model does not pin is compared between driver and workers only.
    workers : sequence of mappings

    Examples
    --------
    >>> differences({"numpy": "1.26.4"}, {"numpy": "2.4.6"}, [{"numpy": "2.4.1"}])
    ["numpy is 2.4.6 on the driver, the model was logged with 1.26.4: install 'numpy==1.26.4'"]
    """
    found = []
    for name in COMPARED:
        wanted, here = model.get(name, ""), driver.get(name, "")
        install = f"use Python {wanted}" if name == "python" else f"install '{name}=={wanted}'"
        if wanted and _minor(here) != _minor(wanted):
            found.append(f"{name} is {here or 'not installed'} on the driver, the model was logged with {wanted}: {install}")
        for worker in workers:
            there = worker.get(name, "")
            if _minor(there) != _minor(here):
                found.append(
                    f"{name} is {there or 'not installed'} on a worker and {here or 'not installed'} on the driver: install the same"
                )
                break
    return found


def _minor(told: str) -> tuple[str, ...]:
    return tuple(told.split(".")[:2])
