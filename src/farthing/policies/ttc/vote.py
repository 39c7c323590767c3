"""The commonest of several answers, from as few samples as the stop rule takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, get_args

import numpy as np

from farthing.core.errors import UpstreamError
from farthing.core.protocols import Operation
from farthing.core.request import Request
from farthing.core.response import Response, Sample
from farthing.models.draw import Draw
from farthing.models.recording import Floats, Ints
from farthing.policies.decisions import Decisions
from farthing.policies.stopping import or_best
from farthing.policies.ttc.course import Course, course
from farthing.policies.ttc.drawing import CLIENTS, Sampling, take
from farthing.policies.ttc.effort import Effort
from farthing.policies.ttc.spending import Spending
from farthing.policies.ttc.stops import StopKind, stop_rule, stopped
from farthing.signals.vote import Vote


@dataclass(frozen=True, slots=True)
class SelfConsistency:
    """Samples a model up to `samples` times; the answer most of them give stands.

    Ties go to the answer that came first, and samples without an answer do not vote. The
    answer's share of the samples taken is its signal. Samples that fail are asked for once more;
    when those fail too, the samples at hand decide.

    Source: Self-Consistency Improves Chain of Thought Reasoning (Wang et al., 2022); the stop
    rules name theirs in `ttc.stops`. Weights as in Deep Think with Confidence (Fu et al., 2025),
    with the mean log-probability of the whole answer in place of parts of it.

    Attributes:
        model: who is sampled.
        samples: how many votes there are at most.
        stop: when to stop before: "none", "exact", "window", "beta", "doubling" or "error",
            the one with a guarantee against the full vote.
        level: the stop rule's window, confidence, first samples or error rate; None for its own.
        weighted: whether a vote weighs the geometric mean of its tokens' probabilities; all
            weigh the same if that of one is unknown.
        temperature: of the samples; None leaves it as the client has it.
        effort: with how much thought the model is asked for each; None as the client has it. Its
            own spending counts for nothing, and thought is not cut off ("forced").
        sampling: "n" asks for several samples in one call, which bills the prompt once; "calls"
            in a call each; None as the model can.
        spending: the most that it may spend.
    """

    kind: ClassVar[str] = "vote"

    model: str
    samples: int = 16
    stop: StopKind = "error"
    level: float | None = None
    weighted: bool = False
    temperature: float | None = 1.0
    effort: Effort | None = None
    sampling: Sampling | None = None
    spending: Spending = field(default_factory=Spending)

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise ValueError(f"samples must be at least 1, not {self.samples}")
        stop_rule(self.stop, self.level)
        if self.sampling not in (None, *get_args(Sampling)):
            raise ValueError(f"sampling is calls or n, not {self.sampling!r}")
        if self.effort is not None and self.effort.model != self.model:
            raise ValueError(f"effort: of {self.effort.model!r}, but the vote is {self.model!r}'s")
        if self.effort is not None and self.effort.by == "forced":
            raise ValueError("effort: by 'forced' takes two calls, and a vote makes one a sample")
        if self.weighted and self.stop in ("exact", "beta", "error"):
            raise ValueError(
                f"stop {self.stop!r} counts votes, and weighted votes are not counted; "
                "use none, window or doubling"
            )

    @property
    def asks(self) -> tuple[str, ...]:
        """The models that it may call, the strongest last."""
        return (self.model,)

    async def answer(self, request: Request, operation: Operation) -> Response:
        """A sample with the winning answer; its share of the votes is `columns["signal"]`."""
        samples: list[Sample] = []
        return await or_best(
            self._decide(request, operation, samples),
            operation,
            lambda: self._response(samples) if samples else None,
        )

    async def _decide(
        self, request: Request, operation: Operation, samples: list[Sample]
    ) -> Response:
        if self.temperature is not None:
            request = replace(request, temperature=self.temperature)
        if self.effort is not None:
            request = self.effort.asked(request, self.effort.dial(request))
        if self.weighted:
            request = replace(request, logprobs=True)
        begun = self.spending.begin(operation)
        rule, vote = stop_rule(self.stop, self.level), Vote(self.samples)
        answers: list[str | None] = []
        wanted = rule.more(vote, answers)
        while wanted:
            try:
                given = await take(
                    self.model, request, operation, self.spending, begun,
                    node=self.kind, count=wanted, first=vote.cast, sampling=self.sampling,
                )  # fmt: skip
            except UpstreamError:
                if not samples:
                    raise
                break
            samples += given
            for sample in given:
                answers.append(sample.answer)
                vote.add(sample.answer)
            wanted = wanted - len(given) or rule.more(vote, answers)
        return self._response(samples)

    def _response(self, samples: Sequence[Sample]) -> Response:
        return elected(self.model, samples, weights(samples) if self.weighted else None)

    def decide(self, draw: Draw) -> Decisions:
        """What it does with every question of a draw at once, as long as its spending lasts.

        Samples come again from the first when used up. With `sampling` None each is a call of its
        own here. DataError with "n" where the recording does not tell the price of prompts.
        """
        index = draw.index(self.model)
        drawn = np.arange(self.samples) % draw.samples[index]
        votes = course(draw.answers[index][:, drawn])
        did = stopped(stop_rule(self.stop, self.level), votes)
        last, every = did.taken - 1, np.arange(draw.questions)
        cost = np.cumsum(draw.cost[index][:, drawn], axis=1)[every, last]
        calls = did.taken
        if self.sampling == "n":
            prompt = draw.input_cost(index)[:, drawn]
            cost, calls = cost - np.cumsum(prompt, axis=1)[every, last], np.zeros_like(calls)
            for asked, before in did.batches:
                cost[asked] += prompt[asked, before]
                calls[asked] += 1
        place = did.place
        if self.weighted and "mean_logprob" in draw.recording.table.column_names:
            heights = np.exp(draw.column("mean_logprob", index)[:, drawn])
            place = _heaviest(votes, did.taken, heights)
        return Decisions(cost, np.full(draw.questions, index), drawn[place], calls)

    def get_params(self) -> dict[str, Any]:
        """The constructor's parameters."""
        return {
            "model": self.model,
            "samples": self.samples,
            "stop": self.stop,
            "level": self.level,
            "weighted": self.weighted,
            "temperature": CLIENTS if self.temperature is None else self.temperature,
            "effort": None if self.effort is None else self.effort.get_params(),
            "sampling": self.sampling,
            "spending": self.spending.get_params(),
        }

    @classmethod
    def from_params(cls, params: dict[str, Any]) -> SelfConsistency:
        """The policy with these parameters."""
        made = {**params, "spending": Spending.from_params(params.get("spending"))}
        if params.get("temperature") == CLIENTS:
            made["temperature"] = None
        if isinstance(effort := params.get("effort"), dict):
            made["effort"] = Effort.from_params({"model": params.get("model"), **effort})
        return cls(**made)


