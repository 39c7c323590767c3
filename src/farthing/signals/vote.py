"""A plurality vote among the samples' answers, which knows when it is decided."""

from __future__ import annotations

import math
from collections.abc import Iterable


def votes_needed(share: float, samples: int) -> int:
    """The least number of votes, of `samples`, that makes a share of at least `share`."""
    return math.ceil(share * samples - 1e-9)


class Vote:
    """Counts answers as they come in; a null answer takes a place but votes for nothing.

    The winner has the most votes; among equals, the one whose first vote came first. Hence the
    outcome of a vote that stops when `settled` is that of the full vote.

    Source: self-consistency (Wang et al., 2022); the stopping rule is the exact one.
    """

    __slots__ = ("cast", "counts", "places")

    def __init__(self, places: int, earlier: Iterable[str | None] = ()) -> None:
        """A vote with `places` answers in all, of which `earlier` are already there."""
        self.places = places
        self.cast = 0
        self.counts: dict[str, int] = {}
        for answer in earlier:
            self.add(answer)

    def add(self, answer: str | None) -> None:
        """Count one answer."""
        self.cast += 1
        if answer is not None:
            self.counts[answer] = self.counts.get(answer, 0) + 1

    @property
    def winner(self) -> str | None:
        """The leading answer; None while nobody voted."""
        return max(self.counts, key=self.counts.__getitem__, default=None)

    @property
    def votes(self) -> int:
        """The leader's votes."""
        return max(self.counts.values(), default=0)

    @property
    def share(self) -> float:
        """The leader's votes over all places."""
        return self.votes / self.places

    def winner_certain(self) -> bool:
        """Whether no further answers can change the winner."""
        left = self.places - self.cast
        if left == 0:
            return True
        lead = self.votes
        if lead < left:
            return False
        leader = self.winner
        before = True
        for answer, count in self.counts.items():
            if answer == leader:
                before = False
            elif count + left > lead or (before and count + left == lead):
                return False
        return True

    def settled(self, need: int, *, stop_on_reject: bool = True) -> bool:
        """Whether more answers are pointless when `need` votes are wanted to accept.

        Settled are a sure rejection (unless the samples are wanted for a later vote) and an
        acceptance whose winner is certain.
        """
        if self.cast == self.places:
            return True
        if self.votes + self.places - self.cast < need:
            return stop_on_reject
        return self.votes >= need and self.winner_certain()

    def next_batch(self, need: int, *, stop_on_reject: bool = True) -> int:
        """How many answers may be asked for at once without asking for one too many.

        That is the least number after which the vote could be settled.
        """
        left = self.places - self.cast
        lead = self.votes
        reject = lead + left - need + 1 if stop_on_reject and need > 0 else left
        runner_up = sorted(self.counts.values())[-2] if len(self.counts) > 1 else 0
        sure = math.ceil((left + runner_up - lead) / 2)
        accept = max(need - lead, sure, 1)
        return max(1, min(left, reject, accept))
