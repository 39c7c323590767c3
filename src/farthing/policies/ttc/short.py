"""Several answers are begun at once, and the first to be finished decide."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from farthing.core.errors import DataError, UpstreamError
from farthing.core.pieces import Pieces
from farthing.core.protocols import Operation
from farthing.core.request import Request
from farthing.core.response import Response, Sample
from farthing.models.draw import Draw
from farthing.policies.decisions import Decisions
from farthing.policies.stopping import or_best
from farthing.policies.ttc.course import course
from farthing.policies.ttc.drawing import as_finished
from farthing.policies.ttc.params import Parametrised
from farthing.policies.ttc.spending import Spending
from farthing.policies.ttc.vote import elected


@dataclass(frozen=True, slots=True)
class Short(Parametrised):
    """Begins `samples` answers at once; the first `finished` of them vote, the others are cut off.

    Ties go to the answer that was finished first, which is the shorter. What was cut off is
    booked at what the upstream bills: nothing is saved where its `on_disconnect` is "drain".
    Under dollars or tokens, only as many are begun as surely fit into what is left.

    Source: Don't Overthink it. Preferring Shorter Thinking Chains for Improved LLM Reasoning
    (Hassid et al., 2025), short-m@k.

    Attributes:
        model: who answers.
        samples: k, how many answers are begun.
        finished: m, how many of them vote.
        temperature: of the answers; None leaves it as the client has it.
        spending: the most that it may spend.
    """

    kind: ClassVar[str] = "short"

    model: str
    samples: int = 8
    finished: int = 1
    temperature: float | None = 1.0
    spending: Spending = field(default_factory=Spending)

    def __post_init__(self) -> None:
        if not 1 <= self.finished <= self.samples:
            raise ValueError(
                f"finished must be 1 to {self.samples}, the samples, not {self.finished}"
            )

    @property
    def asks(self) -> tuple[str, ...]:
        """The models that it may call, the strongest last."""
        return (self.model,)

    async def answer(self, request: Request, operation: Operation) -> Response:
        """The answer that leads among those finished first; its share is `columns["signal"]`."""
        samples: list[Sample] = []
        return await or_best(
            self._decide(request, operation, samples),
            operation,
            lambda: elected(self.model, samples) if samples else None,
        )

    async def _decide(
        self, request: Request, operation: Operation, samples: list[Sample]
    ) -> Response:
        if self.temperature is not None:
            request = replace(request, temperature=self.temperature)
        begun = self.spending.begin(operation)
        room = self.spending.room(operation, begun, self.model, request, self.samples)
        if not room:
            self.spending.check(operation, begun)
        seeds = [None if request.seed is None else request.seed + i for i in range(room)]
        requests = [replace(request, seed=seed, n=1, raw=None) for seed in seeds]
        failed: list[UpstreamError] = []

        async def ask(one: Request) -> Sample | None:
            try:
                return await self._read(one, operation)
            except UpstreamError as error:
                failed.append(error)
                return None

        try:
            async with (
                self.spending.limit(operation, begun),
                aclosing(as_finished([ask(one) for one in requests])) as finished,
            ):
                async for _, sample in finished:
                    if sample is not None:
                        samples.append(sample)
                    if len(samples) == self.finished:
                        break
        except TimeoutError:
            self.spending.check(operation, begun)
        if not samples:
            raise failed[0]
        return elected(self.model, samples)

    async def _read(self, request: Request, operation: Operation) -> Sample:
        """One answer, streamed, so that it can be cut off where it stands."""
        pieces = Pieces()
        async with aclosing(operation.stream(self.model, request, node=self.kind)) as chunks:  # type: ignore[type-var]
            async for chunk in chunks:
                pieces.add(chunk)
        return operation.read(pieces.sample())

    def decide(self, draw: Draw) -> Decisions:
        """What it does with every question of a draw at once, as long as its spending lasts.

        An answer takes as long as it has output tokens. Those that are cut off cost their prompt
        and what was written by then, where the recording tells the price of prompts; else all.
        """
        index = draw.index(self.model)
        drawn = np.arange(self.samples) % draw.samples[index]
        lengths = np.zeros((draw.questions, self.samples), np.int64)
        if "output_tokens" in draw.recording.table.column_names:
            told = draw.column("output_tokens", index)[:, drawn]
            lengths = np.nan_to_num(told).astype(np.int64)
        order = np.argsort(lengths, axis=1, kind="stable")[:, : self.finished]
        votes = course(np.take_along_axis(draw.answers[index][:, drawn], order, 1))
        every = np.arange(draw.questions)
        place = order[every, votes.place[-1]]
        cost = draw.cost[index][:, drawn]
        try:
            prompts = draw.input_cost(index)[:, drawn]
        except DataError:
            pass
        else:
            passed, whole = lengths[every, order[:, -1]][:, None], np.maximum(lengths, 1)
            cost = prompts + (cost - prompts) * np.minimum(passed, whole) // whole
        return Decisions(
            cost.sum(axis=1), np.full(draw.questions, index), drawn[place],
            np.full(draw.questions, self.samples),
        )  # fmt: skip
