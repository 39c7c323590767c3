"""Stop rules of votes: what they promise against the full vote, and a rule that breaks it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from ttc_worlds import stopped

from farthing.policies.ttc.stops import Stop, least_lead, stop_rule
from farthing.signals.vote import Vote


def rates(
    rule: Stop, answers: Sequence[str | None], orders: int, seed: int = 0
) -> tuple[float, float]:
    """How often the rule's winner is not the full vote's, and the share of samples it takes."""
    rng = np.random.default_rng(seed)
    wrong = taken = 0
    for _ in range(orders):
        order = [answers[i] for i in rng.permutation(len(answers))]
        vote = stopped(rule, order)
        wrong += vote.winner != Vote(len(order), order).winner
        taken += vote.cast
    return wrong / orders, taken / orders / len(answers)


CLOSE = [["a"] * 20 + ["b"] * 20, ["a"] * 21 + ["b"] * 19, ["a"] * 14 + ["b"] * 13 + ["c"] * 13]


@pytest.mark.parametrize("answers", CLOSE)
@pytest.mark.parametrize("error", [0.05, 0.2])
def test_a_stated_error_rate_holds_where_it_is_hardest(answers: list[str], error: float) -> None:
    orders = 4000
    wrong, _ = rates(stop_rule("error", error), answers, orders)
    assert wrong <= error + 3 * (error * (1 - error) / orders) ** 0.5


def test_the_posterior_after_each_sample_keeps_no_error_rate() -> None:
    """The naive rule: it looks again and again at a level that is meant for one look."""
    wrong, _ = rates(stop_rule("beta", 0.95), CLOSE[1], 4000)
    assert wrong > 0.05 + 3 * (0.05 * 0.95 / 4000) ** 0.5


def test_the_bound_is_met_almost_exactly_by_a_tie() -> None:
    """Of 20 against 20, the chance of an early lead is what the bound says: it is not loose."""
    from math import comb

    for error in (0.01, 0.05, 0.2):
        lead = least_lead(40, error)
        assert comb(40, 20 - lead) / comb(40, 20) <= error < comb(40, 21 - lead) / comb(40, 20)


def test_where_answers_agree_it_takes_a_fraction() -> None:
    answers = ["a"] * 36 + ["b"] * 2 + ["c", None]
    wrong, share = rates(stop_rule("error", 0.05), answers, 500)
    assert wrong == 0
    assert share < 0.3


@pytest.mark.parametrize("seed", range(5))
def test_exact_is_the_full_vote_in_no_more_samples_than_it_takes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(200):
        order = [None if x == 3 else "abc"[x] for x in rng.choice(4, 12, p=[0.5, 0.3, 0.1, 0.1])]
        vote = stopped(stop_rule("exact"), order)
        assert vote.winner == Vote(12, order).winner
        assert vote.winner_certain()
        before = Vote(12, order[: vote.cast - 1])
        assert not before.winner_certain()


@pytest.mark.parametrize(
    ("rule", "order", "taken"),
    [
        (stop_rule("none"), "aaaaaaaa", 8),
        (stop_rule("window", 3), "aaaaaaaa", 3),
        (stop_rule("window", 3), "aabbbbbb", 6),
        (stop_rule("window", 3), "abababab", 8),
        (stop_rule("beta", 0.95), "aaaaaaaa", 4),
        (stop_rule("beta", 0.95), "abaaaaaa", 7),
        (stop_rule("doubling"), "aaaaaaaa", 4),
        (stop_rule("doubling"), "abababab", 8),
        (stop_rule("doubling"), "bbaaaaaa", 8),
        (stop_rule("error", 0.05), "aaaaaaaa", 4),
    ],
)
def test_how_many_samples_a_rule_takes(rule: Stop, order: str, taken: int) -> None:
    assert stopped(rule, order).cast == taken


@pytest.mark.parametrize(
    ("kind", "level", "message"),
    [
        ("sometimes", None, "no rule is called 'sometimes'; known: none, exact"),
        ("exact", 2, "stop 'exact' has no level"),
        ("window", 1, "window must be at least 2"),
        ("window", 2.5, "level is a number of samples"),
        ("beta", 1.0, "confidence must be between"),
        ("error", 0.0, "error must be between"),
        ("doubling", 0, "first must be at least 1"),
    ],
)
def test_levels_that_are_wrong(kind: str, level: float | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        stop_rule(kind, level)  # type: ignore[arg-type]
