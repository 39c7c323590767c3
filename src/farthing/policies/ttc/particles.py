"""Particle filtering: many partial answers, drawn anew in proportion to their reward."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, get_args

import numpy as np

from farthing.core.response import Response
from farthing.policies.ttc.resampling import SCHEMES, Scheme, effective, normalised, resample
from farthing.policies.ttc.searching import Choose, Path, Search, Walk

_LEAST = 1e-3


@dataclass(frozen=True, kw_only=True)
class Particles(Search):
    """Extends `particles` partial answers step by step; resamples them by the reward's odds.

    A partial answer that the reward gives r weighs (r / (1 - r)) ** (1 / heat), with r kept
    between 0.001 and 0.999. As particles are drawn and not ranked, an erring reward does less
    harm than in a beam.

    Source: A Probabilistic Inference Approach to Inference-Time Scaling of LLMs using
    Particle-Based Monte Carlo Methods (Puri et al., 2025).

    Attributes:
        particles: how many.
        scheme: how they are resampled.
        threshold: they are, where their effective number is at most this share of all; 1 is
            always. Until then weights multiply.
        heat: above 1 evens weights out.
        choose: "best", the finished particle of the greatest reward, or "vote", the answer whose
            particles have the greatest sum of rewards.
    """

    kind: ClassVar[str] = "particles"

    particles: int = 8
    scheme: Scheme = "systematic"
    threshold: float = 1.0
    heat: float = 1.0
    choose: Choose = "best"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.particles < 1:
            raise ValueError(f"particles must be at least 1, not {self.particles}")
        if self.scheme not in SCHEMES:
            raise ValueError(f"scheme is one of {', '.join(SCHEMES)}")
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold is from 0 to 1, not {self.threshold}")
        if not self.heat > 0:
            raise ValueError(f"heat must be above 0, not {self.heat}")
        if self.choose not in get_args(Choose):
            raise ValueError(f"choose is one of {', '.join(get_args(Choose))}")

    async def _search(self, walk: Walk) -> Response:
        paths = [Path()] * self.particles
        logs = np.zeros(self.particles)
        for _ in range(self.depth):
            going = [place for place, path in enumerate(paths) if not path.finished]
            if not going or walk.over:
                break
            grown = await walk.grow([paths[place] for place in going])
            for place, child in zip(going, grown, strict=True):
                paths[place] = child
            logs += [self._weight(path.score) for path in paths]
            weights = normalised(logs)
            if effective(weights) <= self.threshold * self.particles + 1e-9:
                if all(path.finished for path in paths):
                    break
                paths = [paths[kept] for kept in resample(weights, self.scheme, walk.rng)]
                logs[:] = 0.0
        best = walk.best(paths, self.choose)
        assert best is not None
        return best

    def _weight(self, score: float) -> float:
        """The logarithm of a partial answer's weight."""
        likely = min(max(score, _LEAST), 1 - _LEAST)
        return (math.log(likely) - math.log1p(-likely)) / self.heat
