"""Policies from cheap to dear; each one's answer is accepted or passed up."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from farthing.core.protocols import Operation, Policy
from farthing.core.request import Request
from farthing.core.response import Response
from farthing.policies.nested import ask, choice_of, models_in, named
from farthing.policies.stopping import or_best
from farthing.policies.ttc.params import params_of
from farthing.policies.ttc.spending import Spending


@dataclass(frozen=True, slots=True)
class Link:
    """One model or policy of a chain.

    Attributes:
        ask: a model's name, or a policy.
        accept: the least signal at which its answer stands; the last stands always.
    """

    ask: str | Policy
    accept: float = 0.0


@dataclass(frozen=True, slots=True)
class Chain:
    """A cascade of policies: asks `links` in turn until one is sure enough of its answer.

    A policy is as sure as its answer's signal says, such as a vote's share; an answer without
    one is passed up.

    Source: FrugalGPT (Chen et al., 2023), with policies in place of models.

    Attributes:
        links: cheap to dear.
        spending: the most that all of them may spend together; checked before each call.
    """

    kind: ClassVar[str] = "chain"

    links: tuple[Link, ...]
    spending: Spending = field(default_factory=Spending)

    def __post_init__(self) -> None:
        if not self.links:
            raise ValueError("links must name at least one")

    @property
    def parts(self) -> tuple[Policy, ...]:
        """The policies within it."""
        return tuple(link.ask for link in self.links if not isinstance(link.ask, str))

    @property
    def asks(self) -> tuple[str, ...]:
        """The models that it may call, the strongest last."""
        return models_in(link.ask for link in self.links)

    async def answer(self, request: Request, operation: Operation) -> Response:
        """The first answer that is accepted."""
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
        for number, link in enumerate(self.links):
            last = number == len(self.links) - 1
            self.spending.check(operation, begun)
            node = f"{self.kind}/{number}"
            response = await ask(link.ask, request, operation, node, final=last, within=begun)
            given.append(response)
            signal = response.samples[0].columns.get("signal")
            if last or (signal is not None and signal >= link.accept):
                return response
        raise AssertionError("the last link's answer stands")

    def get_params(self) -> dict[str, Any]:
        """The constructor's parameters; a policy as a table with its `kind`."""
        links = [{"ask": named(link.ask), "accept": link.accept} for link in self.links]
        return {**params_of(self), "links": links}

    @classmethod
    def from_params(cls, params: dict[str, Any]) -> Chain:
        """The policy with these parameters."""
        params = dict(params)
        links = []
        for index, told in enumerate(params.pop("links")):
            if not isinstance(told, dict) or "ask" not in told:
                raise ValueError(f"links: [{index}] wants a table with `ask`")
            place = ("links", f"[{index}]", "ask")
            links.append(Link(**{**told, "ask": choice_of(told["ask"], place)}))
        spending = Spending.from_params(params.pop("spending", None))
        return cls(tuple(links), spending=spending, **params)
