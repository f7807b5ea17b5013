"""Every kind on Spark against pandas, scikit-learn or a plain loop, fitted together in few passes on the training slice only."""

import math
import random
import re
import warnings
from collections import Counter
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal

import numpy as np
import pandas as pd
import pytest
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import KBinsDiscretizer, OneHotEncoder, StandardScaler

from sparkds import collect
from sparkds.errors import ColumnError, DataError, GateError
from sparkds.features.generate import (
    Clip,
    Difference,
    Frequency,
    Generation,
    Impute,
    Log1p,
    NullGate,
    OneHot,
    Polynomials,
    Product,
    QuantileBins,
    Ratio,
    Slice,
    Standardise,
)
from sparkds.features.generate.null_gate import hold, null_shares

UNTIL = date(2026, 1, 10)
SCHEMA = "k int, as_of date, x double, n int, big bigint, price decimal(10,2), colour string, shop string, flag boolean, day date, `ü.b c` double"
ODD = "ü.b c"


def random_rows(n=160, seed=3):
    rng = random.Random(seed)
    rows = []
    for k in range(n):
        rows.append(
            {
                "k": k,
                "as_of": date(2026, 1, 1) + timedelta(days=rng.randrange(15)),
                "x": rng.choice([None, math.nan, math.inf, 0.0, rng.gauss(3, 10), rng.gauss(3, 10), rng.gauss(3, 10)]),
                "n": rng.choice([None, 0, 1, 1, 1, 1, 2, rng.randrange(-50, 1000)]),
                "big": rng.choice([None, 2**62, -(2**63), rng.randrange(100)]),
                "price": rng.choice([None, Decimal("0.00"), Decimal(rng.randrange(-9999, 99999)) / 100]),
                "colour": rng.choice([None, "red", "red", "blue", "été", "it's", "a b", "a.b", "other"]),
                "shop": rng.choice([None, "", "n", "s", "s"]),
                "flag": rng.choice([None, True, False]),
                "day": rng.choice([None, date(2025, 5, rng.randrange(1, 4))]),
                ODD: rng.choice([None, rng.uniform(0, 1)]),
            }
        )
    rows[0] |= {"as_of": UNTIL + timedelta(days=2), "colour": "unseen", "shop": "elsewhere", "x": None, "n": None, "price": None}
    return rows


ROWS = random_rows()
MADE = Generation(
    derivations=(
        Ratio(numerator="x", denominator="n", zero="zero"),
        Ratio(numerator="price", denominator="n", zero="null", column="unit"),
        Difference(minuend="big", subtrahend="n"),
        Difference(minuend="price", subtrahend="n"),
        Product(columns=("big", "big"), column="big_squared"),
        Polynomials(columns=("n", "price", ODD), degree=2),
        OneHot(column="colour", null_column=True),
        OneHot(column="shop", keep=1),
        OneHot(column="flag", values=("true",)),
        Frequency(columns=("colour", "day", "n")),
        Log1p(columns=("x",)),
        Log1p(columns=("n",), suffix="slog", signed=True),
        Clip(columns=("n",), low=0, high=3),
        Clip(columns=("x", "price"), low_share=0.1, high_share=0.9, suffix="winsor"),
        QuantileBins(columns=("x", "n"), n_bins=5, closed="left", quantiles="exact"),
        QuantileBins(columns=("x", "n"), n_bins=5, closed="right", suffix="right"),
        Impute(columns=("x", "n", "price"), strategy="mean", indicator=True),
        Impute(columns=("x", "n"), strategy="median", quantiles="exact", suffix="median"),
        Impute(columns=("x", "n", "price"), strategy="median", suffix="low_median"),
        Impute(columns=("colour", "flag", "day", "n", "price", "x"), strategy="mode", suffix="mode"),
        Impute(columns=("shop",), strategy="constant", value="?", suffix="constant"),
        Impute(columns=("price", "x"), strategy="mean", by=("shop", "flag"), suffix="by_shop", name="by shop"),
        Impute(columns=("colour",), strategy="mode", by=("shop",), suffix="by_one"),
        Standardise(columns=("x_imputed", ODD), ddof=0),
        QuantileBins(columns=("x_imputed_standardised",), n_bins=3, closed="left", suffix="third"),
    ),
    fit=Slice(until=UNTIL),
    gate=NullGate(columns=("x_imputed", "colour_mode", "x", "unit"), most=0.02),
)


@pytest.fixture(scope="module")
def frame(spark):
    return frame_of(spark, ROWS)


def frame_of(spark, rows):
    return spark.createDataFrame([tuple(row.values()) for row in rows], SCHEMA)


@pytest.fixture(scope="module")
def states(frame):
    return MADE.fitted(frame)


