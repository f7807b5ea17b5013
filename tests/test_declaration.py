import subprocess
import sys
from collections.abc import Mapping
from datetime import date
from decimal import Decimal

import pytest
from pydantic import Field, ValidationError

from sparkds.declaration import Declaration


class Discount(Declaration):
    share: float
    since: date | None = None
    price: Decimal | None = None
    shops: Mapping[str, str] = Field(default_factory=dict)


def test_a_declaration_cannot_be_changed():
    discount = Discount(share=0.1)
    with pytest.raises(ValidationError, match="frozen"):
        discount.share = 0.2
    assert discount.share == 0.1


def test_an_unknown_field_is_refused():
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        Discount(share=0.1, shre=0.2)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_is_refused(value):
    with pytest.raises(ValidationError, match="finite"):
        Discount(share=value)


def test_fields_are_given_by_name_only():
    with pytest.raises(TypeError, match="positional"):
        Discount(0.1)


def test_equal_statements_have_the_same_hash_however_they_were_written():
    written = Discount(share=0.1, since="2026-01-02", price="1.50", shops={"b": "2", "a": "1"})
    meant = Discount(shops={"a": "1", "b": "2"}, price=Decimal("1.50"), since=date(2026, 1, 2), share=0.1)
    assert written.definition_hash == meant.definition_hash
    assert len(written.definition_hash) == 16
    assert int(written.definition_hash, 16) >= 0


def test_different_statements_have_different_hashes():
    hashes = {
        Discount(share=0.1).definition_hash,
        Discount(share=0.2).definition_hash,
        Discount(share=0.1, price="1.5").definition_hash,
        Discount(share=0.1, price="1.50").definition_hash,
        Discount(share=0.1, since="2026-01-02").definition_hash,
    }
    assert len(hashes) == 5


def test_the_hash_is_pinned_so_that_tables_are_recognised_by_later_versions():
    assert Discount(share=0.1, since="2026-01-02", shops={"ö": "1"}).definition_hash == PINNED


def test_the_hash_is_the_same_in_another_process():
    code = (
        "from sparkds.declaration import Declaration\n"
        "class D(Declaration):\n    shops: dict[str, int]\n"
        "print(D(shops={'a': 1, 'b': 2}).definition_hash)"
    )
    told = {subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout for _ in range(2)}
    assert len(told) == 1


PINNED = "a713a0f8a65b28c1"


def test_a_copy_with_other_values_is_checked_and_forgets_what_was_computed():
    from sparkds.experiments.assignment import Assignment

    declared = Assignment(experiment="button", arms={"a": 0.5, "b": 0.5}, coverage=1.0)
    assert declared.cuts != declared.model_copy(update={"coverage": 0.25}).cuts
    with pytest.raises(ValidationError):
        declared.model_copy(update={"coverage": 2.0})
