"""Catalog facts: what Unity Catalog is told of a registered feature table, as SQL statements.

Takes a record and gives text: comments of table and columns, tags, and a primary key with a time series column, by which Databricks'
feature store knows the table as a feature table and joins it point in time.
"""

from __future__ import annotations

from sparkds.features.registry.records import FeatureRecord
from sparkds.sql import quoted, text_literal

LONGEST_TAG = 256
"""Characters of a tag's value that the catalog keeps."""


def statements(record: FeatureRecord, identifier: str) -> list[str]:
    """Statements in the order in which they are to be run; each can be run again.

    The primary key is the entity's keys and the instant from which a row is known, as TIMESERIES: a lookup at an instant takes the last
    row that was known then. Key columns are made NOT NULL before, as the catalog asks.

    Parameters
    ----------
    record : FeatureRecord
    identifier : str
        ``catalog.schema.table``, quoted.

    Examples
    --------
    >>> statements(record, "`main`.`sales`.`features`")[-1]  # doctest: +SKIP
    'ALTER TABLE `main`.`sales`.`features` ADD CONSTRAINT `features_pk` PRIMARY KEY (`customer_id`, `known_at` TIMESERIES)'
    """
    told = [f"COMMENT ON TABLE {identifier} IS {text_literal(record.description or f'features of {record.feature_table}')}"]
    for column in record.columns:
        comment = " ".join(part for part in (column.comment, f"[{column.unit}]" if column.unit else "") if part)
        if comment:
            told.append(f"ALTER TABLE {identifier} ALTER COLUMN {quoted(column.name)} COMMENT {text_literal(comment)}")
    tags = {
        "sparkds_feature_table": record.feature_table,
        "sparkds_feature_version": str(record.version),
        "sparkds_definition": record.definition_hash,
        "sparkds_owner": record.owner,
        "sparkds_package": record.package_version,
    }
    pairs = ", ".join(f"{text_literal(key)} = {text_literal(value[:LONGEST_TAG])}" for key, value in tags.items() if value)
    told.append(f"ALTER TABLE {identifier} SET TAGS ({pairs})")
    named = (*record.keys, record.time_key)
    told += [f"ALTER TABLE {identifier} ALTER COLUMN {quoted(name)} SET NOT NULL" for name in named]
    constraint = quoted(f"{record.table}_pk")
    keys = ", ".join([*(quoted(key) for key in record.keys), f"{quoted(record.time_key)} TIMESERIES"])
    told.append(f"ALTER TABLE {identifier} DROP CONSTRAINT IF EXISTS {constraint}")
    told.append(f"ALTER TABLE {identifier} ADD CONSTRAINT {constraint} PRIMARY KEY ({keys})")
    return told
