"""Task values: what a task of a workflow tells later tasks and conditions, e.g. whether a model passed its gates.

On Databricks they are the job run's own; in a local run of a bundle they go to the file that ``SPARKDS_TASK_VALUES`` names; elsewhere
nobody asks for them.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path

FILE = "SPARKDS_TASK_VALUES"

LOG = logging.getLogger("sparkds")


def tell(values: Mapping[str, str | int | bool]) -> None:
    """Set the values of this task; truth values are the texts ``true`` and ``false``, as conditions compare texts.

    A name that was told before is replaced. In a Databricks runtime that offers no task values (a notebook outside a workflow, another
    language's driver) a line of the log says so.

    Examples
    --------
    >>> tell({"gates_passed": True})
    """
    told = {name: ("true" if value else "false") if isinstance(value, bool) else value for name, value in values.items()}
    file = os.environ.get(FILE)
    if file:
        path = Path(file)
        before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        part = path.with_name(f"{path.name}.part")
        part.write_text(json.dumps({**before, **told}), encoding="utf-8")
        part.replace(path)
    elif "DATABRICKS_RUNTIME_VERSION" in os.environ:
        try:
            from databricks.sdk.runtime import dbutils
        except ImportError as error:
            LOG.info("no task values here: %s", error)
            return
        for name, value in told.items():
            dbutils.jobs.taskValues.set(key=name, value=value)
