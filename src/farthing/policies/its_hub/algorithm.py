"""A policy as an algorithm of its_hub."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from farthing.budgets import Operation
from farthing.core.errors import FarthingError, PlanError, UpstreamError
from farthing.core.money import Cost, Rates
from farthing.core.protocols import Model, ModelCard, StopReason
from farthing.core.request import Request
from farthing.core.response import Chunk, Response
from farthing.core.usage import Usage
from farthing.cost import PriceBook
from farthing.policies.its_hub import _api
from farthing.policies.its_hub.messages import to_answer, to_ours, to_sample, to_theirs
from farthing.policies.registry import POLICIES, from_params, models_of
from farthing.signals import reader

_COUNTS = ("samples", "particles")


class PolicyAlgorithm(_api.AbstractScalingAlgorithm):  # type: ignore[misc]
    """Any policy where its_hub takes an algorithm.

    The models that the policy names are the language model that its_hub hands over, except those
    of `models`. its_hub has no place for seeds and log-probabilities: policies that need these
    cannot be used with its language models.

    Args:
        kind: the policy's, such as "vote".
        params: its parameters; a `model` may be left out.
        answer: how final answers are read, such as "last-number".
        models: what else the policy may call, by name, such as a judge.
        rates: what the language model charges; None if unknown.
        counts: the parameter that its_hub's budget sets; None for `samples` or `particles`. A
            policy that has neither, such as a chain, takes what its own parameters say, whatever
            the budget.
    """

    def __init__(
        self,
        kind: str,
        params: Mapping[str, Any] | None = None,
        *,
        answer: str = "text",
        models: Mapping[str, Model] | None = None,
        rates: Rates | None = None,
        counts: str | None = None,
    ) -> None:
        known = {one.name for one in fields(POLICIES[kind])} if kind in POLICIES else set()
        self._kind, self._params = kind, dict(params or {})
        if "model" in known:
            self._params.setdefault("model", "lm")
        if counts is not None and counts not in known:
            raise PlanError(f"policy {kind!r} has no parameter {counts!r}")
        self._counts = counts or next((name for name in _COUNTS if name in known), None)
        self._models, self._rates, self._prices = dict(models or {}), rates, PriceBook()
        self._answer, self._reader = answer, reader(answer)
        from_params(kind, self._params)

    async def ainfer(
        self,
        lm: Any,
        prompt_or_messages: Any,
        budget: int,
        return_response_only: bool = True,
        tools: list[dict[str, Any]] | None = None,
        tool_choice: str | dict[str, Any] | None = None,
    ) -> Any:
        """The answer's message, or a `PolicyResult`.

        Raises what the policy raises: CapError where its spending has no room for an answer,
        UpstreamError for a language model that fails.
        """
        counted = {} if self._counts is None else {self._counts: budget}
        policy = from_params(self._kind, {**self._params, **counted})
        asked = [name for name in models_of(policy) if name not in self._models]
        models = {name: LanguageModel(name, lm, self._rates) for name in asked}
        operation = Operation(
            {**self._models, **models},
            prices=self._prices,
            reader=self._reader,
            reader_name=self._answer,
        )
        told = {"tools": tools, "tool_choice": tool_choice}
        chat = _api.ChatMessages.from_prompt_or_messages(prompt_or_messages)
        request = Request(
            to_ours(chat.to_chat_messages()),
            extra={name: value for name, value in told.items() if value is not None},
        )
        response = await policy.answer(request, operation)
        result = _result(response, operation)
        return result.the_one if return_response_only else result


@dataclass(frozen=True)
class PolicyResult(_api.AbstractScalingResult):  # type: ignore[misc]
    """What a policy answered.

    Attributes:
        message: the answer, as its_hub has messages.
        answer: its final answer as it was read; None if none could be.
        signal: how sure the policy is of it; None if it does not say.
        usage: tokens of all calls; None if the language model did not tell those of each.
        cost: of all calls; None if their tokens or what they cost are unknown.
        calls: how many there were.
        stopped: why the policy ended before it had decided; None if it had.
    """

    message: dict[str, Any]
    answer: str | None
    signal: float | None
    usage: _api.GenerationUsage | None
    cost: Cost | None
    calls: int
    stopped: StopReason | None

    @property
    def the_one(self) -> dict[str, Any]:
        """The answer's message."""
        return self.message


class LanguageModel:
    """A language model of its_hub as a model of an operation."""

    def __init__(self, name: str, lm: Any, rates: Rates | None) -> None:
        self.card = ModelCard(name, rates=rates)
        base = _api.AbstractLanguageModel.agenerate_single
        single = getattr(type(lm), "agenerate_single", base) is not base
        self._generate = lm.agenerate_single if single else lm.agenerate
        taken = inspect.signature(self._generate).parameters
        any_taken = any(one.kind is one.VAR_KEYWORD for one in taken.values())
        self._counts = any_taken or "usage_accumulator" in taken

    async def complete(self, request: Request) -> Response:
        """The language model's answers; usage is known where it tells of each call."""
        extra = request.extra
        settings: dict[str, Any] = {
            "temperature": request.temperature,
            "max_completion_tokens": request.max_tokens,
            **{name: extra.get(name) for name in ("tools", "tool_choice", "response_format")},
        }
        settings = {name: value for name, value in settings.items() if value is not None}
        counter = _api.GenerationUsage()
        if self._counts:
            settings["usage_accumulator"] = counter
        samples = []
        for _ in range(request.n):
            try:
                message = await self._generate(
                    to_theirs(request.messages), stop=extra.get("stop"), **settings
                )
            except FarthingError:
                raise
            except Exception as error:
                status = getattr(error, "status_code", None)
                raise UpstreamError(
                    f"{self.card.name}: {type(error).__name__}: {error}",
                    model=self.card.name,
                    kind="status",
                    status=status if isinstance(status, int) else None,
                ) from error
            samples.append(to_sample(message))
        usage = None
        if counter.num_calls == request.n and counter.prompt_tokens > 0:
            usage = Usage(input=counter.prompt_tokens, output=counter.completion_tokens)
        basis: Literal["exact", "unknown"] = "unknown" if usage is None else "exact"
        return Response(self.card.name, tuple(samples), usage=usage, usage_basis=basis)

    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        """The same in one piece: its_hub's language models do not stream."""
        response = await self.complete(request)
        for index, sample in enumerate(response.samples):
            yield Chunk(
                sample.text,
                index,
                sample.finish_reason,
                tool_calls=[
                    {"index": place, **call} for place, call in enumerate(sample.tool_calls)
                ],
            )
        yield Chunk(usage=response.usage, usage_basis=response.usage_basis)


def _result(response: Response, operation: Operation) -> PolicyResult:
    sample = response.samples[0]
    told = [attempt.response for attempt in operation.attempts]
    total = operation.usage
    exact = all(one is not None and one.usage_basis == "exact" for one in told)
    usage = None
    if exact and total is not None:
        usage = _api.GenerationUsage(total.input_tokens, total.output_tokens, len(told))
    known = usage is not None and not operation.unknown_attempts
    return PolicyResult(
        to_answer(sample),
        sample.answer,
        sample.columns.get("signal"),
        usage,
        operation.spent if known else None,
        len(told),
        operation.stopped,
    )
