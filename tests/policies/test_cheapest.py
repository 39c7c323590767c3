"""Which model is asked, by what it should cost and what a lost cache is worth."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.budgets import Operation
from farthing.core.money import Rates
from farthing.core.protocols import ModelCard
from farthing.core.request import Message, Request
from farthing.core.response import Response, Sample
from farthing.core.usage import Usage
from farthing.cost import PriceBook
from farthing.policies import Cheapest, from_params


class Fake:
    def __init__(self, name: str, rates: Rates | None, prompt: int = 0) -> None:
        self.card = ModelCard(name, rates=rates)
        self.usage = Usage(input=prompt, output=1) if prompt else None

    async def complete(self, request: Request) -> Response:
        basis = "exact" if self.usage else "unknown"
        return Response(self.card.name, (Sample("x", "x", True),), self.usage, basis)


def talk(turns: int, text: str = "?", **settings: Any) -> Request:
    messages = [Message("user", text)]
    for _ in range(turns):
        messages += [Message("assistant", "so"), Message("user", "and?")]
    return Request(tuple(messages), **settings)


async def asked(policy: Cheapest, request: Request, *models: Fake, key: str | None = None) -> str:
    operation = Operation({m.card.name: m for m in models}, prices=PriceBook(), key=key)
    return (await policy.answer(request, operation)).model


async def test_the_cheapest_is_asked() -> None:
    policy = Cheapest(("unknown", "a", "b", "c"), output_tokens=100)
    a, b, c = Fake("a", Rates(1, 50)), Fake("b", Rates(40, 1)), Fake("c", Rates(40, 1))
    unknown = Fake("unknown", None)
    assert await asked(policy, talk(0), a, b, c, unknown) == "b"
    assert await asked(policy, talk(0, "long " * 1000), a, b, c, unknown) == "a"
    assert await asked(policy, talk(0, max_tokens=0), a, b, c, unknown) == "b"
    assert await asked(policy, talk(0, max_tokens=1), a, b, c, unknown) == "b"


@pytest.mark.parametrize(("prompt", "then"), [(10, "b"), (1000, "a")])
async def test_a_cache_is_only_given_up_for_more_than_it_is_worth(prompt: int, then: str) -> None:
    """`b` becomes cheaper by 5,000; `a` would lose a cache worth 9 a token."""
    policy = Cheapest(("a", "b"), output_tokens=100)
    a, b = Fake("a", Rates(10, 100, 1), prompt), Fake("b", Rates(10, 101, 1), prompt)
    assert await asked(policy, talk(0), a, b) == "a"
    b.card = ModelCard("b", rates=Rates(10, 50, 1))
    assert await asked(policy, talk(1), a, b) == then
    assert await asked(policy, talk(1, "else"), a, b) == "b"
    assert await asked(policy, talk(1), a, b, key="other") == "b"


async def test_no_cache_is_counted_on_for_ever_or_without_a_count() -> None:
    for policy, prompt in ((Cheapest(("a", "b"), cache_s=0), 10**6), (Cheapest(("a", "b")), 0)):
        a, b = Fake("a", Rates(10, 1, 1), prompt), Fake("b", Rates(11, 1, 1), prompt)
        assert await asked(policy, talk(0), a, b) == "a"
        b.card = ModelCard("b", rates=Rates(9, 1, 1))
        assert await asked(policy, talk(1), a, b) == "b"


RATES = st.builds(Rates, st.integers(1, 99), st.integers(1, 99), st.none() | st.integers(0, 99))


@given(RATES, RATES, st.integers(0, 5000), st.integers(1, 5000))
def test_the_price_of_switching(one: Rates, other: Rates, held: int, output: int) -> None:
    """Switching costs the other model's input price less its cache price for what is held."""
    policy = Cheapest(("a", "b"), output_tokens=output)
    operation = Operation({"a": Fake("a", one), "b": Fake("b", other)}, prices=PriceBook())
    request = talk(0)
    stay = policy._expected(request, operation, "b", held, is_held=True)[1]
    switch = policy._expected(request, operation, "b", held, is_held=False)[1]
    read = other.input if other.cache_read is None else other.cache_read
    assert switch.pico - stay.pico == (other.input - read) * held


def test_its_parameters_make_it_again() -> None:
    policy = from_params("cheapest", {"models": ["a", "b"], "output_tokens": 9})
    assert policy == Cheapest(("a", "b"), 9)
    assert from_params("cheapest", policy.get_params()) == policy
