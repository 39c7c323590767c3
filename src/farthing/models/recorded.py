"""A model that answers from a recording, at the recorded costs and latencies."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import numpy as np

from farthing.core.errors import DataError, RequestError
from farthing.core.money import Cost
from farthing.core.protocols import ModelCard
from farthing.core.request import Request
from farthing.core.response import Basis, Chunk, Response, Sample
from farthing.core.usage import Usage
from farthing.models.draw import Draw
from farthing.models.pacing import Pace
from farthing.models.recording import Ints

FORMAT = {
    "question", "task", "prompt", "reference", "model", "sample", "answer", "correct",
    "input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens", "cost_usd",
    "latency_s", "mean_logprob", "min_logprob",
}  # fmt: skip


class RecordedModel:
    """Answers a question with its recorded samples, one after the other, in the draw's order.

    A question is found by `Request.question`, else by its prompt. When its samples are used up
    they come again from the first. With `n` in one request the prompt is billed once, where
    the recording tells the price of prompts.

    Streams take their time in tokens, which passes on no clock: of those that run side by side
    the shortest ends first. One that is broken off then costs its prompt and its tokens up to
    there. Where the price of prompts is not told, streams are read to their end.
    """

    def __init__(self, draw: Draw, model: str, name: str | None = None) -> None:
        """The model called `model` in the recording; UnknownModelError is the caller's."""
        self._draw = draw
        self._index = draw.models.index(model)
        self._input_cost: Ints | None
        try:
            self._input_cost = draw.input_cost(self._index)
        except DataError:
            self._input_cost = None
        self._next: dict[int, int] = {}
        self._pace = Pace()
        self._places = _places(draw)
        self._table = _Rows(draw, self._index)
        priced = self._input_cost is not None
        self.card = ModelCard(
            name or model,
            price_source="recording",
            n=priced,
            on_disconnect="cancel" if priced else "drain",
            most_cost=Cost(int(draw.cost[self._index].max())),
        )

    async def complete(self, request: Request) -> Response:
        """The next `request.n` samples; RequestError for a question that is not recorded."""
        question, places = self._take(request)
        samples = tuple(self._table.sample(question, place) for place in places)
        usage = self._table.usage(question, places)
        return Response(
            self.card.name,
            samples,
            usage=usage,
            usage_basis="unknown" if usage is None else "exact",
            cost=self._cost(question, places),
            latency_s=self._table.latency(question, places),
        )

    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        """Each sample in one piece at its end; before and whenever another ends, what is billed."""
        question, places = self._take(request)
        samples = [self._table.sample(question, place) for place in places]
        lengths = self._table.lengths(question, places)
        left = sorted(range(len(samples)), key=lengths.__getitem__)
        begun, passed = self._pace.now, 0
        while left:
            if lengths[left[0]] > passed:
                if self._input_cost is not None:
                    usage = self._table.usage(question, places, passed)
                    cost = self._cost(question, places, passed)
                    yield Chunk(usage=usage, usage_basis="exact", cost=cost)
                passed = await self._pace.moment(begun + lengths[left[0]]) - begun
            while left and lengths[left[0]] <= passed:
                index = left.pop(0)
                sample = samples[index]
                yield Chunk(
                    sample.text,
                    index,
                    sample.finish_reason or "stop",
                    mean_logprob=sample.mean_logprob,
                    min_logprob=sample.min_logprob,
                    output_tokens=sample.output_tokens,
                    sample=sample,
                )
        usage = self._table.usage(question, places)
        basis: Basis = "unknown" if usage is None else "exact"
        yield Chunk(usage=usage, usage_basis=basis, cost=self._cost(question, places))

    def _take(self, request: Request) -> tuple[int, list[int]]:
        """The request's question, and which of its samples are next."""
        question = find(self._places, request)
        have = self._draw.samples[self._index]
        begin = self._next.get(question, 0)
        self._next[question] = (begin + request.n) % have
        return question, [(begin + i) % have for i in range(request.n)]

    def _cost(self, question: int, places: list[int], tokens: int | None = None) -> Cost:
        """Of one call for these samples, of each of which so many tokens were written, or all."""
        costs = self._draw.cost[self._index][question, places]
        if tokens is None and len(places) == 1:
            return Cost(int(costs[0]))
        if self._input_cost is None:
            self._input_cost = self._draw.input_cost(self._index)
        prompts = self._input_cost[question, places]
        written = costs - prompts
        if tokens is not None:
            lengths = np.maximum(self._table.lengths(question, places), 1)
            written = written * np.minimum(tokens, lengths) // lengths
        return Cost(int(prompts[0] + written.sum()))


