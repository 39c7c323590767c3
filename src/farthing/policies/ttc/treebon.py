"""Best of N as a tree: candidates are written segment by segment, and poor ones replaced."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from farthing.core.response import Response
from farthing.policies.ttc.searching import Path, Search, Walk, distinct


@dataclass(frozen=True, kw_only=True)
class TreeBoN(Search):
    """Writes `samples` candidates segment by segment, and after each puts better in place of poor.

    A segment is one of `steps`; the last of `layers` goes to the end. After each the best
    `samples` / `branch` go on, each in `branch` children (more where some were equal); the best
    whole answer is chosen. The tokens are those of best-of-N at most.

    Source: TreeBoN: Enhancing Inference-Time Alignment with Speculative Tree-Search and Best-of-N
    Sampling (Qiu et al., 2024); there the reward of a segment is the log-ratio of a preference
    model to its reference.
    """

    kind: ClassVar[str] = "treebon"

    samples: int = 8
    branch: int = 2
    layers: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.samples, self.branch, self.layers) < 1:
            raise ValueError("samples, branch and layers must be at least 1")
        if self.samples % self.branch:
            raise ValueError(f"samples {self.samples} is not a multiple of branch {self.branch}")

    async def _search(self, walk: Walk) -> Response:
        parents = [Path()] * self.samples
        whole: list[Path] = []
        for layer in range(self.layers):
            if not parents or walk.over:
                break
            last = layer == self.layers - 1
            to_end = self.steps.to_end if last else None
            grown = await walk.grow(parents, steps=to_end)
            pool = distinct([*whole, *grown])
            ranked = sorted(pool, key=lambda path: -path.score)[: self.samples // self.branch]
            whole = [path for path in (pool if last else ranked) if path.finished]
            going = [path for path in ranked if not path.finished]
            room = self.samples - self.branch * (len(ranked) - len(going)) if going else 0
            parents = [going[number % len(going)] for number in range(room)]
        best = walk.best(whole or None)
        assert best is not None
        return best
