"""Beam search over steps, in one beam or in several that do not see each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from farthing.core.response import Response
from farthing.policies.ttc.searching import Path, Search, Walk, distinct


@dataclass(frozen=True, kw_only=True)
class Beam(Search):
    """Keeps the `width` partial answers of the greatest reward, of `expand` times as many a step.

    With `groups`, as many beams of `width` / `groups` go their own ways: the diverse verifier
    tree search. Equal partial answers are kept once. A finished answer leaves its beam, which
    narrows; the best finished one is the answer.

    Source: Scaling LLM Test-Time Compute Optimally (Snell et al., 2024); diverse: Scaling
    Test-Time Compute with Open Models (Beeching, Tunstall & Rush, 2024).
    """

    kind: ClassVar[str] = "beam"

    width: int = 4
    expand: int = 4
    groups: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.width, self.expand, self.groups) < 1:
            raise ValueError("width, expand and groups must be at least 1")
        if self.width % self.groups:
            raise ValueError(f"width {self.width} is not a multiple of groups {self.groups}")

    async def _search(self, walk: Walk) -> Response:
        size = self.width // self.groups
        beams = [[Path()] for _ in range(self.groups)]
        room = [size] * self.groups
        finished: list[Path] = []
        for _ in range(self.depth):
            parents = [
                (group, beam[number % len(beam)])
                for group, beam in enumerate(beams)
                if beam
                for number in range(room[group] * self.expand)
            ]
            if not parents or walk.over:
                break
            grown = await walk.grow([path for _, path in parents])
            for group in range(self.groups):
                born = [child for (of, _), child in zip(parents, grown, strict=True) if of == group]
                ranked = sorted(distinct(born), key=lambda path: -path.score)[: room[group]]
                beams[group] = [path for path in ranked if not path.finished]
                room[group] -= len(ranked) - len(beams[group])
                finished += [path for path in ranked if path.finished]
        best = walk.best(finished or None)
        assert best is not None
        return best
