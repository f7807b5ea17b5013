"""The table border: what is read, what a write replaces, what its commit says, and what is refused."""

import dataclasses
import gzip
import json
from datetime import date, datetime
from decimal import Decimal

import pytest
from pyspark.sql.types import StructType

from sparkds.errors import DataError, TableError
from sparkds.locations import Between, is_directory, literal, slice_predicate
from sparkds.sql import quoted
from sparkds.tables import Tables, TableSpec

SPEC = TableSpec(
    comment="orders of a day, 'quoted'",
    columns={"day": "calendar day", "n": "orders, count"},
    keys=("day", "shop"),
    cluster_by=("day",),
    definition_hash="abc",
    change_feed=True,
)
COLUMNS = "day date, shop string, n long"


def frame(spark, *rows):
    return spark.createDataFrame([(date(2026, 1, d), shop, n) for d, shop, n in rows], COLUMNS)


def rows(made):
    return sorted((r["day"].day, r["shop"], r["n"]) for r in made.collect())


def wrote(tables, made, days=None, **metadata):
    slice_ = None if days is None else {"day": [date(2026, 1, d) for d in days]}
    return tables.replace("t", made, rows=slice_, metadata=metadata, spec=SPEC)


# --- locations, without Spark


@pytest.mark.parametrize("location", ["results/", "./x", "/tmp/x", "s3://bucket/x", "file:/tmp/x", ".", "..", "with-dash", "a b"])
def test_a_directory_is_told_from_a_schema(location):
    assert is_directory(location)


@pytest.mark.parametrize("location", ["main.features", "features", "_x.y1"])
def test_a_schema_is_told_from_a_directory(location):
    assert not is_directory(location)


def test_names_and_values_are_quoted_for_sql():
    assert quoted("a`b") == "`a``b`"
    assert literal("it's \\ here") == "'it\\'s \\\\ here'"
    assert literal(True) == "TRUE"
    assert literal(date(2026, 1, 2)) == "DATE'2026-01-02'"
    assert slice_predicate({"a": ["x", "y"], "n": Between(1, 2)}) == "`a` IN ('x', 'y') AND `n` BETWEEN 1 AND 2"
    with pytest.raises(TypeError, match="float"):
        literal(1.5)


# --- reading


def test_delta_is_read_at_a_version_and_at_a_time(spark, tables):
    first = wrote(tables, frame(spark, (1, "a", 1)))
    second = wrote(tables, frame(spark, (1, "a", 2)))
    history = spark.sql(f"DESCRIBE HISTORY {tables.identifier('t')}").collect()
    at = {r["version"]: r["timestamp"] for r in history}
    assert rows(tables.read("t")) == [(1, "a", 2)]
    assert rows(tables.read("t", version=first.version)) == [(1, "a", 1)]
    assert rows(tables.read("t", as_of=at[first.version])) == [(1, "a", 1)]
    assert rows(tables.read("t", as_of=at[second.version])) == [(1, "a", 2)]
    assert tables.version("t") == second.version == int(tables.source_version("t"))


def test_a_version_that_is_not_there_is_refused(spark, tables):
    wrote(tables, frame(spark, (1, "a", 1)))
    with pytest.raises(TableError, match="no such version"):
        tables.read("t", version=99).collect()
    with pytest.raises(TableError, match="no such version"):
        tables.read("t", as_of="1999-01-01").collect()
    with pytest.raises(TableError, match="not both"):
        tables.read("t", version=1, as_of=date(2026, 1, 1))


CSV = "day,shop,n\n2026-01-02,a,3\n2026-01-03,,4\n"
JSONL = "\n".join(json.dumps(r) for r in ({"day": "2026-01-02", "shop": "a", "n": 3}, {"day": "2026-01-03", "n": 4})) + "\n"


def place(tmp_path, kind, spark):
    """Put two rows under the name t, in one of the forms that are read."""
    if kind == "t.csv":
        (tmp_path / kind).write_text(CSV)
    elif kind == "t.csv.gz":
        (tmp_path / kind).write_bytes(gzip.compress(CSV.encode()))
    elif kind in ("t.json", "t.jsonl"):
        (tmp_path / kind).write_text(JSONL)
    elif kind == "t/part.csv":
        (tmp_path / "t").mkdir()
        (tmp_path / kind).write_text(CSV)
    elif kind == "t/part.json":
        (tmp_path / "t").mkdir()
        (tmp_path / kind).write_text(JSONL)
    else:
        spark.createDataFrame([(date(2026, 1, 2), "a", 3), (date(2026, 1, 3), None, 4)], COLUMNS).write.parquet(str(tmp_path / kind))


