"""The course of many votes at once: who leads, by how much, after each sample of each question.

It is the fast twin of `signals.vote.Vote`, as arrays; a property test holds the two equal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from farthing.models.recording import Ints

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Course:
    """n votes of `places` samples each. Row p of a table is how they stand when p are cast.

    Attributes:
        codes: the answers, each vote's own numbered from 0, -1 for none, shape (places, n).
        lead, second: votes of the leader and of the runner-up, shape (places + 1, n).
        leader: the leader's code, -1 while nobody voted, of the same shape.
        place: which sample gave the leader's answer first; 0 while nobody voted.
        certain: whether no further answers can change the winner.
        run: how many samples up to here gave one answer in a row; 0 after one without.
    """

    codes: Ints
    lead: Ints
    second: Ints
    leader: Ints
    place: Ints
    certain: Bools
    run: Ints

    @property
    def places(self) -> int:
        """Samples of each vote."""
        return len(self.codes)

    @property
    def votes(self) -> int:
        """How many votes there are."""
        return int(self.codes.shape[1])


def course(answers: Ints) -> Course:
    """The course of votes on answers told as codes, -1 for none, shape (n, places).

    Equal codes are equal answers within a vote. Ties go to the answer that came first.
    """
    codes = np.ascontiguousarray(numbered(answers).T)
    places, n = codes.shape
    width = int(codes.max(initial=-1)) + 2  # the last column takes those without an answer
    never = places + 1
    base = np.arange(n) * width
    counts, firsts = np.zeros(n * width, np.int64), np.full(n * width, never, np.int64)
    lead, second = np.zeros((places + 1, n), np.int64), np.zeros((places + 1, n), np.int64)
    leader, place = np.full((places + 1, n), -1), np.zeros((places + 1, n), np.int64)
    run, certain = np.zeros((places + 1, n), np.int64), np.zeros((places + 1, n), np.bool_)
    certain[places] = True
    begun, begun_second = np.full(n, never), np.full(n, never)
    for p, code in enumerate(codes):
        told = code >= 0
        at = base + np.where(told, code, width - 1)
        counts[at] += 1
        count = np.where(told, counts[at], -1)
        first = np.minimum(firsts[at], p)
        firsts[at] = first
        top, runner, who = lead[p], second[p], leader[p]
        own = told & (code == who)
        passes = ~own & ((count > top) | ((count == top) & (first < begun)))
        follows = ~own & ~passes
        nearer = follows & ((count > runner) | ((count == runner) & (first < begun_second)))
        second[p + 1] = np.where(passes, top, np.where(nearer, count, runner))
        begun_second = np.where(passes, begun, np.where(nearer, first, begun_second))
        lead[p + 1] = np.maximum(top, count)
        leader[p + 1] = np.where(passes, code, who)
        begun = np.where(passes, first, begun)
        place[p + 1] = np.where(begun < never, begun, 0)
        left = places - 1 - p
        rest = lead[p + 1] - second[p + 1] - left
        certain[p + 1] |= (lead[p + 1] >= left) & (
            (rest > 0) | ((rest == 0) & (begun < begun_second))
        )
        again = told if not p else told & (code == codes[p - 1])
        run[p + 1] = np.where(again, run[p] + 1, told)
    return Course(codes, lead, second, leader, place, certain, run)


def numbered(answers: Ints) -> Ints:
    """The codes with each row's own numbered from 0, so that tables of them stay small."""
    if not answers.size or answers.max() < answers.shape[1]:
        return answers
    order = np.argsort(answers, axis=1, kind="stable")
    ordered = np.take_along_axis(answers, order, 1)
    new = np.diff(ordered, axis=1, prepend=ordered[:, :1]) > 0
    new[:, 0] = ordered[:, 0] >= 0
    codes = np.empty_like(answers)
    np.put_along_axis(codes, order, np.cumsum(new, axis=1) - 1, 1)
    return codes
