"""What the policies share that a model's own judgement of its samples guides."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from farthing.core.errors import CapError, RequestError
from farthing.core.protocols import Operation
from farthing.core.request import Request
from farthing.core.response import Response
from farthing.policies.stopping import or_best
from farthing.policies.ttc.params import Parametrised
from farthing.policies.ttc.searching import Walk
from farthing.policies.ttc.spending import Spending
from farthing.policies.ttc.steps import UNLIMITED, Piece, Steps
from farthing.signals.introspection import Introspection


@dataclass(eq=False, slots=True)
class Line:
    """A sample as far as it has come.

    Attributes:
        heat: the temperature that it is drawn at.
        text: all of it.
        finished: whether it is whole.
        says: what the model last said of it; None before its first token.
        first: what it said after the first step.
    """

    heat: float
    text: str = ""
    finished: bool = False
    says: Introspection | None = None
    first: Introspection | None = None


class Lines:
    """The samples of one operation.

    Attributes:
        walk: what makes their steps.
        begun: all of them, in the order in which they began.
        opening: picodollars that the first call cost beside the tokens that it generated.
        reading: the same of the last call, for each token that it generated.
    """

    def __init__(
        self, walk: Walk, fields: Mapping[str, Any], score: Callable[[Introspection], float]
    ) -> None:
        self.walk, self.begun = walk, list[Line]()
        self.opening = self.reading = 0.0
        self._fields, self._score = fields, score
        rates = walk.operation.rates(walk.model)
        self.price = 0 if rates is None else rates.output
        """Picodollars of a generated token; 0 if it is not known."""

    async def go_on(self, lines: Sequence[Line], tokens: int | None) -> None:
        """Each by so many tokens, or to its end; new ones are among `begun` from then on.

        Those of one temperature go on at once. CapError if not all can be paid for; those that
        could have gone on.
        """
        for heat in dict.fromkeys(line.heat for line in lines):
            await self._advance([line for line in lines if line.heat == heat], tokens, heat)

    async def _advance(self, lines: Sequence[Line], tokens: int | None, heat: float) -> None:
        self.begun += [line for line in lines if line.says is None]
        done: dict[int, Piece] = {}
        before = self._spent()
        try:
            await self.walk.pieces(
                [line.text for line in lines],
                steps=Steps(stop="", tokens=tokens, fields=self._fields),
                done=done,
                temperature=heat,
            )
        finally:
            for place, piece in done.items():
                self._add(lines[place], piece)
            self._book(before)

    def score(self, line: Line) -> float:
        """By which samples are ranked; -1 before the first token."""
        return -1.0 if line.says is None else self._score(line.says)

    def lead(self) -> Line | None:
        """The best finished sample, else the best; None without any."""
        written = [line for line in self.begun if line.says is not None]
        pool = [line for line in written if line.finished] or written
        return max(pool, key=self.score, default=None)

    def best(self) -> Response | None:
        """The answer of `lead`; its score is `columns["signal"]`."""
        line = self.lead()
        return None if line is None else self.walk.told(line.text, line.finished, self.score(line))

    def _add(self, line: Line, piece: Piece) -> None:
        if piece.heads is None or (not piece.heads and line.says is None):
            raise RequestError(f"{self.walk.model!r} did not say what was asked", param="heads")
        line.text, line.finished = line.text + piece.text, piece.finished
        if piece.heads:
            line.says = piece.heads[-1]
            line.first = line.first or line.says

    def _spent(self) -> tuple[int, int]:
        operation = self.walk.operation
        usage = operation.usage
        return operation.spent.pico, 0 if usage is None else usage.output_tokens

    def _book(self, before: tuple[int, int]) -> None:
        """Learn what was paid beside the generated tokens."""
        spent, tokens = (now - then for now, then in zip(self._spent(), before, strict=True))
        beside = max(0.0, spent - tokens * self.price)
        if before == (0, 0):
            self.opening = beside
        elif tokens:
            self.reading = beside / tokens


@dataclass(frozen=True, kw_only=True)
class Introspective(Parametrised):
    """Draws samples as the model's own judgement of them says.

    A policy of this shape is a subclass with a `kind`, a `_score` and a `_write`. When the
    operation's cap or `spending` runs out, it answers with the best finished sample; without one,
    it writes the best to its end from the reserve.

    Attributes:
        model: who answers; it must show "heads", as the tiny models do.
        samples: how many are begun at most.
        temperature: of the samples.
        spending: the most that may be spent on an operation, beside its cap.
        reserve: share of that which is kept for writing a sample to its end, 0 to below 1.
        fields: fields of the request that tell the upstream to go on from a last message of the
            assistant.
    """

    kind: ClassVar[str] = ""

    model: str
    samples: int = 8
    temperature: float = 1.0
    spending: Spending = UNLIMITED
    reserve: float = 0.1
    fields: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise ValueError(f"samples must be at least 1, not {self.samples}")
        if not self.temperature >= 0:
            raise ValueError(f"temperature must be 0 or more, not {self.temperature}")
        if not 0 <= self.reserve < 1:
            raise ValueError(f"reserve is from 0 to below 1, not {self.reserve}")

    @property
    def asks(self) -> tuple[str, ...]:
        """The models that it may call."""
        return (self.model,)

    async def answer(self, request: Request, operation: Operation) -> Response:
        """The sample that the model thinks best; what it thinks is `columns["signal"]`.

        RequestError if the model does not judge its own samples.
        """
        if "heads" not in operation.card(self.model).shows:
            raise RequestError(f"{self.model!r} does not judge its own samples", param="heads")
        walk = Walk(
            self.model,
            replace(request, extra={**request.extra, "heads": True}),
            operation,
            self.kind,
            steps=Steps(stop="", fields=self.fields),
            spending=self.spending,
            reserve=self.reserve,
        )
        lines = Lines(walk, self.fields, self._score)
        return await or_best(self._ended(lines), operation, lines.best)

    async def _ended(self, lines: Lines) -> Response:
        await self._write(lines)
        lead = lines.lead()
        if lead is not None and not lead.finished:
            if lines.walk.over:
                lines.walk.operation.stop("cap")
            await lines.go_on([lead], None)
        best = lines.best()
        if best is None:
            raise CapError(f"{self.kind}: nothing may be spent")
        return best

    def _score(self, says: Introspection) -> float:
        """How good a sample is of which the model says so."""
        raise NotImplementedError

    async def _write(self, lines: Lines) -> None:
        """Draw samples until more are not worth it, or `lines.walk.over`."""
        raise NotImplementedError