@pytest.mark.parametrize("kind", ["t.csv", "t.csv.gz", "t.json", "t.jsonl", "t/part.csv", "t/part.json", "t", "t.parquet"])
def test_files_are_read_with_a_declared_schema(spark, tmp_path, kind):
    place(tmp_path, kind, spark)
    found = Tables(spark, str(tmp_path)).read("t", schema=None if "." not in kind or "parquet" in kind else COLUMNS)
    assert sorted(map(tuple, found.select("day", "shop", "n").collect()), key=str) == [
        (date(2026, 1, 2), "a", 3),
        (date(2026, 1, 3), None, 4),
    ]


def test_types_of_a_csv_are_inferred_when_none_are_declared(spark, tmp_path):
    place(tmp_path, "t.csv", spark)
    found = Tables(spark, str(tmp_path)).read("t")
    assert [(f.name, f.dataType.simpleString()) for f in found.schema] == [("day", "date"), ("shop", "string"), ("n", "int")]


def test_columns_of_a_csv_are_found_by_their_header(spark, tmp_path):
    (tmp_path / "t.csv").write_text("n,day,shop\n3,2026-01-02,a\n")
    with pytest.raises(Exception, match=r"(?i)header"):
        Tables(spark, str(tmp_path)).read("t", schema=COLUMNS).collect()


def test_money_in_a_csv_stays_decimal(spark, tmp_path):
    (tmp_path / "t.csv").write_text("amount\n0.10\n0.20\n")
    found = Tables(spark, str(tmp_path)).read("t", schema="amount decimal(10,2)").selectExpr("sum(amount) as s").collect()
    assert found[0]["s"] == Decimal("0.30")


def test_a_version_of_a_file_is_refused(spark, tmp_path):
    place(tmp_path, "t.csv", spark)
    with pytest.raises(TableError, match="no versions"):
        Tables(spark, str(tmp_path)).read("t", version=0)


def test_an_absent_table_names_what_is_there(spark, tmp_path):
    place(tmp_path, "t.csv", spark)
    (tmp_path / "orders.csv").write_text("a\n1\n")
    with pytest.raises(TableError, match=r"'order' not found.*did you mean 'orders'.*tables: orders, t"):
        Tables(spark, str(tmp_path)).read("order")
    with pytest.raises(TableError, match="does not exist"):
        Tables(spark, str(tmp_path / "nowhere")).read("t")


def test_two_things_of_one_name_are_refused(spark, tmp_path):
    place(tmp_path, "t.csv", spark)
    place(tmp_path, "t.json", spark)
    with pytest.raises(TableError, match="several things are named 't'"):
        Tables(spark, str(tmp_path)).read("t")
    (tmp_path / "u").mkdir()
    (tmp_path / "u" / "a.csv").write_text(CSV)
    (tmp_path / "u" / "b.json").write_text(JSONL)
    with pytest.raises(TableError, match="several formats"):
        Tables(spark, str(tmp_path)).read("u")


def test_a_changed_file_is_another_source_version(spark, tmp_path):
    place(tmp_path, "t.csv", spark)
    before = Tables(spark, str(tmp_path)).source_version("t")
    assert Tables(spark, str(tmp_path)).source_version("t") == before
    (tmp_path / "t.csv").write_text(CSV + "2026-01-04,b,5\n")
    assert Tables(spark, str(tmp_path)).source_version("t") != before


# --- writing


def test_a_write_replaces_its_slice_and_nothing_else(spark, tables):
    wrote(tables, frame(spark, (1, "a", 1), (2, "a", 2), (3, "a", 3)))
    wrote(tables, frame(spark, (2, "b", 20)), days=[2])
    assert rows(tables.read("t")) == [(1, "a", 1), (2, "b", 20), (3, "a", 3)]
    wrote(tables, frame(spark).limit(0), days=[3])
    assert rows(tables.read("t")) == [(1, "a", 1), (2, "b", 20)]


