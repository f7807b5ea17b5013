"""The demo: through the command line, in a process of its own, as `make demo` runs it."""

import subprocess
import sys

import pytest


@pytest.mark.slow
def test_the_demo_writes_tables_and_pictures_and_says_what_it_did(tmp_path):
    command = [sys.executable, "-m", "sparkds", "demo", "--output", str(tmp_path / "demo")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    for sentence in ("CDNOW: 69,659 transactions", "67,536 rows written", "41 snapshot days", "1 snapshot day,", "champions", "done in"):
        assert sentence in ended.stdout
    for picture in ("segments_over_time.png", "recency_frequency.png"):
        assert (tmp_path / "demo" / picture).stat().st_size > 10_000


@pytest.mark.slow
def test_a_demo_that_fails_says_why_and_where_the_log_is(tmp_path):
    (tmp_path / "demo" / "tables" / "features").mkdir(parents=True)
    (tmp_path / "demo" / "tables" / "features" / "notes.txt").write_text("mine")
    command = [sys.executable, "-m", "sparkds", "demo", "--output", str(tmp_path / "demo")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "exists and is not a Delta table" in ended.stdout
    assert "log.txt" in ended.stdout
