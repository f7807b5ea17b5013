"""Notebooks: parameters and figures of a notebook, the same on Databricks, headless and on a laptop.

Takes defaults and gives what widgets, a workflow or ``SPARKDS_WIDGETS`` say; shows a figure where there is somebody to look, else keeps it.
"""

from __future__ import annotations

import io
import json
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sparkds import __version__
from sparkds.errors import ConfigError, closest
from sparkds.locations import is_directory, stand_in

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDGETS: Final = "SPARKDS_WIDGETS"
"""Variable with a JSON object of parameters, for a run without anybody at it."""


def parameters(**defaults: str) -> dict[str, str]:
    """Parameters of a notebook; which wheel it runs is told first, on standard error.

    On Databricks each is a text widget, which a workflow's ``base_parameters`` fill in; elsewhere the defaults hold, with what the JSON
    object in ``SPARKDS_WIDGETS`` says instead.

    Parameters
    ----------
    **defaults : str
        Values for a laptop.

    Returns
    -------
    dict of str to str

    Raises
    ------
    ConfigError
        ``SPARKDS_WIDGETS`` is no JSON object, or names a parameter that the notebook does not have.

    Examples
    --------
    >>> parameters(tables="results/notebooks/tables")
    {'tables': 'results/notebooks/tables'}
    """
    sys.stderr.write(f"sparkds {__version__}\n")
    if "DATABRICKS_RUNTIME_VERSION" in os.environ:
        from databricks.sdk.runtime import dbutils

        for name, value in defaults.items():
            dbutils.widgets.text(name, value)
        return {name: str(dbutils.widgets.get(name)) for name in defaults}
    text = os.environ.get(WIDGETS) or "{}"
    try:
        told = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"{WIDGETS} is a JSON object of parameters, this cannot be read ({error}): {text}") from error
    if not isinstance(told, dict):
        raise ConfigError(f"{WIDGETS} is a JSON object of parameters, this is a {type(told).__name__}: {text}")
    for name, value in told.items():
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ConfigError(f"{WIDGETS}: parameter '{name}' is a text or a number, this is {json.dumps(value)}")
        if name not in defaults:
            there = f"{closest(name, defaults)} (parameters: {', '.join(defaults)})"
            raise ConfigError(f"{WIDGETS}: the notebook has no parameter '{name}'{there}")
    return {**defaults, **{name: str(value) for name, value in told.items()}}


def location(told: str, *, dataset: str = "", customers: float = 1.0) -> str:
    """Location of a parameter; on a laptop, its directory, in which real data are put if there are none.

    Parameters
    ----------
    told : str
        Directory, volume or ``catalog.schema``.
    dataset : {"", "cdnow"}
        ``cdnow`` puts ``transactions.csv`` and ``exposures.csv`` into a directory that has neither.
    customers : float
        Share of CDNOW's customers.
    """
    place = stand_in(told)
    if dataset == "cdnow" and is_directory(place) and "DATABRICKS_RUNTIME_VERSION" not in os.environ:
        from sparkds.datasets import write_cdnow
        from sparkds.demo_experiment import write_exposures

        if not Path(place, "transactions.csv").exists() and not Path(place, "transactions").exists():
            write_cdnow(place, customers=customers)
        if not Path(place, "exposures.csv").exists() and not Path(place, "exposures").exists():
            write_exposures(Path(place), share=customers)
    return place


def show(figure: Figure, name: str, *, beside: str) -> Path | None:
    """Show a figure in a notebook; without one, keep it as ``<beside>/<name>.png`` and give that path.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    name : str
    beside : str
        Location of the results; a temporary folder stands in for one that is no local directory.
    """
    if "IPython" in sys.modules:
        ipython = sys.modules["IPython"]
        if ipython.get_ipython() is not None:
            picture = io.BytesIO()
            figure.savefig(picture, format="png")  # made without pyplot, so that nothing else would draw it
            ipython.display.display(ipython.display.Image(data=picture.getvalue()))
            return None
    is_local = is_directory(beside) and not re.match(r"[a-z0-9]+:", beside)
    folder = Path(beside) if is_local else Path(tempfile.mkdtemp(prefix="sparkds-figures-"))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.png"
    figure.savefig(path)
    sys.stdout.write(f"figure: {path}\n")
    return path


def shown(rows: Any) -> None:
    """Print a small DataFrame, or display it where a notebook has a table for it."""
    display = getattr(sys.modules.get("__main__"), "display", None)
    if display is not None and "DATABRICKS_RUNTIME_VERSION" in os.environ:
        display(rows)
    else:
        rows.show(truncate=False)
