"""Models in order of preference; the next one answers where one fails."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, ClassVar

from farthing.core.errors import UpstreamError
from farthing.core.money import Cost, Rates
from farthing.core.protocols import Kind, ModelCard, Operation, Policy
from farthing.core.request import Request
from farthing.core.response import Chunk, Response, Sample

_REFUSED = frozenset({400, 413, 422})


@dataclass(frozen=True, slots=True)
class Fallback:
    """Asks the first of `models`, and each next one only if the one before fails.

    A model fails once its retries are used up. A request that an upstream refuses as wrong
    (status 400, 413 or 422) is not sent to the next, nor is one of which a part of the answer has
    been shown. The calls in place of one that failed are booked as fallbacks.

    Attributes:
        models: names of models, or policies, best first.
        on_timeout: whether a model that takes too long counts as failed; its answer may be paid
            for all the same.
    """

    kind: ClassVar[str] = "fallback"

    models: tuple[str | Policy, ...]
    on_timeout: bool = False

    def __post_init__(self) -> None:
        if not self.models:
            raise ValueError("models must name at least one")

    async def answer(self, request: Request, operation: Operation) -> Response:
        """The first answer; UpstreamError of the last model if all fail."""
        for index, choice in enumerate(self.models):
            node = f"fallback/{index}"
            try:
                if not isinstance(choice, str):
                    return await choice.answer(request, _Part(operation, node, late=index > 0))
                kind: Kind = "fallback" if index else "sample"
                return await operation.call(choice, request, node=node, kind=kind, final=True)
            except UpstreamError as error:
                if index == len(self.models) - 1 or not self._goes_on(error):
                    raise
        raise AssertionError("the last model answers or raises")

    def _goes_on(self, error: UpstreamError) -> bool:
        if error.shown:
            return False
        if error.kind == "timeout":
            return self.on_timeout
        return error.status not in _REFUSED

    def get_params(self) -> dict[str, Any]:
        """The constructor's parameters; a policy as a table with its `kind`."""
        models = [choice if isinstance(choice, str) else _table(choice) for choice in self.models]
        return {"models": models, "on_timeout": self.on_timeout}

    @classmethod
    def from_params(cls, params: dict[str, Any]) -> Fallback:
        """The policy with these parameters."""
        from farthing.policies.registry import from_table

        params = dict(params)
        models = params.pop("models")
        if isinstance(models, str):
            raise ValueError("models is a list")
        choices = tuple(
            choice if isinstance(choice, str) else from_table(choice, ("models", f"[{index}]"))
            for index, choice in enumerate(models)
        )
        return cls(choices, **params)


def _table(policy: Policy) -> dict[str, Any]:
    params = {key: value for key, value in policy.get_params().items() if value is not None}
    return {"kind": getattr(policy, "kind", ""), **params}


class _Part:
    """An operation as one of several policies sees it that share it.

    Its calls are of the node `node`; where it is `late`, their samples are fallbacks.
    """

    def __init__(self, operation: Operation, node: str, *, late: bool) -> None:
        self.id, self.key = operation.id, operation.key
        self._operation, self._node, self._late = operation, node, late

    @property
    def remaining(self) -> Cost | None:
        return self._operation.remaining

    def card(self, model: str) -> ModelCard:
        return self._operation.card(model)

    def rates(self, model: str) -> Rates | None:
        return self._operation.rates(model)

    def read(self, sample: Sample) -> Sample:
        return self._operation.read(sample)

    def stop(self, reason: Any) -> None:
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
        return await self._operation.call(
            model, request, node=f"{self._node}/{node}", kind=self._kind(kind), final=final
        )

    def stream(
        self, model: str, request: Request, *, node: str, kind: Kind = "sample"
    ) -> AsyncIterator[Chunk]:
        node = f"{self._node}/{node}"
        return self._operation.stream(model, request, node=node, kind=self._kind(kind))

    def _kind(self, kind: Kind) -> Kind:
        return "fallback" if self._late and kind == "sample" else kind
