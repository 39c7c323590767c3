"""Price reversal on logs whose answer is known."""

from __future__ import annotations

import economics_rows as made
import numpy as np
import pytest

from farthing.bench.economics.pricing import Listed, Mix, listed
from farthing.bench.economics.reversal import reversal
from farthing.bench.economics.study import Entry
from farthing.core.errors import DataError
from farthing.core.money import Cost
from farthing.cost import PriceBook


def price(mixed: float) -> Listed:
    """Dollars per million tokens, the same for all of them."""
    return Listed(mixed, mixed, mixed, mixed, "made up", None)


def talker(model: str, usd: float, tokens: int, thought: int, questions: int = 20):
    """A model that spends so many tokens, of which so many on thought, at so many USD a million."""
    cost = usd * tokens / 10**6
    return [
        made.row(f"q{n}", model, 1.0, cost, output_tokens=tokens, reasoning_tokens=thought)
        for n in range(questions)
    ]


def test_the_cheap_one_that_thinks_costs_more():
    rows = talker("a", 1, 9000, 8900) + talker("b", 2, 300, 0) + talker("c", 3, 400, 100)
    found = reversal(made.study(rows), [price(1), price(2), price(3)])
    assert (found.pairs, found.questions) == (3, 20)
    assert found.rate.value == pytest.approx(2 / 3)
    assert found.tau.value == pytest.approx(-1 / 3)
    assert [(pair.cheap, pair.dear, pair.sure) for pair in found.worst] == [
        ("a", "b", True),
        ("a", "c", True),
    ]
    assert found.worst[0].spent == pytest.approx(0.009 / 0.0006)
    less = found.without_reasoning
    assert less is not None
    assert (less.rate, less.rate_without) == (pytest.approx(2 / 3), 0.0)
    assert less.tau_without == pytest.approx(1.0)
    assert less.share == pytest.approx((8900 + 300) / (9000 + 600 + 1200))


def test_models_are_compared_on_questions_that_all_have():
    rows = talker("a", 1, 100, 0, 30) + talker("b", 2, 100, 0, 10)
    found = reversal(made.study(rows), [price(1), price(2)])
    assert found.questions == 10


def test_without_a_price_or_a_cost_a_model_is_left_out():
    rows = talker("a", 1, 100, 0) + talker("b", 2, 100, 0) + [made.row("q0", "c", 1.0, None)]
    found = reversal(made.study(rows), [price(1), None, price(3)])
    assert (found.models, found.left_out) == (("a",), ("b", "c"))
    assert found.rate.value is None
    assert found.rate.interval is None


def test_reasoning_that_nobody_recorded_is_unknown():
    rows = [made.row("q", m, 1.0, 0.1) for m in "ab"]
    assert reversal(made.study(rows), [price(1), price(2)]).without_reasoning is None


def test_noise_of_repeated_attempts():
    """Costs are a question's own times chance of a known size."""
    rng = np.random.default_rng(0)
    rows = []
    for question in range(400):
        level = rng.choice([1.0, 3.0])
        for _ in range(5):
            rows.append(made.row(f"{question}", "m", 1.0, level + rng.normal(0, 0.2)))
    found = reversal(made.study(rows), [None]).noise
    assert found is not None
    assert found.cells == 400
    assert found.relative_error == pytest.approx(0.2 / 2, rel=0.05)
    assert found.explainable == pytest.approx(1 - 0.04 / 1.04, abs=0.01)
    assert found.worst > found.median > 1


def test_single_attempts_have_no_noise():
    assert reversal(made.study(talker("a", 1, 10, 0)), [price(1)]).noise is None


def test_listed_prices():
    entry = Entry("m", 1, 1, prices=(Cost.from_usd("1"), Cost.from_usd("5")))
    assert listed(entry, PriceBook(), Mix()).mixed == 2.0
    assert listed(entry, PriceBook(), Mix.parse("0:1")).mixed == 5.0
    known = listed(Entry("x", 1, 1, upstream="gpt-4o-mini"), PriceBook(), Mix())
    assert known is not None
    assert known.source.startswith("genai-prices")
    assert listed(Entry("nobody-knows", 1, 1, upstream="nobody-knows"), PriceBook(), Mix()) is None
    for wrong in ("3", "a:b", "0:0", "-1:2", "1:inf"):
        with pytest.raises(DataError, match="mix"):
            Mix.parse(wrong)
