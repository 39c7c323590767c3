"""Tokens and the margin, by hand and where nothing is gained."""

from __future__ import annotations

import economics_rows as made
import numpy as np
import pytest

from farthing.bench.economics.effort import lengths, steps


def variants(chances: dict[int, float], questions: int = 400):
    rng = np.random.default_rng(1)
    draws = rng.random(questions)
    return [
        made.row(
            f"{n}", f"m@{effort}", float(draws[n] < chance), 0.01 * effort, base_model="m",
            turns=effort, input_tokens=100, output_tokens=100 * effort,
        )
        for effort, chance in chances.items()
        for n in range(questions)
    ]  # fmt: skip


def test_the_price_of_one_more():
    (step,) = steps(made.study(variants({10: 0.8, 2: 0.4}), effort="turns"))
    assert (step.lower, step.higher, step.questions) == ("m@2", "m@10", 400)
    assert step.cost.value == pytest.approx(0.08)
    assert step.tokens.value == pytest.approx(800)
    assert step.usd_per_right.value == pytest.approx(0.08 / step.passed.value)
    assert step.tokens_per_right.value == pytest.approx(800 / step.passed.value)
    assert step.verdict == "does not repay"  # five times the price for twice the answers
    low, high = step.usd_per_right.interval
    assert low < 0.08 / 0.4 < high


def test_what_does_not_help_has_no_price():
    (step,) = steps(made.study(variants({1: 0.5, 2: 0.5})))
    assert step.passed.value == 0.0
    assert step.usd_per_right.value is None
    assert step.tokens_per_right.value is None


def test_effort_that_repays():
    rows = variants({2: 0.2, 3: 0.8})
    (step,) = steps(made.study(rows))
    assert step.verdict == "repays"
    for row in rows:
        row["cost_usd"] = None
    (step,) = steps(made.study(rows))
    assert (step.cost.value, step.verdict) == (None, "repays")  # by its tokens


def test_without_families_there_are_no_steps():
    assert steps(made.two()) == []


def test_tokens_for_a_right_answer():
    (one, two) = lengths(made.study(variants({1: 0.5, 3: 0.0})))
    assert one.tokens.value == 200
    assert one.per_right.value == pytest.approx(400, rel=0.15)
    assert one.output == 100
    assert two.per_right.value == float("inf")
    assert lengths(made.two())[0].tokens.value is None
