"""What declarations of derivations refuse, how their columns are named, and which types hold their results; no Spark."""

import subprocess
import sys
from datetime import date
from itertools import product

import pytest
from pydantic import TypeAdapter, ValidationError

from sparkds.errors import ColumnError, DataError, TableError
from sparkds.features.generate import (
    AnyDerivation,
    Clip,
    Difference,
    FittedState,
    Frequency,
    Generation,
    Impute,
    Inputs,
    OneHot,
    Polynomials,
    Product,
    QuantileBins,
    Ratio,
    Slice,
    Standardise,
    TargetEncoding,
)
from sparkds.features.generate.categorical import value_names
from sparkds.features.generate.derivation import Fitted
from sparkds.features.generate.expressions import lookup_sql, text_sql, value_sql
from sparkds.features.generate.fitted_state import serving, state_json
from sparkds.features.generate.interactions import difference_type, product_type

LOWEST = {"tinyint": -(2**7), "smallint": -(2**15), "int": -(2**31), "bigint": -(2**63)}
OF = Inputs({"n": "int", "x": "double", "d": "decimal(6,2)", "day": "date", "s": "string", "f": "boolean", "m": "map<string,int>"})


def refused(kind, **fields):
    with pytest.raises(ValidationError) as caught:
        kind(**fields)
    return str(caught.value)


def test_a_ratio_has_no_zero_rule_unless_one_is_declared():
    assert "zero" in refused(Ratio, numerator="a", denominator="b")


def test_names_derive_from_the_inputs():
    assert Ratio(numerator="a", denominator="b", zero="null").names == ("a_per_b",)
    assert Difference(minuend="a", subtrahend="b.c").names == ("a_minus_b.c",)
    assert Product(columns=("a", "b")).names == ("a_x_b",)
    assert Polynomials(columns=("a", "b"), degree=3).names == (
        "a_pow2", "a_x_b", "b_pow2", "a_pow3", "a_pow2_x_b", "a_x_b_pow2", "b_pow3",
    )  # fmt: skip
    assert Polynomials(columns=("a", "b"), degree=3, crossed=False).names == ("a_pow2", "b_pow2", "a_pow3", "b_pow3")
    assert Polynomials(columns=("a", "b", "c"), degree=2, powers=False).names == ("a_x_b", "a_x_c", "b_x_c")


def test_a_thousand_columns_through_polynomials_are_refused_with_their_number():
    thousand = tuple(f"c{i}" for i in range(1000))
    assert "1000 columns to degree 2 make 500500 columns, more than most=500" in refused(Polynomials, columns=thousand, degree=2)
    assert len(Polynomials(columns=thousand, degree=2, crossed=False, most=1000).names) == 1000


def test_names_of_one_hot_columns_are_safe_and_apart():
    names = value_names("c", ["a b", "a.b", "A-b", "", " ", "other", "is_null", "été", "x" * 60])
    assert len({name.lower() for name in names.values()}) == 9
    assert all(part.replace("_", "a").isalnum() for part in names.values())
    assert names["été"] == "c_été"
    assert all(len(name) <= 2 + 40 + 7 for name in names.values())
    assert value_names("c", ["a b", "z"])["a b"] == "c_a_b"


def test_the_types_of_products_and_differences_hold_the_most_extreme_integers():
    for one, other in product(LOWEST, LOWEST):
        dtype, _ = product_type([one, other])
        assert abs(LOWEST[one] * LOWEST[other]) <= (2**63 - 1 if dtype == "bigint" else 10**38 - 1), (one, other, dtype)
        dtype = difference_type(one, other)[0]
        assert -LOWEST[one] - LOWEST[other] <= (2**63 - 1 if dtype == "bigint" else 10**20 - 1), (one, other, dtype)
    assert product_type(["bigint", "bigint", "tinyint"])[0] == "double"
    assert product_type(["bigint", "int", "int"])[0] == "decimal(38,0)"
    assert product_type(["decimal(20,2)", "decimal(20,2)"])[0] == "double"
    assert difference_type("decimal(38,10)", "int")[0] == "double"


