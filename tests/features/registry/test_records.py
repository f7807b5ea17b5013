"""Records of feature tables: rows and back, versions, differences, and the statements for a catalog."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from sparkds.errors import ConfigError
from sparkds.features.registry.catalog_facts import statements
from sparkds.features.registry.lineage import Source
from sparkds.features.registry.records import ROW, ColumnRecord, FeatureRecord, difference, found, record_of

AT = datetime(2026, 6, 30, 12, tzinfo=UTC)
ONE = FeatureRecord(
    "features", 1, "features", "windows", "abc", {"windows": [7]}, "ann", "It's for churn", ("customer_id",), "known_at",
    (ColumnRecord("n_7d", "bigint", "events", "count", "d1", (Source("orders", "t"),)), ColumnRecord("Preis €", "double")),
    (("orders", "3"),), "0.1.0", AT, AT, ("features_rfm_edges",), ("n_7d",), (("n_7d", "null_share", 0.0),),
)  # fmt: skip


def as_row(record):
    names = [part.strip().split(" ")[0].strip("`") for part in _parts(ROW)]
    row = dict(zip(names, record.row(), strict=True))
    fields = ("name", "type", "unit", "comment", "definition", "sources")
    row["columns"] = [
        {**dict(zip(fields, c, strict=True)), "sources": [{"table": t, "column": n} for t, n in c[5]]} for c in row["columns"]
    ]
    row["sources"] = [{"table": t, "version": v} for t, v in row["sources"]]
    row["metrics"] = [{"column": c, "metric": m, "value": v} for c, m, v in row["metrics"]]
    return row


def _parts(ddl):
    depth, part = 0, ""
    for character in ddl:
        depth += (character == "<") - (character == ">")
        if character == "," and not depth:
            yield part
            part = ""
        else:
            part += character
    yield part


def test_a_record_survives_its_row():
    assert record_of(as_row(ONE), created_at=AT, updated_at=AT) == ONE


def test_a_version_is_found_by_name_and_number_and_what_is_missing_is_named():
    two = replace(ONE, version=2)
    assert found([two, ONE], "features") is two
    assert found([two, ONE], "features@1") is ONE
    assert found([two, ONE], "features@v2") is two
    with pytest.raises(ConfigError, match=r"'featurs' is not registered; did you mean 'features'\? \(registered: features\)"):
        found([ONE], "featurs")
    with pytest.raises(ConfigError, match=r"has no version '7' \(versions: 1, 2\)"):
        found([ONE, two], "features@7")
    with pytest.raises(ConfigError, match="nothing is registered"):
        found([], "features")


def test_a_difference_tells_columns_then_facts():
    columns = (ColumnRecord("n_7d", "bigint", "events", "count of x", "d2"), ColumnRecord("new", "int", "", "new one"))
    other = replace(ONE, version=2, table="features_v2", columns=columns, owner="bob")
    assert difference(ONE, other) == [
        ("dropped", "Preis €", "double", ""), ("added", "new", "", "new one"), ("redefined", "n_7d", "count", "count of x"),
        ("fact", "table", "features", "features_v2"), ("fact", "owner", "ann", "bob"),
    ]  # fmt: skip
    assert difference(ONE, ONE) == []
    retyped = replace(ONE, columns=(replace(ONE.columns[0], type="int"), ONE.columns[1]))
    assert difference(ONE, retyped) == [("retyped", "n_7d", "bigint", "int")]


def test_the_catalog_is_told_comments_tags_and_a_primary_key_with_a_time_series_column():
    assert statements(ONE, "`main`.`s`.`features`") == [
        "COMMENT ON TABLE `main`.`s`.`features` IS 'It\\'s for churn'",
        "ALTER TABLE `main`.`s`.`features` ALTER COLUMN `n_7d` COMMENT 'count [events]'",
        "ALTER TABLE `main`.`s`.`features` SET TAGS ('sparkds_feature_table' = 'features', 'sparkds_feature_version' = '1', "
        "'sparkds_definition' = 'abc', 'sparkds_owner' = 'ann', 'sparkds_package' = '0.1.0')",
        "ALTER TABLE `main`.`s`.`features` ALTER COLUMN `customer_id` SET NOT NULL",
        "ALTER TABLE `main`.`s`.`features` ALTER COLUMN `known_at` SET NOT NULL",
        "ALTER TABLE `main`.`s`.`features` DROP CONSTRAINT IF EXISTS `features_pk`",
        "ALTER TABLE `main`.`s`.`features` ADD CONSTRAINT `features_pk` PRIMARY KEY (`customer_id`, `known_at` TIMESERIES)",
    ]
