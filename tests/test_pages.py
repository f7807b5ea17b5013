"""Pages and other texts for people who deploy: true to the code."""

import re
from pathlib import Path

import pytest
import yaml

from sparkds import cli, config, pages

ROOT = Path(__file__).parents[1]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


@pytest.mark.parametrize("job", cli.JOBS)
def test_the_page_of_a_job_is_what_the_code_says(job):
    path = ROOT / "docs" / "jobs" / f"{job}.md"
    there = path.read_text(encoding="utf-8")
    made = pages.page(job, pages.kept_outputs(there), (ROOT / "conf" / f"{job}.yml").read_text(encoding="utf-8"))
    assert there == made, "the page is stale; run `make docs`"
    assert (ROOT / "docs" / "jobs" / "README.md").read_text(encoding="utf-8") == pages.index(), "run `make docs`"


@pytest.mark.parametrize("job", cli.JOBS)
def test_a_page_tells_every_key_and_every_table(job):
    from importlib import import_module

    model = import_module(cli.JOBS[job]).Config
    there = (ROOT / "docs" / "jobs" / f"{job}.md").read_text(encoding="utf-8")
    schema = config.schema(model)
    for told in (schema, *schema.get("$defs", {}).values()):
        for key in told.get("properties", {}):
            assert f"| `{key}` |" in there
    for table in config.load(model, ROOT / "conf" / f"{job}.yml", environ={}).tables_written:
        assert f"### `{table}`" in there
    assert "\\\\|" not in there


def test_a_page_is_stale_when_a_key_changes(monkeypatch):
    job = "model_promoter"
    there = (ROOT / "docs" / "jobs" / f"{job}.md").read_text(encoding="utf-8")
    real = config.schema

    def renamed(model):
        told = real(model)
        told["properties"]["renamed"] = told["properties"].pop("evaluation")
        return told

    monkeypatch.setattr(pages.config, "schema", renamed)
    assert pages.page(job, pages.kept_outputs(there), "") != there


@pytest.mark.parametrize("name", ["github-actions.yml", "azure-pipelines.yml"])
def test_examples_of_ci_name_targets_of_make_and_of_the_bundle_and_validate_strictly(name):
    text = (ROOT / "docs" / "ci" / name).read_text(encoding="utf-8")
    assert isinstance(yaml.safe_load(text), dict)
    assert "databricks bundle validate --strict" in text
    assert re.search(r"databricks bundle plan .*-o json", text)
    assert re.search(r"target: \[staging, prod\]|split\('staging,prod'", text), "each target has its plan"
    for target in re.findall(r"make ([a-z-]+)", text):
        assert re.search(rf"^{target}:", MAKEFILE, re.M), target
    bundle = yaml.safe_load((ROOT / "databricks.yml").read_text(encoding="utf-8"))
    for target in re.findall(r"-t ([a-z_]+)", text):
        assert target in bundle["targets"], target
    assert not re.search(r"(?i)(password|secret|token): *['\"]?[A-Za-z0-9]{8,}", text)


def test_the_runbook_names_what_is_there():
    text = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    bundle = yaml.safe_load((ROOT / "databricks.yml").read_text(encoding="utf-8"))
    for target in bundle["targets"]:
        assert f"`{target}`" in text
    jobs = {path.name.split(".")[0] for path in (ROOT / "conf" / "bundle").glob("*.job.yml")}
    for job in re.findall(r"(?:--job|bundle run -t \w+) (\w+)", text):
        assert job in jobs, job
    for name in re.findall(r"--var (\w+)=", text):
        assert name == "name" or name in bundle["variables"], name
    for target in re.findall(r"make ([a-z-]+)", text):
        assert re.search(rf"^{target}:", MAKEFILE, re.M), target
