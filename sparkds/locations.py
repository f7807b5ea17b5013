"""Locations: what a location names, how its tables are spelled in SQL, and which files make up a table of files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sparkds.errors import TableError
from sparkds.sql import quoted, text_literal

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
FORMATS: Final = {"parquet": "parquet", "csv": "csv", "csv.gz": "csv", "json": "json", "jsonl": "json", "json.gz": "json"}


@dataclass(frozen=True)
class Between:
    """All values from `low` to `high`, both included."""

    low: Any
    high: Any


def literal(value: Any) -> str:
    """Value as an SQL literal of its type."""
    if isinstance(value, datetime):
        return f"TIMESTAMP'{value.isoformat()}'"
    if isinstance(value, date):
        return f"DATE'{value.isoformat()}'"
    if isinstance(value, bool | int):
        return str(value).upper()
    if isinstance(value, str):
        return text_literal(value)
    raise TypeError(f"no SQL literal for {type(value).__name__}")


def is_directory(location: str) -> bool:
    """Whether a location names a directory; otherwise it is ``schema`` or ``catalog.schema``.

    Examples
    --------
    >>> is_directory("results/"), is_directory("./results"), is_directory("main.features")
    (True, True, False)
    """
    return (
        "/" in location
        or "\\" in location
        or location in (".", "..")
        or not all(IDENTIFIER.fullmatch(part) for part in location.split("."))
    )


def stand_in(location: str, *, environ: Mapping[str, str] | None = None) -> str:
    """Directory that stands in for a location of a workspace, where ``SPARKDS_CATALOGS`` names a folder for such; else the location.

    ``catalog.schema`` is ``<folder>/catalog/schema``, ``schema`` is ``<folder>/spark_catalog/schema``, ``/Volumes/…`` is below
    ``<folder>/Volumes``. In a Databricks runtime the variable is not heard.

    Examples
    --------
    >>> stand_in("main.features", environ={"SPARKDS_CATALOGS": "/tmp/c"}), stand_in("data/", environ={"SPARKDS_CATALOGS": "/tmp/c"})
    ('/tmp/c/main/features', 'data/')
    """
    told = os.environ if environ is None else environ
    folder = told.get("SPARKDS_CATALOGS", "").rstrip("/")
    if not folder or "DATABRICKS_RUNTIME_VERSION" in told:
        return location
    if location.startswith("/Volumes/"):
        return f"{folder}{location}"
    if is_directory(location):
        return location
    parts = location.split(".")
    return "/".join((folder, *(["spark_catalog"] if len(parts) == 1 else []), *parts))


def slice_predicate(rows: Mapping[str, Iterable[Any] | Between]) -> str:
    """SQL of a slice.

    Examples
    --------
    >>> slice_predicate({"as_of": [date(2026, 1, 31)], "n": Between(1, 3)})
    "`as_of` IN (DATE'2026-01-31') AND `n` BETWEEN 1 AND 3"
    """
    parts = []
    for column, values in rows.items():
        if isinstance(values, Between):
            parts.append(f"{quoted(column)} BETWEEN {literal(values.low)} AND {literal(values.high)}")
        else:
            parts.append(f"{quoted(column)} IN ({', '.join(literal(value) for value in values)})")
    return " AND ".join(parts)


def local_files(location: str, name: str) -> list[tuple[str, str]]:
    """Format and path of everything that a local directory has for a table of files."""
    root = Path(location.removeprefix("file:"))
    found = []
    for ending, kind in FORMATS.items():
        if (root / f"{name}.{ending}").exists():
            found.append((kind, str(root / f"{name}.{ending}")))
    if (root / name).is_dir():
        inside = [p.name for p in (root / name).rglob("*") if p.is_file() and not p.name.startswith(("_", "."))]
        kinds = {kind for ending, kind in FORMATS.items() if any(n.endswith(f".{ending}") for n in inside)}
        if len(kinds) > 1:
            raise TableError(f"'{root / name}' holds files of several formats ({', '.join(sorted(kinds))}); keep one")
        found.extend((kind, str(root / name)) for kind in kinds)
    return found


def remote_files(spark: SparkSession, location: str, name: str) -> list[tuple[str, str]]:
    """Files of a file system that only Spark can see."""
    from pyspark.errors import PySparkException

    found: list[tuple[str, str]] = []
    for path, kinds in [(f"{location}/{name}.{e}", {k}) for e, k in FORMATS.items()] + [(f"{location}/{name}", set(FORMATS.values()))]:
        try:
            listed = spark.read.format("binaryFile").option("recursiveFileLookup", True).load(path)
            names = [row["path"] for row in listed.select("path").limit(1).collect()]
        except PySparkException as error:
            if "PATH_NOT_FOUND" in str(error):
                continue
            raise
        found.extend((k, path) for e, k in FORMATS.items() if k in kinds and any(n.endswith(f".{e}") for n in names))
    return found
