import subprocess
import sys
from datetime import date

import numpy as np
import pandas as pd
import pytest

from sparkds.errors import ColumnError, ConfigError, DataError
from sparkds.figures import recency_frequency_heatmap, segments_over_time

COUNTS = pd.DataFrame(
    [
        (date(2026, 5, 31), "champions", 10),
        (date(2026, 5, 31), "lost", 30),
        (date(2026, 6, 30), "champions", 15),
        (date(2026, 6, 30), "lost", 40),
        (date(2026, 6, 30), "at_risk", 45),
        (date(2026, 6, 30), None, 900),
    ],
    columns=["as_of", "rfm_segment", "n"],
)
CELLS = pd.DataFrame(
    [(5, 1, 30, 10.0), (5, 1, 10, 50.0), (1, 5, 60, 12.5), (None, None, 900, None)], columns=["r_score", "f_score", "n", "monetary"]
)


def texts(axes):
    return [text.get_text() for text in axes.texts]


def bands(axes):
    """Height of each band on each day, from below: name to array."""
    heights = {}
    for band in axes.collections:
        x, y = band.get_paths()[0].vertices.T
        heights[band.get_label()] = np.array([np.ptp(y[x == place]) for place in sorted(set(x))])
    return heights


def test_bands_are_the_shares_of_the_segments_on_each_day():
    (axes,) = segments_over_time(COUNTS).axes
    shares = bands(axes)
    np.testing.assert_allclose(shares["champions"], [25, 15])
    np.testing.assert_allclose(shares["lost"], [75, 40])
    np.testing.assert_allclose(shares["at_risk"], [0, 45])


def test_bands_are_named_beside_their_end_with_their_last_share():
    (axes,) = segments_over_time(COUNTS).axes
    assert {"champions  15 %", "lost  40 %", "at risk  45 %"} <= set(texts(axes))


def test_the_segment_that_is_largest_at_the_end_is_at_the_bottom():
    (axes,) = segments_over_time(COUNTS).axes
    assert list(bands(axes)) == ["at_risk", "lost", "champions"]


def test_a_given_order_is_from_top_to_bottom_and_the_others_come_below():
    (axes,) = segments_over_time(COUNTS, order=["champions", "unheard_of", "at_risk"]).axes
    assert list(bands(axes)) == ["lost", "at_risk", "champions"]


def test_axes_and_title_say_what_is_drawn_of_whom_and_when():
    (axes,) = segments_over_time(COUNTS).axes
    assert "%" in axes.get_ylabel()
    assert "as_of" in axes.get_xlabel()
    assert axes.get_title(loc="left") == "100 customers on 2026-06-30  ·  2 snapshots, 2026-05-31 to 2026-06-30"
    assert "RFM segments over time" in texts(axes)


def test_one_day_is_drawn_too():
    (axes,) = segments_over_time(COUNTS[COUNTS["as_of"] == date(2026, 6, 30)]).axes
    np.testing.assert_allclose(bands(axes)["lost"], [40, 40])
    assert axes.get_xlabel() == "snapshot of 2026-06-30"


def test_names_of_thin_bands_do_not_cover_each_other():
    names = [f"segment_{i}" for i in range(10)]
    thin = pd.DataFrame({"as_of": date(2026, 6, 30), "rfm_segment": names, "n": [1] * 9 + [991]})
    for frame in (thin, thin.assign(n=[991] + [1] * 9)):
        (axes,) = segments_over_time(frame).axes
        heights = sorted(text.xyann[1] for text in axes.texts if "%" in text.get_text())
        assert len(heights) == 10
        assert np.diff(heights).min() > 3
        assert heights[-1] < 100


def test_cells_have_number_share_and_weighted_mean_value():
    axes = recency_frequency_heatmap(CELLS).axes[0]
    told = texts(axes)
    assert "40\n40.0 %\n⌀ 20.00" in told
    assert "60\n60.0 %\n⌀ 12.50" in told
    assert told.count("–") == 23


def test_recency_goes_to_the_right_and_frequency_upwards():
    axes = recency_frequency_heatmap(CELLS).axes[0]
    places = {text.get_text().splitlines()[0]: text.get_position() for text in axes.texts}
    assert places["40"] == (4, 0)
    assert places["60"] == (0, 4)
    assert axes.get_ylim()[0] < axes.get_ylim()[1]
    assert "recency" in axes.get_xlabel()
    assert "frequency" in axes.get_ylabel()


def test_the_value_is_left_out_when_it_is_not_given():
    axes = recency_frequency_heatmap(CELLS.drop(columns="monetary")).axes[0]
    assert "40\n40.0 %" in texts(axes)
    assert axes.get_title(loc="left") == "100 customers with a purchase  ·  number, share in each cell"


def test_the_scale_of_colours_has_a_label_with_its_unit():
    _, bar = recency_frequency_heatmap(CELLS).axes
    assert bar.get_ylabel() == "share of customers (%)"


@pytest.mark.parametrize(("draw", "frame"), [(segments_over_time, COUNTS), (recency_frequency_heatmap, CELLS)])
def test_a_figure_is_written_as_a_picture(draw, frame, tmp_path):
    path = tmp_path / "figure.png"
    draw(frame).savefig(path)
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert path.stat().st_size > 10_000


@pytest.mark.parametrize(
    ("draw", "frame", "column"),
    [(segments_over_time, COUNTS, "rfm_segment"), (recency_frequency_heatmap, CELLS, "f_score"), (recency_frequency_heatmap, CELLS, "n")],
)
def test_a_missing_column_is_told(draw, frame, column):
    with pytest.raises(ColumnError, match=f"column '{column}' not found in the counts to draw"):
        draw(frame.drop(columns=column))


@pytest.mark.parametrize(("draw", "frame"), [(segments_over_time, COUNTS), (recency_frequency_heatmap, CELLS)])
def test_nothing_to_draw_is_told(draw, frame):
    with pytest.raises(DataError, match="nothing to draw"):
        draw(frame[frame["n"] > 800])
    with pytest.raises(DataError, match="nothing to draw"):
        draw(frame.iloc[:0])


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ConfigError, match=r"pip install 'sparkds\[plots\]'"):
        segments_over_time(COUNTS)


def test_importing_and_drawing_leave_the_global_state_of_matplotlib_alone():
    code = (
        "import sys, pandas as pd, sparkds.figures as figures\n"
        "assert 'matplotlib' not in sys.modules\n"
        "figures.recency_frequency_heatmap(pd.DataFrame({'r_score': [1], 'f_score': [1], 'n': [1]})).savefig(sys.argv[1])\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
        "print('done')"
    )
    done = subprocess.run([sys.executable, "-c", code, "/dev/null"], capture_output=True, text=True, check=False)
    assert done.stdout == "done\n", done.stderr
