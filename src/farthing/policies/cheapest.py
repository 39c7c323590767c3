"""Of several models that will do, the one whose answer should cost least."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from farthing.core.money import Cost
from farthing.core.protocols import Operation
from farthing.core.request import Request
from farthing.core.response import Response
from farthing.core.usage import Usage
from farthing.cost import estimate_usage
from farthing.policies.sessions import Sessions, goes_on, session_of


@dataclass(frozen=True, slots=True)
class Cheapest:
    """Asks the one of `models` whose answer is expected to cost least.

    It is for models that are as good as each other, such as one model at several providers. The
    prompt's tokens are guessed from its bytes. The model that answered a session's turn before
    has that turn's prompt in its cache, for some time: it reads it at the price of `cache_read`,
    and another would read it at that of `input`. So a session changes its model only if that is
    worth the cache it loses. Models of unknown price are asked last.

    Attributes:
        models: their names; of equal cost, the first is asked.
        output_tokens: expected of an answer where the request sets no lower limit.
        cache_s: seconds for which a prompt is taken to stay in a model's cache; 0 is never.
    """

    kind: ClassVar[str] = "cheapest"

    models: tuple[str, ...]
    output_tokens: int = 500
    cache_s: float = 300.0
    _prompts: Sessions[tuple[str, int]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.models:
            raise ValueError("models must name at least one")
        object.__setattr__(self, "_prompts", Sessions(seconds=self.cache_s))

    async def answer(self, request: Request, operation: Operation) -> Response:
        """The answer of the model that should be cheapest."""
        session = session_of(request, operation)
        holder, held = "", 0
        if goes_on(request):
            holder, held = self._prompts.get(session) or ("", 0)
        model = min(
            self.models,
            key=lambda name: self._expected(request, operation, name, held, is_held=name == holder),
        )
        response = await operation.call(model, request, node="cheapest", final=True)
        if response.usage is not None and response.usage_basis == "exact" and self.cache_s:
            self._prompts.set(session, (model, response.usage.input_tokens))
        return response

    def _expected(
        self, request: Request, operation: Operation, model: str, held: int, *, is_held: bool
    ) -> tuple[bool, Cost]:
        """Whether the cost is unknown, and the expected cost; `held` tokens may be cached."""
        rates = operation.rates(model)
        if rates is None:
            return True, Cost(0)
        guess, _ = estimate_usage(request, ())
        prompt = max(held, guess.input if guess else 0)
        output = min(self.output_tokens, request.max_tokens or self.output_tokens)
        cached = held if is_held else 0
        return False, rates.cost(Usage(input=prompt - cached, cache_read=cached, output=output))

    def get_params(self) -> dict[str, Any]:
        """The constructor's parameters."""
        return {
            "models": list(self.models),
            "output_tokens": self.output_tokens,
            "cache_s": self.cache_s,
        }

    @classmethod
    def from_params(cls, params: dict[str, Any]) -> Cheapest:
        """The policy with these parameters."""
        params = dict(params)
        models = params.pop("models")
        if isinstance(models, str) or not all(isinstance(model, str) for model in models):
            raise ValueError("models is a list of names")
        return cls(tuple(models), **params)