def test_a_slice_between_two_values_includes_both(spark, tables):
    wrote(tables, frame(spark, (1, "a", 1), (2, "a", 2), (3, "a", 3), (4, "a", 4)))
    between = {"day": Between(date(2026, 1, 2), date(2026, 1, 3))}
    tables.replace("t", frame(spark, (2, "z", 9)), rows=between, metadata={}, spec=SPEC)
    assert rows(tables.read("t")) == [(1, "a", 1), (2, "z", 9), (4, "a", 4)]


def test_a_row_outside_the_slice_is_refused_and_nothing_is_written(spark, tables):
    wrote(tables, frame(spark, (1, "a", 1)))
    version = tables.version("t")
    with pytest.raises(DataError, match="outside the slice"):
        wrote(tables, frame(spark, (2, "a", 2), (3, "a", 3)), days=[2])
    assert tables.version("t") == version
    assert rows(tables.read("t")) == [(1, "a", 1)]


def test_an_error_that_the_rows_raise_is_named_and_nothing_is_written(spark, tables):
    wrote(tables, frame(spark, (1, "a", 1)))
    bad = frame(spark, (2, "a", 2)).selectExpr("day", "shop", "if(n > 1, raise_error('two is too much; give one'), n) as n")
    with pytest.raises(DataError, match=r"^rows for table 't': two is too much; give one$"):
        wrote(tables, bad)
    assert rows(tables.read("t")) == [(1, "a", 1)]


def test_nothing_in_the_place_of_nothing_is_no_commit_and_says_0_rows(spark, tables):
    first = wrote(tables, frame(spark, (1, "a", 1)), job="j")
    found = wrote(tables, frame(spark).limit(0), days=[7], job="k")
    assert (found.version, found.rows, found.metadata["job"]) == (first.version, 0, "j")


def test_writing_twice_gives_the_same_rows(spark, tables):
    for _ in range(2):
        wrote(tables, frame(spark, (1, "a", 1), (2, "a", 2)), days=[1, 2])
    assert rows(tables.read("t")) == [(1, "a", 1), (2, "a", 2)]


def test_a_table_may_be_made_of_its_own_rows(spark, tables):
    wrote(tables, frame(spark, (1, "a", 1), (2, "a", 2)))
    doubled = tables.read("t").selectExpr("day", "shop", "n * 2 as n")
    wrote(tables, doubled)
    assert rows(tables.read("t")) == [(1, "a", 2), (2, "a", 4)]


def test_a_commit_says_who_wrote_what(spark, tables):
    commit = wrote(tables, frame(spark, (1, "a", 1), (2, "a", 2)), job="j", source={"orders": "7"})
    assert commit.rows == 2
    assert commit.metadata["job"] == "j"
    assert commit.metadata["source"] == {"orders": "7"}
    assert {"sparkds", "run_id"} <= set(commit.metadata)
    assert tables.last_commit("t") == commit


def test_upkeep_is_not_a_change_but_a_foreign_write_is(spark, tables):
    commit = wrote(tables, frame(spark, (1, "a", 1)), job="j")
    spark.sql(f"OPTIMIZE {tables.identifier('t')}").collect()
    found = tables.last_commit("t")
    assert (found.version, found.changed_since) == (commit.version, False)
    frame(spark, (9, "x", 9)).writeTo(tables.identifier("t")).append()
    found = tables.last_commit("t")
    assert (found.version, found.changed_since) == (commit.version, True)


def test_a_table_without_our_commits_has_no_last_one(spark, tables):
    assert tables.last_commit("t") is None
    frame(spark, (1, "a", 1)).write.format("delta").save(tables.path("t"))
    assert tables.last_commit("t") is None


def test_slices_replaced_since_a_version_are_known_from_the_commits(spark, tables):
    first = wrote(tables, frame(spark, (1, "a", 1)))
    wrote(tables, frame(spark, (2, "a", 1)), days=[2], replaced=[["2026-01-02", "2026-01-02"]])
    wrote(tables, frame(spark, (3, "a", 1)), days=[3], replaced=[["2026-01-03", "2026-01-03"]])
    assert sorted(tables.replaced_since("t", first.version)) == [("2026-01-02", "2026-01-02"), ("2026-01-03", "2026-01-03")]
    frame(spark, (9, "x", 9)).writeTo(tables.identifier("t")).append()
    assert tables.replaced_since("t", first.version) is None