def test_derivations_that_stand_on_each_other_in_a_circle_are_refused():
    around = (
        Product(columns=("a", "y"), column="x"),
        Product(columns=("a", "x"), column="y"),
        Product(columns=("a", "b")),
    )
    told = refused(Generation, derivations=around)
    assert "in a circle: 'product(a, y)', 'product(a, x)'; let one of them read a column of the table" in told


def test_declarations_that_cannot_be_meant_are_refused():
    assert "nothing bounds" in refused(Clip, columns=("a",))
    assert "give low or low_share" in refused(Clip, columns=("a",), low=1, low_share=0.1)
    assert "is above" in refused(Clip, columns=("a",), low=2, high=1)
    assert "value is for strategy constant" in refused(Impute, columns=("a",), strategy="constant")
    assert "value is for strategy constant" in refused(Impute, columns=("a",), strategy="mean", value=1)
    assert "leave out by" in refused(Impute, columns=("a",), strategy="constant", value=1, by=("b",))
    assert "closed" in refused(QuantileBins, columns=("a",), n_bins=4)
    assert "ddof" in refused(Standardise, columns=("a",))
    assert "'a' is given twice" in refused(Frequency, columns=("a", "a"))
    assert "keep is for a fitted" in refused(OneHot, column="a", values=("x",), keep=3)
    assert "'x' is given twice" in refused(OneHot, column="a", values=("x", "x"))
    target = {"columns": ("a",), "label": "y", "smoothing": 1, "by": ("k",), "seed": 1}
    assert "time and known_at go together" in refused(TargetEncoding, **target, time="as_of")
    assert "cannot be encoded by itself" in refused(TargetEncoding, **{**target, "label": "a"})
    assert "neither powers" in refused(Polynomials, columns=("a",), degree=2, powers=False, crossed=False)
    assert "makes nothing" in refused(Polynomials, columns=("a",), degree=2, powers=False)


def test_columns_of_types_that_do_not_fit_are_named():
    for derivation, message in [
        (Clip(columns=("n",), low=0.5), "value 0.5 does not fit column 'n' of type int"),
        (Clip(columns=("n",), high=2**31), "does not fit column 'n' of type int"),
        (Clip(columns=("d",), low=0.125), "does not fit column 'd'"),
        (Impute(columns=("day",), strategy="constant", value="soon"), "value 'soon' does not fit column 'day' of type date"),
        (Impute(columns=("s",), strategy="constant", value=1), "does not fit column 's' of type string"),
        (Impute(columns=("f",), strategy="constant", value=1), "does not fit column 'f'"),
        (Impute(columns=("s",), strategy="mean"), "type string; a number is needed"),
        (Impute(columns=("m",), strategy="mode"), "of which there is no mode"),
        (OneHot(column="x"), "type double; a category has type"),
        (Ratio(numerator="s", denominator="n", zero="null"), "type string; a number is needed"),
        (TargetEncoding(columns=("s",), label="day", smoothing=1, by=("n",), seed=1), "column 'day' in the frame has type date"),
    ]:
        with pytest.raises(ColumnError, match=message):
            derivation.check(OF)
    Impute(columns=("day",), strategy="constant", value="2026-01-31").check(OF)
    Impute(columns=("f",), strategy="constant", value=False).check(OF)
    Clip(columns=("n", "x", "d"), low=2, high=9.0).check(OF)


def test_texts_become_literals_that_no_setting_reads_otherwise():
    assert text_sql("plain text, 1") == "'plain text, 1'"
    assert text_sql("a\\b") == "cast(X'615C62' as string)"
    assert text_sql("${x}") == "cast(X'247B787D' as string)"
    assert value_sql("2026-01-01", "date") == "cast('2026-01-01' as date)"
    assert lookup_sql("k", {}, "double") == "cast(null as double)"


