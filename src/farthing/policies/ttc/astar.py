"""A* search over steps: always the most promising partial answer next."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from itertools import count
from typing import ClassVar

from farthing.core.response import Response
from farthing.policies.ttc.searching import Path, Search, Walk, distinct


@dataclass(frozen=True, kw_only=True)
class AStar(Search):
    """Goes on from the partial answer of the greatest reward until that one is finished.

    The reward stands for the cost to go. Among equals the deeper goes first. A partial answer is
    gone on from by `expand` samples, of which equal ones count once. It then waits for another
    turn, at a share `again` of its reward, so that few samples a step are enough: others are made
    where they all look wrong. In the source it has one turn only, as with `again` 0: then the
    search ends with a wrong answer where no sample was right, however much is left to spend.

    Source: A*-Decoding: Token-Efficient Inference Scaling (Chatziveroglou, 2025).

    Attributes:
        expand: how many samples a step is.
        most: how often a partial answer is gone on from, at most.
        again: from 0, once, to 1. The more, the more is spent where an erring reward scores low.
    """

    kind: ClassVar[str] = "astar"

    expand: int = 2
    most: int = 64
    again: float = 0.25

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.expand, self.most) < 1:
            raise ValueError("expand and most must be at least 1")
        if not 0 <= self.again <= 1:
            raise ValueError(f"again is from 0 to 1, not {self.again}")

    def _over(self, walk: Walk) -> bool:
        """The last round says little of the next, which may go on from anywhere."""
        return walk.over or walk.scarce(self.expand)

    async def _search(self, walk: Walk) -> Response:
        order = count()
        queue: list[tuple[float, int, int, Path]] = [(-1.0, 0, next(order), Path())]
        expanded = 0
        while queue and expanded < self.most and not self._over(walk):
            rank, _, _, path = heapq.heappop(queue)
            if path.finished:
                return walk.response(path)
            if path.depth >= self.depth:
                continue
            expanded += 1
            if self.again:
                heapq.heappush(queue, (rank * self.again, -path.depth, next(order), path))
            for child in distinct(await walk.grow([path] * self.expand)):
                heapq.heappush(queue, (-child.score, -child.depth, next(order), child))
        best = walk.best()
        assert best is not None
        return best
