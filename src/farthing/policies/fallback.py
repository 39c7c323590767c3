"""Models in order of preference; the next one answers where one fails."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from farthing.core.errors import UpstreamError
from farthing.core.protocols import Kind, Operation, Policy
from farthing.core.request import Request
from farthing.core.response import Response
from farthing.policies.nested import Part, choice_of, named

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
                    return await choice.answer(request, Part(operation, node, late=index > 0))
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
        models = [named(choice) for choice in self.models]
        return {"models": models, "on_timeout": self.on_timeout}

    @classmethod
    def from_params(cls, params: dict[str, Any]) -> Fallback:
        """The policy with these parameters."""
        params = dict(params)
        models = params.pop("models")
        if isinstance(models, str):
            raise ValueError("models is a list")
        choices = tuple(
            choice_of(choice, ("models", f"[{index}]")) for index, choice in enumerate(models)
        )
        return cls(choices, **params)
