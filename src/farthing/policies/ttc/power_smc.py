"""Power sampling by sequential Monte Carlo: particles that are written side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from farthing.models.recording import Floats
from farthing.policies.ttc.resampling import SCHEMES, Scheme, effective, normalised, resample
from farthing.policies.ttc.searching import Path, Walk
from farthing.policies.ttc.sharpened import Drawn, Sharpened


@dataclass(frozen=True, kw_only=True)
class PowerSMC(Sharpened):
    """Writes `particles` answers at once at temperature 1 / alpha, and weighs what that distorts.

    Each step multiplies a particle's weight by what p ** alpha has more than the chance of its
    being drawn; where few particles carry the weight, they are drawn anew by it. It takes as
    long as one answer, and about `particles` answers' tokens. With finitely many particles the
    answer is drawn from nearly p ** alpha; more make it exact.

    Source: Power-SMC: Low-Latency Sequence-Level Power Sampling for Training-Free LLM Reasoning
    (Azizi et al., 2026).

    Attributes:
        particles: how many.
        tokens: of a step.
        ramp: over so many steps the exponent rises from 1 to alpha, which keeps more particles
            alive; 0 for alpha at once.
        threshold: they are resampled where their effective number is at most this share of all.
        scheme: how they are resampled.
        depth: the most steps of an answer.
        choose: "draw", one particle by its weight: a sample of p ** alpha; or "vote", the answer
            that has most weight.
    """

    kind: ClassVar[str] = "power-smc"

    particles: int = 16
    tokens: int = 1
    ramp: int = 0
    threshold: float = 0.5
    scheme: Scheme = "systematic"
    depth: int = 4096
    choose: Literal["draw", "vote"] = "draw"

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.particles, self.tokens, self.depth) < 1 or self.ramp < 0:
            raise ValueError("particles, tokens and depth must be at least 1, ramp not below 0")
        if self.scheme not in SCHEMES:
            raise ValueError(f"scheme is one of {', '.join(SCHEMES)}")
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold is from 0 to 1, not {self.threshold}")
        if self.choose not in ("draw", "vote"):
            raise ValueError("choose is 'draw' or 'vote'")

    def exponent(self, step: int) -> float:
        """That of the target of step 1, 2, ..."""
        return 1 + (self.alpha - 1) * min(1.0, step / self.ramp if self.ramp else 1.0)

    async def _sample(self, walk: Walk, drawn: Drawn) -> None:
        paths, logs = [Path()] * self.particles, np.zeros(self.particles)
        for step in range(1, self.depth + 1):
            going = [place for place, path in enumerate(paths) if not path.finished]
            if not going:
                break
            walk.keep_reserve()
            exponent = self.exponent(step)
            pieces = await walk.pieces(
                [paths[place].text for place in going],
                steps=self.steps(self.tokens),
                temperature=self.heat(exponent),
            )
            logs += (exponent - self.exponent(step - 1)) * np.array([p.logprob for p in paths])
            for place, piece in zip(going, pieces, strict=True):
                logs[place] += sum(self.gains(piece, exponent))
                paths[place] = paths[place].child(piece)
            weights = normalised(logs)
            self._note(walk, drawn, paths, weights)
            if effective(weights) <= self.threshold * self.particles:
                kept = resample(weights, self.scheme, walk.rng)
                paths, logs = [paths[place] for place in kept], np.zeros(self.particles)
        logs += (self.alpha - self.exponent(step)) * np.array([path.logprob for path in paths])
        self._note(walk, drawn, paths, normalised(logs))

    def _note(self, walk: Walk, drawn: Drawn, paths: list[Path], weights: Floats) -> None:
        """Choose the answer that stands."""
        whole = np.array([path.finished for path in paths])
        if whole.any() and weights[whole].sum() > 0:
            weights = np.where(whole, weights, 0.0)
            weights = weights / weights.sum()
        votes: dict[str | None, float] = {}
        for path, weight in zip(paths, weights, strict=True):
            votes[path.answer] = votes.get(path.answer, 0.0) + float(weight)
        place = int(walk.rng.choice(len(paths), p=weights))
        if self.choose == "vote":
            leading = max(votes, key=votes.__getitem__)
            place = next(n for n, path in enumerate(paths) if path.answer == leading)
        chosen = paths[place]
        drawn.note(chosen.text, chosen.finished, votes[chosen.answer])
