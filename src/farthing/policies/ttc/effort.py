"""How much a model thinks before it answers: a dial from 0 to 1, or two budgets that hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, ClassVar, Literal, Self, get_args

from farthing.core.errors import RequestError
from farthing.core.protocols import Operation
from farthing.core.request import Message, Request
from farthing.core.response import Response
from farthing.models.variants import LEVELS
from farthing.policies.stopping import or_best
from farthing.policies.ttc.params import built, params_of
from farthing.policies.ttc.spending import Spending

By = Literal["effort", "thinking", "template", "forced"]
LEAST_THINKING = 1024
"""Tokens below which Anthropic's API takes no thinking budget."""


@dataclass(frozen=True)
class Effort:
    """Asks a model to think as much as `effort` says, and keeps tokens for the answer.

    `by` says how the model is told: "effort" sets `reasoning_effort` to one of `levels`;
    "thinking" sets Anthropic's `thinking.budget_tokens`, or switches it off below 1024 tokens;
    "template" sets `thinking_budget` and `enable_thinking` in `chat_template_kwargs`, as vLLM and
    SGLang hand them to a model's template. With all three the limit of tokens is both budgets
    together. "forced" needs nothing of the upstream but that it goes on from the beginning of an
    answer: thought is cut off at its budget and ended with `end`, then the answer is asked for
    with a budget of its own. That is two calls at most, of which the second reads the thought as
    a prompt; together they never generate more than both budgets.

    Source: Scalable Chain of Thoughts via Elastic Reasoning (Xu et al., 2025) for the two budgets;
    e1: Learning Adaptive Control of Reasoning Effort (Kleinman et al., 2025) for the dial.

    Attributes:
        model: who is asked.
        effort: from 0 to 1; or what says it of each request: "module:function", or the name of an
            entry point of the group `farthing.effort`, called with the request.
        by: how the model is told.
        levels: of `reasoning_effort`, each for an equal part of the dial.
        thinking: tokens of thought at effort 1; in between as many as its share.
        answer_tokens: those of the answer.
        begin, end: what encloses thought, for "forced".
        fields: of the second call, that tell the upstream to go on from a last message of the
            assistant, such as vLLM's `continue_final_message`.
        spending: the most that it may spend; checked before the second call.
    """

    kind: ClassVar[str] = "effort"

    model: str
    effort: float | str = 0.5
    by: By = "effort"
    levels: tuple[str, ...] = LEVELS
    thinking: int = 8192
    answer_tokens: int = 1024
    begin: str = "<think>\n"
    end: str = "</think>"
    fields: dict[str, Any] = field(default_factory=dict)
    spending: Spending = field(default_factory=Spending)

    def __post_init__(self) -> None:
        if self.by not in get_args(By):
            raise ValueError(f"by is one of {', '.join(get_args(By))}, not {self.by!r}")
        if isinstance(self.effort, str):
            chooser(self.effort)
        elif not 0 <= self.effort <= 1:
            raise ValueError(f"effort is 0 to 1, not {self.effort}")
        if not self.levels or not all(isinstance(level, str) for level in self.levels):
            raise ValueError("levels is a list of names")
        if self.thinking < 1 or self.answer_tokens < 1:
            raise ValueError("thinking and answer_tokens must be at least 1")

    @property
    def asks(self) -> tuple[str, ...]:
        """The models that it may call, the strongest last."""
        return (self.model,)

    async def answer(self, request: Request, operation: Operation) -> Response:
        """The model's answer; the effort it was asked for is `columns["effort"]`.

        RequestError if the effort that is chosen for the request is not from 0 to 1.
        """
        effort = self.dial(request)
        thought = round(effort * self.thinking)
        if self.by == "forced":
            response = await self._forced(request, operation, thought)
        else:
            asked = self.asked(request, effort)
            response = await operation.call(self.model, asked, node=self.kind, final=True)
        sample = response.samples[0]
        told = replace(sample, columns={**sample.columns, "effort": effort})
        return replace(response, samples=(told, *response.samples[1:]))

    def asked(self, request: Request, effort: float) -> Request:
        """What the model is asked with that effort, other than by "forced"."""
        thought, extra = round(effort * self.thinking), dict(request.extra)
        match self.by:
            case "effort":
                extra["reasoning_effort"] = self._level(effort)
            case "thinking" if thought >= LEAST_THINKING:
                extra["thinking"] = {"type": "enabled", "budget_tokens": thought}
                request = replace(request, temperature=None)  # it takes no other than its own
            case "thinking":
                extra["thinking"], thought = {"type": "disabled"}, 0
            case _:
                told = {"enable_thinking": thought > 0, "thinking_budget": thought}
                kwargs = extra.get("chat_template_kwargs", {})
                extra["chat_template_kwargs"] = {**kwargs, **told}
        extra.pop("max_completion_tokens", None)
        return replace(request, max_tokens=thought + self.answer_tokens, extra=extra, raw=None)

    def _level(self, effort: float) -> str:
        return self.levels[min(int(effort * len(self.levels)), len(self.levels) - 1)]

    async def _forced(self, request: Request, operation: Operation, budget: int) -> Response:
        begun = self.spending.begin(operation)
        extra = {k: v for k, v in request.extra.items() if k != "max_completion_tokens"}
        request = replace(request, extra=extra, question=request.question_id(), raw=None)
        thought: list[Response] = []

        async def decide() -> Response:
            text = self.begin
            if budget:
                cut = replace(request, max_tokens=budget, extra={**extra, "stop": [self.end]})
                node = f"{self.kind}/think"
                thought.append(await operation.call(self.model, cut, node=node))
                text = thought[0].text
                if not text.lstrip().startswith(self.begin.strip()):
                    text = self.begin + text
            self.spending.check(operation, begun)
            prefix = Message("assistant", f"{text}{self.end}\n\n")
            asked = replace(
                request,
                messages=(*request.messages, prefix),
                max_tokens=self.answer_tokens,
                extra={**extra, **self.fields},
            )
            return await operation.call(self.model, asked, node=f"{self.kind}/answer", final=True)

        return await or_best(decide(), operation, lambda: thought[0] if thought else None)

    def dial(self, request: Request) -> float:
        """The effort for a request; RequestError if what is chosen for it is not 0 to 1."""
        if not isinstance(self.effort, str):
            return self.effort
        effort = chooser(self.effort)(request)
        if not 0 <= effort <= 1:
            raise RequestError(f"{self.effort!r} chose an effort of {effort}, which is not 0 to 1")
        return float(effort)

    def get_params(self) -> dict[str, Any]:
        """The constructor's parameters."""
        return {**params_of(self), "levels": list(self.levels)}

    @classmethod
    def from_params(cls, params: dict[str, Any]) -> Self:
        """The policy with these parameters."""
        made = built(params)
        if "levels" in made:
            made["levels"] = tuple(made["levels"])
        return cls(**made)


@cache
def chooser(name: str) -> Callable[[Request], float]:
    """What chooses the effort of a request: "module:function", or an entry point's name.

    ValueError if there is none.
    """
    group = "farthing.effort"
    if ":" in name:
        found = [EntryPoint(name, name, group)]
    else:
        found = list(entry_points(group=group, name=name))
    if not found:
        raise ValueError(f"effort: no entry point {name!r} of the group {group!r} is installed")
    try:
        function: Callable[[Request], float] = found[0].load()
    except (ImportError, AttributeError) as error:
        raise ValueError(f"effort: {name!r} cannot be imported: {error}") from error
    if not callable(function):
        raise ValueError(f"effort: {name!r} is no function")
    return function
