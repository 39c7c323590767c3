"""Votes: what they gain and lose, and the verdict, where both are known."""

from __future__ import annotations

import economics_rows as made
import numpy as np
import pytest

from farthing.bench.economics.cost_of_pass import Human
from farthing.bench.economics.voting import votes


def study(chance: float, questions: int = 60, samples: int = 5, cost: float = 0.001):
    rng = np.random.default_rng(3)
    rows = []
    for question in range(questions):
        for _ in range(samples):
            right = float(rng.random() < chance)
            answer = "right" if right else f"wrong {rng.integers(9)}"
            rows.append(made.row(f"{question}", "m", right, cost, answer=answer))
    return made.study(rows)


def test_a_vote_of_all_samples_is_the_plurality():
    rows = [
        made.row("a", "m", float(x == "4"), 0.01, answer=x) for x in ("4", "4", "5", "6", "4")
    ] + [made.row("b", "m", float(x == "4"), 0.01, answer=x) for x in ("4", "5", "5", None, "5")]
    (three, five) = votes(made.study(rows), Human())
    assert (three.votes, five.votes) == (3, 5)
    assert five.single == pytest.approx((0.6 + 0.2) / 2)
    assert five.voted == pytest.approx((1 + 0) / 2)
    assert five.cost_of_pass.value == pytest.approx(0.05 / 0.5)
    assert five.single_cost_of_pass.value == pytest.approx(0.01 / 0.4)
    # A vote never solves "b", which one answer in five does: a human has to.
    assert five.with_human.value == pytest.approx(((0.01 / 0.6 + 0.01 / 0.2) - (0.05 + 20)) / 2)


def test_votes_gain_but_do_not_repay():
    found = votes(study(0.6), Human())
    assert all(one.gain.interval[0] > 0 for one in found)
    assert {one.verdict for one in found} == {"does not repay"}


def test_repaying_takes_more_than_votes_can_be_right():
    """k answers at k times the price would have to be right k times as often."""
    for chance in (0.25, 0.5, 0.9):
        for one in votes(study(chance), Human()):
            assert one.cost_of_pass.value > one.single_cost_of_pass.value


def test_who_is_always_right_gains_nothing():
    (three, _) = votes(study(1.0), Human())
    assert three.gain.value == 0
    assert three.with_human.value == pytest.approx(-0.002)


def test_samples_without_an_answer_do_not_vote():
    rows = [made.row("a", "m", 0.0, 0.01, answer=None) for _ in range(3)]
    rows += [made.row("b", "m", 1.0, 0.01, answer="4") for _ in range(3)]
    (one,) = votes(made.study(rows), Human())
    assert one.voted == 0.5


def test_one_sample_is_no_vote():
    assert votes(study(0.5, samples=1), Human()) == []
    assert [one.votes for one in votes(study(0.5, samples=4), Human())] == [3]