def test_a_table_carries_comments_keys_and_clustering(spark, tables):
    wrote(tables, frame(spark, (1, "a", 1)))
    detail = spark.sql(f"DESCRIBE DETAIL {tables.identifier('t')}").collect()[0]
    assert detail["description"] == SPEC.comment
    assert detail["clusteringColumns"] == ["day"]
    assert detail["properties"]["sparkds.primary_key"] == "day,shop"
    assert detail["properties"]["delta.enableChangeDataFeed"] == "true"
    told = {r["col_name"]: r["comment"] for r in spark.sql(f"DESCRIBE TABLE {tables.identifier('t')}").collect()}
    assert told["n"] == "orders, count"
    assert tables.definition("t") == "abc"
    assert tables.definition("absent") is None
    wrote(tables, frame(spark, (2, "a", 1)))
    detail = spark.sql(f"DESCRIBE DETAIL {tables.identifier('t')}").collect()[0]
    assert detail["clusteringColumns"] == ["day"], "a table that is written anew stays clustered"


def test_another_definition_is_refused(spark, tables):
    wrote(tables, frame(spark, (1, "a", 1)))
    other = TableSpec(definition_hash="xyz")
    with pytest.raises(TableError, match="two definitions are never mixed"):
        tables.replace("t", frame(spark, (1, "a", 2)), rows=None, metadata={}, spec=other)
    assert rows(tables.read("t")) == [(1, "a", 1)]


def test_a_new_column_is_added_on_request_and_refused_otherwise(spark, tables):
    wrote(tables, frame(spark, (1, "a", 1)))
    wider = frame(spark, (2, "a", 2)).selectExpr("*", "1.5D as share")
    with pytest.raises(TableError, match="other columns"):
        wrote(tables, wider, days=[2])
    tables.replace("t", wider, rows={"day": [date(2026, 1, 2)]}, metadata={}, spec=SPEC, evolve=True)
    assert [r["share"] for r in tables.read("t").orderBy("day").collect()] == [None, 1.5]


def test_something_else_at_the_place_is_refused(spark, tmp_path):
    place(tmp_path, "t", spark)
    with pytest.raises(TableError, match="not a Delta table"):
        wrote(Tables(spark, str(tmp_path)), frame(spark, (1, "a", 1)))


def test_a_merge_updates_and_inserts_in_one_commit(spark, tables):
    wrote(tables, frame(spark, (1, "a", 1), (2, "a", 2)))
    before = tables.version("t")
    new = frame(spark, (2, "a", 20), (3, "a", 30))
    for _ in range(2):  # again changes nothing but the version
        commit = tables.merge("t", new, keys=["day", "shop"], metadata={"job": "m"}, spec=SPEC)
        assert rows(tables.read("t")) == [(1, "a", 1), (2, "a", 20), (3, "a", 30)]
    assert commit.version == before + 2
    assert commit.rows == 2


def test_a_merge_deletes_the_rows_that_are_said_to_be_gone_and_inserts_none_for_them(spark, tables):
    before = wrote(tables, frame(spark, (1, "a", 1), (2, "a", 2), (3, "a", 3)))
    new = frame(spark, (1, "a", 0), (2, "a", 20), (4, "a", 40), (5, "a", 0)).selectExpr("*", "n = 0 as gone")
    spec = dataclasses.replace(SPEC, deletion_vectors=True, facts={"sparkds.fact": "told"})
    tables.merge("t", new, keys=["day", "shop"], metadata={"job": "m"}, spec=spec, gone="gone")
    assert rows(tables.read("t")) == [(2, "a", 20), (3, "a", 3), (4, "a", 40)]
    assert [commit.operation for commit in tables.commits_since("t", before.version)] == ["MERGE"]
    tables.merge("u", new, keys=["day", "shop"], metadata={"job": "m"}, spec=spec, gone="gone")
    assert rows(tables.read("u")) == [(2, "a", 20), (4, "a", 40)]
    properties = tables.properties("u")
    assert (properties["sparkds.fact"], properties["delta.enableDeletionVectors"]) == ("told", "true")


