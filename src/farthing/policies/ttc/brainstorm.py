"""Several models see each other's answers and answer again, until they agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

from farthing.core.protocols import Operation, Policy
from farthing.core.request import Request
from farthing.core.response import Response
from farthing.policies.nested import choice_of, models_in, named
from farthing.policies.stopping import or_best
from farthing.policies.ttc.params import built, params_of
from farthing.policies.ttc.spending import Spending
from farthing.policies.ttc.talking import Panel, shown
from farthing.policies.ttc.vote import elected

INSTRUCTION = """\
The above are answers of several others to the question, yours among them. Weigh them, and answer \
the question again."""


@dataclass(frozen=True, slots=True)
class Brainstorm:
    """Asks all members; while too few agree, each sees all answers and is asked again.

    In the end they vote; ties go to the member that is named first. One round costs an answer of
    each member, and from the second on a prompt with all the answers.

    Source: Brainstorming Brings Power to Large Language Models of Knowledge Reasoning (Qin et
    al., 2024); Improving Factuality and Reasoning through Multiagent Debate (Du et al., 2023).

    Attributes:
        members: names of models, or policies.
        rounds: how often they are asked at most.
        agree: the share of members with the same answer that ends it.
        instruction: what they are asked behind the answers.
        spending: the most that all of them may spend together.
    """

    kind: ClassVar[str] = "brainstorm"

    members: tuple[str | Policy, ...]
    rounds: int = 3
    agree: float = 1.0
    instruction: str = INSTRUCTION
    spending: Spending = field(default_factory=Spending)

    def __post_init__(self) -> None:
        if len(self.members) < 2:
            raise ValueError("members must name at least two")
        if self.rounds < 1:
            raise ValueError(f"rounds must be at least 1, not {self.rounds}")
        if not 0 < self.agree <= 1:
            raise ValueError(f"agree is a share above 0, up to 1, not {self.agree}")

    @property
    def parts(self) -> tuple[Policy, ...]:
        """The policies within it."""
        return tuple(one for one in self.members if not isinstance(one, str))

    @property
    def asks(self) -> tuple[str, ...]:
        """The models that it may call, in the order of the members."""
        return models_in(self.members)

    async def answer(self, request: Request, operation: Operation) -> Response:
        """An answer that most members gave in the last round; their share is the signal."""
        given: list[Response] = []
        return await or_best(
            self._decide(request, operation, given),
            operation,
            lambda: _elected(given) if given else None,
        )

    async def _decide(
        self, request: Request, operation: Operation, given: list[Response]
    ) -> Response:
        panel = Panel(self.members, operation, self.spending, self.spending.begin(operation))
        asked = request
        for number in range(self.rounds):
            told = await panel.round([asked] * len(self.members), f"{self.kind}/{number}")
            given[:] = [response for response in told if response is not None]
            decided = _elected(given)
            if float(decided.samples[0].columns["signal"] or 0.0) >= self.agree - 1e-9:
                return decided
            asked = shown(request, self.instruction, [response.text for response in given])
        return _elected(given)

    def get_params(self) -> dict[str, Any]:
        """The constructor's parameters; a policy as a table with its `kind`."""
        return {**params_of(self), "members": [named(one) for one in self.members]}

    @classmethod
    def from_params(cls, params: dict[str, Any]) -> Self:
        """The policy with these parameters."""
        return cls(**built({**params, "members": members_of(params["members"], "members")}))


def members_of(told: Any, key: str) -> tuple[str | Policy, ...]:
    """Models and policies of a list in a table."""
    if isinstance(told, str) or not isinstance(told, Sequence):
        raise ValueError(f"{key} is a list")
    return tuple(choice_of(one, (key, f"[{index}]")) for index, one in enumerate(told))


def _elected(given: Sequence[Response]) -> Response:
    samples = [response.samples[0] for response in given]
    decided = elected("", samples)
    winner = decided.samples[0].answer
    place = next((n for n, s in enumerate(samples) if s.answer == winner), 0)
    return replace(decided, model=given[place].model)
