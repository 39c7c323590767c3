"""Of several answers the one that a verifier scores best."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import ClassVar

from farthing.core.protocols import Operation
from farthing.core.request import Request
from farthing.core.response import Response, Sample
from farthing.policies.stopping import or_best
from farthing.policies.ttc.drawing import take
from farthing.policies.ttc.params import Parametrised
from farthing.policies.ttc.searching import Aggregate, aggregated
from farthing.policies.ttc.spending import Spending
from farthing.signals.steps import ModelSteps, StepReward

Scored = list[tuple[float, Sample]]


@dataclass(frozen=True)
class BestOfN(Parametrised):
    """Samples a model up to `samples` times; the answer with the highest score stands.

    With `accept` it goes on only until a score is that high: what a verifier is sure of needs no
    other answer. Equal texts are scored once.

    Source: Training Verifiers to Solve Math Word Problems (Cobbe et al., 2021).

    Attributes:
        model: who answers.
        reward: what scores an answer, see `signals.steps`.
        samples: how many answers there are at most.
        accept: the score from 0 to 1 that ends it; None takes all samples.
        batch: how many answers are asked for at once where `accept` may end it.
        aggregate: what counts of the scores of an answer's steps.
        temperature: of the answers; None leaves it as the client has it.
        spending: the most that it may spend, verifying included.
    """

    kind: ClassVar[str] = "best_of_n"

    model: str
    reward: StepReward
    samples: int = 8
    accept: float | None = None
    batch: int = 1
    aggregate: Aggregate = "last"
    temperature: float | None = 1.0
    spending: Spending = field(default_factory=Spending)

    def __post_init__(self) -> None:
        if min(self.samples, self.batch) < 1:
            raise ValueError("samples and batch must be at least 1")

    @property
    def asks(self) -> tuple[str, ...]:
        """The models that it may call, the one that answers last."""
        return asked_of(self.model, self.reward)

    async def answer(self, request: Request, operation: Operation) -> Response:
        """The answer that scores best; its score is `columns["signal"]`."""

        def more(scores: list[float]) -> int:
            if self.accept is None:
                return self.samples - len(scores)
            if scores and max(scores) >= self.accept:
                return 0
            return min(self.batch, self.samples - len(scores))

        drawing = Drawing(
            self.model, self.reward, self.aggregate, self.temperature, self.spending, self.kind
        )
        return await drawing.best(request, operation, more)


@dataclass(frozen=True)
class Drawing:
    """Draws answers and scores them, as many as a rule wants."""

    model: str
    reward: StepReward
    aggregate: Aggregate
    temperature: float | None
    spending: Spending
    node: str

    async def best(
        self, request: Request, operation: Operation, more: Callable[[list[float]], int]
    ) -> Response:
        """The best answer once `more(scores)` wants no more of them, or the spending is over.

        An answer for whose score there was nothing left counts as the worst.
        """
        if self.temperature is not None:
            request = replace(request, temperature=self.temperature)
        scored: Scored = []
        return await or_best(
            self._draw(request, operation, more, scored),
            operation,
            lambda: self._response(scored) if scored else None,
        )

    async def _draw(
        self,
        request: Request,
        operation: Operation,
        more: Callable[[list[float]], int],
        scored: Scored,
    ) -> Response:
        begun = self.spending.begin(operation)
        known: dict[str, float] = {}
        while wanted := more([score for score, _ in scored]):
            given = await take(
                self.model, request, operation, self.spending, begun,
                node=self.node, count=wanted, first=len(scored),
            )  # fmt: skip
            first = len(scored)
            scored += [(-1.0, sample) for sample in given]
            for place, sample in enumerate(given, first):
                if sample.text not in known:
                    if isinstance(self.reward, ModelSteps):
                        self.spending.check(operation, begun)
                    told = await self.reward.judge(
                        request, sample.text, operation, self.node, finished=True
                    )
                    known[sample.text] = aggregated(told, self.aggregate)
                scored[place] = known[sample.text], sample
        return self._response(scored)

    def _response(self, scored: Scored) -> Response:
        score, chosen = max(scored, key=lambda one: one[0])
        columns = {**chosen.columns, "signal": None if score < 0 else score}
        return Response(self.model, (replace(chosen, columns=columns),))


def asked_of(model: str, reward: StepReward) -> tuple[str, ...]:
    """The models that answer and score, the one that answers last."""
    judge = (reward.model,) if isinstance(reward, ModelSteps) else ()
    return (*(name for name in judge if name != model), model)
