"""The demo: through the command line, in a process of its own, as `make demo` runs it."""

import subprocess
import sys

import pytest


@pytest.mark.slow
def test_the_demo_writes_tables_and_pictures_and_says_what_it_did(tmp_path):
    command = [sys.executable, "-m", "sparkds", "demo", "--output", str(tmp_path / "demo")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    for sentence in (
        "CDNOW: 69,659 transactions",
        "67,536 rows written",
        "41 snapshot days",
        "1 snapshot day,",
        "champions",
        "235,700 rows of 10 month-ends; features were known for: features_generated 100.0%",
        "features kept: ",
        "features_generated@1",
        "<- transactions.amount",
        "MISSED  auc",
        "report: ",
        "top prospects on 1998-06-30",
        "done in",
    ):
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


@pytest.mark.slow
def test_the_experiment_demo_has_the_figures_that_plain_python_gives(tmp_path):
    import numpy as np

    from sparkds.datasets import cdnow
    from sparkds.demo_experiment import EXPERIMENT, EXPOSED_AT

    command = [sys.executable, "-m", "sparkds", "demo-experiment", "--output", str(tmp_path / "demo")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    exposed = EXPOSED_AT.date()
    after, before = {}, {}
    for transaction in cdnow():
        days = (transaction.date - exposed).days
        after.setdefault(transaction.customer_id, 0.0)
        before.setdefault(transaction.customer_id, 0.0)
        if 0 <= days < 182:
            after[transaction.customer_id] += float(transaction.amount)
        if -181 <= days < 0:
            before[transaction.customer_id] += float(transaction.amount)
    arm = np.array([EXPERIMENT.arm_of(c) for c in after])
    y, x = np.array(list(after.values())), np.array(list(before.values()))
    plain = next(line for line in ended.stdout.splitlines() if line.split()[:2] == ["revenue", "unadjusted"]).split()
    assert plain[2:4] == [f"{y[arm == 'a'].mean():.3f}", f"{y[arm == 'b'].mean():.3f}"]
    bought_before = {t.customer_id for t in cdnow() if -181 <= (t.date - exposed).days < 0}
    absent = np.array([float(c not in bought_before) for c in after])
    within = np.column_stack([x, absent])
    for a in "ab":
        within[arm == a] -= within[arm == a].mean(axis=0)
    centred = y - np.where(arm == "a", y[arm == "a"].mean(), y[arm == "b"].mean())
    theta = np.linalg.lstsq(within, centred, rcond=None)[0]
    saved = 1 - ((centred - within @ theta) ** 2).sum() / (centred**2).sum()
    assert f"{saved:.1%}" in ended.stdout
    assert "sample ratio: ok" in ended.stdout