def test_a_table_keeps_changes_from_when_it_is_told_to(spark, tables):
    frame(spark, (1, "a", 1)).write.format("delta").save(tables.path("plain"))
    tables.keep_changes("plain")
    version = tables.version("plain")
    tables.keep_changes("plain")
    assert tables.version("plain") == version
    frame(spark, (2, "a", 2)).write.format("delta").mode("append").save(tables.path("plain"))
    assert rows(tables.changes("plain", since=version)) == [(2, "a", 2)]


def test_a_merge_of_repeated_or_null_keys_is_refused(spark, tables):
    wrote(tables, frame(spark, (1, "a", 1)))
    version = tables.version("t")
    for bad in (frame(spark, (2, "a", 1), (2, "a", 2)), frame(spark, (2, None, 1))):
        with pytest.raises(DataError, match="one row per key"):
            tables.merge("t", bad, keys=["day", "shop"], metadata={}, spec=SPEC)
    assert tables.version("t") == version


def test_a_merge_makes_the_table_when_it_is_absent(spark, tables):
    tables.merge("t", frame(spark, (1, "a", 1)), keys=["day", "shop"], metadata={}, spec=SPEC)
    assert rows(tables.read("t")) == [(1, "a", 1)]


def test_changes_since_a_version_come_from_the_feed(spark, tables):
    first = wrote(tables, frame(spark, (1, "a", 1), (2, "a", 2)))
    tables.merge("t", frame(spark, (2, "a", 20), (3, "a", 3)), keys=["day", "shop"], metadata={}, spec=SPEC)
    found = tables.changes("t", since=first.version)
    kinds = sorted((r["_change_type"], r["day"].day, r["n"]) for r in found.collect())
    assert kinds == [("insert", 3, 3), ("update_postimage", 2, 20), ("update_preimage", 2, 2)]


def test_a_table_without_feed_tells_no_changes(spark, tables):
    frame(spark, (1, "a", 1)).write.format("delta").save(tables.path("plain"))
    assert tables.changes("plain", since=0) is None


def test_a_schema_is_a_location_too(spark):
    tables = Tables(spark, "sparkds_tables_test")
    try:
        assert not tables.exists("t")
        with pytest.raises(TableError, match=r"'t' not found: looked for `sparkds_tables_test`\.`t`"):
            tables.read("t")
        wrote(tables, frame(spark, (1, "a", 1), (2, "a", 2)), job="j")
        wrote(tables, frame(spark, (2, "b", 3)), days=[2], job="k")
        tables.merge("t", frame(spark, (3, "c", 4)), keys=["day", "shop"], metadata={"job": "m"}, spec=SPEC)
        assert rows(tables.read("t")) == [(1, "a", 1), (2, "b", 3), (3, "c", 4)]
        assert rows(tables.read("t", version=1)) == [(1, "a", 1), (2, "a", 2)]
        assert rows(spark.table("sparkds_tables_test.t")) == rows(tables.read("t"))
        assert tables.changes("t", since=2).count() == 1
        assert tables.definition("t") == "abc"
        spark.range(3).write.saveAsTable("sparkds_tables_test.plain", format="parquet")
        assert tables.read("plain").count() == 3
        with pytest.raises(TableError, match="not a Delta table"):
            tables.replace("plain", spark.range(1), rows=None, metadata={}, spec=TableSpec())
    finally:
        spark.sql("DROP SCHEMA IF EXISTS sparkds_tables_test CASCADE").collect()


def test_names_with_odd_characters_are_tables_too(spark, tmp_path):
    tables = Tables(spark, str(tmp_path / "it's a `place`"))
    odd = spark.createDataFrame([(1, 2)], StructType.fromDDL("`a b.c` int, `it's` int"))
    spec = TableSpec(columns={"it's": "o'clock"}, keys=("a b.c",))
    tables.replace("my table", odd, rows=None, metadata={}, spec=spec)
    tables.replace("my table", odd, rows={"a b.c": [1]}, metadata={}, spec=spec)
    assert [tuple(r) for r in tables.read("my table").collect()] == [(1, 2)]


def test_a_time_of_a_slice_is_taken_in_the_zone_of_the_session(spark, tables):
    at = spark.createDataFrame([(datetime(2026, 1, 1, 12), 1)], "at timestamp, n int")
    tables.replace("times", at, rows=None, metadata={}, spec=TableSpec())
    tables.replace("times", at, rows={"at": [datetime(2026, 1, 1, 12)]}, metadata={}, spec=TableSpec())
    assert tables.read("times").count() == 1
