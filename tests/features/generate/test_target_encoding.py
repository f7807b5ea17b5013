"""Target encoding against loops over rows: out of fold, only labels known before the row's time, full elsewhere."""

import random
from datetime import UTC, date, datetime, timedelta

import pytest

from sparkds.features.generate import Generation, Impute, Slice, TargetEncoding
from sparkds.hashing import bucket
from sparkds.models.splits import HashFolds, entity_text

UNTIL = date(2026, 1, 20)
BEGIN = date(2026, 1, 1)
SCHEMA = "shop string, customer int, as_of date, known date, at timestamp, known_at timestamp, colour string, `b.c` int, y double, bought boolean"
N_FOLDS, SEED, M = 3, 7, 2.5


def random_rows(n=150, seed=11):
    rng = random.Random(seed)
    rows = []
    for _ in range(n):
        day = BEGIN + timedelta(days=rng.randrange(30))
        known = day + timedelta(days=rng.choice([0, 1, 5]))
        label = rng.choice([None, 0.0, 1.0, 1.0])
        rows.append(
            {
                "shop": rng.choice("ab"),
                "customer": rng.randrange(20),
                "as_of": day,
                "known": rng.choice([known, known, None]) if label is None else known,
                "at": datetime(day.year, day.month, day.day, 12, tzinfo=UTC),
                "known_at": datetime(known.year, known.month, known.day, rng.choice([11, 12, 13]), tzinfo=UTC),
                "colour": rng.choice([None, "red", "blue", "it's", "unseen" if day > UNTIL else "red"]),
                "b.c": rng.choice([1, 2, 3, None]),
                "y": label,
                "bought": None if label is None else bool(label),
            }
        )
    return rows


ROWS = random_rows()


def encoding(**fields):
    told = {"columns": ("colour", "b.c"), "label": "y", "smoothing": M, "by": ("shop", "customer"), "n_folds": N_FOLDS, "seed": SEED}
    return TargetEncoding(**{**told, **fields})


def naive(row, column, time=None, known=None):
    """Code of a row: every label is looked at, one after the other."""
    fold = HashFolds(n_folds=N_FOLDS, seed=SEED)
    trains = row["as_of"] <= UNTIL
    labels = []
    for other in ROWS:
        if other["as_of"] > UNTIL or other["y"] is None:
            continue
        if trains:
            if fold.fold_of(entity_text([other["shop"], other["customer"]])) == fold.fold_of(entity_text([row["shop"], row["customer"]])):
                continue
            if time is not None and not other[known] < row[time]:
                continue
        labels.append(other)
    if not labels:
        return None
    prior = sum(other["y"] for other in labels) / len(labels)
    own = [other["y"] for other in labels if row[column] is not None and other[column] == row[column]]
    weight = len(own) / (len(own) + M)
    return weight * (sum(own) / len(own) if own else 0.0) + (1 - weight) * prior


@pytest.fixture(scope="module")
def frame(spark):
    told = SCHEMA.replace("`", "").split(", ")
    rows = [(i, *(row[part.split()[0]] for part in told)) for i, row in enumerate(ROWS)]
    return spark.createDataFrame(rows, f"k int, {SCHEMA}").repartition(3)


def codes(frame, made, *names):
    rows = sorted(made.applied(frame, made.fitted(frame)).select("k", *(f"`{name}`" for name in names)).collect())
    assert len(rows) == len(ROWS)
    return [[row[name] for row in rows] for name in names]


def test_rows_of_the_slice_are_encoded_out_of_their_fold_and_others_from_all_of_it(frame):
    made = Generation(
        derivations=(
            encoding(),
            encoding(label="bought", suffix="bought"),
            encoding(columns=("colour_mode",)),
            Impute(columns=("colour",), strategy="mode", suffix="mode"),
        ),
        fit=Slice(until=UNTIL),
    )
    got = codes(frame, made, "colour_target", "b.c_target", "colour_bought")
    assert got[0] == pytest.approx([naive(row, "colour") for row in ROWS], rel=1e-12)
    assert got[1] == pytest.approx([naive(row, "b.c") for row in ROWS], rel=1e-12)
    assert got[2] == got[0]


@pytest.mark.parametrize(("time", "known"), [("as_of", "known"), ("at", "known_at")])
def test_a_row_learns_only_from_labels_known_strictly_before_its_time(frame, time, known):
    made = Generation(derivations=(encoding(time=time, known_at=known),), fit=Slice(until=UNTIL))
    for have, column in zip(codes(frame, made, "colour_target", "b.c_target"), ("colour", "b.c"), strict=True):
        wanted = [naive(row, column, time, known) for row in ROWS]
        assert None in wanted
        for a, b in zip(have, wanted, strict=True):
            assert a == (None if b is None else pytest.approx(b, rel=1e-12))


def test_the_folds_are_those_of_the_hash_that_is_written_down():
    assert bucket("a\x1f7", "fold:7") // -(-(2**60) // 3) == HashFolds(n_folds=3, seed=7).fold_of(entity_text(["a", 7]))
