"""History on Spark: dense snapshots of any day from it are the snapshots, row for row, at a bounded number of rows and one exchange."""

from datetime import date
from itertools import pairwise

import pytest

from sparkds.features import RFM
from sparkds.features.change_points import stored_names, window_days
from sparkds.features.history import history_frame, snapshots_of_history_frame
from tests.features.test_snapshots import DAYS, KEYS, SPEC, frame_of, random_events, rows_of

LAST = date(2026, 4, 20)
WITH_RFM = SPEC.model_copy(update={"rfm": RFM(value="amount", frequency="orders", order_id="item", monetary="mean", window=5)})
COVERED = [*DAYS, date(2026, 3, 24), date(2026, 4, 1), date(2026, 4, 2), LAST]


@pytest.fixture(scope="module")
def tiles(spark, tmp_path_factory):
    """Tiles of the big feature set, stored."""
    path = str(tmp_path_factory.mktemp("tiles") / "t")
    WITH_RFM.tiles(frame_of(spark, random_events())).write.parquet(path)
    return spark.read.parquet(path)


@pytest.fixture(scope="module")
def history(spark, tiles, tmp_path_factory):
    """Their history, stored."""
    path = str(tmp_path_factory.mktemp("history") / "h")
    history_frame(WITH_RFM, tiles, last=LAST).write.parquet(path)
    return spark.read.parquet(path)


def test_snapshots_read_from_the_history_are_the_snapshots_for_every_kind(tiles, history):
    assert history.columns == [*KEYS, "valid_from", "valid_to", "known_at", *stored_names(WITH_RFM)]
    expected = WITH_RFM.snapshots(tiles, COVERED)
    got = snapshots_of_history_frame(WITH_RFM, history, COVERED)
    assert got.dtypes == expected.dtypes
    assert rows_of(got) == rows_of(expected)


def test_rows_follow_each_other_without_gap_and_differ(tiles, history):
    n_tiles = tiles.count()
    by_key = {}
    for row in history.orderBy(*KEYS, "valid_from").collect():
        by_key.setdefault((row["shop"], row["customer"]), []).append(row.asDict())
    n_rows = sum(map(len, by_key.values()))
    assert n_rows <= (len(window_days(WITH_RFM)) + 1) * n_tiles
    for rows in by_key.values():
        for row, following in pairwise(rows):
            assert (following["valid_from"] - row["valid_to"]).days == 1
            assert any(row[name] != following[name] for name in stored_names(WITH_RFM))
        assert rows[-1]["valid_to"] is None
