"""Command line: ``sparkds JOB --input … --output … --config …``, one JSON object on standard output.

Parses, loads the configuration, gets a session, runs the job, prints its status. Logs and progress go to standard error.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime
from importlib import import_module
from types import FrameType
from typing import Any, Final

import click

from sparkds import __version__, config, sessions
from sparkds.errors import SparkdsError, closest
from sparkds.jobs.status import as_json, completed, failed

JOBS: Final = {"feature_engineering_pipeline": "sparkds.jobs.feature_engineering_pipeline"}
"""Job name to the module that has its ``Config``, ``HELP`` and ``run``; imported when it is called."""

JOB_HELP: Final = {"feature_engineering_pipeline": "Rolling RFM and aggregation features into Delta tables."}

LOG = logging.getLogger("sparkds")


class Day(click.ParamType):
    """A date as YYYY-MM-DD."""

    name = "date"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        """Parse, or end with a usage error."""
        if isinstance(value, date):
            return value
        try:
            return date.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not a date; write it as YYYY-MM-DD", param, ctx)


class Commands(click.Group):
    """Group that suggests the nearest command for an unknown one."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or end with a usage error that names the nearest one."""
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            names = list(self.commands)
            raise click.UsageError(f"no command '{args[0]}'{closest(args[0], names)} (commands: {', '.join(names)})", ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="sparkds")
def commands() -> None:
    """Batch analytics at Spark scale: features, experiments, models, drift, causal effects."""


def _job_command(job: str) -> click.Command:
    options: list[Callable[[Any], Any]] = [
        click.option("--input", "-i", required=True, help="location of the sources: a directory or catalog.schema"),
        click.option("--output", "-o", required=True, help="location of the results: a directory or catalog.schema"),
        click.option("--config", "-c", "config_path", type=click.Path(), help="YAML file"),
        click.option("--verbose", "-v", is_flag=True, help="show stages, timings and tracebacks"),
        click.option("--as-of", type=Day(), help="newest day; the last complete one if absent"),
        click.option("--start", type=Day(), help="first day of a backfill"),
        click.option("--end", type=Day(), help="last day of a backfill"),
        click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="one key of the configuration, e.g. windows=[7,30]"),
        click.option("--allow-incomplete", is_flag=True, help="compute days whose data are not complete, and mark the rows"),
        click.option("--rebuild", is_flag=True, help="compute the asked days again, whatever is stored"),
        click.option("--session", "kind", type=click.Choice(["classic", "connect"]), help="kind of a local session"),
        click.option("--master", help="Spark master of a local session, e.g. local[4] or sc://host"),
    ]

    def run(**given: Any) -> None:
        if given["as_of"] and (given["start"] or given["end"]):
            raise click.UsageError("give --as-of, or --start and --end, not both")
        if given["start"] and given["end"] and given["start"] > given["end"]:
            raise click.UsageError(f"--start {given['start']} is after --end {given['end']}")
        raise SystemExit(run_job(job, **given))

    for option in reversed(options):
        run = option(run)
    return click.command(name=job, help=JOB_HELP[job])(run)


for _job in JOBS:
    commands.add_command(_job_command(_job))


@commands.command()
@click.argument("job", type=click.Choice(list(JOBS)))
def schema(job: str) -> None:
    """Print the JSON schema of a job's configuration."""
    click.echo(json.dumps(config.schema(import_module(JOBS[job]).Config), indent=2))


@commands.command()
@click.option("--output", "-o", default="results/demo", show_default=True, help="directory for tables and figures")
def demo(output: str) -> None:
    """Run the feature pipeline on real transactions (CDNOW) and show what it wrote."""
    from sparkds.demo import show

    raise SystemExit(show(output))


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
) -> int:
    """Run a job and print its status.

    Returns
    -------
    int
        Exit code: 0 completed, 1 failed.
    """
    started, clock = datetime.now(UTC), time.monotonic()
    _log_to_stderr(verbose)
    with _stdout_kept() as say, _terminable():
        try:
            module = import_module(JOBS[job])
            declared = config.load(module.Config, config_path, overrides=overrides)
            spark = sessions.session(f"sparkds {job}", kind=kind, master=master)
            LOG.info("%s", json.dumps(sessions.environment(spark)))
            with sessions.progress(spark) if verbose else contextlib.nullcontext():
                result = module.run(
                    config=declared,
                    input=input,
                    output=output,
                    spark=spark,
                    as_of=as_of,
                    start=start,
                    end=end,
                    allow_incomplete=allow_incomplete,
                    rebuild=rebuild,
                )
        except SparkdsError as error:
            say(as_json(failed(job, started, error)))
            LOG.error("%s: %s", type(error).__name__, error)
            if verbose:
                traceback.print_exc(file=sys.stderr)
            return 1
        except (Exception, KeyboardInterrupt) as error:
            say(as_json(failed(job, started, error)))
            traceback.print_exc(file=sys.stderr)
            return 1
        for warning in result.warnings:
            LOG.warning("%s", warning)
        LOG.info("%s completed in %.1f s", job, time.monotonic() - clock)
        say(as_json(completed(job, started, result)))
        return 0


def _log_to_stderr(verbose: bool) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
    LOG.handlers[:] = [handler]
    LOG.propagate = False
    LOG.setLevel(logging.INFO if verbose else logging.WARNING)


@contextlib.contextmanager
def _stdout_kept() -> Iterator[Callable[[str], None]]:
    """Keep standard output for the status: what Python or the JVM prints meanwhile goes to standard error."""
    sys.stdout.flush()
    try:
        kept = os.dup(1)
        os.dup2(2, 1)
    except OSError:
        kept = None
    printed = sys.stdout

    def say(text: str) -> None:
        if kept is None or not _is_terminal_stream(printed):
            printed.write(text + "\n")
            printed.flush()
        else:
            os.write(kept, (text + "\n").encode())

    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield say
    finally:
        if kept is not None:
            os.dup2(kept, 1)
            os.close(kept)


def _is_terminal_stream(stream: Any) -> bool:
    """Whether a text stream writes to the process's standard output."""
    try:
        return bool(stream.fileno() == 1)
    except (AttributeError, OSError, ValueError):
        return False


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Turn SIGTERM into an error of the run, so that its status says it failed."""

    def stop(number: int, frame: FrameType | None) -> None:
        del frame
        raise KeyboardInterrupt(f"stopped by signal {number}")

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not in the main thread, where signals cannot be taken
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        ``sys.argv[1:]`` if absent.

    Returns
    -------
    int
        0 completed, 1 failed, 2 bad command line.
    """
    try:
        commands.main(args=None if argv is None else list(argv), prog_name="sparkds", standalone_mode=False)
    except click.exceptions.Abort:
        return 1
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def entry() -> None:
    """Console script: `main`, ending the process with its exit code."""
    sys.exit(main())
