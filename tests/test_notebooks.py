"""Notebooks: their form, their parameters, and a run of each without anybody at it."""

import json
import re
import runpy
import sys
import types
from pathlib import Path

import pytest
from pydantic import ValidationError

from sparkds import __version__, notebooks
from sparkds.datasets import cdnow
from sparkds.errors import ConfigError, WindowError
from sparkds.tables import Tables

ROOT = Path(__file__).parents[1]
ALL = sorted((ROOT / "notebooks").glob("*.py"))
SHARE = "0.06"


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_a_notebook_is_in_source_format_short_and_takes_the_installed_wheel(path):
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# Databricks notebook source\n# MAGIC %md\n# MAGIC # ")
    assert "# COMMAND ----------\n" in text
    assert len(text.splitlines()) <= 125
    assert not re.search(r"sys\.path|%pip|!pip|dbutils\.fs|/dbfs|\.\./", text)
    assert "notebooks.parameters(" in text


def test_a_notebook_tells_first_which_wheel_it_runs(monkeypatch, capsys):
    monkeypatch.delenv("DATABRICKS_RUNTIME_VERSION", raising=False)
    monkeypatch.setenv(notebooks.WIDGETS, "{")
    with pytest.raises(ConfigError):
        notebooks.parameters(a="1")
    assert capsys.readouterr().err == f"sparkds {__version__}\n"


def test_parameters_are_the_defaults_with_what_the_variable_says_instead(monkeypatch):
    monkeypatch.delenv("DATABRICKS_RUNTIME_VERSION", raising=False)
    monkeypatch.delenv(notebooks.WIDGETS, raising=False)
    assert notebooks.parameters(a="1", b="2") == {"a": "1", "b": "2"}
    monkeypatch.setenv(notebooks.WIDGETS, '{"b": 3}')
    assert notebooks.parameters(a="1", b="2") == {"a": "1", "b": "3"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read"),
        ("[1]", "this is a list"),
        ('{"tables": null}', "parameter 'tables' is a text or a number, this is null"),
        ('{"tabels": "x"}', "the notebook has no parameter 'tabels'; did you mean 'tables'"),
    ],
)
def test_parameters_that_cannot_be_are_told(monkeypatch, text, message):
    monkeypatch.delenv("DATABRICKS_RUNTIME_VERSION", raising=False)
    monkeypatch.setenv(notebooks.WIDGETS, text)
    with pytest.raises(ConfigError, match=message):
        notebooks.parameters(tables="x")


def test_on_databricks_parameters_are_widgets(monkeypatch):
    made = {}
    widgets = types.SimpleNamespace(
        text=lambda name, value: made.setdefault(name, value), get=lambda name: {"b": "given"}.get(name, made[name])
    )
    runtime = types.ModuleType("databricks.sdk.runtime")
    runtime.dbutils = types.SimpleNamespace(widgets=widgets)
    monkeypatch.setitem(sys.modules, "databricks.sdk.runtime", runtime)
    monkeypatch.setenv("DATABRICKS_RUNTIME_VERSION", "17.3")
    assert notebooks.parameters(a="1", b="2") == {"a": "1", "b": "given"}
    assert made == {"a": "1", "b": "2"}


def test_a_directory_without_data_gets_the_share_of_cdnow_once(tmp_path, monkeypatch):
    monkeypatch.delenv("DATABRICKS_RUNTIME_VERSION", raising=False)
    place = notebooks.location(str(tmp_path), dataset="cdnow", customers=0.01)
    lines = (tmp_path / "transactions.csv").read_text().splitlines()
    customers = {line.split(",")[0] for line in lines[1:]}
    exposed = {line.split(",")[1] for line in (tmp_path / "exposures.csv").read_text().splitlines()[1:]}
    assert place == str(tmp_path)
    assert 150 < len(customers) < 330
    assert customers == exposed
    (tmp_path / "transactions.csv").write_text("kept")
    notebooks.location(str(tmp_path), dataset="cdnow")
    assert (tmp_path / "transactions.csv").read_text() == "kept"


def test_a_figure_is_kept_beside_the_results_where_nobody_looks(tmp_path):
    from sparkds.figures.canvas import canvas

    figure, _ = canvas(2, 2)
    assert notebooks.show(figure, "f", beside=str(tmp_path / "out")) == tmp_path / "out" / "f.png"
    assert (tmp_path / "out" / "f.png").read_bytes().startswith(b"\x89PNG")


def test_a_figure_is_shown_as_a_picture_where_somebody_looks(monkeypatch, tmp_path):
    from sparkds.figures.canvas import canvas

    shown = []
    display = types.SimpleNamespace(display=shown.append, Image=lambda data: ("image", data))
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: object(), display=display))
    assert notebooks.show(canvas(2, 2)[0], "f", beside=str(tmp_path)) is None
    assert shown[0][0] == "image"
    assert shown[0][1].startswith(b"\x89PNG")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def folder(spark, tmp_path_factory):
    return tmp_path_factory.mktemp("notebooks")


def headless(name, folder, **widgets):
    told = {"tables": str(folder / "tables"), **({} if name == "model" else {"raw": str(folder / "data")}), **widgets}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(notebooks.WIDGETS, json.dumps(told))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return runpy.run_path(str(ROOT / "notebooks" / f"{name}.py"), run_name="__main__")


def test_the_features_notebook_runs_headless(spark, folder, capsys):
    left = headless("features", folder, customers=SHARE)
    features = Tables(spark, str(folder / "tables")).read("features")
    assert features.select("as_of").distinct().count() == 13
    assert left["done"].processed_items > 3000
    assert "features: version 1, 19," in capsys.readouterr().out
    for name in ("segments_over_time", "recency_frequency"):
        assert (folder / "tables" / f"{name}.png").stat().st_size > 10_000


def test_the_readout_notebook_runs_headless_and_finds_nothing_in_an_a_a_test(spark, folder, capsys):
    left = headless("experiment_readout", folder, customers=SHARE)
    effects = left["effects"]
    assert set(effects["name"]) == {"revenue", "bought"}
    assert (effects["pvalue"] > 0.001).all()
    assert "sample_ratio" in capsys.readouterr().out
    assert (folder / "tables" / "effects.png").stat().st_size > 10_000


def test_the_model_notebooks_run_headless(spark, folder, capsys):
    headless("training_set", folder)
    assert "month-ends" in capsys.readouterr().out
    assert (folder / "tables" / "buyers_over_time.png").stat().st_size > 10_000
    days = {}
    for one in cdnow():
        days.setdefault(one.customer_id, []).append(one.date)
    stored = Tables(spark, str(folder / "tables")).read("training_set").select("customer_id", "as_of", "buys_in_90_days").collect()
    assert len({row["as_of"] for row in stored}) == 10
    for row in stored:
        assert row["buys_in_90_days"] == any(0 < (day - row["as_of"]).days <= 90 for day in days[row["customer_id"]])
    left = headless("model", folder, trees="20", model="notebook_buyers")
    n = Tables(spark, str(folder / "tables")).read("notebook_scores").count()
    assert n == left["scored"].processed_items > 1000
    assert left["trained"].sections["test"]["auc"] > 0.7
    assert (folder / "tables" / "roc.png").stat().st_size > 10_000


def test_a_training_set_without_a_month_end_whose_horizon_is_over_is_refused(spark, folder):
    with pytest.raises(WindowError, match=r"no cut-off is 900 days before 1998-06-30"):
        headless("training_set", folder, horizon_days="900")
    with pytest.raises(ValidationError, match=r"horizon_days\n\s+Input should be greater than or equal to 1"):
        headless("training_set", folder, horizon_days="0")
