"""TF-IDF and its components against scikit-learn's, the same under any partitioning, and fitted on the training slice only."""

import re
import sys
from datetime import date

import numpy as np
import pytest
from pydantic import ValidationError
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from sparkds.errors import ColumnError, ConfigError, DataError
from sparkds.features.generate import Embedding, Generation, Hashing, Slice, TextSvd, TfIdf, Vocabulary
from sparkds.features.generate.latent import (
    Projection,
    as_text,
    inverse_document_frequency,
    leading_components,
    of_text,
    weighted_rows,
)

TRAIN = [
    "The quick brown fox, the lazy dog!",
    "Quick quick FOX; straße_7 naïve café",
    "the dog's day: 東京 tower",
    "",
    None,
    "lazy lazy lazy dog 東京",
    "café café fox",
    "it's $5 \\d {x} 'quoted' \"twice\" tower",
    "  ... !!!  ",
    "brown straße_7 naïve tower day",
]
LATER = ["an unseen token and the fox fox", "nothing known", None, "", "ФОКС café the the the dog"]
FIT = Slice(until=date(2026, 1, 1))
SCHEMA = "i int, as_of date, `the text` string"
ROWS = [(i, date(2026, 1, 1), text) for i, text in enumerate(TRAIN)] + [(100 + i, date(2026, 1, 2), text) for i, text in enumerate(LATER)]
EVERY = Vocabulary(most=100, min_documents=1)


def vectorizer(min_df=1, norm="l2"):
    return TfidfVectorizer(token_pattern=r"\w+", min_df=min_df, norm=norm)


def said(texts):
    return [text or "" for text in texts]


@pytest.fixture(scope="module")
def frame(spark):
    return spark.createDataFrame(ROWS, SCHEMA)


def made(*derivations, fit=FIT):
    return Generation(derivations=derivations, fit=fit)


def matrix(rows, names):
    return np.array([[row[name] for name in names] for row in sorted(rows, key=lambda row: row["i"])])


def test_tf_idf_and_its_components_are_scikit_learns_with_unseen_tokens_nulls_and_empty_texts(spark, frame, capsys, tmp_path):
    frequent = Vocabulary(most=100, min_documents=2)
    generation = made(
        TfIdf(column="the text", features=EVERY),
        TfIdf(column="the text", features=frequent, norm="none", output="array", name="frequent"),
        TextSvd(column="the text", features=EVERY, components=3, seed=7),
        TfIdf(column="copy", features=Hashing(buckets=7), name="hashed"),
    )
    frame = frame.selectExpr("*", "`the text` as copy")
    states = generation.fitted(frame)
    oracle = vectorizer().fit(said(TRAIN))
    state = states["tf_idf(the text)"].state
    assert state["tokens"] == sorted(oracle.get_feature_names_out())
    assert state["documents"] == len(TRAIN)
    applied = generation.applied(frame.repartition(3), states)
    applied.explain()
    plan = capsys.readouterr().out
    assert len(re.findall(r"ArrowEvalPython", plan)) == 1
    assert len(re.findall(r"Exchange ", plan)) == 1, "the repartition alone"
    rows = applied.collect()
    names = [f"the text_tf_idf_{token}" for token in oracle.get_feature_names_out()]
    assert [name for name in rows[0].asDict() if name.startswith("the text_tf_idf_")] == [f"the text_tf_idf_{t}" for t in state["tokens"]]
    texts = said(TRAIN + LATER)
    np.testing.assert_allclose(matrix(rows, names), oracle.transform(texts).toarray(), atol=1e-14)
    few = vectorizer(min_df=2, norm=None).fit(said(TRAIN))
    tokens = states["frequent"].state["tokens"]
    order = [list(few.get_feature_names_out()).index(token) for token in tokens]
    got = np.array([row["the text_tf_idf"] for row in sorted(rows, key=lambda row: row["i"])])
    np.testing.assert_allclose(got, few.transform(texts).toarray()[:, order], atol=1e-14)
    svd = TruncatedSVD(3, algorithm="arpack", random_state=1).fit(oracle.transform(said(TRAIN)))
    names = [f"the text_svd_{i}" for i in range(3)]
    expected = svd.transform(oracle.transform(texts))
    got = matrix(rows, names)
    signs = np.sign((got * expected).sum(axis=0))
    np.testing.assert_allclose(got, expected * signs, atol=1e-9)
    told = states["text_svd(the text)"].state
    np.testing.assert_allclose(told["singular_values"], svd.singular_values_, rtol=1e-9)
    assert told["sampled_rows"] == 7
    assert (got[[3, 4, 8, 12, 13]] == 0).all()
    assert [rows_of_hashes(row, 7) for row in rows if row["i"] in (3, 4, 102)] == [[0.0] * 7] * 3
    hashed = states["hashed"].state["frequency"]
    buckets = {token: row[0] for token, row in zip(state["tokens"], hashes(spark, state["tokens"], 7), strict=True)}
    tokenize = oracle.build_analyzer()
    expected_frequency = [sum(b in {buckets[t] for t in tokenize(text)} for text in said(TRAIN)) for b in range(7)]
    assert hashed == expected_frequency
    counts = np.zeros((len(TRAIN), 7))
    for i, text in enumerate(said(TRAIN)):
        for token in tokenize(text):
            counts[i, buckets[token]] += 1
    weighted = counts * inverse_document_frequency(len(TRAIN), hashed)
    length = np.linalg.norm(weighted, axis=1, keepdims=True)
    got = matrix([row for row in rows if row["i"] < 100], [f"copy_tf_idf_{b}" for b in range(7)])
    np.testing.assert_allclose(got, weighted / np.where(length > 0, length, 1), atol=1e-14)


