"""Datasets: real data that ships with the package, by name."""

from __future__ import annotations

import csv
import hashlib
from datetime import date, datetime
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple


class Transaction(NamedTuple):
    """One purchase at CDNOW.

    Attributes
    ----------
    customer_id : str
        Five digits.
    date : date
    cds : int
        Number of compact discs.
    amount : Decimal
        US dollars, two digits after the point; may be 0.
    """

    customer_id: str
    date: date
    cds: int
    amount: Decimal


def cdnow() -> list[Transaction]:
    """All 69 659 transactions of 23 570 customers, 1997-01-01 to 1998-06-30, in the order of the file.

    Source and licence stand in ``CDNOW.md`` beside the file.

    Examples
    --------
    >>> cdnow()[0]
    Transaction(customer_id='00001', date=datetime.date(1997, 1, 1), cds=1, amount=Decimal('11.77'))
    """
    text = files(__name__).joinpath("CDNOW_master.txt").read_text(encoding="ascii")
    rows = (line.split() for line in text.splitlines()[1:] if line.strip())
    return [
        Transaction(customer, datetime.strptime(day, "%Y%m%d").date(), int(cds), Decimal(amount)) for customer, day, cds, amount in rows
    ]


def is_sampled(customer_id: str, share: float) -> bool:
    """Whether a customer is in the sample of a share; the same customers everywhere, and a larger share has those of a smaller one.

    Examples
    --------
    >>> [is_sampled("00001", share) for share in (0.0, 1.0)]
    [False, True]
    """
    return int.from_bytes(hashlib.sha256(customer_id.encode()).digest()[:8], "big") < share * 2.0**64


def write_cdnow(directory: str | Path, *, name: str = "transactions", until: date | None = None, customers: float = 1.0) -> Path:
    """Write CDNOW as a CSV file with the columns ``customer_id,date,cds,amount``.

    Parameters
    ----------
    directory : path
        Made when absent.
    name : str
        Name of the table.
    until : date, optional
        Last day that is written.
    customers : float
        Share of the customers, chosen by a hash of their id.

    Returns
    -------
    Path
        ``<directory>/<name>.csv``.
    """
    path = Path(directory, f"{name}.csv")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="ascii") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Transaction._fields)
        writer.writerows(row for row in cdnow() if (until is None or row.date <= until) and is_sampled(row.customer_id, customers))
    return path
