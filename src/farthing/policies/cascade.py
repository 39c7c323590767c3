"""Models from cheap to strong; each answer is accepted or passed up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

from farthing.core.protocols import Operation
from farthing.core.request import Message, Request
from farthing.core.response import Response, Sample
from farthing.models.draw import LOGPROBS
from farthing.policies.sampling import ask_samples
from farthing.policies.stopping import or_best
from farthing.signals.vote import Vote, votes_needed

VOTING = ("agreement", "pooled-agreement")


@dataclass(frozen=True, slots=True)
class Stage:
    """One model of a cascade.

    Attributes:
        model: its name.
        samples: how many answers it votes with, at most.
        accept: the least signal at which its answer is accepted; "always", or "skip" when it
            is not called at all.
    """

    model: str
    samples: int = 1
    accept: float | Literal["always", "skip"] = "always"

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise ValueError(f"stage {self.model!r}: samples must be at least 1")
        if isinstance(self.accept, str):
            if self.accept not in ("always", "skip"):
                raise ValueError(f"stage {self.model!r}: accept is a number, 'always' or 'skip'")
        elif math.isnan(self.accept):
            raise ValueError(f"stage {self.model!r}: accept is not a number")


@dataclass(frozen=True, slots=True)
class Cascade:
    """Asks the stages in turn until one's answer is good enough; the last always accepts.

    Signals: `agreement`, the share of a model's samples that gave its commonest answer;
    `pooled-agreement`, the same over all samples of the models asked so far; `mean_logprob` and
    `min_logprob`, the mean over the samples that gave the model's commonest answer; else a column
    of a recording, its value at the first of those samples. Sampling stops when neither
    decision nor answer can change any more, so that the outcome is that of all samples.

    When the operation's cap refuses a call, the answer is what the samples of the stage at hand
    say so far, or the stage before if there are none yet; it then has no signal.

    Source: C3PO (Valkanas et al., 2025), Mixture of Thoughts (Yue et al., 2024) for pooling.

    Attributes:
        stages: cheap to strong.
        signal: what a stage's threshold is compared with.
        sampling: "calls", a call for each sample, or "n", one call for all of a stage.
        temperature: sent with every call; None leaves it as the client has it.
        signal_attempt: whether the signal is bought by an attempt of its own, from the model
            called MODEL#SIGNAL.
    """

    kind: ClassVar[str] = "cascade"

    stages: tuple[Stage, ...]
    signal: str = "agreement"
    sampling: Literal["calls", "n"] = "calls"
    temperature: float | None = None
    signal_attempt: bool = False

    def __post_init__(self) -> None:
        if not self.stages or self.stages[-1].accept != "always":
            raise ValueError("the last stage must accept always")
        if self.sampling not in ("calls", "n"):
            raise ValueError("sampling is 'calls' or 'n'")

    async def answer(self, request: Request, operation: Operation) -> Response:
        """The first accepted answer; its signal is in the sample's `columns["signal"]`."""
        asked: list[_Asked] = []
        return await or_best(
            self._decide(request, operation, asked), operation, lambda: _best(asked)
        )

    async def _decide(
        self, request: Request, operation: Operation, asked: list[_Asked]
    ) -> Response:
        """As `answer`; notes the stages in `asked` as they give samples."""
        if self.temperature is not None:
            request = replace(request, temperature=self.temperature)
        if self.signal in LOGPROBS:
            request = replace(request, logprobs=True)
        pool: list[Sample] = []
        called = [(n, stage) for n, stage in enumerate(self.stages) if stage.accept != "skip"]
        for index, (number, stage) in enumerate(called):
            node = f"cascade/{number}"
            final = stage.accept == "always"
            pooled = self.signal == "pooled-agreement" and not final
            wanted_later = pooled and called[index + 1][1].accept != "always"
            earlier = pool if pooled else []
            vote = Vote(stage.samples + len(earlier), (sample.answer for sample in earlier))
            drawn = _Asked(stage.model, vote, pool)
            asked.append(drawn)
            await self._draw(
                stage, drawn, request, operation, node, stop_on_reject=not wanted_later
            )
            pool = [*pool, *drawn.samples]
            value = vote.share
            if self.signal not in VOTING and not final:
                value = await self._value(drawn, request, operation, node)
            if final or value >= float(stage.accept):
                return drawn.response(value if math.isfinite(value) else None)
        raise AssertionError("the last stage accepts always")

    async def _draw(
        self,
        stage: Stage,
        drawn: _Asked,
        request: Request,
        operation: Operation,
        node: str,
        *,
        stop_on_reject: bool,
    ) -> None:
        """Add samples of one stage to `drawn`, no more than the decision takes."""
        samples, vote = drawn.samples, drawn.vote
        voting = self.signal in VOTING or stage.accept == "always"
        need = 0
        if self.signal in VOTING and not isinstance(stage.accept, str):
            need = votes_needed(stage.accept, vote.places)
        while len(samples) < stage.samples:
            left = stage.samples - len(samples)
            batch = left
            if self.sampling == "calls" and voting:
                if samples and vote.settled(need, stop_on_reject=stop_on_reject):
                    break
                batch = min(left, vote.next_batch(need, stop_on_reject=stop_on_reject))
            for sample in await ask_samples(
                stage.model,
                request,
                operation,
                node=node,
                first=len(samples),
                count=batch,
                one_call=self.sampling == "n",
                final=stage.accept == "always" and stage.samples == 1,
            ):
                samples.append(sample)
                vote.add(sample.answer)

    async def _value(
        self, drawn: _Asked, request: Request, operation: Operation, node: str
    ) -> float:
        """The signal of a stage's commonest answer; minus infinity where it is unknown."""
        chosen = drawn.chosen
        if self.signal_attempt:
            asked = (*request.messages, Message("assistant", chosen.answer or ""))
            check = replace(request, messages=asked, question=request.question_id(), raw=None)
            judge = f"{drawn.model}#{self.signal}"
            await operation.call(judge, check, node=f"{node}/signal", kind="judge")
        if self.signal in LOGPROBS:
            values = [getattr(s, self.signal) for s in drawn.samples if s.answer == chosen.answer]
        else:
            values = [chosen.columns.get(self.signal)]
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if known else -math.inf

    def get_params(self) -> dict[str, Any]:
        """The constructor's parameters."""
        return {
            "signal": self.signal,
            "sampling": self.sampling,
            "temperature": self.temperature,
            "signal_attempt": self.signal_attempt,
            "stages": [
                {"model": stage.model, "samples": stage.samples, "accept": stage.accept}
                for stage in self.stages
            ],
        }

    @classmethod
    def from_params(cls, params: dict[str, Any]) -> Cascade:
        """The policy with these parameters."""
        params = dict(params)
        stages = tuple(Stage(**stage) for stage in params.pop("stages"))
        return cls(stages=stages, **params)


@dataclass(slots=True)
class _Asked:
    """A stage that was asked.

    Attributes:
        pool: samples of the stages before it.
        samples: its own so far.
    """

    model: str
    vote: Vote
    pool: Sequence[Sample]
    samples: list[Sample] = field(default_factory=list)

    @property
    def chosen(self) -> Sample:
        """The sample with the answer that leads the vote; its own before others."""
        winner = self.vote.winner
        return _first(self.samples, winner) or _first(self.pool, winner) or self.samples[0]

    def response(self, signal: float | None) -> Response:
        """Its answer, given with `signal`."""
        chosen = self.chosen
        columns = {**chosen.columns, "signal": signal}
        return Response(self.model, (replace(chosen, columns=columns),))


def _best(asked: Sequence[_Asked]) -> Response | None:
    """The answer of the last stage that gave a sample; None if none did."""
    return next((stage.response(None) for stage in reversed(asked) if stage.samples), None)


def _first(samples: Sequence[Sample], answer: str | None) -> Sample | None:
    return next((sample for sample in samples if sample.answer == answer), None)
