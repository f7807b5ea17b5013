"""Canvas: the empty figure that every picture of the package starts from, and its title.

Takes sizes and texts and gives matplotlib objects; no backend is chosen and no global state of matplotlib is touched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sparkds.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK: Final = "#1b263b"
FAINT: Final = "#8d99ae"


def canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """Figure of a size in inches, with one pair of axes."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ConfigError("matplotlib is not installed; pip install 'sparkds[plots]'") from error
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes


def titled(axes: Axes, title: str, beneath: str) -> None:
    """Write a title, and beneath it of what, how many and when."""
    axes.set_title(beneath, loc="left", fontsize=9.5, color="#56637a", pad=8)
    axes.annotate(
        title, xy=(0, 1), xytext=(0, 26), xycoords="axes fraction", textcoords="offset points", fontsize=13, weight="bold", color=INK
    )
