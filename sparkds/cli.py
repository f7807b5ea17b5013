"""Command line: ``sparkds JOB --input … --output … --config …``, one JSON object on standard output.

Parses, loads the configuration, gets a session, runs the job, prints its status. Logs and progress go to standard error.
"""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from datetime import UTC, date, datetime
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType, ModuleType
from typing import Any, Final
from zipfile import ZipFile

import click

from sparkds import __version__, config, sessions, task_values
from sparkds.errors import ConfigError, SparkdsError, WindowError, closest
from sparkds.jobs.status import JobResult, as_json, completed, failed
from sparkds.locations import stand_in

JOBS: Final = {
    "feature_engineering_pipeline": "sparkds.jobs.feature_engineering_pipeline",
    "experiment_analyzer": "sparkds.jobs.experiment_analyzer",
    "experiment_designer": "sparkds.jobs.experiment_designer",
    "model_trainer": "sparkds.jobs.model_trainer",
    "model_evaluation_suite": "sparkds.jobs.model_evaluation_suite",
    "model_promoter": "sparkds.jobs.model_promoter",
    "batch_scorer": "sparkds.jobs.batch_scorer",
}
"""Job name to the module that has its ``Config``, ``HELP`` and ``run``; imported when it is called."""

JOB_HELP: Final = {
    "feature_engineering_pipeline": "Rolling RFM and aggregation features into Delta tables.",
    "experiment_analyzer": "Experiments: units, statistics, effects, checks and decisions into Delta tables.",
    "experiment_designer": "Sample size, duration, looks and plan of an experiment.",
    "model_trainer": "Train a model beside its baselines, and register it in MLflow.",
    "model_evaluation_suite": "Evaluate models on labelled rows, judge them by gates, and promote the one that passes.",
    "model_promoter": "Make the version that was evaluated last the champion, if every gate passed.",
    "batch_scorer": "Score a table with a registered model, into a Delta table.",
}

GROUPS: Final = {"bundle": "sparkds.bundle.command_line", "features": "sparkds.feature_commands"}
"""Group of commands to the module that has it; imported when it is called."""

LATEST: Final = "latest"
"""Value of --as-of that means the last complete day, for places where every parameter must have a value."""

LOG = logging.getLogger("sparkds")


def _day(ctx: click.Context, param: click.Parameter, value: str | None) -> date | None:
    """Parse a day written as YYYY-MM-DD, or end with a usage error."""
    if value is None or (param.name == "as_of" and value == LATEST):
        return None
    try:
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", value):
            return date.fromisoformat(value)
        told = ""
    except ValueError as error:
        told = f" ({error})"
    raise click.BadParameter(
        f"{value!r} is not a date{told}; write it as YYYY-MM-DD{' or ' + LATEST if param.name == 'as_of' else ''}", ctx, param
    )


class Commands(click.Group):
    """Commands with the jobs first; an unknown one is answered with the nearest."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Jobs, then the other commands."""
        return [*JOBS, *super().list_commands(ctx), *GROUPS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Command of a name; None if there is none."""
        if cmd_name in GROUPS:
            found: click.Command = getattr(_module(GROUPS[cmd_name]), cmd_name)
            return found
        return _job_command(cmd_name) if cmd_name in JOBS else super().get_command(ctx, cmd_name)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or end with a usage error that names the nearest one."""
        names = self.list_commands(ctx)
        if args and args[0] not in names and not args[0].startswith("-"):
            raise click.UsageError(f"no command '{args[0]}'{closest(args[0], names)} (commands: {', '.join(names)})", ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="sparkds", message="%(prog)s %(version)s")
def commands() -> None:
    """Batch analytics at Spark scale: features, experiments, models, drift, causal effects."""


def _job_command(job: str) -> click.Command:
    options: list[Callable[[Any], Any]] = [
        click.option("--input", "-i", required=True, help="location of the sources: a directory or catalog.schema"),
        click.option("--output", "-o", required=True, help="location of the results: a directory or catalog.schema"),
        click.option("--config", "-c", "config_path", type=click.Path(), help="YAML file"),
        click.option("--verbose", "-v", is_flag=True, help="show stages, timings and tracebacks"),
        click.option("--as-of", callback=_day, metavar="DATE", help="newest day; the last complete one if absent or 'latest'"),
        click.option("--start", callback=_day, metavar="DATE", help="first day of a backfill"),
        click.option("--end", callback=_day, metavar="DATE", help="last day of a backfill"),
        click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="one key of the configuration, e.g. windows=[7,30]"),
        click.option("--allow-incomplete", is_flag=True, help="compute days whose data are not complete, and mark the rows"),
        click.option("--rebuild", is_flag=True, help="compute the asked days again, whatever is stored"),
        click.option("--session", "kind", type=click.Choice(["classic", "connect"]), help="kind of a local session"),
        click.option("--master", help="Spark master of a local session, e.g. local[4] or sc://host"),
    ]

    def run(**given: Any) -> None:
        if given["as_of"] and (given["start"] or given["end"]):
            raise click.UsageError("give --as-of, or --start and --end, not both")
        raise SystemExit(run_job(job, checkout=click.get_current_context().obj, **given))

    for option in reversed(options):
        run = option(run)
    return click.command(name=job, help=JOB_HELP.get(job), short_help=JOB_HELP.get(job))(run)