@pytest.fixture(scope="module")
def derived(frame, states):
    return MADE.applied(frame, states)


@pytest.fixture(scope="module")
def got(derived):
    rows = sorted(derived.collect(), key=lambda row: row["k"])
    return {name: [row[name] for row in rows] for name in derived.columns}


def column(name):
    return [None if isinstance(v, float) and not math.isfinite(v) else v for v in (row[name] for row in ROWS)]


TRAINS = [row["as_of"] <= UNTIL for row in ROWS]


def training(name):
    return [v for v, trains in zip(column(name), TRAINS, strict=True) if trains and v is not None]


def assert_close(have, want, **tolerance):
    for i, (a, b) in enumerate(zip(have, want, strict=True)):
        assert (a is None) == (b is None), (i, a, b)
        assert a == (b if b is None or isinstance(b, int | str | date | Decimal) else pytest.approx(b, rel=1e-9, abs=1e-9, **tolerance)), (
            i,
            a,
            b,
        )


def each(f, *names):
    return [None if None in values else f(*values) for values in zip(*map(column, names), strict=True)]


def test_interactions_equal_exact_arithmetic(got):
    assert_close(got["x_per_n"], each(lambda x, n: 0.0 if n == 0 else x / n, "x", "n"))
    assert_close(got["unit"], [None if v is None else float(v) for v in each(lambda p, n: None if n == 0 else p / n, "price", "n")])
    assert_close(got["big_minus_n"], each(lambda a, b: Decimal(a - b), "big", "n"))
    assert_close(got["price_minus_n"], each(lambda a, b: a - b, "price", "n"))
    assert_close(got["big_squared"], each(lambda a: Decimal(a * a), "big"))
    assert_close(got["n_pow2"], each(lambda a: a * a, "n"))
    assert_close(got["n_x_price"], each(lambda a, b: a * b, "n", "price"))
    assert_close(got[f"price_x_{ODD}"], each(lambda a, b: float(a) * b, "price", ODD))


def test_one_hot_equals_scikit_learn_and_unknown_values_are_other(got, states):
    seen = sorted(set(training("colour")))
    names = states["one_hot(colour)"].state["names"]
    assert list(names) == seen
    encoder = OneHotEncoder(categories=[seen], handle_unknown="ignore", sparse_output=False).fit(
        np.array(seen, dtype=object).reshape(-1, 1)
    )
    wanted = encoder.transform(np.array(column("colour"), dtype=object).reshape(-1, 1))
    for i, value in enumerate(seen):
        assert got[names[value]] == list(wanted[:, i])
    assert got["colour_other"] == [int(v is not None and v not in seen) for v in column("colour")]
    assert got["colour_is_null"] == [int(v is None) for v in column("colour")]
    assert names["other"] != "colour_other"
    assert names["a b"] != names["a.b"]
    ((most, _),) = Counter(training("shop")).most_common(1)
    assert got[f"shop_{most}"] == [int(v == most) for v in column("shop")]
    assert got["shop_other"] == [int(v is not None and v != most) for v in column("shop")]
    assert got["flag_true"] == [int(v is True) for v in column("flag")]
    assert got["flag_other"] == [int(v is False) for v in column("flag")]


def test_frequency_is_the_share_among_training_rows_with_a_value(got):
    for name in ("colour", "day", "n"):
        shares = pd.Series(training(name), dtype=object).value_counts(normalize=True)
        assert_close(got[f"{name}_frequency"], each(lambda v, shares=shares: float(shares.get(v, 0.0)), name))


def test_numeric_kinds_equal_numpy(got):
    assert_close(got["x_log1p"], [None if v is None or v < 0 else math.log1p(v) for v in column("x")])
    assert_close(got["n_slog"], each(lambda v: math.copysign(math.log1p(abs(v)), v), "n"))
    assert_close(got["n_clipped"], each(lambda v: min(max(v, 0), 3), "n"))
    for name in ("x", "price"):
        low, high = np.quantile(np.array(training(name)), [0.1, 0.9], method="inverted_cdf")
        assert_close(got[f"{name}_winsor"], each(lambda v, low=low, high=high: min(max(v, low), high), name))


