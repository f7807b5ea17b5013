"""Command line of bundles: ``sparkds bundle check`` and ``sparkds bundle run``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from sparkds.errors import SparkdsError


def _pairs(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """``NAME=VALUE`` given several times, as a mapping."""
    told = {}
    for value in values:
        name, sign, text = value.partition("=")
        if not sign or not name:
            raise click.BadParameter(f"{value!r} is not NAME=VALUE", ctx, param)
        told[name] = text
    return told


@click.group(short_help="Check and run an asset bundle without a workspace.")
def bundle() -> None:
    """Check and run an asset bundle (Declarative Automation Bundle) without a workspace."""


@bundle.command(short_help="Hold a bundle against all rules.")
@click.argument("path", default=".", type=click.Path())
@click.option("--target", "-t", "targets", multiple=True, help="target; all if absent")
@click.option("--var", "variables", multiple=True, callback=_pairs, metavar="NAME=VALUE", help="value given at deployment")
@click.option("--inputs", type=click.Path(), help="tables that are there before any job; local_run.yml of the bundle if absent")
@click.option("--build/--no-build", "builds", default=True, help="build the wheel first, or take the one in dist/", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="print findings as JSON")
def check(path: str, targets: tuple[str, ...], variables: dict[str, str], inputs: str | None, builds: bool, as_json: bool) -> None:
    """Hold a bundle against all rules: variables, references, types, commands, tables, wheel, runtimes, production.

    Exit code 1 if one is broken.
    """
    from sparkds.bundle import checking, typed_models
    from sparkds.bundle.documents import read_bundle

    try:
        found = checking.check(path, targets=targets, variables=variables, builds=builds, inputs=inputs)
        names = targets or read_bundle(path).target_names
    except SparkdsError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps([finding._asdict() for finding in found], indent=1))
    else:
        for finding in found:
            click.echo(str(finding))
        if not typed_models.is_installed():
            click.echo("types of fields were not checked: pip install databricks-bundles", err=True)
        n = len(found)
        told = f"{n} finding{'s' if n != 1 else ''}" if found else "nothing found"
        click.echo(f"{told}: {len(checking.RULES)} rules, targets {', '.join(names)}", err=True)
    raise SystemExit(1 if found else 0)


@bundle.command(short_help="Run a job of a bundle on local Spark.")
@click.argument("path", default=".", type=click.Path())
@click.option("--target", "-t", help="target; the default one if absent")
@click.option("--job", "-j", required=True, help="key of the job")
@click.option(
    "--session", type=click.Choice(["classic", "connect"]), default="classic", show_default=True, help="kind of the Spark sessions"
)
@click.option("--from", "first", metavar="TASK", help="repair the last run from this task on")
@click.option("--serverless", is_flag=True, help="refuse what serverless compute refuses (needs --session connect)")
@click.option("--var", "variables", multiple=True, callback=_pairs, metavar="NAME=VALUE", help="variable of the bundle")
@click.option("--param", "parameters", multiple=True, callback=_pairs, metavar="NAME=VALUE", help="parameter of the job")
@click.option("--folder", type=click.Path(path_type=Path), help="tables, logs and states; results/bundle/<target> if absent")
@click.option("--customers", type=click.FloatRange(0, 1, min_open=True), default=1.0, show_default=True, help="share of CDNOW's customers")
@click.option("--build/--no-build", "builds", default=True, help="build the wheel first, or take the one in dist/", show_default=True)
@click.option("--python", type=click.Path(exists=True), help="interpreter that has the wheel already; an own environment if absent")
@click.option("--inputs", type=click.Path(), help="tables that are there before any job; local_run.yml of the bundle if absent")
def run(
    path: str,
    target: str | None,
    job: str,
    session: str,
    first: str | None,
    serverless: bool,
    variables: dict[str, str],
    parameters: dict[str, str],
    folder: Path | None,
    customers: float,
    builds: bool,
    python: str | None,
    inputs: str | None,
) -> None:
    """Run a job's tasks in graph order on local Spark, by the wheel just built in an environment of its own.

    Exit code 1 if the job fails.
    """
    from sparkds.bundle import engine, running
    from sparkds.bundle.serverless import MEMORY_NOTE

    try:
        ran = running.run_job(
            path,
            target=target,
            job=job,
            session="connect" if session == "connect" else "classic",
            first=first,
            refuses=serverless,
            variables=variables,
            parameters=parameters,
            folder=folder,
            customers=customers,
            builds=builds,
            python=python,
            inputs=inputs,
            tell=lambda text: click.echo(text, err=True),
        )
    except SparkdsError as error:
        raise click.ClickException(str(error)) from error
    for line in engine.summary(ran.outcomes):
        click.echo(line)
    click.echo(f"job {job}: {ran.state}; logs in {ran.logs}, tables in {ran.catalogs}")
    if serverless:
        click.echo(f"note: {MEMORY_NOTE}", err=True)
    raise SystemExit(1 if ran.state == engine.FAILED else 0)
