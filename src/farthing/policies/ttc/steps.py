"""Going on from partial answers, one step at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from farthing.core.errors import CapError, RequestError
from farthing.core.protocols import Operation
from farthing.core.request import Message, Request
from farthing.core.response import Sample, TokenLogprob
from farthing.policies.ttc.spending import Begun, Spending
from farthing.signals.introspection import Introspection, introspections


@dataclass(frozen=True, slots=True)
class Steps:
    """What a step is.

    Attributes:
        stop: what ends a step where `tokens` is not told; empty for a step to the end.
        tokens: how many tokens a step has, at most.
        end: what is in an answer that is finished, such as "\\\\boxed"; an upstream does not tell
            whether it came to the end of a step or of the answer, so that without this an answer
            is finished once nothing more comes.
        fields: fields of the request that tell the upstream to go on from a last message of the
            assistant, such as vLLM's `continue_final_message`.
    """

    stop: str = "\n"
    tokens: int | None = None
    end: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.tokens is not None and self.tokens < 1:
            raise ValueError(f"tokens must be at least 1, not {self.tokens}")

    @property
    def stops(self) -> str:
        """What ends a step; empty if nothing but its length does."""
        return self.stop if self.tokens is None else ""

    @property
    def to_end(self) -> Steps:
        """One step to the end of the answer."""
        return replace(self, stop="", tokens=None)

    def get_params(self) -> dict[str, Any]:
        """The constructor's parameters that are not as if left out."""
        told = {"stop": self.stop, "tokens": self.tokens, "end": self.end}
        known = {name: value for name, value in told.items() if value != _LEFT_OUT[name]}
        return {**known, **({"fields": dict(self.fields)} if self.fields else {})}

    @classmethod
    def from_params(cls, params: dict[str, Any]) -> Steps:
        """The steps with these parameters."""
        return cls(**params)


_LEFT_OUT = {"stop": "\n", "tokens": None, "end": None}
UNLIMITED = Spending()


@dataclass(frozen=True, slots=True)
class Piece:
    """One step that a model went on by.

    Attributes:
        text: what it adds to the prefix, the end of the step included.
        finished: whether the answer ends with it.
        answer: the final answer of the prefix and this, None if none can be read.
        logprob: of the step, natural logarithm; None if unknown.
        tokens: text and log-probability of each token, where asked for and shown.
        top: the likeliest tokens at each token's place, where asked for and shown.
        heads: what the model says of the answer after each token, where asked for and shown.
    """

    text: str
    finished: bool
    answer: str | None = None
    logprob: float | None = None
    tokens: tuple[TokenLogprob, ...] | None = None
    top: tuple[tuple[TokenLogprob, ...], ...] | None = None
    heads: tuple[Introspection, ...] | None = None


def prefixed(request: Request, prefix: str, steps: Steps) -> Request:
    """The request whose answer goes on from `prefix` by a step."""
    extra = dict(request.extra)
    if steps.stops:
        extra["stop"] = steps.stops
    messages = request.messages
    if prefix:
        messages = (*messages, Message("assistant", prefix))
        extra |= steps.fields
    return replace(
        request,
        messages=messages,
        max_tokens=steps.tokens or request.max_tokens,
        extra=extra,
        question=request.question_id(),
        raw=None,
    )


async def extend(
    model: str,
    request: Request,
    operation: Operation,
    prefixes: Sequence[str],
    steps: Steps,
    node: str,
    *,
    turn: int = 0,
    spending: Spending = UNLIMITED,
    begun: Begun | None = None,
    done: dict[int, Piece] | None = None,
) -> list[Piece]:
    """One step from each of `prefixes`, in their order.

    Equal prefixes are one call of several samples, where the model takes that. Calls are made at
    once, as many as `spending` and the operation's cap have room for: then only the last sample
    can exceed them. `turn` is to differ between the steps of one operation, so that a seeded
    request draws anew. Pieces are put into `done`, by their places, as they come. Where a prefix
    fills the context window the answer is finished.

    Raises CapError if spending or cap refuse any of them, else what the first failed call raises.
    """
    begun = begun or spending.begin(operation)
    places: dict[str, list[int]] = {}
    for place, prefix in enumerate(prefixes):
        places.setdefault(prefix, []).append(place)
    many = operation.card(model).n
    waiting = deque(
        (prefix, some)
        for prefix, where in places.items()
        for some in ([where] if many else [[place] for place in where])
    )
    pieces: dict[int, Piece] = {} if done is None else done
    refused: list[CapError] = []
    longest = prefixed(request, max(prefixes, key=len, default=""), steps)
    number = 0

    async def ask(number: int, prefix: str, where: list[int]) -> None:
        asked = replace(prefixed(request, prefix, steps), n=len(where))
        if request.seed is not None:
            asked = replace(asked, seed=_seed(request.seed, turn, number))
        try:
            response = await operation.call(model, asked, node=node)
        except CapError as error:
            refused.append(error)
            return
        except RequestError as error:
            if error.code != "context_length_exceeded" or not prefix:
                raise
            for place in where:
                pieces[place] = _full(prefix, operation)
            return
        for place, sample in zip(where, response.samples, strict=True):
            pieces[place] = _piece(prefix, sample, steps, operation)

    while waiting:
        wanted = sum(len(where) for _, where in waiting)
        room = spending.room(operation, begun, model, longest, wanted)
        if not room:
            raise CapError(f"{node}: what may be spent is used up: {spending}")
        try:
            async with spending.limit(operation, begun), asyncio.TaskGroup() as group:
                while waiting and room:
                    prefix, where = waiting.popleft()
                    if len(where) > room:
                        waiting.appendleft((prefix, where[room:]))
                    group.create_task(ask(number, prefix, where[:room]))
                    room, number = room - len(where[:room]), number + 1
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        except TimeoutError:
            raise CapError(f"{node}: the seconds that may be spent are over") from None
    if refused:
        raise refused[0]
    return [pieces[place] for place in range(len(prefixes))]


def _piece(prefix: str, sample: Sample, steps: Steps, operation: Operation) -> Piece:
    text = sample.text
    ends = steps.stops
    if not ends:
        finished = sample.finish_reason != "length"
    else:
        finished = not text.strip() or sample.finish_reason not in ("stop", None)
        if not finished and not text.endswith(ends):
            text += ends
    if steps.end is not None and steps.end in prefix + text:
        finished = True
    whole = replace(sample, text=prefix + text, answer=None, read=False)
    return Piece(
        text,
        finished,
        operation.read(whole).answer,
        _logprob(sample),
        sample.tokens,
        sample.top,
        introspections(sample),
    )


def _full(prefix: str, operation: Operation) -> Piece:
    """What follows a prefix that fills the context window: nothing."""
    return Piece("", True, operation.read(Sample(prefix)).answer, 0.0, (), (), ())


def _logprob(sample: Sample) -> float | None:
    if sample.tokens is not None:
        return sum(logprob for _, logprob in sample.tokens)
    if sample.mean_logprob is None or sample.output_tokens is None:
        return None
    return sample.mean_logprob * sample.output_tokens


def _seed(seed: int, turn: int, number: int) -> int:
    words = np.random.SeedSequence([seed < 0, abs(seed), turn, number]).generate_state(1)
    return int(words[0] >> 1)