def rows_of_hashes(row, n):
    return [row[f"copy_tf_idf_{b}"] for b in range(n)]


def hashes(spark, tokens, n):
    return spark.createDataFrame([(token,) for token in tokens], "t string").selectExpr(f"pmod(hash(t), {n})").collect()


def test_a_smaller_sample_is_the_same_under_any_partitioning_and_seeded(frame):
    def fitted(frame, seed):
        (state,) = (
            made(TextSvd(column="the text", features=EVERY, components=2, sample_rows=10, seed=seed, sample_by=("i",)))
            .fitted(frame)
            .values()
        )
        return state.state

    many = frame.unionByName(frame.selectExpr("i + 1000 as i", "as_of", "upper(`the text`) as `the text`"))
    once, again, other = fitted(many, 1), fitted(many.repartition(5), 1), fitted(many, 2)
    assert once == again
    assert once["sampled_rows"] == 10
    assert once["components"] != other["components"]


def test_bad_input_is_named(frame):
    with pytest.raises(ColumnError, match="column 'as_of' in the frame has type date; a text is a string"):
        made(TfIdf(column="as_of", features=EVERY)).fitted(frame)
    with pytest.raises(DataError, match="vocabulary of 'the text' has .* different values in the training slice, more than the declared 3"):
        made(TfIdf(column="the text", features=Vocabulary(most=3, min_documents=1))).fitted(frame)
    with pytest.raises(DataError, match="has no token in 9 rows in the 10 training rows; lower min_documents"):
        made(TfIdf(column="the text", features=Vocabulary(most=3, min_documents=9))).fitted(frame)
    with pytest.raises(ConfigError, match="no training slice is declared"):
        made(TfIdf(column="the text", features=EVERY), fit=None).fitted(frame)
    with pytest.raises(ColumnError, match="a text is a string"):
        made(Embedding(model="models:/m/1", column="i", dimensions=2)).fitted(frame)
    with pytest.raises(ConfigError, match="needs the version of model 'models:/m/1', which nobody gives"):
        made(Embedding(model="models:/m/1", column="the text", dimensions=2)).fitted(frame)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: TfIdf(column="t", features=Hashing(buckets=1001)), "1001 terms are more than the 1000 of output: columns"),
        (lambda: TfIdf(column="t", features=Hashing(buckets=5000), output="array"), "more than the 4096 of output: array"),
        (lambda: TextSvd(column="t", features=Hashing(buckets=10_000), components=31, seed=1), "310000 numbers, more than 300000"),
        (lambda: Vocabulary(most=10_001), "less than or equal to 10000"),
    ],
)
def test_what_is_too_wide_is_refused_when_it_is_declared(wrong, message):
    with pytest.raises(ValidationError, match=message):
        wrong()


def rows_of(texts):
    starts = np.cumsum([0, *(len(text) for text in texts)])
    return np.array([i for text in texts for i in text], dtype=np.int64), starts


def test_a_document_alone_has_the_bits_that_it_has_among_others():
    rng = np.random.default_rng(3)
    texts = [list(rng.integers(0, 40, rng.integers(0, 12))) for _ in range(50)]
    idf = rng.uniform(1, 4, 40)
    found = leading_components(weighted_rows(*rows_of(texts), idf, True), 5, 0)
    project = Projection(idf, found.vectors, True)
    together = project.of(*rows_of(texts))
    for i, text in enumerate(texts):
        assert np.array_equal(project.of(*rows_of([text]))[0], together[i])
    assert np.array_equal(of_text(as_text(found.vectors), 5), found.vectors)


def test_components_have_falling_values_fixed_signs_and_are_zero_beyond_the_rank():
    texts = [[0, 1], [0, 1], [2], [2]]
    found = leading_components(weighted_rows(*rows_of(texts), np.ones(4), True), 4, 0)
    np.testing.assert_allclose(found.singular_values, [np.sqrt(2), np.sqrt(2), 0, 0], atol=1e-12)
    assert (found.vectors[2:] == 0).all()
    assert found.explained == pytest.approx(1.0)
    for row in found.vectors[:2]:
        assert row[np.argmax(np.abs(row))] > 0
    again = leading_components(weighted_rows(*rows_of(texts), np.ones(4), True), 2, 0)
    assert again.explained == pytest.approx(1.0)


def test_no_document_gives_no_component_and_no_error():
    found = leading_components(weighted_rows(*rows_of([[], []]), np.ones(3), True), 2, 0)
    assert (found.vectors == 0).all()
    assert found.explained == 0.0


def test_text_declarations_need_neither_spark_nor_scipy():
    import subprocess

    code = (
        "import sys\n"
        "for name in ('pyspark', 'pandas', 'scipy', 'pyarrow'): sys.modules[name] = None\n"
        "import sparkds.features.generate as g\n"
        "g.TextSvd(column='t', features={'kind': 'hashing', 'buckets': 8}, components=2, seed=1)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True).stderr == ""
