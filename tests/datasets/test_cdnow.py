import csv
import hashlib
from collections import Counter
from datetime import date
from decimal import Decimal
from importlib.resources import files

import pytest

from sparkds.datasets import Transaction, cdnow, write_cdnow

FOLDER = files("sparkds.datasets")


@pytest.fixture(scope="module")
def transactions():
    return cdnow()


def test_the_file_is_the_one_whose_source_is_stated():
    told = FOLDER.joinpath("CDNOW.md").read_text(encoding="utf-8")
    digest = hashlib.sha256(FOLDER.joinpath("CDNOW_master.txt").read_bytes()).hexdigest()
    assert digest in told
    assert "MIT License" in told
    assert "lifetimes" in told


def test_totals_are_those_of_the_file_read_by_hand(transactions):
    lines = FOLDER.joinpath("CDNOW_master.txt").read_text(encoding="ascii").splitlines()
    assert lines[0].split() == ["customer_id", "date", "number_of_cds", "dollar_value"]
    cents = n_cds = 0
    for line in lines[1:]:
        _, _, cds, dollars = line.split()
        whole, point, fraction = dollars.partition(".")
        assert point, line
        cents += 100 * int(whole) + int(fraction.ljust(2, "0"))
        n_cds += int(cds)
    assert len(transactions) == len(lines) - 1 == 69_659
    assert sum(t.amount for t in transactions) == Decimal(cents) / 100
    assert sum(t.cds for t in transactions) == n_cds


def test_counts_days_and_sums_are_the_stated_ones(transactions):
    assert len({t.customer_id for t in transactions}) == 23_570
    assert min(t.date for t in transactions) == date(1997, 1, 1)
    assert max(t.date for t in transactions) == date(1998, 6, 30)
    assert sum(t.amount for t in transactions) == Decimal("2500315.63")
    assert sum(t.cds for t in transactions) == 167_881


def test_every_customer_bought_first_in_the_first_quarter(transactions):
    first = {}
    for t in transactions:
        first[t.customer_id] = min(first.get(t.customer_id, t.date), t.date)
    assert max(first.values()) < date(1997, 4, 1)


def test_traps_of_the_data_are_as_many_as_stated(transactions):
    told = FOLDER.joinpath("CDNOW.md").read_text(encoding="utf-8")
    further = len(transactions) - len({(t.customer_id, t.date) for t in transactions})
    repeats = sum(n - 1 for n in Counter(transactions).values())
    free = sum(t.amount == 0 for t in transactions)
    buyers = len({t.customer_id for t in transactions if t.amount > 0})
    assert min(t.amount for t in transactions) == 0
    assert f"{_spaced(further)} rows are a further purchase of the same customer on the same day" in told
    assert f"{repeats} rows repeat another in every column" in told
    assert f"{free} rows have the amount 0; {23_570 - buyers} customers have no other" in told


def test_totals_stand_beside_the_file(transactions):
    told = FOLDER.joinpath("CDNOW.md").read_text(encoding="utf-8")
    assert f"{_spaced(sum(t.cds for t in transactions))} compact discs" in told
    assert f"{_spaced(sum(t.amount for t in transactions))} US dollars" in told


def _spaced(number):
    return f"{number:,}".replace(",", " ")


def test_values_have_the_stated_types(transactions):
    assert transactions[0] == Transaction("00001", date(1997, 1, 1), 1, Decimal("11.77"))
    assert {len(t.customer_id) for t in transactions} == {5}
    assert {t.amount.as_tuple().exponent for t in transactions} == {-2}
    assert min(t.cds for t in transactions) >= 1


def test_the_written_table_is_the_data_set(transactions, tmp_path):
    path = write_cdnow(tmp_path / "new" / "folder")
    assert path == tmp_path / "new" / "folder" / "transactions.csv"
    with path.open(newline="", encoding="ascii") as file:
        header, *rows = csv.reader(file)
    assert header == ["customer_id", "date", "cds", "amount"]
    assert rows[0] == ["00001", "1997-01-01", "1", "11.77"]
    assert [Transaction(c, date.fromisoformat(d), int(n), Decimal(a)) for c, d, n, a in rows] == transactions


def test_a_table_can_be_written_up_to_a_day_and_under_another_name(transactions, tmp_path):
    path = write_cdnow(tmp_path, name="sales", until=date(1997, 1, 2))
    assert path.name == "sales.csv"
    with path.open(newline="", encoding="ascii") as file:
        rows = list(csv.DictReader(file))
    assert {row["date"] for row in rows} == {"1997-01-01", "1997-01-02"}
    assert len(rows) == sum(t.date <= date(1997, 1, 2) for t in transactions)


def test_writing_again_replaces_the_table(tmp_path):
    write_cdnow(tmp_path)
    path = write_cdnow(tmp_path, until=date(1997, 1, 1))
    assert len(path.read_text().splitlines()) == 1 + sum(t.date == date(1997, 1, 1) for t in cdnow())
