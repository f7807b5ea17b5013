"""Demo of the road: profile, windows, history, derived features, training set, selection, leakage report, registry.

Runs the feature job once more over the demo's tables, by the command line, with all its stages, and prints what each says.
"""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from sparkds.demo import JOB, run_shown, say

CONFIG: Final = "cdnow_road"


def show(root: Path) -> int:
    """Go the road and print; 0, or 1 when the job failed.

    Parameters
    ----------
    root : Path
        Of the demo: ``data/`` and ``tables/`` are there.
    """
    say("\n3. the whole road: profile, windows, history, derived features, training set, selection, leakage, registry")
    config = root / "road.yml"
    config.write_text(files("sparkds.datasets").joinpath(f"{CONFIG}.yml").read_text(encoding="utf-8"), encoding="utf-8")
    status, seconds = run_shown(JOB, "--input", str(root / "data"), "--output", str(root / "tables"), "--config", str(config))
    if status["status"] != "completed":
        return 1
    say(f"   {seconds:.1f} s")
    for title, lines in told(status).items():
        say(f"\n   {title}")
        for line in lines:
            say(f"      {line}")
    say("")
    for arguments in (["list"], ["lineage", "features_generated.amount_trend"]):
        _features(*arguments, "--output", str(root / "tables"))
    return 0


def told(status: dict[str, Any]) -> dict[str, list[str]]:
    """What the stages say, in lines by title."""
    made, chosen, leaks, registered = (status[name] for name in ("training_set", "select", "leakage", "register"))
    rates = ", ".join(f"{table} {rate:.1%}" for table, rate in made["match_rate"].items())
    found = leaks["found"] or ["nothing"]
    return {
        "training set": [f"{made['rows']:,} rows of {len(made['cutoffs'])} month-ends; features were known for: {rates}"],
        "selection": [f"{len(chosen['features'])} features kept: {', '.join(chosen['features'])}", f"dropped: {chosen['dropped']}"],
        "leakage": [*found, f"report: {leaks['report']}"],
        "registry": [f"{registered['feature_table']}@{registered['version']}, {registered['columns']} columns"],
    }


def _features(*arguments: str) -> None:
    from sparkds import cli

    say("   $ sparkds features " + " ".join(arguments))
    text = io.StringIO()
    with redirect_stdout(text):
        cli.main(["features", *arguments])
    for line in text.getvalue().splitlines():
        say(f"      {line}")
