"""Pages: one Markdown page per job - purpose, calls, inputs, configuration, outputs, errors, example - made from what the code says.

``python -m sparkds.pages docs/jobs [TABLES…]`` writes them; folders with tables that the jobs have written give the schemas of the outputs,
and without such folders the outputs of the pages that are there stay.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from sparkds import cli, config

OUTPUTS: Final = ("<!-- outputs -->", "<!-- end of outputs -->")
INPUTS: Final[Mapping[str, Mapping[str, str]]] = {
    "feature_engineering_pipeline": {
        "`source`": "events: the columns of `keys` (any type), `event_time` (date, or timestamp with zone), and every column that an "
        "aggregation names",
    },
    "experiment_analyzer": {
        "`exposures.table`": "one row per exposure: experiment, unit, arm (texts), time (timestamp or date), and the columns of segments, "
        "strata and covariates",
        "`facts[].table`": "one row per event: unit, time, and every column that a metric names",
    },
    "experiment_designer": {
        "`facts[].table`": "history, where a baseline or the traffic is measured: unit, time, and every column that a metric names",
    },
    "model_trainer": {
        "`table`": "one row per `keys`: the label, and features known before it (numbers, truth values, texts, dates; nulls are allowed in "
        "features)",
    },
    "model_evaluation_suite": {
        "`table`": "one row per `keys`: the label, and the features of the models or the columns of `scores`; the columns of groups and "
        "period",
        "`<training>_splits` in the output": "with `training`: which rows are the test part",
    },
    "model_promoter": {"`<evaluation>_gates` in the output": "verdicts of the last evaluation"},
    "batch_scorer": {
        "`table`": "one row per `keys` (and `day`): every column of the model's signature, in a type that fits without loss",
    },
}
"""What a job reads, by the key of its configuration that names the table."""
UNTOLD: Final = "columns, declaration, data or tables are not as the job needs them; the message says what to do"
"""When an error is raised whose docstring does not say."""


def page(job: str, outputs: str, example: str) -> str:
    """Markdown page of a job.

    Parameters
    ----------
    job : str
    outputs : str
        Markdown of the output tables, as `output_section` gives it.
    example : str
        Text of a configuration.
    """
    module = import_module(cli.JOBS[job])
    told, _, more = (module.__doc__ or "").strip().partition("\n\n")
    lines = [
        f"# `{job}`",
        "",
        f"*Made by `make docs` from the code; {told.splitlines()[0].rstrip('.')}.*",
        "",
        module.HELP,
        "",
        _joined(more),
        "",
        "## Calls",
        "",
        "```",
        f"sparkds {job} --input LOCATION --output LOCATION --config conf/{job}.yml",
        f"spark-submit --properties-file conf/spark-defaults.conf jobs/{job}.py --input … --output … --config …",
        "```",
        "",
        f"In a bundle: a `python_wheel_task` of package `sparkds`, entry point `sparkds`, whose first parameter is `{job}`. A location",
        "is a directory (`results/`, `s3://…`, `/Volumes/…`) or `catalog.schema`.",
        "",
        "| option | |",
        "|---|---|",
        *_options(job),
        "",
        "## Inputs",
        "",
        "| table | what it has |",
        "|---|---|",
        *(f"| {name} | {what} |" for name, what in INPUTS[job].items()),
        "",
        "## Configuration",
        "",
        *_reference(config.schema(module.Config)),
        "## Outputs",
        "",
        OUTPUTS[0],
        outputs.strip(),
        OUTPUTS[1],
        "",
        "Standard output is one JSON object: `status`, `job`, `start_time`, `end_time`, `processed_items`, `tables`, `warnings`, on",
        "failure `error` (`type`, `message`), and what the job adds. Exit code 0 completed, 1 failed, 2 bad command line.",
        "",
        "## Errors",
        "",
        "| error | when |",
        "|---|---|",
        *_errors(module.run),
        "| ConfigError | a key of the configuration is unknown, missing or wrong: all of them, one a line |",
        "",
        "## Example",
        "",
        f"`conf/{job}.yml`:",
        "",
        "```yaml",
        example.strip(),
        "```",
        "",
    ]
    return "\n".join(re.sub(r"[ \t]+$", "", line) for line in lines)


def _joined(text: str) -> str:
    return " ".join(line.strip() for line in text.strip().splitlines())


def _options(job: str) -> Iterator[str]:
    import click

    command = cli.commands.get_command(click.Context(cli.commands), job)
    for option in command.params if command is not None else ():
        if isinstance(option, click.Option):
            names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
            yield f"| {names} | {_cell(option.help or '')} |"


def _cell(text: str) -> str:
    return _joined(text).replace("|", "\\|")


# Configuration


def _reference(schema: Mapping[str, Any]) -> Iterator[str]:
    """Tables of keys: of the configuration, then of every declaration below it."""
    yield from _table(schema)
    for name, below in sorted(schema.get("$defs", {}).items()):
        if "properties" in below:
            yield f"### {name}"
            yield ""
            sentence = _joined((below.get("description") or "").split("\n\n")[0])
            if sentence:
                yield sentence
                yield ""
            yield from _table(below)


def _table(schema: Mapping[str, Any]) -> Iterator[str]:
    required = set(schema.get("required", ()))
    told = _attributes(schema.get("description") or "")
    yield "| key | type | default | |"
    yield "|---|---|---|---|"
    for name, field in schema.get("properties", {}).items():
        default = "required" if name in required else f"`{json.dumps(field.get('default'), ensure_ascii=False)}`"
        words = field.get("description") or told.get(name, "")
        yield f"| `{name}` | {_cell(_type(field))} | {_cell(_short(default))} | {_cell(words)} |"
    yield ""


def _short(default: str) -> str:
    return default if len(default) <= 80 else "see below"


def _attributes(docstring: str) -> dict[str, str]:
    """Descriptions of the attributes of a numpydoc docstring."""
    told: dict[str, str] = {}
    names: list[str] = []
    _, _, below = docstring.partition("Attributes\n----------\n")
    for line in below.splitlines():
        if line and not line.startswith(" "):
            names = [name.strip() for name in line.split(" : ")[0].split(",")]
        elif line.strip():
            for name in names:
                told[name] = f"{told.get(name, '')} {line.strip()}".strip()
        elif not line and names and told.get(names[0]):
            break
    return told


def _type(field: Mapping[str, Any]) -> str:
    if "$ref" in field:
        return str(field["$ref"]).rpartition("/")[2]
    if "const" in field:
        return f"`{json.dumps(field['const'])}`"
    if "enum" in field:
        return " | ".join(f"`{value}`" for value in field["enum"])
    for key in ("anyOf", "oneOf"):
        if key in field:
            return " or ".join(dict.fromkeys(_type(one) for one in field[key]))
    told = field.get("type", "any")
    if told == "array":
        items = field.get("items") or (field["prefixItems"][0] if field.get("prefixItems") else {})
        return f"list of {_type(items)}"
    if told == "object" and isinstance(field.get("additionalProperties"), Mapping):
        return f"mapping to {_type(field['additionalProperties'])}"
    return str(told) + (f" ({field['format']})" if "format" in field else "")


def _errors(run: Any) -> Iterator[str]:
    """Rows of the section Raises of a docstring."""
    _, _, below = inspect.cleandoc(run.__doc__ or "").partition("Raises\n------\n")
    told: list[list[str]] = []
    for line in below.split("\n\n")[0].splitlines():
        if line and not line.startswith(" "):
            told.append([line.strip(), ""])
        elif told:
            told[-1][1] = f"{told[-1][1]} {line.strip()}".strip()
    for name, when in told:
        yield f"| {name} | {_cell(when) or UNTOLD} |"


# Outputs


def output_section(job: str, folders: Iterable[Path], example: Path) -> str:
    """Markdown of the tables that a job has written: columns with types and comments.

    Parameters
    ----------
    job : str
    folders : iterable of Path
        Directories with tables.
    example : Path
        Configuration of the job, which names its tables.
    """
    declared: Any = config.load(import_module(cli.JOBS[job]).Config, example, environ={})
    parts = []
    for name in declared.tables_written:
        place = next((folder / name for folder in folders if (folder / name / "_delta_log").is_dir()), None)
        if place is None:
            parts.append(f"### `{name}`\n\nWritten where it is needed.")
            continue
        comment, columns = table_schema(place)
        rows = [f"| `{column}` | {dtype} | {_cell(told)} |" for column, dtype, told in columns]
        parts.append("\n".join([f"### `{name}`", "", _cell(comment), "", "| column | type | |", "|---|---|---|", *rows]))
    return "\n\n".join(parts) or "No tables."


def table_schema(place: Path) -> tuple[str, list[tuple[str, str, str]]]:
    """Comment of a table, and name, type and comment of its columns, from its log."""
    found: dict[str, Any] = {}
    for file in sorted((place / "_delta_log").glob("*.json")):
        for line in file.read_text(encoding="utf-8").splitlines():
            action = json.loads(line)
            found = action.get("metaData", found)
    fields = json.loads(found["schemaString"])["fields"]
    columns = [(field["name"], _spark_type(field["type"]), field.get("metadata", {}).get("comment", "")) for field in fields]
    return found.get("description") or "", columns


def _spark_type(told: Any) -> str:
    if not isinstance(told, Mapping):
        return str(told)
    if told["type"] == "array":
        return f"array of {_spark_type(told['elementType'])}"
    if told["type"] == "map":
        return f"map of {_spark_type(told['keyType'])} to {_spark_type(told['valueType'])}"
    return "struct of " + ", ".join(f"{field['name']} {_spark_type(field['type'])}" for field in told["fields"])


def kept_outputs(text: str) -> str:
    """Outputs of a page that was written before."""
    return text.partition(OUTPUTS[0])[2].partition(OUTPUTS[1])[0].strip()


def index() -> str:
    """Page that names all pages."""
    lines = ["# Jobs", "", "*Made by `make docs`.*", "", "| job | |", "|---|---|"]
    return "\n".join([*lines, *(f"| [`{job}`]({job}.md) | {cli.JOB_HELP[job]} |" for job in cli.JOBS), ""])


def write(folder: Path, tables: Iterable[Path] = (), *, configurations: Path = Path("conf")) -> None:
    """Write all pages.

    Parameters
    ----------
    folder : Path
    tables : iterable of Path
        Directories with tables that the jobs have written; the outputs of the pages that are there stay if none is given.
    configurations : Path
        Folder of the examples.
    """
    folder.mkdir(parents=True, exist_ok=True)
    told = list(tables)
    for job in cli.JOBS:
        path, example = folder / f"{job}.md", configurations / f"{job}.yml"
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        outputs = output_section(job, told, example) if told else kept_outputs(before)
        path.write_text(page(job, outputs, example.read_text(encoding="utf-8")), encoding="utf-8")
    (folder / "README.md").write_text(index(), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]), [Path(argument) for argument in sys.argv[2:]])