def test_bins_equal_scikit_learn_and_ties_leave_fewer_of_them(got, states):
    discretizer = KBinsDiscretizer(5, encode="ordinal", strategy="quantile", quantile_method="linear", subsample=None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that ties leave fewer bins
        discretizer.fit(np.array(training("x")).reshape(-1, 1))
    assert_close(got["x_bin"], each(lambda v: int(discretizer.transform([[v]])[0, 0]), "x"))
    edges = np.unique(np.quantile(np.array(training("n")), [0.2, 0.4, 0.6, 0.8]))
    edges = edges[edges != min(training("n"))]
    assert len(edges) < 4
    assert_close(got["n_bin"], each(lambda v: int(np.searchsorted(edges, v, side="right")), "n"))
    edges = np.unique(np.quantile(np.array(training("n")), [0.2, 0.4, 0.6, 0.8], method="inverted_cdf"))
    edges = edges[edges != max(training("n"))]
    assert_close(got["n_right"], each(lambda v: int(np.searchsorted(edges, v, side="left")), "n"))
    right = MADE.derivations[15]
    told = right.warnings(states[right.title].state)
    assert f"'{right.title}': ties of column 'n' leave {len(edges) + 1} of 5 bins" in told


def filled(name, value):
    return [value if v is None else v for v in column(name)]


def test_imputation_equals_scikit_learn(got):
    for strategy, suffix in (("mean", "imputed"), ("median", "median")):
        for name in ("x", "n"):
            imputer = SimpleImputer(strategy=strategy).fit(np.array(training(name), dtype=float).reshape(-1, 1))
            wanted = imputer.transform(np.array([np.nan if v is None else v for v in column(name)]).reshape(-1, 1))[:, 0]
            assert got[f"{name}_{suffix}"] == pytest.approx(wanted, rel=1e-9)
    mean = (sum(training("price")) / len(training("price"))).quantize(Decimal("0.01"), ROUND_HALF_UP)
    assert got["price_imputed"] == filled("price", mean)
    assert got["n_was_null"] == [int(v is None) for v in column("n")]
    for name in ("x", "n", "price"):
        low = np.quantile(np.array(training(name), dtype=object if name == "price" else None), 0.5, method="inverted_cdf")
        assert got[f"{name}_low_median"] == filled(name, low)
    for name in ("colour", "flag", "day", "n", "price", "x"):
        counts = Counter(training(name))
        most = min(v for v, n in counts.items() if n == max(counts.values()))
        assert got[f"{name}_mode"] == filled(name, most), name
    assert got["shop_constant"] == filled("shop", "?")


def test_groups_have_values_of_their_own_and_unseen_ones_that_of_all_rows(got):
    def of_group(name, *by):
        groups = {}
        for row, v, trains in zip(ROWS, column(name), TRAINS, strict=True):
            if trains and v is not None:
                groups.setdefault(tuple(row[b] for b in by), []).append(v)
        return [groups.get(tuple(row[b] for b in by), training(name)) for row in ROWS]

    for name in ("price", "x"):
        means = [sum(values) / len(values) for values in of_group(name, "shop", "flag")]
        if name == "price":
            means = [mean.quantize(Decimal("0.01"), ROUND_HALF_UP) for mean in means]
        assert_close(got[f"{name}_by_shop"], [mean if v is None else v for v, mean in zip(column(name), means, strict=True)])
    modes = [min(set(values), key=lambda v, values=values: (-values.count(v), v.encode())) for values in of_group("colour", "shop")]
    assert got["colour_by_one"] == [mode if v is None else v for v, mode in zip(column("colour"), modes, strict=True)]


def test_later_levels_stand_on_earlier_ones(got):
    imputed = np.array(got["x_imputed"]).reshape(-1, 1)
    scaled = StandardScaler().fit(imputed[TRAINS]).transform(imputed)[:, 0]
    assert got["x_imputed_standardised"] == pytest.approx(scaled, rel=1e-9)
    edges = np.quantile(scaled[TRAINS], [1 / 3, 2 / 3], method="inverted_cdf")
    assert got["x_imputed_standardised_third"] == list(np.searchsorted(edges, scaled, side="right"))


def test_types_and_comments_are_as_declared(frame, derived, states):
    from sparkds.features.generate.applying import outputs_of

    made = {output.name: output for outputs in outputs_of(MADE, frame, states).values() for output in outputs}
    types = dict(derived.dtypes)
    assert {name: types[name] for name in made} == {name: output.dtype for name, output in made.items()}
    assert all(output.comment for output in made.values())
    assert types["n_x_price"] == "decimal(21,2)"
    assert types["price_mode"] == "decimal(10,2)"


def test_what_is_fitted_does_not_change_when_rows_outside_the_slice_change(spark, states):
    changed = [row if row["as_of"] <= UNTIL else {**row, "x": 1e9, "n": 7, "colour": "new", "price": Decimal("1.00")} for row in ROWS]
    again = MADE.fitted(frame_of(spark, changed[80:] + changed[:80]).repartition(3))
    assert {t: s.n_rows for t, s in again.items()} == {t: s.n_rows for t, s in states.items()}
    for title, state in states.items():
        assert rounded(again[title].state) == rounded(state.state), title


def rounded(value):
    """Means and sds of doubles hang on the order of the rows in their last bits."""
    if isinstance(value, float):
        return round(value, 9)
    if isinstance(value, dict):
        return {key: rounded(below) for key, below in value.items()}
    return [rounded(below) for below in value] if isinstance(value, list) else value


def test_applying_moves_and_joins_nothing(derived, capsys):
    derived.explain()
    assert not re.search(r"Exchange|Join|Window|Python", capsys.readouterr().out)


def test_a_level_is_fitted_by_one_aggregation_and_one_grouped_pass(frame, monkeypatch, capsys):
    asked = []
    fetch = collect.small_rows

    def seen(frame, **bounds):
        frame.explain()
        asked.append(capsys.readouterr().out)
        return fetch(frame, **bounds)

    monkeypatch.setattr(collect, "small_rows", seen)
    states = MADE.fitted(frame)
    assert len(MADE.levels) == 3
    assert len(states) == 14
    assert len(asked) == 4  # the second and third level have no groups
    assert [len(re.findall(r"\b\w*Scan\b", plan)) for plan in asked] == [1, 1, 1, 1]
    assert [len(re.findall(r"Exchange hashpartitioning", plan)) for plan in asked] == [0, 1, 0, 0]
    assert MADE.fitted(frame, kept=states.values()) == states
    assert len(asked) == 4


def test_the_gate_names_every_feature_above_its_threshold(derived):
    n, shares = null_shares(derived, MADE.gate.columns)
    assert n == len(ROWS)
    assert (shares["x_imputed"], shares["colour_mode"]) == (0, 0)
    assert shares["x"] == column("x").count(None) / n
    with pytest.raises(GateError) as caught:
        hold(MADE.gate, shares, n)
    told = str(caught.value)
    assert re.search(r"'x' \d+\.\d\d%, 'unit' \d+\.\d\d%; the gate wants below 2.00%", told)
    assert "x_imputed" not in told
    hold(NullGate(columns=("x_imputed",)), shares, n)
    with pytest.raises(ColumnError, match="'y' not found in the derived features"):
        null_shares(derived, ["y"])


@pytest.mark.parametrize("ansi", ["true", "false"])
def test_overflow_and_a_refused_zero_fail_the_run_whatever_the_session_says(spark, ansi):
    frame = spark.createDataFrame([(1e308, 10.0, 0, 2**62, -(2**63))], "a double, b double, z int, big bigint, low bigint")
    before = spark.conf.get("spark.sql.ansi.enabled")
    spark.conf.set("spark.sql.ansi.enabled", ansi)
    try:
        for derivation, message in [
            (Product(columns=("a", "b")), "column 'a_x_b' overflows a double"),
            (Ratio(numerator="a", denominator="z", zero="refuse"), "the denominator 'z' is 0"),
        ]:
            with pytest.raises(Exception, match=message):
                Generation(derivations=(derivation,)).applied(frame, {}).collect()
        (row,) = (
            Generation(
                derivations=(
                    Product(columns=("big", "low")),
                    Product(columns=("low", "low")),
                    Product(columns=("low", "low", "low")),
                    Difference(minuend="big", subtrahend="low"),
                    Ratio(numerator="b", denominator="z", zero="one"),
                )
            )
            .applied(frame, {})
            .collect()
        )
    finally:
        spark.conf.set("spark.sql.ansi.enabled", before)
    assert row["big_x_low"] == Decimal(2**62 * -(2**63))
    assert row["low_x_low"] == Decimal(2**126)
    assert row["low_x_low_x_low"] == pytest.approx(-(2.0**189))
    assert row["big_minus_low"] == Decimal(2**62 + 2**63)
    assert row["b_per_z"] == 1.0


def test_vocabularies_and_columns_that_cannot_be_fitted_are_named(frame):
    fit = Slice(where="k < 40 or shop is null")
    with pytest.raises(DataError, match=r"the vocabulary of 'k' has \d+ different values in the training slice, more than the declared 10"):
        Generation(derivations=(Frequency(columns=("k",), most=10),), fit=fit).fitted(frame)
    with pytest.raises(DataError, match=r"the vocabulary of 'k' has 40 different values .* more than the declared 39"):
        Generation(derivations=(Frequency(columns=("k",), most=39), Frequency(columns=("n",))), fit=Slice(where="k < 40")).fitted(frame)
    nulls = frame.selectExpr("k", "cast(null as double) x", "cast(null as string) s")
    fit = Slice(where="true")
    for derivation in (
        Frequency(columns=("s",)),
        OneHot(column="s"),
        Impute(columns=("s",), strategy="mode"),
        QuantileBins(columns=("x",), n_bins=2, closed="left"),
    ):
        with pytest.raises(DataError, match=r"column '[xs]' is null in all 160 training rows"):
            Generation(derivations=(derivation,), fit=fit).fitted(nulls)
