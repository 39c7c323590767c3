"""Power sampling by Markov chain Monte Carlo: the reference for the faster samplers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from farthing.core.response import TokenLogprob
from farthing.policies.ttc.searching import Walk
from farthing.policies.ttc.sharpened import Drawn, Sharpened, joined, shown


@dataclass(frozen=True, kw_only=True)
class PowerMCMC(Sharpened):
    """Metropolis-Hastings: time and again the answer is rewritten from a random token on.

    A rewritten answer is accepted so that the chain's stationary distribution is p ** alpha
    exactly, for answers of differing lengths too. With `block`, the answer grows block by block,
    with `moves` in each: what is sharpened early is then kept by later blocks.

    Each move rewrites half an answer on average, one after another: it costs about `moves` / 2
    whole answers, and as much time.

    Source: Reasoning with Sampling: Your Base Model is Smarter Than You Think (Karan & Du, 2025).

    Attributes:
        moves: how many rewritings are tried, in each block.
        block: tokens; None for the whole answer at once.
    """

    kind: ClassVar[str] = "power-mcmc"

    moves: int = 10
    block: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.moves < 0 or (self.block is not None and self.block < 1):
            raise ValueError("moves must not be below 0, and block be at least 1")

    async def _sample(self, walk: Walk, drawn: Drawn) -> None:
        state = _State((), (), False)
        while not state.finished:
            limit = None if self.block is None else len(state.tokens) + self.block
            before = len(state.tokens)
            state = await self._propose(walk, state, before, limit)
            drawn.note(joined(state.tokens), state.finished)
            for _ in range(self.moves):
                cut = int(walk.rng.integers(len(state.tokens)))
                other = await self._propose(walk, state, cut, limit)
                logs = sum(other.gains[cut:]) - sum(state.gains[cut:])
                logs += math.log(len(state.tokens)) - math.log(len(other.tokens))
                if math.log(1 - walk.rng.random()) < logs:
                    state = other
                    drawn.note(joined(state.tokens), state.finished)
            if limit is None or len(state.tokens) == before:
                break

    async def _propose(self, walk: Walk, state: _State, cut: int, limit: int | None) -> _State:
        """The state with all from token `cut` on written anew, up to `limit` tokens."""
        if not state.finished:
            walk.keep_reserve()
        kept = state.tokens[:cut]
        room = None if limit is None else limit - cut
        [piece] = await walk.pieces(
            [joined(kept)], steps=self.steps(room), temperature=self.heat(self.alpha)
        )
        return _State(
            kept + shown(piece, self.model),
            state.gains[:cut] + tuple(self.gains(piece, self.alpha)),
            piece.finished,
        )


@dataclass(frozen=True, slots=True)
class _State:
    """An answer of the chain; `gains` are those of its tokens."""

    tokens: tuple[TokenLogprob, ...]
    gains: tuple[float, ...]
    finished: bool