@commands.command(short_help="Print the JSON schema of a job's configuration.")
@click.argument("job")
def schema(job: str) -> None:
    """Print the JSON schema of a job's configuration."""
    if job not in JOBS:
        raise click.UsageError(f"no job '{job}'{closest(job, JOBS)} (jobs: {', '.join(JOBS)})")
    with _errors_told():
        click.echo(json.dumps(config.schema(_module(JOBS[job]).Config), indent=2, ensure_ascii=False))


@commands.command(short_help="Run the feature pipeline on real transactions (CDNOW).")
@click.option("--output", "-o", default="results/demo", show_default=True, help="directory for tables and figures")
def demo(output: str) -> None:
    """Run the feature pipeline on real transactions (CDNOW) and show what it wrote."""
    with _errors_told():
        raise SystemExit(_module("sparkds.demo").show(output))


@commands.command(name="demo-experiment", short_help="Analyse a salted A/A test over the customers of CDNOW.")
@click.option("--output", "-o", default="results/demo_experiment", show_default=True, help="directory for tables")
def demo_experiment(output: str) -> None:
    """Assign CDNOW's customers to two arms by a salted hash, analyse what they spent, and show what it wrote."""
    with _errors_told():
        raise SystemExit(_module("sparkds.demo_experiment").show(output))


def run_job(
    job: str,
    *,
    input: str,
    output: str,
    config_path: str | None,
    verbose: bool,
    as_of: date | None,
    start: date | None,
    end: date | None,
    overrides: Sequence[str],
    allow_incomplete: bool,
    rebuild: bool,
    kind: sessions.Kind | None,
    master: str | None,
    checkout: Path | None = None,
) -> int:
    """Run a job and print its status.

    Days, then the configuration are checked before there is a session. An error that the package raises on purpose is
    told in one line, with its traceback if `verbose`; any other error with its traceback. The package is sent to the workers
    when it is not installed but imported from `checkout`.

    Returns
    -------
    int
        Exit code: 0 completed, 1 failed.
    """

    def result() -> JobResult:
        if start and end and start > end:
            raise WindowError(f"--start {start} is after --end {end}: there is no day to compute; exchange them")
        module = _module(JOBS[job])
        declared = config.load(module.Config, config_path, overrides=overrides)
        spark = sessions.session(f"sparkds {job}", kind=kind, master=master)
        LOG.info("%s", json.dumps(sessions.environment(spark)))
        with sessions.progress(spark) if verbose else nullcontext(), _known_to_workers(spark, checkout):
            done: JobResult = module.run(
                config=declared,
                input=stand_in(input),
                output=stand_in(output),
                spark=spark,
                as_of=as_of,
                start=start,
                end=end,
                allow_incomplete=allow_incomplete,
                rebuild=rebuild,
            )
        for warning in done.warnings:
            LOG.warning("%s", warning)
        task_values.tell({"processed_items": done.processed_items, **done.values})
        return done

    started, clock = datetime.now(UTC), time.monotonic()
    with _stderr_apart(), _stdout_kept(), _logging_to_stderr(verbose):
        LOG.info("sparkds %s", __version__)  # before anything can fail: which wheel this is
        try:
            with _terminable():
                status = completed(job, started, result())
        except SparkdsError as error:
            status = failed(job, started, error)
            LOG.error("%s: %s", type(error).__name__, error, exc_info=verbose)
        except (Exception, KeyboardInterrupt, SystemExit) as error:
            status = failed(job, started, error)
            traceback.print_exc(file=sys.stderr)
        LOG.info("%s %s in %.1f s", job, status["status"], time.monotonic() - clock)
    click.echo(as_json(status))
    return 0 if status["status"] == "completed" else 1


