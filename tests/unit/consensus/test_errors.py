"""Errors are for people, and who is to blame follows from their class."""

import dataclasses

import pytest

from consensus import errors
from consensus.errors import (
    AmountTooLarge,
    CannotPay,
    FeeTooLow,
    Fraud,
    Invalid,
    InvalidHeader,
    InvalidSeal,
    NotYet,
    RuleError,
)
from deepblock.primitives import DBK
from tests.unit.consensus.parts import named

ALL = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, RuleError)]
CONCRETE = [cls for cls in ALL if "text" in vars(cls)]


@pytest.mark.parametrize("cls", CONCRETE, ids=lambda cls: cls.__name__)
def test_each_error_carries_its_numbers(cls):
    names = [field.name for field in dataclasses.fields(cls)] if dataclasses.is_dataclass(cls) else []
    values = {name: 7_000_001 + place for place, name in enumerate(names)}
    error = cls(**values)
    assert vars(error) == values
    for value in values.values():
        assert str(value) in str(error) or hex(value) in str(error)
    assert "{" not in str(error)


@pytest.mark.parametrize("cls", CONCRETE, ids=lambda cls: cls.__name__)
def test_what_is_not_yet_is_nobodys_fault(cls):
    assert issubclass(cls, NotYet) is (cls.__name__ in {"ParentUnknown", "FromTheFuture", "TaskUnknown"})
    assert issubclass(cls, NotYet) is not issubclass(cls, Invalid)


def test_the_tree_is_as_it_is_drawn():
    drawn = set(errors.__doc__.split())
    for cls in ALL:
        assert cls.__name__ in drawn
    assert {cls.__name__ for cls in ALL if cls.__base__ is InvalidSeal} == {
        "WrongStateCount",
        "RepeatedState",
        "TicketMissed",
    }
    assert sum(cls.__base__ is InvalidHeader for cls in ALL) == 7


def test_a_name_with_braces_is_only_a_name():
    assert "{x}" in str(Fraud("segment {x}", str(named("a")), str(named("b"))))


def test_amounts_are_shown_as_people_write_them():
    error = CannotPay(sender="dbk1me", balance=DBK // 2, required=1_250 * DBK)
    assert str(error) == "dbk1me can spend 0.5 DBK, the transaction needs 1,250 DBK"
    assert (error.balance, error.required) == (DBK // 2, 1_250 * DBK)
    assert "0.00002 DBK, at least 0.00001" in str(FeeTooLow(found=2_000, required=1_000))
    assert "300 DBK" in str(AmountTooLarge(total=300 * DBK))
