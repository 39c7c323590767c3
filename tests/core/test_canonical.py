"""JSON in one spelling, and tool calls told by it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.core.canonical import canonical, canonical_json
from farthing.core.response import Sample

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(values, st.sampled_from([None, 1, 4]))
def test_spelling_does_not_matter(value: Any, indent: int | None) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=indent is None)
    assert canonical_json(text) == canonical(value)


@pytest.mark.parametrize(
    "text", ["", "{", "NaN", "[Infinity]", "[" * 100_000, "x", "1" * 10_000, '{"a":1} more']
)
def test_what_is_no_json(text: str) -> None:
    assert canonical_json(text) is None


def sample(*calls: tuple[str, Any]) -> Sample:
    told = [
        {"id": f"call_{n}", "function": {"name": name, "arguments": arguments}}
        for n, (name, arguments) in enumerate(calls)
    ]
    return Sample("", fields={"tool_calls": told})


def test_calls_are_equal_by_names_and_arguments() -> None:
    one, same = sample(("f", '{"a": 1, "b": 2}')), sample(("f", '{"b":2.0,"a":1}'))
    assert one.called == same.called == '[["f",{"a":1,"b":2}]]'
    assert sample(("g", "{}")).called != sample(("f", "{}")).called
    assert sample(("f", "{}"), ("g", "{}")).called != sample(("g", "{}"), ("f", "{}")).called
    assert sample(("f", "{cut")).called == '[["f","{cut"]]'
    assert Sample("x").called is None
    assert Sample("x", fields={"tool_calls": None}).called is None