def _module(name: str) -> ModuleType:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != "pyspark":
            raise
        raise ConfigError("pyspark is not installed; on a laptop: pip install 'sparkds[local]'") from error


@contextmanager
def _known_to_workers(spark: Any, checkout: Path | None) -> Iterator[None]:
    """Let Spark's Python workers import the package from a checkout, for as long as the block runs."""
    if checkout is None:
        yield
        return
    with TemporaryDirectory() as folder:
        archive = Path(folder, "sparkds.zip")
        with ZipFile(archive, "w") as packed:
            for module in sorted(checkout.glob("sparkds/**/*.py")):
                packed.write(module, module.relative_to(checkout))
        spark.addArtifacts(str(archive), pyfile=True)
        yield


@contextmanager
def _errors_told() -> Iterator[None]:
    """Tell an error of the package in one line on standard error, and end with 1."""
    try:
        yield
    except SparkdsError as error:
        raise click.ClickException(str(error)) from error


@contextmanager
def _logging_to_stderr(verbose: bool) -> Iterator[None]:
    """Send the package's log to standard error: warnings, and what happens if `verbose`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
    before = LOG.level, LOG.propagate
    LOG.addHandler(handler)
    LOG.propagate = False
    LOG.setLevel(logging.INFO if verbose else logging.WARNING)
    try:
        yield
    finally:
        LOG.removeHandler(handler)
        LOG.level, LOG.propagate = before


@contextmanager
def _stderr_apart() -> Iterator[None]:
    """Reach the standard error of spark-submit, which sends both outputs of a script to its standard output."""
    if "PYSPARK_GATEWAY_PORT" not in os.environ or sessions.on_databricks() or not os.path.sameopenfile(1, 2):
        yield
        return
    from pyspark import java_gateway as untyped

    java: Any = untyped
    printer = java.launch_gateway().jvm.java.lang.System.err
    outgoing, incoming = os.pipe()
    kept = os.dup(2)
    os.dup2(incoming, 2)
    os.close(incoming)

    def forward() -> None:
        with os.fdopen(outgoing, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                printer.println(line.rstrip("\n"))

    forwarder = threading.Thread(target=forward, name="sparkds-stderr", daemon=True)
    forwarder.start()
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)
        forwarder.join(timeout=10)


@contextmanager
def _stdout_kept() -> Iterator[None]:
    """Keep standard output for the status: what Python, a library or the JVM prints meanwhile goes to standard error."""
    kept = _moved_to_stderr()
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        if kept is not None:
            os.dup2(kept, 1)
            os.close(kept)


def _moved_to_stderr() -> int | None:
    """Let descriptor 1 mean standard error; give a descriptor of what it was, None where there is no such thing."""
    if sys.__stdout__ is None or sys.__stderr__ is None:  # closed by who started the process; 1 or 2 may be anything now
        return None
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    return kept


@contextmanager
def _terminable() -> Iterator[None]:
    """Turn SIGTERM into an error of the run, so that its status says it failed; a second one is not heard."""

    def stop(number: int, frame: FrameType | None) -> None:
        del frame
        signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt(f"stopped by {signal.Signals(number).name}; what was committed stays, run again to complete it")

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not in the main thread, where signals cannot be taken
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def main(argv: Sequence[str] | None = None, *, checkout: Path | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        ``sys.argv[1:]`` if absent.
    checkout : Path, optional
        Folder that holds the package, if it is not installed.

    Returns
    -------
    int
        0 completed, 1 failed, 2 bad command line.

    Examples
    --------
    >>> main(["--version"])
    sparkds 0.1.0
    0
    """
    arguments = None if argv is None else list(argv)
    try:
        commands.main(args=arguments, prog_name="sparkds", standalone_mode=False, obj=checkout)
    except click.exceptions.Abort:
        return 1
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


def entry() -> None:
    """Console script: `main`, ending the process with its exit code."""
    sys.exit(main())
