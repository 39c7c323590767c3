"""What clients are answered, in OpenAI's shape."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from typing import Any, ClassVar

from farthing.core.money import Cost


class Object:
    """A JSON object whose fields are attributes.

    Fields that are annotated and absent are None; others that an upstream sent are there too.
    """

    _KINDS: ClassVar[Mapping[str, type[Object]]] = {}

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._fields = fields

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if name in self._fields:
            return _wrapped(self._fields[name], self._KINDS.get(name, Object))
        if name in inspect.get_annotations(type(self)):
            return None
        raise AttributeError(f"{type(self).__name__} has no field {name!r}")

    def model_dump(self) -> dict[str, Any]:
        """The fields as dictionaries and lists, as they came."""
        return copy.deepcopy(dict(self._fields))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Object) and self._fields == other._fields

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        told = ", ".join(f"{name}={value!r}" for name, value in self._fields.items())
        return f"{type(self).__name__}({told})"

    def __reduce__(self) -> Any:
        return type(self), (self._fields,)


def _wrapped(value: Any, kind: type[Object]) -> Any:
    if isinstance(value, Mapping):
        return kind(value)
    if isinstance(value, list):
        return [_wrapped(item, kind) for item in value]
    return value


class Farthing(Object):
    """What an answer cost, and how it came about.

    `cost_usd` is None while the cost of any attempt is unknown, and `known_cost_usd` the sum of
    the others, both decimal strings; `stopped` is "cap" if a budget's cap ended it early; `alarm`
    is "widened" or "warned" if the plan's certificate was found not to hold.
    """

    operation: str
    plan: str | None
    answered_by: str
    attempts: int
    cost_usd: str | None
    cost_basis: str
    known_cost_usd: str
    stopped: str | None
    alarm: str | None

    @property
    def cost(self) -> Cost | None:
        """`cost_usd` as exact money."""
        return None if self.cost_usd is None else Cost.from_usd(self.cost_usd)


class ChatMessage(Object):
    """A message, or in a stream what is new of it."""

    role: str | None
    content: str | None
    tool_calls: list[Object] | None
    refusal: str | None


class Choice(Object):
    """One of the samples; `delta` is in chunks what `message` is in whole answers."""

    index: int
    message: ChatMessage
    delta: ChatMessage
    text: str | None
    finish_reason: str | None
    logprobs: Object | None

    _KINDS: ClassVar = {"message": ChatMessage, "delta": ChatMessage}


class CompletionUsage(Object):
    """Tokens of all attempts of a plan, or of a model's call."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: Object | None
    completion_tokens_details: Object | None


class Answer(Object):
    """An answer of an endpoint, such as a chat completion or embeddings."""

    id: str
    object: str
    created: int
    model: str
    choices: list[Choice]
    data: list[Object]
    usage: CompletionUsage | None
    farthing: Farthing

    _KINDS: ClassVar = {"choices": Choice, "usage": CompletionUsage, "farthing": Farthing}


class Chunk(Object):
    """A piece of a streamed answer; `farthing` is with the last, `usage` where it was asked for."""

    id: str
    object: str
    created: int
    model: str
    choices: list[Choice]
    usage: CompletionUsage | None
    farthing: Farthing | None

    _KINDS: ClassVar = {"choices": Choice, "usage": CompletionUsage, "farthing": Farthing}


class Model(Object):
    """A model or plan; `farthing` says which, and of a plan all models it may call."""

    id: str
    object: str
    created: int
    owned_by: str
    farthing: Object


class ModelList(Object):
    """All that may be asked."""

    object: str
    data: list[Model]

    _KINDS: ClassVar = {"data": Model}
