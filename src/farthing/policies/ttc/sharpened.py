"""What the samplers of sharpened distributions share.

The target is p(x) ** alpha over whole answers x, up to a constant, where p is the model at
temperature 1. It is not what a temperature of 1 / alpha draws from: that sharpens each token
without regard to what can follow it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, get_args

import numpy as np

from farthing.core.errors import CapError, RequestError
from farthing.core.protocols import Operation
from farthing.core.request import Request
from farthing.core.response import Response, TokenLogprob
from farthing.policies.ttc.params import Parametrised
from farthing.policies.ttc.searching import Walk
from farthing.policies.ttc.spending import Spending
from farthing.policies.ttc.steps import UNLIMITED, Piece, Steps

Proposal = Literal["power", "plain"]
TOP = 20
"""How many likeliest tokens are asked for: as many as the vendors show at most."""


@dataclass(frozen=True, kw_only=True)
class Sharpened(Parametrised):
    """Draws an answer from p(x) ** alpha, so that likely answers come more often.

    A policy of this shape is a subclass with a `kind` and a `_sample`. When the operation's cap
    or `spending` runs out, it answers with what it has; a beginning is written to its end from
    the reserve, at `heat(alpha)`.

    Attributes:
        model: whose distribution is sharpened; it must show log-probabilities.
        alpha: how much, from 1 (not at all).
        proposal: "power" draws tokens at temperature 1 / alpha, and needs the likeliest tokens
            (`top_logprobs`); "plain" draws at temperature 1, needs but those of the drawn
            tokens, and takes more draws for the same.
        spending: the most that may be spent on an operation, beside its cap.
        reserve: share of it that is kept for writing an answer to its end, from 0 to below 1.
        fields: as those of `Steps`.
    """

    kind: ClassVar[str] = ""

    model: str
    alpha: float = 4.0
    proposal: Proposal = "power"
    spending: Spending = UNLIMITED
    reserve: float = 0.1
    fields: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.alpha >= 1:
            raise ValueError(f"alpha must be at least 1, not {self.alpha}")
        if self.proposal not in get_args(Proposal):
            raise ValueError(f"proposal is one of {', '.join(get_args(Proposal))}")
        if not 0 <= self.reserve < 1:
            raise ValueError(f"reserve is from 0 to below 1, not {self.reserve}")

    @property
    def asks(self) -> tuple[str, ...]:
        """The models that it may call."""
        return (self.model,)

    @property
    def logprobs(self) -> bool:
        """Whether its models must show log-probabilities."""
        return True

    def steps(self, tokens: int | None) -> Steps:
        """A step of so many tokens; None is to the end."""
        return Steps(stop="", tokens=tokens, fields=self.fields)

    async def answer(self, request: Request, operation: Operation) -> Response:
        """The drawn answer.

        RequestError if the model does not show log-probabilities, or not the likeliest tokens.
        """
        if "logprobs" not in operation.card(self.model).shows:
            raise RequestError(f"{self.model!r} shows no log-probabilities", param="logprobs")
        extra = dict(request.extra)
        if self.proposal == "power":
            extra["top_logprobs"] = TOP
        walk = Walk(
            self.model,
            replace(request, logprobs=True, extra=extra),
            operation,
            self.kind,
            steps=self.steps(None),
            spending=self.spending,
            reserve=self.reserve,
        )
        drawn = Drawn()
        try:
            await self._sample(walk, drawn)
        except CapError:
            operation.stop("cap")
            if not drawn and walk.cut is not None:
                drawn.note(*walk.cut)
            if not drawn.finished and self.reserve:
                with suppress(CapError):
                    await self._end(walk, drawn)
            if not drawn:
                raise
        return drawn.response(walk)

    async def _sample(self, walk: Walk, drawn: Drawn) -> None:
        """Draw the answer; keeps in `drawn` what stands if nothing more can be spent.

        CapError if something is used up, or all but the reserve.
        """
        raise NotImplementedError

    async def _end(self, walk: Walk, drawn: Drawn) -> None:
        """Write a beginning to its end."""
        [piece] = await walk.pieces(
            [drawn.text], steps=self.steps(None), temperature=self.heat(self.alpha)
        )
        drawn.note(drawn.text + piece.text, piece.finished)

    def heat(self, exponent: float) -> float:
        """The temperature that tokens are drawn at for this exponent."""
        return 1 / exponent if self.proposal == "power" else 1.0

    def gains(self, piece: Piece, exponent: float) -> list[float]:
        """Of each token: log p ** exponent less the logarithm of the chance of its being drawn."""
        tokens = shown(piece, self.model)
        if self.proposal == "plain":
            return [(exponent - 1) * logprob for _, logprob in tokens]
        if piece.top is None:
            raise RequestError(
                f"{self.model!r} does not show its likeliest tokens, which proposal 'power' "
                "needs: take proposal 'plain'",
                param="top_logprobs",
            )
        return [
            normaliser([logprob for _, logprob in place], exponent) for place in piece.top
        ]  # the token's own probability cancels


@dataclass(slots=True)
class Drawn:
    """What an unfinished draw would answer."""

    text: str = ""
    finished: bool = False
    share: float | None = None
    noted: bool = False

    def __bool__(self) -> bool:
        return self.noted

    def note(self, text: str, finished: bool, share: float | None = None) -> None:
        """Take `text` as the answer; `share` is that of the draws that agree."""
        self.text, self.finished, self.share, self.noted = text, finished, share, True

    def response(self, walk: Walk) -> Response:
        """The answer as it stands."""
        return walk.told(self.text, self.finished, self.share)


def shown(piece: Piece, model: str) -> tuple[TokenLogprob, ...]:
    """The tokens of a piece; RequestError if they are not shown."""
    if piece.tokens is None:
        raise RequestError(f"{model!r} does not show its tokens' log-probabilities")
    return piece.tokens


def normaliser(logprobs: Sequence[float], exponent: float) -> float:
    """The logarithm of the sum of p ** exponent."""
    scaled = exponent * np.asarray(logprobs)
    top = scaled.max()
    return float(top + np.log(np.exp(scaled - top).sum()))


def joined(tokens: Sequence[TokenLogprob]) -> str:
    """The text of tokens."""
    return "".join(text for text, _ in tokens)


def total(tokens: Sequence[TokenLogprob]) -> float:
    """The log-probability of tokens together."""
    return sum(logprob for _, logprob in tokens)
