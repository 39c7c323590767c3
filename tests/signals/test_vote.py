"""The vote knows exactly when it is decided."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.signals.vote import Vote, votes_needed

ANSWERS = ("a", "b", "c", None)


def full(answers: tuple[str | None, ...]) -> Vote:
    return Vote(len(answers), answers)


def test_winner_is_the_most_frequent_and_among_equals_the_first():
    assert full(("b", "a", "a", "b")).winner == "b"
    assert full((None, "c", "a", "a")).winner == "a"
    assert full((None, None)).winner is None
    assert full((None, "a")).share == 0.5


@pytest.mark.parametrize("places", [1, 2, 3, 4, 5])
def test_settled_exactly_when_no_continuation_matters(places):
    for cast in range(places + 1):
        for begun in itertools.product(ANSWERS, repeat=cast):
            ends = [
                full((*begun, *rest))
                for rest in itertools.product((*ANSWERS, "d"), repeat=places - cast)
            ]
            vote = Vote(places, begun)
            assert vote.winner_certain() == (len({end.winner for end in ends}) == 1) or (
                # Nobody has voted yet: only an empty rest leaves that so.
                vote.votes == 0
            )
            for need in range(places + 1):
                accepted = {(end.votes >= need, end.winner) for end in ends}
                rejected = all(end.votes < need for end in ends)
                sure = rejected or (len(accepted) == 1 and ends[0].votes >= need)
                if vote.votes or not places - cast:
                    assert vote.settled(need) == (sure or cast == places), (begun, need)
                assert vote.settled(need, stop_on_reject=False) == (
                    cast == places or (vote.settled(need) and not rejected)
                )


@given(st.lists(st.sampled_from(ANSWERS), min_size=1, max_size=9), st.integers(0, 9), st.booleans())
def test_next_batch_never_asks_for_one_too_many(answers, need, stop):
    vote = Vote(len(answers))
    drawn = 0
    while drawn == 0 or not vote.settled(need, stop_on_reject=stop):
        batch = vote.next_batch(need, stop_on_reject=stop)
        assert batch >= 1
        for i in range(batch):
            if drawn:
                assert i == 0 or not vote.settled(need, stop_on_reject=stop)
            vote.add(answers[drawn])
            drawn += 1
    whole = full(tuple(answers))
    if whole.votes >= need:
        assert vote.winner == whole.winner


def test_votes_needed_is_not_fooled_by_rounding():
    for samples in range(1, 41):
        for votes in range(1, samples + 1):
            assert votes_needed(votes / samples, samples) == votes