class RecordedSignal:
    """Sells a model's recorded confidence in an answer, at its recorded cost."""

    def __init__(self, draw: Draw, model: str, signal: str, cost_column: str) -> None:
        """`cost_column` holds what the signal cost, in USD."""
        index = draw.models.index(model)
        self._answers = draw.answers[index]
        self._draw, self._index = draw, index
        self._values = draw.column(signal, index)
        self._cost = draw.column(cost_column, index)
        self._places = _places(draw)
        self._table = _Rows(draw, index)
        self.card = ModelCard(f"{model}#{signal}", price_source="recording")

    async def complete(self, request: Request) -> Response:
        """The confidence in the last message, which is an answer of the model."""
        question = find(self._places, request)
        asked = request.messages[-1].text
        places = range(self._draw.samples[self._index])
        place = next((p for p in places if (self._table.answer(question, p) or "") == asked), 0)
        cost = self._cost[question, place]
        return Response(
            self.card.name,
            (Sample(str(self._values[question, place]), read=True),),
            cost=Cost.from_float(cost) if cost == cost else None,
        )

    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        """The confidence in one piece."""
        yield Chunk((await self.complete(request)).text, finish_reason="stop")


class _Rows:
    """The drawn rows of one model, as Python objects."""

    def __init__(self, draw: Draw, model: int) -> None:
        table = draw.recording.table
        shape = draw.rows[model].shape
        rows = table.take(draw.rows[model].ravel())
        self._width = shape[1]
        self._columns: dict[str, list[Any]] = {
            name: rows[name].to_pylist() for name in rows.column_names if name != "prompt"
        }
        self._extra = [
            name
            for name in rows.column_names
            if name not in FORMAT and str(rows[name].type) in ("double", "float", "int64", "int32")
        ]
        self._correct = draw.correct(model)

    def _get(self, name: str, at: int) -> Any:
        column = self._columns.get(name)
        return None if column is None else column[at]

    def answer(self, question: int, place: int) -> str | None:
        value = self._get("answer", question * self._width + place)
        return None if value is None else str(value)

    def sample(self, question: int, place: int) -> Sample:
        at = question * self._width + place
        answer = self.answer(question, place)
        text = self._get("text", at)
        correct = self._correct[question, place]
        return Sample(
            text if isinstance(text, str) else answer or "",
            answer,
            read=True,
            finish_reason="stop",
            mean_logprob=self._get("mean_logprob", at),
            min_logprob=self._get("min_logprob", at),
            output_tokens=self._get("output_tokens", at),
            correct=None if correct != correct else float(correct),
            columns={name: self._columns[name][at] for name in self._extra},
        )

    def usage(self, question: int, places: list[int], tokens: int | None = None) -> Usage | None:
        """Tokens of one call for these samples, so many of each at most; the prompt counts once."""
        total: Usage | None = None
        for place in places:
            at = question * self._width + place
            tokens_in, tokens_out = self._get("input_tokens", at), self._get("output_tokens", at)
            if tokens_in is None or tokens_out is None:
                return None
            first = total is None
            one = Usage.from_inclusive(
                tokens_in if first else 0,
                _up_to(tokens, tokens_out),
                cached_tokens=(self._get("cached_tokens", at) or 0) if first else 0,
                reasoning_tokens=_up_to(tokens, self._get("reasoning_tokens", at) or 0),
            )
            total = one if total is None else total + one
        return total

    def lengths(self, question: int, places: list[int]) -> list[int]:
        """Output tokens of each, 0 where they are not told."""
        at = question * self._width
        return [int(self._get("output_tokens", at + place) or 0) for place in places]

    def latency(self, question: int, places: list[int]) -> float | None:
        """Seconds of one call: that of its slowest sample."""
        each = [self._get("latency_s", question * self._width + place) for place in places]
        return None if any(seconds is None for seconds in each) else max(each)


def _up_to(most: int | None, tokens: int) -> int:
    return tokens if most is None else min(most, tokens)


def _places(draw: Draw) -> dict[str, int]:
    """The index of each question by its identifier, and by its prompt where there is one."""
    places = {name: place for place, name in enumerate(draw.recording.questions)}
    if "prompt" in draw.recording.table.column_names:
        prompts = draw.recording.table["prompt"].take(draw.rows[0][:, 0]).to_pylist()
        for place, prompt in enumerate(prompts):
            if prompt is not None:
                places.setdefault(prompt, place)
    return places


def find(places: dict[str, int], request: Request) -> int:
    """The index of the request's question; RequestError if it is not recorded."""
    place = places.get(request.question or request.prompt)
    if place is None:
        raise RequestError(
            f"the recording holds no question {request.question or request.prompt[:80]!r}",
            param="messages",
            code="question_not_recorded",
        )
    return place