def state_of(made, **other):
    told = {"derivation": made.title, "version": 1, "kind": made.kind, "definition_hash": "h", "types": {"x": "double"}}
    return FittedState(**{**told, "state": {}, "n_rows": 1, "fitted_on": "t@1", "slice": "true", **other})


def test_states_that_do_not_serve_say_why():
    z = Standardise(columns=("x",), ddof=0)
    own = state_of(z)
    types = {"x": "double"}
    assert serving(z, "h", types, [own, state_of(z, version=2)]).version == 2
    assert serving(z, "h", types, [own, state_of(z, version=2)], version=1) is own
    assert serving(z, "h", types, [state_of(z, derivation="another")]) is None
    for kept, message in [
        (state_of(z, kind="clip"), "is of kind clip, now standardise"),
        (state_of(z, definition_hash="i"), "of another definition"),
        (state_of(z, types={"x": "float"}), "column 'x' of type float, now double"),
    ]:
        with pytest.raises(TableError, match=message):
            serving(z, "h", types, [kept])
    with pytest.raises(TableError, match=r"has no version 3 \(there: 1\)"):
        serving(z, "h", types, [own], version=3)


def test_states_are_kept_as_rows_and_a_later_format_or_a_broken_one_is_named():
    z = Standardise(columns=("x",), ddof=0)
    own = state_of(z, state={"ü": [None, 1.5]})
    assert FittedState.of_row(own.row) == own
    with pytest.raises(TableError, match="has format 2; this package reads up to 1"):
        FittedState.of_row({**own.row, "format": 2})
    with pytest.raises(TableError, match="cannot be read"):
        FittedState.of_row({**own.row, "state": "{"})
    with pytest.raises(TableError, match="more than 4"):
        state_json("big", {"x": "a" * 4_000_001})


def test_a_hash_moves_with_slice_definition_and_what_stands_before_but_not_with_the_test_part():
    def hashes(low, until=date(2026, 1, 31), **test):
        made = Generation(
            derivations=(Clip(columns=("a",), low=low), Standardise(columns=("a_clipped",), ddof=0), Standardise(columns=("b",), ddof=0)),
            fit=Slice(until=until, **test),
        )
        return made.hashes()

    base, other, later = hashes(0.0), hashes(1.0), hashes(0.0, date(2026, 2, 28))
    assert base == hashes(0.0, test_from=date(2026, 5, 1))
    assert [title for title in base if base[title] != other[title]] == ["clip(a)", "standardise(a_clipped)"]
    assert all(base[title] != later[title] for title in base)


def test_every_kind_is_read_from_plain_values():
    read = TypeAdapter(AnyDerivation).validate_python
    assert read({"kind": "ratio", "numerator": "a", "denominator": "b", "zero": "one"}) == Ratio(numerator="a", denominator="b", zero="one")
    assert read({"kind": "impute", "columns": ["a"], "strategy": "constant", "value": 0}).value == 0


def test_a_label_of_one_fold_only_teaches_nothing():
    encoding = TargetEncoding(columns=("s",), label="x", smoothing=1, by=("n",), seed=1, n_folds=2)
    with pytest.raises(DataError, match="all labels are of one fold"):
        encoding.state(Fitted(3, {"n_0": 3, "n_1": 0, "sum_0": 1.0, "sum_1": None}, {"values_0": []}))
    with pytest.raises(DataError, match="label 'x' is null in all 3 training rows"):
        encoding.state(Fitted(3, {"n_0": 0, "n_1": 0, "sum_0": None, "sum_1": None}, {"values_0": []}))


def test_declarations_need_no_spark():
    code = (
        "import sys\n"
        "for name in ('pyspark', 'pandas', 'yaml', 'pyarrow'): sys.modules[name] = None\n"
        "from sparkds.features.generate import Generation, Ratio\n"
        "Generation(derivations=(Ratio(numerator='a', denominator='b', zero='null'),)).hashes()\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True).stderr == ""
