"""When a vote may stop before all its samples are there.

Each rule says so of one vote (`more`), and of many at once (`batch`), of which `stopped` makes the
whole course of a policy: tests hold the two equal.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, Protocol

import numpy as np
from scipy.special import betaincc

from farthing.models.recording import Floats, Ints
from farthing.policies.ttc.course import Course
from farthing.signals.vote import Vote

StopKind = Literal["none", "exact", "window", "beta", "doubling", "error"]


class Stop(Protocol):
    """A rule that sees the answers come in."""

    def more(self, vote: Vote, answers: list[str | None]) -> int:
        """How many samples to ask for next, at once; 0 to stop."""
        ...

    def batch(self, course: Course, votes: Ints, cast: Ints) -> Ints:
        """The same of some of many votes, by index, when so many samples of each are cast."""
        ...


class Never:
    """Takes all samples, at once."""

    def more(self, vote: Vote, answers: list[str | None]) -> int:
        """All that are left."""
        return vote.places - vote.cast

    def batch(self, course: Course, votes: Ints, cast: Ints) -> Ints:
        """As `more`."""
        return course.places - cast


class Exact:
    """Stops when no further answers can change the winner."""

    def more(self, vote: Vote, answers: list[str | None]) -> int:
        """The least number after which the vote could be decided."""
        return 0 if vote.winner_certain() else vote.next_batch(0)

    def batch(self, course: Course, votes: Ints, cast: Ints) -> Ints:
        """As `more`."""
        wanted: Ints = np.where(course.certain[cast, votes], 0, _undecided(course, votes, cast))
        return wanted


class Window:
    """Takes windows of `size` samples, and stops after one whose answers are all the same.

    Source: Escape Sky-high Cost: Early-stopping Self-Consistency (Li et al., 2024).
    """

    def __init__(self, size: int = 4) -> None:
        if size < 2:
            raise ValueError(f"window must be at least 2, not {size}")
        self.size = size

    def more(self, vote: Vote, answers: list[str | None]) -> int:
        """The next window."""
        last = answers[-self.size :]
        if len(last) == self.size and last[0] is not None and len(set(last)) == 1:
            return 0
        return min(self.size, vote.places - vote.cast)

    def batch(self, course: Course, votes: Ints, cast: Ints) -> Ints:
        """As `more`."""
        agree = course.run[cast, votes] >= self.size
        wanted: Ints = np.where(agree, 0, np.minimum(self.size, course.places - cast))
        return wanted


class Beta:
    """Stops when the leader is the model's likeliest answer with probability `confidence`.

    The leader's votes are weighed against the runner-up's, with a uniform prior on its share. It
    looks after each sample, and does not pay for looking: it errs more often than it says.

    Source: Let's Sample Step by Step: Adaptive-Consistency (Aggarwal et al., 2023).
    """

    def __init__(self, confidence: float = 0.95) -> None:
        if not 0.5 < confidence < 1:
            raise ValueError(f"confidence must be between 0.5 and 1, not {confidence}")
        self.confidence = confidence

    def more(self, vote: Vote, answers: list[str | None]) -> int:
        """The least number after which it could stop."""
        left = vote.places - vote.cast
        first, second = _two(vote)
        for extra in range(left):
            if _posterior(first + extra, second) >= self.confidence:
                return extra
        return left

    def batch(self, course: Course, votes: Ints, cast: Ints) -> Ints:
        """As `more`."""
        first, second = course.lead[cast, votes], course.second[cast, votes]
        least = _least_leads(course.places, self.confidence)[second]
        wanted: Ints = np.clip(least - first, 0, course.places - cast)
        return wanted


class Doubling:
    """Takes `first` samples, then each time as many as are there already.

    It stops when more than half of them give one answer, which led in the half before too.
    """

    def __init__(self, first: int = 2) -> None:
        if first < 1:
            raise ValueError(f"first must be at least 1, not {first}")
        self.first = first

    def more(self, vote: Vote, answers: list[str | None]) -> int:
        """As many as are there."""
        left = vote.places - vote.cast
        if not answers:
            return min(self.first, left)
        half = Vote(len(answers), answers[: len(answers) // 2])
        if 2 * vote.votes > vote.cast > self.first and half.winner == vote.winner:
            return 0
        return min(len(answers), left)

    def batch(self, course: Course, votes: Ints, cast: Ints) -> Ints:
        """As `more`."""
        leader, before = course.leader[cast, votes], course.leader[cast // 2, votes]
        agree = (2 * course.lead[cast, votes] > cast) & (cast > self.first) & (leader == before)
        wanted = np.where(cast > 0, cast, self.first)
        return np.where(agree, 0, np.minimum(wanted, course.places - cast))


class Error:
    """Stops when the leader is so far ahead that the full vote rarely has another winner.

    The lead at which it stops is the same at all times, and such that, whatever the samples that
    the full vote would have, in a random order of them the winner is another one with probability
    `error` at most, however often one looks (see `least_lead`). It stops as well when no further
    answers can change the winner.
    """

    def __init__(self, error: float = 0.05) -> None:
        if not 0 < error < 1:
            raise ValueError(f"error must be between 0 and 1, not {error}")
        self.error = error

    def more(self, vote: Vote, answers: list[str | None]) -> int:
        """The least number after which it could stop."""
        first, second = _two(vote)
        missing = least_lead(vote.places, self.error) - (first - second)
        if missing <= 0 or vote.winner_certain():
            return 0
        return min(missing, vote.next_batch(0))

    def batch(self, course: Course, votes: Ints, cast: Ints) -> Ints:
        """As `more`."""
        ahead = course.lead[cast, votes] - course.second[cast, votes]
        missing = least_lead(course.places, self.error) - ahead
        over = (missing <= 0) | course.certain[cast, votes]
        wanted: Ints = np.where(over, 0, np.minimum(missing, _undecided(course, votes, cast)))
        return wanted


def _undecided(course: Course, votes: Ints, cast: Ints) -> Ints:
    """`Vote.next_batch` of votes that anything may win."""
    left = course.places - cast
    open_ = left + course.second[cast, votes] - course.lead[cast, votes]
    batch: Ints = np.maximum(1, np.minimum(left, -(-open_ // 2)))
    return batch


@dataclass(frozen=True, slots=True)
class Stopped:
    """Where a rule stopped n votes.

    Attributes:
        taken: how many samples each took, shape (n,).
        place: which of them stands, the first where nobody voted.
        share: the winner's share of those taken, 0 where nobody voted.
        batches: one entry for each time that samples were asked for: which votes did, and how
            many each had before.
    """

    taken: Ints
    place: Ints
    share: Floats
    batches: tuple[tuple[Ints, Ints], ...]


def stopped(rule: Stop, course: Course) -> Stopped:
    """What the rule makes of all votes."""
    taken, going = np.zeros(course.votes, np.int64), np.arange(course.votes)
    batches = []
    while True:
        wanted = rule.batch(course, going, taken[going])
        going, wanted = going[wanted > 0], wanted[wanted > 0]
        if not len(going):
            break
        batches.append((going, taken[going]))
        taken[going] += wanted
    every = np.arange(course.votes)
    return Stopped(
        taken, course.place[taken, every], course.lead[taken, every] / taken, tuple(batches)
    )


@cache
def least_lead(places: int, error: float) -> int:
    """The least lead at which a vote of `places` may stop, to err with probability `error`.

    Of w votes for the winner and x <= w for another answer, in random order, the other is at
    some time ahead by c with probability C(w + x, x - c) / C(w + x, x), by reflection of the path.
    The others share `places` - w votes, so all of them together get ahead with at most
    (places - w) max over x of that probability over x, and c is made so large that this is at most
    `error` for every w.
    """
    return next(c for c in range(1, places + 2) if _chance(places, c) <= error)


def _chance(places: int, lead: int) -> float:
    """The most that the probability can be of another answer's ever being ahead by `lead`."""
    most = 0.0
    for winner in range(1, places):
        for other in range(lead, min(winner, places - winner) + 1):
            both = winner + other
            log = _log_choose(both, other - lead) - _log_choose(both, other)
            most = max(most, (places - winner) / other * math.exp(log))
    return most


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


