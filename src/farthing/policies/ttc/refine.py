"""A model finds fault with its answer and mends it, until it finds none."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

from farthing.core.protocols import Operation
from farthing.core.request import Request
from farthing.core.response import Response
from farthing.policies.stopping import or_best
from farthing.policies.ttc.params import Parametrised
from farthing.policies.ttc.spending import Spending
from farthing.policies.ttc.talking import shown
from farthing.signals.asking import about

CRITIQUE = """\
Question:
{question}

Answer:
{answer}

Say what is wrong with the answer and how to mend it. If nothing is, say only: CORRECT"""
REVISE = """\
The above is an answer to the question, and what is wrong with it. Answer the question again, \
mended."""


@dataclass(frozen=True)
class Refine(Parametrised):
    """Answers, criticises the answer and answers again, up to `rounds` times.

    It stops when the critic finds nothing wrong (its text has `done` in it), when the final answer
    is the same as that before, or when the spending is used up. Each round costs a judgement
    and an answer, whose prompts have all that was said of the answer before.

    Source: Self-Refine: Iterative Refinement with Self-Feedback (Madaan et al., 2023).

    Attributes:
        model: who answers.
        critic: who criticises; None for the model itself.
        rounds: how often at most.
        done: what the critic says of an answer with nothing wrong.
        unchanged: whether the same final answer twice in a row ends it.
        critique: what the critic is asked, with places {question} and {answer}.
        revise: what the model is asked then, behind the answer and its critique.
        critic_tokens: the most that a critique may have; small models do not end by themselves.
        spending: the most that it may spend.
    """

    kind: ClassVar[str] = "refine"

    model: str
    critic: str | None = None
    rounds: int = 2
    done: str = "CORRECT"
    unchanged: bool = True
    critique: str = CRITIQUE
    revise: str = REVISE
    critic_tokens: int = 512
    spending: Spending = field(default_factory=Spending)

    def __post_init__(self) -> None:
        if min(self.rounds, self.critic_tokens) < 1:
            raise ValueError("rounds and critic_tokens must be at least 1")

    @property
    def asks(self) -> tuple[str, ...]:
        """The models that it may call, the one that answers last."""
        critic = self.critic or self.model
        return (self.model,) if critic == self.model else (critic, self.model)

    async def answer(self, request: Request, operation: Operation) -> Response:
        """The last answer that was given."""
        given: list[Response] = []
        return await or_best(
            self._decide(request, operation, given),
            operation,
            lambda: given[-1] if given else None,
        )

    async def _decide(
        self, request: Request, operation: Operation, given: list[Response]
    ) -> Response:
        begun = self.spending.begin(operation)
        given.append(await operation.call(self.model, request, node=f"{self.kind}/0"))
        for number in range(1, self.rounds + 1):
            answer = given[-1]
            self.spending.check(operation, begun)
            asked = about(request, answer.text, self.critique)
            said = await operation.call(
                self.critic or self.model,
                replace(asked, max_tokens=self.critic_tokens),
                node=f"{self.kind}/{number}/critic",
                kind="judge",
            )
            if self.done in said.text:
                break
            self.spending.check(operation, begun)
            asked = shown(request, self.revise, (answer.text, said.text))
            given.append(await operation.call(self.model, asked, node=f"{self.kind}/{number}"))
            final = [response.samples[0].answer for response in given[-2:]]
            if self.unchanged and final[0] is not None and final[0] == final[1]:
                break
        return given[-1]
