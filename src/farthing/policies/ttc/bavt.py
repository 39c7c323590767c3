"""A tree of steps that is searched widely while much is left to spend, and greedily at the end."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from farthing.core.response import Response
from farthing.policies.ttc.resampling import normalised
from farthing.policies.ttc.searching import Path, Search, Walk, distinct

_LEAST = 1e-6


@dataclass(frozen=True, kw_only=True)
class BAVT(Search):
    """Budget-aware value tree: goes on from partial answers drawn by value ** (1 / share left).

    A partial answer's value is its parent's times 1 + the rise of the reward from parent to it,
    so that a critic who is too sure of a question's every step changes little; the first steps
    rise from the best of them. As what may be
    spent (and `rounds`) runs out, the draw turns into a choice of the greatest value. Each time
    it is gone on from, a partial answer's value falls to `again` of what it was.

    The last `reserve` of what may be spent is kept for writing the best partial answer to its
    end, `endings` times at most while none is finished; more is where a round and an ending might
    use up what is left. Hence the bound: where one such call
    gives a finished answer with probability at least q whatever it goes on from, and the reserve
    pays for m of them, the policy ends without a finished answer with probability at most
    (1 - q) ** m, whatever the critic says. `endings_for` gives the least m for a given
    probability.

    Source: Spend Less, Reason Better: Budget-Aware Value Tree Search for LLM Agents (2026). The
    exponent, the value and the bound are those stated here.

    Attributes:
        expand: how many samples a step is.
        rounds: the most partial answers that are gone on from.
        accept: a finished answer of at least this reward ends the search.
        endings: the most calls that write an answer to its end.
        again: from 0 to 1.
    """

    kind: ClassVar[str] = "bavt"

    expand: int = 2
    rounds: int = 32
    accept: float = 0.9
    reserve: float = 0.25
    endings: int = 4
    again: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.expand, self.rounds, self.endings) < 1:
            raise ValueError("expand, rounds and endings must be at least 1")
        if not 0 <= self.again <= 1:
            raise ValueError(f"again is from 0 to 1, not {self.again}")

    async def _search(self, walk: Walk) -> Response:
        values: dict[Path, float] = {Path(): 1.0}
        finished: list[Path] = []
        for number in range(self.rounds):
            left = min(walk.left, 1 - number / self.rounds)
            scarce = not finished and walk.scarce(self.expand)
            if left <= self.reserve or scarce or not values:
                break
            paths = list(values)
            logs = np.log(np.maximum(list(values.values()), _LEAST)) / left
            path = paths[int(walk.rng.choice(len(paths), p=normalised(logs)))]
            value = values[path]
            children = distinct(await walk.grow([path] * self.expand))
            if not path.depth:  # the critic has not said what it thinks of nothing
                path.score = max(path.score, *(child.score for child in children))
            for child in children:
                if child.finished:
                    finished.append(child)
                elif child.depth < self.depth:
                    values[child] = value * (1 + child.score - path.score)
            values[path] = value * self.again
            if any(path.score >= self.accept for path in finished):
                break
        await self._end(walk, values, finished)
        best = walk.best(finished or None)
        assert best is not None
        return best

    async def _end(self, walk: Walk, values: dict[Path, float], finished: list[Path]) -> None:
        """Write the best partial answer to its end, until one is finished."""
        tried = 0
        while not finished and tried < self.endings:
            path = max(values, key=lambda one: (values[one], one.depth))
            finished += [
                child
                for child in await walk.grow([path], steps=self.steps.to_end)
                if child.finished
            ]
            values[path] *= self.again
            tried += 1


def endings_for(finishing: float, epsilon: float) -> int:
    """The least number of calls of which at least one finishes, with probability 1 - `epsilon`.

    `finishing` is the probability of a single one; both are above 0 and below 1.
    """
    return max(1, math.ceil(math.log(epsilon) / math.log1p(-finishing) - 1e-12))
