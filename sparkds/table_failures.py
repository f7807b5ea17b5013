"""Table failures: what a failed read or write of a table means, from the text that Spark gives.

Takes the text and the table's name and gives an error of this package, or nothing where the text says nothing that we know.
"""

from __future__ import annotations

import re
from typing import Final

from sparkds.errors import DataError, SparkdsError, TableError

ABSENT: Final = (
    "TABLE_OR_VIEW_NOT_FOUND",
    "DELTA_MISSING_DELTA_TABLE",
    "DELTA_TABLE_NOT_FOUND",
    "is not a Delta table",
    "PATH_NOT_FOUND",
    "DELTA_TABLE_ONLY_OPERATION",
    "DELTA_ONLY_OPERATION",
    "SCHEMA_NOT_FOUND",
    "DELTA_PATH_DOES_NOT_EXIST",
    "NO_SUCH_CATALOG",
)
RAISED: Final = (
    r"\[USER_RAISED_EXCEPTION\] (.*?)(?: SQLSTATE: P0001)?$",
    r"sparkds\.errors\.DataError: (.*)$",  # by a kernel on a worker
)
TYPE_OF_FILE: Final = (
    r"reading file (\S+?)\.? Data type mismatches when reading Parquet column (\S+)\. (Expected Spark type .*?)\. SQLSTATE"
)


def says_absent(told: str) -> bool:
    """Whether a text means that there is no such table."""
    return any(sign in told for sign in ABSENT)


def named_failure(told: str, name: str) -> SparkdsError | None:
    """Error that a failed read or write of a table means; None if it is not known.

    Examples
    --------
    >>> named_failure("[DELTA_CONCURRENT_APPEND] ...", "features")
    TableError("table 'features' was written by someone else at the same time; nothing was changed, run again")
    """
    for pattern in RAISED:
        raised = re.search(pattern, told, re.M)
        if raised:
            return DataError(f"rows for table '{name}': {raised.group(1)}")
    file = re.search(TYPE_OF_FILE, told)
    if file:
        return DataError(
            f"rows for table '{name}': file {file.group(1).rsplit('/', 1)[-1]} of the source has column {file.group(2)} in another type "
            f"than the other files ({file.group(3)}); nothing was written; write that file again"
        )
    first = told.splitlines()[0] if told else ""
    if "DELTA_REPLACE_WHERE_MISMATCH" in told or "DELTA_VIOLATE_CONSTRAINT" in told:
        return DataError(f"rows for table '{name}' lie outside the slice that is replaced: {first}")
    if "DELTA_CONCURRENT" in told or "ConcurrentModification" in told or "ConcurrentAppend" in told:
        return TableError(f"table '{name}' was written by someone else at the same time; nothing was changed, run again")
    if "DELTA_TIMESTAMP" in told or "DELTA_VERSION" in told or "VersionNotFound" in told:
        return TableError(f"table '{name}' has no such version: {first}")
    if "DELTA_FAILED_TO_MERGE_FIELDS" in told or "DELTA_METADATA_MISMATCH" in told or "INCOMPATIBLE_DATA_FOR_TABLE" in told:
        return TableError(f"table '{name}' has other columns than the rows to write: {first}")
    return None