@cache
def _posterior(first: int, second: int) -> float:
    return float(betaincc(first + 1, second + 1, 0.5))


@cache
def _least_leads(places: int, confidence: float) -> Ints:
    """For 0, 1, ... votes of the runner-up, how many the leader needs."""
    counts = np.arange(places + 1)
    enough = betaincc(counts[:, None] + 1, counts + 1, 0.5) >= confidence
    return np.where(enough.any(axis=0), enough.argmax(axis=0), 2 * places)


def _two(vote: Vote) -> tuple[int, int]:
    """The votes of the leader and of the runner-up."""
    counts = sorted(vote.counts.values(), reverse=True)[:2]
    first, second = (*counts, 0, 0)[:2]
    return first, second


_RULES: dict[str, Any] = {
    "none": Never, "exact": Exact, "window": Window, "beta": Beta, "doubling": Doubling,
    "error": Error,
}  # fmt: skip


def stop_rule(kind: StopKind, level: float | None = None) -> Stop:
    """The rule of that name; `level` is its window, confidence, first or error.

    ValueError for a name that is none, or a level that the rule has no use for.
    """
    if kind not in _RULES:
        raise ValueError(f"stop: no rule is called {kind!r}; known: {', '.join(_RULES)}")
    if level is None:
        rule: Stop = _RULES[kind]()
        return rule
    if kind in ("none", "exact"):
        raise ValueError(f"stop {kind!r} has no level")
    if kind in ("window", "doubling"):
        if level != int(level):
            raise ValueError(f"stop {kind!r}: level is a number of samples, not {level}")
        level = int(level)
    rule = _RULES[kind](level)
    return rule
