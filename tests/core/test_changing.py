from dataclasses import dataclass, fields, replace

import pytest

from farthing.core.changing import changed
from farthing.core.money import Cost
from farthing.core.response import Response, Sample
from farthing.core.usage import Usage

SAMPLE = Sample("forty-two", finish_reason="stop", columns={"signal": 0.5})
RESPONSE = Response("m", (SAMPLE,), Usage(input=3), "exact", raw=b"{}", billed_calls={"search": 1})


@pytest.mark.parametrize(
    ("record", "changes"),
    [
        (SAMPLE, {"answer": "42", "read": True}),
        (RESPONSE, {"cost": Cost(5), "latency_s": 0.1, "raw": None}),
        (RESPONSE, {}),
    ],
)
def test_a_change_is_what_replace_makes_of_it(record, changes):
    before = {field.name: getattr(record, field.name) for field in fields(record)}
    new = changed(record, **changes)
    assert new == replace(record, **changes)
    assert new is not record
    assert {name: getattr(record, name) for name in before} == before


def test_what_is_no_field_is_refused():
    with pytest.raises(TypeError, match="Sample has no colour"):
        changed(SAMPLE, colour="red", read=True)


def test_records_that_check_their_fields_are_left_to_replace():
    with pytest.raises(TypeError, match="Usage checks its fields"):
        changed(Usage(), input=-1)


def test_every_field_is_copied():
    @dataclass(frozen=True, slots=True)
    class Pair:
        left: int
        right: int = 2

    assert changed(Pair(1), right=3) == Pair(1, 3)
