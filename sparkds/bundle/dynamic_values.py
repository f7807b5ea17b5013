"""Dynamic values: ``{{…}}`` in the parameters of a job's tasks, which Databricks fills in when the job runs.

Takes a text and what is known of the run, and gives the text with values in place of references.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from sparkds.errors import ConfigError, closest

DYNAMIC: Final = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_.\-]*)\s*\}\}")
OF_TIME: Final = (
    "iso_date",
    "iso_datetime",
    "year",
    "month",
    "day",
    "hour",
    "minute",
    "second",
    "is_weekday",
    "timestamp_ms",
)
"""What can be asked of a time."""
OF_RUN: Final = (
    "job.id",
    "job.name",
    "job.run_id",
    "job.repair_count",
    "job.trigger.type",
    *(f"{time}.{name}" for time in ("job.start_time", "job.trigger.time") for name in OF_TIME),
    "task.name",
    "task.run_id",
    "task.execution_count",
    "workspace.id",
    "workspace.url",
    "backfill.iso_date",
    "backfill.iso_datetime",
)
"""References that every run can fill in."""


def names_in(text: str) -> Iterator[str]:
    """Names of the references of a text, in order.

    Examples
    --------
    >>> list(names_in("{{job.parameters.catalog}}.{{input.schema}}"))
    ['job.parameters.catalog', 'input.schema']
    """
    for match in DYNAMIC.finditer(text):
        yield match[1]


def filled(text: str, known: Mapping[str, Any]) -> str:
    """Text with the values of its references.

    Parameters
    ----------
    text : str
    known : mapping of str to value
        Name of a reference to its value; ``input`` may be a mapping, whose keys are then ``input.key``.

    Raises
    ------
    ConfigError
        A reference is not known.

    Examples
    --------
    >>> filled("{{input.start}}..{{input.end}}", {"input": {"start": "1997-07-01", "end": "1997-07-31"}})
    '1997-07-01..1997-07-31'
    """
    return DYNAMIC.sub(lambda match: _text(value_of(match[1], known)), text)


def value_of(name: str, known: Mapping[str, Any]) -> Any:
    """Value of one reference.

    Raises
    ------
    ConfigError
        It is not known.
    """
    if name in known:
        return known[name]
    head, _, key = name.partition(".")
    told = known.get(head)
    if head == "input" and isinstance(told, Mapping) and key in told:
        return told[key]
    names = [*known, *(f"input.{key}" for key in told)] if head == "input" and isinstance(told, Mapping) else list(known)
    raise ConfigError(f"{{{{{name}}}}} has no value here{closest(name, names)} (known: {', '.join(sorted(names))})")


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
