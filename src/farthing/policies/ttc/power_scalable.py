"""Power sampling token by token: each token is weighed by what can follow it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from farthing.core.errors import CapError, RequestError
from farthing.core.response import TokenLogprob
from farthing.models.recording import Floats
from farthing.policies.ttc.resampling import normalised
from farthing.policies.ttc.searching import Walk
from farthing.policies.ttc.sharpened import Drawn, Sharpened, total
from farthing.policies.ttc.steps import Piece


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

    async def _sample(self, walk: Walk, drawn: Drawn) -> None:
        text = ""
        for _ in range(self.depth):
            walk.keep_reserve()
            likely = await self._likely(walk, text)
            token = likely[0][0]
            if not drawn:
                drawn.note(token, not token)
            if len(likely) > 1 and np.exp(likely[0][1]) < self.sure:
                token = await self._weigh(walk, text, likely, drawn)
            text += token
            if not token or not (drawn.finished and drawn.text.startswith(text)):
                drawn.note(text, not token)
            if not token:
                break

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

    async def _weigh(self, walk: Walk, text: str, likely: list[TokenLogprob], drawn: Drawn) -> str:
        """The next token; notes a rollout from it, which stands if no more can be paid.

        Rollouts are fewer where not all can be paid; CapError if not one of each candidate can.
        """
        ended = [Piece("", True)] * self.rollouts
        rolled: list[list[Piece]] = [[] if token else ended for token, _ in likely]
        open_ = [place for place, (token, _) in enumerate(likely) if token]
        made = 0 if open_ else self.rollouts
        try:
            while more := min(self.rollouts - made, self._payable(walk, len(open_), not made)):
                await self._roll(walk, text, likely, rolled, more)
                made += more
            if not made:
                raise CapError(f"{self.kind}: no rollouts can be paid")
        except CapError:
            come = range(len(likely)) if all(rolled) else [at for at in open_ if rolled[at]]
            self._note(walk, drawn, text, likely, rolled, come)
            raise
        local = self.alpha * np.array([logprob for _, logprob in likely])
        futures = np.array([[self._worth(piece) for piece in row[:made]] for row in rolled])
        place = int(walk.rng.choice(len(likely), p=weighed(local, futures)))
        self._note(walk, drawn, text, likely, rolled, [place])
        return likely[place][0]

    def _payable(self, walk: Walk, samples: int, first: bool) -> int:
        """How many rollouts of each of `samples` candidates are made at once.

        Under a bound the first is one, since nobody knows before what it costs.
        """
        room = walk.affords(samples, self.reserve)
        return self.rollouts if room == math.inf else int(min(room, 1 if first else self.rollouts))

    async def _roll(
        self,
        walk: Walk,
        text: str,
        likely: list[TokenLogprob],
        rolled: list[list[Piece]],
        count: int,
    ) -> None:
        """Put `count` more rollouts of each open candidate into `rolled`, as far as they come."""
        places = [at for at, (token, _) in enumerate(likely) if token for _ in range(count)]
        done: dict[int, Piece] = {}
        try:
            await walk.pieces(
                [text + likely[place][0] for place in places],
                steps=self.steps(self.horizon),
                temperature=1.0,
                done=done,
            )
        finally:
            for number in sorted(done):
                rolled[places[number]].append(done[number])

    def _worth(self, piece: Piece) -> float:
        """log p(rest) ** (alpha - 1) of a rollout."""
        return (self.alpha - 1) * total(piece.tokens or ())

    def _note(
        self,
        walk: Walk,
        drawn: Drawn,
        text: str,
        likely: list[TokenLogprob],
        rolled: list[list[Piece]],
        places: Sequence[int],
    ) -> None:
        """Draw what stands from the rollouts of these candidates, by p ** alpha over chance."""
        known = [(place, piece) for place in places for piece in rolled[place]]
        if known:
            logs = [
                self.alpha * likely[place][1] + self._worth(piece) - math.log(len(rolled[place]))
                for place, piece in known
            ]
            place, piece = known[int(walk.rng.choice(len(known), p=normalised(np.array(logs))))]
            drawn.note(text + likely[place][0] + piece.text, piece.finished)


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
