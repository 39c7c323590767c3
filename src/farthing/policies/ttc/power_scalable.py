"""Power sampling token by token: each token is weighed by what can follow it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from farthing.core.errors import RequestError
from farthing.core.response import Response, TokenLogprob
from farthing.models.recording import Floats
from farthing.policies.ttc.searching import Walk
from farthing.policies.ttc.sharpened import Drawn, Sharpened, total


@dataclass(frozen=True, kw_only=True)
class PowerScalable(Sharpened):
    """Draws each token in proportion to p ** alpha times an estimate of its futures.

    The future of a token is worth the mean of p(rest) ** (alpha - 1) over rollouts at
    temperature 1 that go on from it. Since the estimate stands in a quotient, a jackknife takes
    out most of its bias. A token that the model shows with an empty text ends the answer.

    Each token costs `candidates` times `rollouts` rollouts of `horizon` tokens: it pays only
    where these run side by side and few tokens are in doubt. Those are told by `sure`.

    Source: Scalable Power Sampling: Unlocking Efficient, Training-Free Reasoning for LLMs via
    Distribution Sharpening (Ji et al., 2026).

    Attributes:
        candidates: how many of the likeliest tokens are weighed.
        rollouts: from each of them.
        horizon: tokens of a rollout; None for the rest of the answer, as in the exact formula.
        sure: a token of at least this probability is taken without rollouts.
        depth: the most tokens of an answer.
    """

    kind: ClassVar[str] = "power-scalable"

    candidates: int = 4
    rollouts: int = 4
    horizon: int | None = None
    sure: float = 1.0
    depth: int = 4096

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.proposal != "power":
            raise ValueError("power-scalable needs the likeliest tokens: proposal is 'power'")
        if min(self.candidates, self.rollouts, self.depth) < 1 or self.horizon == 0:
            raise ValueError("candidates, rollouts, horizon and depth must be at least 1")

    async def _sample(self, walk: Walk, drawn: Drawn) -> Response:
        text = ""
        for _ in range(self.depth):
            likely = await self._likely(walk, text)
            chosen = likely[0]
            if len(likely) > 1 and np.exp(chosen[1]) < self.sure:
                futures = await self._futures(walk, text, likely)
                local = self.alpha * np.array([logprob for _, logprob in likely])
                chosen = likely[int(walk.rng.choice(len(likely), p=weighed(local, futures)))]
            text += chosen[0]
            drawn.note(text, not chosen[0])
            if not chosen[0]:
                break
        return drawn.response(walk)

    async def _likely(self, walk: Walk, text: str) -> list[TokenLogprob]:
        """The likeliest next tokens, best first; those of empty text count as one."""
        [piece] = await walk.pieces([text], steps=self.steps(1), temperature=0.0)
        if piece.top == ():
            return [("", 0.0)]
        if piece.top is None:
            raise RequestError(
                f"{self.model!r} does not show its likeliest tokens", param="top_logprobs"
            )
        known: dict[str, float] = {}
        for token, logprob in piece.top[0]:
            known[token] = float(np.logaddexp(known.get(token, -np.inf), logprob))
        ranked = sorted(known.items(), key=lambda item: -item[1])
        return ranked[: self.candidates]

    async def _futures(self, walk: Walk, text: str, likely: list[TokenLogprob]) -> Floats:
        """log p(rest) ** (alpha - 1) of each candidate's rollouts, shape (candidates, rollouts)."""
        open_ = [place for place, (token, _) in enumerate(likely) if token]
        logs = np.zeros((len(likely), self.rollouts))
        if open_:
            pieces = await walk.pieces(
                [text + likely[place][0] for place in open_ for _ in range(self.rollouts)],
                steps=self.steps(self.horizon),
                temperature=1.0,
            )
            values = [(self.alpha - 1) * total(piece.tokens or ()) for piece in pieces]
            logs[open_] = np.reshape(values, (len(open_), self.rollouts))
        return logs


def weighed(local: Floats, futures: Floats) -> Floats:
    """Probabilities of the candidates: exp(local) times the mean of exp(futures), without its bias.

    `local` has shape (n,), `futures` (n, m), both logarithms. The jackknife takes m times the
    estimate less m - 1 times the mean of those that leave one rollout out; what falls below
    zero is zero.
    """
    m = futures.shape[1]
    worth = np.exp(futures + local[:, None] - (futures + local[:, None]).max())
    whole: Floats = worth.sum(1) / worth.sum()
    if m == 1:
        return whole
    without = worth.sum(1, keepdims=True) - worth
    sums = without.sum(0)
    if not (sums > 0).all():
        return whole
    corrected = np.maximum(m * whole - (m - 1) * (without / sums).mean(1), 0.0)
    return corrected / corrected.sum() if corrected.sum() > 0 else whole
