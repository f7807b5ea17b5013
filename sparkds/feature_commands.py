"""Command line of the feature registry: ``sparkds features list | show | diff | lineage``.

Reads the registry of a location and prints tables for people, or JSON with ``--json``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import click

from sparkds import sessions
from sparkds.errors import ConfigError, SparkdsError, closest
from sparkds.features.registry.lineage import Source, Step, steps_back
from sparkds.features.registry.records import FeatureRecord, difference, found
from sparkds.locations import stand_in

REGISTRY = "feature_registry"


@click.group(short_help="Look up registered feature tables: list, show, diff, lineage.")
def features() -> None:
    """Look up the feature tables that the stage `register` has registered at a location."""


def _of_location(command: Callable[..., None]) -> Callable[..., None]:
    options = [
        click.option("--output", "-o", required=True, help="location of the registry: a directory or catalog.schema"),
        click.option("--registry", default=REGISTRY, show_default=True, help="table of the registry"),
        click.option("--json", "as_json", is_flag=True, help="print JSON"),
        click.option("--session", "kind", type=click.Choice(["classic", "connect"]), help="kind of a local session"),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def _records(output: str, registry: str, kind: sessions.Kind | None) -> list[FeatureRecord]:
    from sparkds.jobs.registry_table import records_in
    from sparkds.tables import Tables

    return records_in(Tables(sessions.session("sparkds features", kind=kind), stand_in(output)), registry)


def _told(work: Callable[[], None]) -> None:
    try:
        work()
    except SparkdsError as error:
        raise click.ClickException(str(error)) from error


@features.command("list", short_help="Registered feature tables, a line per version.")
@_of_location
def list_(output: str, registry: str, as_json: bool, kind: sessions.Kind | None) -> None:
    """Registered feature tables, a line per version."""

    def work() -> None:
        records = _records(output, registry, kind)
        if as_json:
            click.echo(json.dumps([record.as_dict() for record in records], ensure_ascii=False))
            return
        rows = [(r.label, r.table, r.kind, str(len(r.columns)), r.owner, f"{r.updated_at:%Y-%m-%d %H:%M}", r.description) for r in records]
        _print(("feature table", "table", "made by", "features", "owner", "updated (UTC)", "description"), rows)
        if not records:
            click.echo(f"nothing is registered in {output}; the stage 'register' of feature_engineering_pipeline does it", err=True)

    _told(work)


@features.command(short_help="All facts of a version.")
@click.argument("name")
@_of_location
def show(name: str, output: str, registry: str, as_json: bool, kind: sessions.Kind | None) -> None:
    """All facts of NAME (its newest version) or NAME@VERSION."""

    def work() -> None:
        record = found(_records(output, registry, kind), name)
        if as_json:
            click.echo(json.dumps(record.as_dict(), ensure_ascii=False))
            return
        facts = [
            ("feature table", record.label), ("table", record.table), ("made by", f"{record.kind}, sparkds {record.package_version}"),
            ("description", record.description), ("owner", record.owner), ("keys", ", ".join(record.keys)),
            ("known from", record.time_key), ("definition", record.definition_hash),
            ("sources", ", ".join(f"{t} (version {v})" if v else t for t, v in record.sources)),
            ("fitted states", ", ".join(record.state_tables)), ("selected", ", ".join(record.selected)),
            ("created (UTC)", f"{record.created_at:%Y-%m-%d %H:%M:%S}"), ("updated (UTC)", f"{record.updated_at:%Y-%m-%d %H:%M:%S}"),
        ]  # fmt: skip
        width = max(len(what) for what, _ in facts)
        for what, value in facts:
            if value:
                click.echo(f"{what:<{width}}  {value}")
        click.echo()
        _print(("feature", "type", "unit", "meaning"), [(c.name, c.type, c.unit, c.comment) for c in record.columns])
        if record.metrics:
            click.echo()
            _print(("column", "figure", "value"), [(c, m, f"{v:.6g}") for c, m, v in record.metrics])

    _told(work)


@features.command(short_help="How two versions differ.")
@click.argument("first")
@click.argument("second")
@_of_location
def diff(first: str, second: str, output: str, registry: str, as_json: bool, kind: sessions.Kind | None) -> None:
    """How NAME@VERSION and NAME@VERSION differ: columns added, dropped, redefined, retyped, and other facts."""

    def work() -> None:
        records = _records(output, registry, kind)
        told = difference(found(records, first), found(records, second))
        if as_json:
            click.echo(json.dumps([dict(zip(("what", "name", "first", "second"), row, strict=True)) for row in told], ensure_ascii=False))
        elif told:
            _print(("what", "name", first, second), told)
        else:
            click.echo(f"{first} and {second} do not differ")

    _told(work)


@features.command(short_help="From which columns features follow, back to the sources.")
@click.argument("name")
@_of_location
def lineage(name: str, output: str, registry: str, as_json: bool, kind: sessions.Kind | None) -> None:
    """From which columns the features of NAME follow, or one feature: NAME.COLUMN, NAME@VERSION.COLUMN."""

    def work() -> None:
        records = _records(output, registry, kind)
        record, columns = asked(records, name)
        newest: dict[str, dict[str, tuple[Source, ...]]] = {}
        for one in sorted(records, key=lambda r: r.updated_at):
            newest[one.table] = {c.name: c.sources for c in one.columns}
        newest[record.table] = {c.name: c.sources for c in record.columns}
        ways = {column: list(steps_back(Source(record.table, column), newest)) for column in columns}
        if as_json:
            plain = {column: [{"depth": s.depth, "column": ".".join(s.source), "known": s.known} for s in w] for column, w in ways.items()}
            click.echo(json.dumps(plain, ensure_ascii=False))
            return
        for steps in ways.values():
            for line in _tree(steps):
                click.echo(line)

    _told(work)


def asked(records: Sequence[FeatureRecord], name: str) -> tuple[FeatureRecord, list[str]]:
    """Record and columns that ``NAME``, ``NAME@VERSION`` or either with ``.COLUMN`` mean.

    Raises
    ------
    ConfigError
        No such record or column.
    """
    try:
        record = found(records, name)
        return record, [c.name for c in record.columns]
    except ConfigError:
        label, dot, column = name.partition(".")
        if not dot:
            raise
    record = found(records, label)
    names = [c.name for c in record.columns]
    if column not in names:
        raise ConfigError(
            f"feature table '{record.label}' has no feature '{column}'{closest(column, names)} (features: {', '.join(names)})"
        )
    return record, [column]


def _tree(steps: Iterable[Step]) -> Iterable[str]:
    for step in steps:
        yield "   " * step.depth + ("" if step.depth == 0 else "<- ") + ".".join(step.source)


def _print(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Columns as wide as their longest cell; the last one as it is."""
    table = [tuple(heads), *(tuple(map(str, row)) for row in rows)]
    widths = [max(len(row[i]) for row in table) for i in range(len(heads) - 1)]
    for row in table:
        click.echo("  ".join([*(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=False)), row[-1]]).rstrip())
