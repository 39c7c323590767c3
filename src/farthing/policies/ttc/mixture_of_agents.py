"""Several models propose, layer upon layer, and one puts their answers together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from farthing.core.protocols import Operation, Policy
from farthing.core.request import Request
from farthing.core.response import Response
from farthing.policies.nested import ask, choice_of, models_in, named
from farthing.policies.stopping import or_best
from farthing.policies.ttc.brainstorm import members_of
from farthing.policies.ttc.params import built, params_of
from farthing.policies.ttc.spending import Spending
from farthing.policies.ttc.talking import Panel, shown

INSTRUCTION = """\
The above are answers of several models to the question. Some of it may be wrong. Put them \
together into one better answer to the question."""


@dataclass(frozen=True, slots=True)
class MixtureOfAgents:
    """Proposers answer, in each further layer with the last one's answers; one puts them together.

    That is `layers` answers of each proposer and one more, most with prompts that have all
    answers of the layer before.

    Source: Mixture-of-Agents Enhances Large Language Model Capabilities (Wang et al., 2024).

    Attributes:
        proposers: names of models, or policies.
        aggregator: who puts the answers together.
        layers: how often the proposers are asked.
        instruction: what is asked behind the answers.
        spending: the most that all of them may spend together.
    """

    kind: ClassVar[str] = "mixture_of_agents"

    proposers: tuple[str | Policy, ...]
    aggregator: str | Policy
    layers: int = 1
    instruction: str = INSTRUCTION
    spending: Spending = field(default_factory=Spending)

    def __post_init__(self) -> None:
        if not self.proposers:
            raise ValueError("proposers must name at least one")
        if self.layers < 1:
            raise ValueError(f"layers must be at least 1, not {self.layers}")

    @property
    def parts(self) -> tuple[Policy, ...]:
        """The policies within it."""
        every = (*self.proposers, self.aggregator)
        return tuple(one for one in every if not isinstance(one, str))

    @property
    def asks(self) -> tuple[str, ...]:
        """The models that it may call, those of the aggregator last."""
        last = models_in((self.aggregator,))
        return (*(name for name in models_in(self.proposers) if name not in last), *last)

    async def answer(self, request: Request, operation: Operation) -> Response:
        """The aggregator's answer; the first proposal where the spending ends it before."""
        given: list[Response] = []
        return await or_best(
            self._decide(request, operation, given),
            operation,
            lambda: given[0] if given else None,
        )

    async def _decide(
        self, request: Request, operation: Operation, given: list[Response]
    ) -> Response:
        begun = self.spending.begin(operation)
        panel = Panel(self.proposers, operation, self.spending, begun)
        asked = request
        for layer in range(self.layers):
            told = await panel.round([asked] * len(self.proposers), f"{self.kind}/{layer}")
            given[:] = [response for response in told if response is not None]
            asked = shown(request, self.instruction, [response.text for response in given])
        self.spending.check(operation, begun)
        node = f"{self.kind}/{self.layers}"
        return await ask(self.aggregator, asked, operation, node, final=True, within=begun)

    def get_params(self) -> dict[str, Any]:
        """The constructor's parameters; a policy as a table with its `kind`."""
        return {
            **params_of(self),
            "proposers": [named(one) for one in self.proposers],
            "aggregator": named(self.aggregator),
        }

    @classmethod
    def from_params(cls, params: dict[str, Any]) -> Self:
        """The policy with these parameters."""
        made = {
            **params,
            "proposers": members_of(params["proposers"], "proposers"),
            "aggregator": choice_of(params["aggregator"], ("aggregator",)),
        }
        return cls(**built(made))
