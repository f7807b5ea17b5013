"""Rules of names: no catalog and no schema of a workspace is spelled out in a resource - in its fields, parameters, or SQL."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from sparkds.bundle.documents import Items, Keys, Map, Place, spelled, walk
from sparkds.bundle.findings import Broken, View

WHOLE: Final = frozenset({"catalog", "catalog_name", "schema", "schema_name"})
"""Keys whose values are a name."""
DOTTED: Final = frozenset({"table_name", "output_schema_name", "entity_name", "model_name"})
"""Keys whose values are names with dots."""
PARAMETERS: Final = ("parameters", "base_parameters", "named_parameters", "job_parameters")
EVERYWHERE: Final = frozenset({"system", "samples"})
"""Catalogs that every workspace has."""
REFERENCE: Final = re.compile(r"\$\{[^}]*\}|\{\{[^}]*\}\}")
OPTION: Final = re.compile(r"^--([\w-]+)=(?:[\w.]+=)?")
LOCATION: Final = re.compile(r"[A-Za-z_]\w*(\.[\w\0]+){1,2}(@\w+)?")
FILE: Final = re.compile(r"\.(ya?ml|json|py|ipynb|csv|parquet|txt|sql|whl|jar|toml|md|html)$")
LOCATIONS: Final = frozenset({"input", "output", "table", "tables", "source", "location", "model", "schema", "catalog"})
"""Options that name a place; of others only what cannot be anything else is told."""
QUERY: Final = re.compile(r"\b(?:from|join|into|update|table)\s+`?([A-Za-z_]\w*)`?\s*\.", re.IGNORECASE)


def catalogs_are_variables(view: View) -> Iterator[Broken]:
    """No catalog or schema is spelled out in a resource."""
    resources = view.target.raw.get("resources") or Map()
    for key, schema in (resources.get("schemas") or Map()).items():
        if isinstance(schema, Map) and isinstance(schema.get("name"), str) and "\0" not in _plain(schema["name"]):
            yield _spelled_out(("resources", "schemas", key, "name"), schema["name"], schema.places.get("name"))
    for path, value, place in walk(resources, ("resources",)):
        if path[-1] == "parameters" and isinstance(value, Items):
            yield from _defaults(path, value)
        if not isinstance(value, str):
            continue
        name, text = path[-1], _plain(value)
        if (name in WHOLE and text and "\0" not in text) or (name in DOTTED and _is_spelled(text)):
            yield _spelled_out(path, value, place)
        elif _is_parameter(path) and _names_catalog(text):
            told = f"parameter '{value}' spells a catalog out; use {{{{job.parameters.…}}}} or a variable"
            yield Broken(spelled(path), place, told)
        elif name in ("query_text", "query"):
            for catalog in set(QUERY.findall(text)) - EVERYWHERE:
                told = f"the query spells catalog or schema '{catalog}' out; use IDENTIFIER('${{var.…}}.…')"
                yield Broken(spelled(path), place, told)


def _spelled_out(path: Keys, value: str, place: Place | None) -> Broken:
    return Broken(spelled(path), place, f"{path[-1]} '{value}' is spelled out; use a variable or ${{resources.schemas.…}}")


def _plain(value: str) -> str:
    """Text with a mark in place of every reference."""
    return REFERENCE.sub("\0", value)


def _is_spelled(text: str) -> bool:
    """Whether the catalog or the schema of a dotted name is no reference."""
    parts = text.split(".")
    before = parts[:2] if len(parts) > 2 else parts[:1]
    return parts[0] not in EVERYWHERE and any("\0" not in part for part in before)


def _is_parameter(path: Keys) -> bool:
    """Whether a value is handed to a program: an item of a list, a value by name, or the default of a job's parameter."""
    within = [i for i, part in enumerate(path[:-1]) if part in PARAMETERS]
    return bool(within) and len(path) - within[-1] <= 3 and path[-1] != "name"


def _defaults(path: Keys, parameters: Items) -> Iterator[Broken]:
    """Parameters of a job that are a catalog or schema by their name."""
    for i, item in enumerate(parameters):
        told: Any = item.get("default") if isinstance(item, Map) else None
        if isinstance(told, str) and told and item.get("name") in WHOLE and "\0" not in _plain(told):
            where = spelled((*path, i, "default"))
            message = f"parameter '{item['name']}' has the default '{told}', which is spelled out; use a variable"
            yield Broken(where, item.places.get("default"), message)


def _names_catalog(text: str) -> bool:
    option = OPTION.match(text)
    told = text[option.end() :] if option else text
    is_model = told.startswith("models:/")
    told = told.removeprefix("models:/")
    if told.startswith("/Volumes/"):
        return "\0" not in told.split("/")[2]
    if not LOCATION.fullmatch(told) or FILE.search(told) or told.split(".")[0] in EVERYWHERE:
        return False
    return is_model or option is None or option[1] in LOCATIONS or told.count(".") > 1
