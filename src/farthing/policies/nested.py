"""Policies within policies: their tables, and the operation as each of them sees it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from farthing.core.money import Cost, Rates
from farthing.core.protocols import Kind, ModelCard, Operation, Policy, StopReason
from farthing.core.request import Request
from farthing.core.response import Chunk, Response, Sample
from farthing.core.usage import Usage
from farthing.policies.ttc.spending import Begun


def to_table(policy: Policy) -> dict[str, Any]:
    """The policy's `kind` and parameters, without those that are None."""
    params = {key: value for key, value in policy.get_params().items() if value is not None}
    return {"kind": getattr(policy, "kind", ""), **params}


def named(choice: str | Policy) -> str | dict[str, Any]:
    """A model's name as it is, a policy as a table."""
    return choice if isinstance(choice, str) else to_table(choice)


def choice_of(told: Any, place: tuple[str, ...]) -> str | Policy:
    """A model's name, or the policy of a table; ParamError at `place` for what is neither."""
    from farthing.policies.registry import from_table

    return told if isinstance(told, str) else from_table(told, place)


def models_in(choices: Any) -> tuple[str, ...]:
    """The models that models and policies may call, each once, in their order."""
    from farthing.policies.registry import models_of

    names: dict[str, None] = {}
    for choice in choices:
        names |= dict.fromkeys((choice,) if isinstance(choice, str) else models_of(choice))
    return tuple(names)


async def ask(
    choice: str | Policy,
    request: Request,
    operation: Operation,
    node: str,
    *,
    kind: Kind = "sample",
    final: bool = False,
    within: Begun | None = None,
) -> Response:
    """What a model or a policy answers; `final` as of `Operation.call`, `within` as of `Part`."""
    if isinstance(choice, str):
        return await operation.call(choice, request, node=node, kind=kind, final=final)
    return await choice.answer(request, Part(operation, node, final=final, within=within))


class Part:
    """An operation as one of several policies sees it that share it.

    Its calls are of the node `node`; where it is `late`, their samples are fallbacks; where it is
    not `final`, none of its answers is taken to be the client's. What is left of the spending that
    it is `within` is its cap.
    """

    def __init__(
        self,
        operation: Operation,
        node: str,
        *,
        late: bool = False,
        final: bool = True,
        within: Begun | None = None,
    ) -> None:
        self.id, self.key = operation.id, operation.key
        self._operation, self._node, self._late, self._final = operation, node, late, final
        self._within = within

    @property
    def spent(self) -> Cost:
        return self._operation.spent

    @property
    def unknown_attempts(self) -> int:
        return self._operation.unknown_attempts

    @property
    def usage(self) -> Usage | None:
        return self._operation.usage

    @property
    def remaining(self) -> Cost | None:
        if self._within is None:
            return self._operation.remaining
        return self._within.spending.left(self._operation, self._within).cost

    def card(self, model: str) -> ModelCard:
        return self._operation.card(model)

    def rates(self, model: str) -> Rates | None:
        return self._operation.rates(model)

    def read(self, sample: Sample) -> Sample:
        return self._operation.read(sample)

    def stop(self, reason: StopReason) -> None:
        self._operation.stop(reason)

    async def call(
        self,
        model: str,
        request: Request,
        *,
        node: str,
        kind: Kind = "sample",
        final: bool = False,
    ) -> Response:
        self._check()
        return await self._operation.call(
            model,
            request,
            node=f"{self._node}/{node}",
            kind=self._kind(kind),
            final=final and self._final,
        )

    def stream(
        self, model: str, request: Request, *, node: str, kind: Kind = "sample"
    ) -> AsyncIterator[Chunk]:
        self._check()
        node = f"{self._node}/{node}"
        return self._operation.stream(model, request, node=node, kind=self._kind(kind))

    def _check(self) -> None:
        if self._within is not None:
            self._within.spending.check(self._operation, self._within)

    def _kind(self, kind: Kind) -> Kind:
        return "fallback" if self._late and kind == "sample" else kind