def elected(
    model: str, samples: Sequence[Sample], weights: Sequence[float] | None = None
) -> Response:
    """The first sample with the answer of most weight, which is each 1 without `weights`.

    Its `columns["signal"]` is that answer's share of all weight, and 0 where nobody answered.
    """
    weights = [1.0] * len(samples) if weights is None else weights
    votes: dict[str, float] = {}
    for sample, weight in zip(samples, weights, strict=True):
        if sample.answer is not None:
            votes[sample.answer] = votes.get(sample.answer, 0.0) + weight
    winner = max(votes, key=votes.__getitem__, default=None)
    chosen = next(sample for sample in samples if sample.answer == winner or winner is None)
    share = votes[winner] / math.fsum(weights) if winner is not None else 0.0
    return Response(model, (replace(chosen, columns={**chosen.columns, "signal": share}),))


def weights(samples: Sequence[Sample]) -> list[float] | None:
    """The geometric mean of each sample's token probabilities; None if one is unknown."""
    known = [s.mean_logprob for s in samples if s.mean_logprob is not None]
    return [math.exp(value) for value in known] if len(known) == len(samples) else None


def _heaviest(votes: Course, taken: Ints, heights: Floats) -> Ints:
    """The place of the answer of most weight; of most votes where a weight is unknown, NaN."""
    counted = np.arange(votes.places)[:, None] < taken
    known = np.where(counted, ~np.isnan(heights.T), True).all(axis=0)
    rows, width = np.arange(votes.votes), int(votes.codes.max(initial=-1)) + 2
    total = np.zeros((votes.votes, width))
    for code, height, now in zip(
        votes.codes, np.where(known, heights.T, 1.0), counted, strict=True
    ):
        total[rows, code] += np.where(now & (code >= 0), height, 0.0)
    best = np.full(votes.votes, -1.0)
    place = np.zeros(votes.votes, np.int64)
    for p, (code, now) in enumerate(zip(votes.codes, counted, strict=True)):
        ahead = now & (code >= 0) & (total[rows, code] > best)
        best, place = np.where(ahead, total[rows, code], best), np.where(ahead, p, place)
    return place
