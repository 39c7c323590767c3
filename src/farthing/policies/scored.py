"""Cascades whose answers are accepted by a score: what the learnt cascades share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np

from farthing.core.protocols import Operation
from farthing.core.request import Request
from farthing.core.response import Response, Sample
from farthing.models.draw import Draw, bought_cost
from farthing.models.recording import Floats, Ints
from farthing.policies.decisions import Decisions
from farthing.policies.ladder import Chain, best_chains
from farthing.policies.sampling import ask_samples
from farthing.policies.stopping import abstained, or_best
from farthing.signals.registry import from_params as signal_from_params
from farthing.signals.seen import Codes, Prompts, Seen, of_draw, of_samples
from farthing.signals.signal import Signal


@dataclass(frozen=True)
class Step:
    """One model of a scored cascade.

    Attributes:
        model: its name.
        samples: how many answers it gives; the commonest stands.
        signal: what scores it; None for the last, which accepts whatever comes.
        accept: the least score at which its answer is accepted.
        abstain: below this score no answer is given, and no other model asked.
    """

    model: str
    samples: int = 1
    signal: Signal | None = None
    accept: float = float("-inf")
    abstain: float = float("-inf")

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise ValueError(f"step {self.model!r}: samples must be at least 1")


def own_answer(stages: Sequence[Seen], ends: bool = True) -> tuple[Ints, Ints]:
    """The last stage's commonest answer: step, place."""
    chosen = stages[-1].chosen
    return np.full(len(chosen), len(stages) - 1), chosen


@dataclass(frozen=True)
class ScoredCascade:
    """Asks the steps in turn until a score is high enough; the last accepts whatever comes.

    A policy of this shape is a subclass with a `kind` and a `fit`.
    """

    kind: ClassVar[str] = ""
    last_stands: ClassVar[bool] = True
    """Whether the last step's answer is the policy's, whatever those before said."""

    steps: tuple[Step, ...]
    temperature: float | None = None

    def __post_init__(self) -> None:
        if not self.steps:
            raise ValueError("steps must name at least one model")
        if any(step.signal is None for step in self.steps[:-1]):
            raise ValueError("every step but the last needs a signal")

    @property
    def asks(self) -> tuple[str, ...]:
        """The models that it may call, the strongest last."""
        return tuple(dict.fromkeys(step.model for step in self.steps))

    @property
    def samples(self) -> Mapping[str, int]:
        """How many samples of each model it takes, where that is more than one."""
        return {step.model: step.samples for step in self.steps if step.samples > 1}

    async def answer(self, request: Request, operation: Operation) -> Response:
        """The first accepted answer; its score is in the sample's `columns["signal"]`."""
        asked: list[tuple[Seen, Sequence[Sample]]] = []
        return await or_best(
            self._decide(request, operation, asked),
            operation,
            lambda: self._response(asked, None) if asked else None,
        )

    async def _decide(
        self, request: Request, operation: Operation, asked: list[tuple[Seen, Sequence[Sample]]]
    ) -> Response:
        if self.temperature is not None:
            request = replace(request, temperature=self.temperature)
        if any(step.signal is not None and step.signal.logprobs for step in self.steps):
            request = replace(request, logprobs=True)
        codes = Codes()
        for number, step in enumerate(self.steps):
            node = f"{self.kind}/{number}"
            last = number == len(self.steps) - 1
            called, asking = self.to_call(step, request)
            samples = await ask_samples(
                called, asking, operation, node=node, count=step.samples,
                final=last and step.samples == 1 and self.last_stands,
            )  # fmt: skip
            seen = of_samples(called, request.prompt, samples, codes)
            asked.append((seen, samples))
            if last or step.signal is None:
                break
            if step.signal.bought is not None:
                seen = await step.signal.buy(seen, samples, request, operation, node)
                asked[-1] = (seen, samples)
            score = float(step.signal.values([one for one, _ in asked])[0])
            if score >= step.accept:
                return self._response(asked, score)
            if score < step.abstain:
                return abstained(seen.model, score, operation)
        return self._response(asked, None)

    def _response(
        self, asked: Sequence[tuple[Seen, Sequence[Sample]]], score: float | None
    ) -> Response:
        step, place = self.choose([seen for seen, _ in asked])
        seen, samples = asked[int(step[0])]
        chosen = samples[int(place[0])]
        known = score if score is not None and np.isfinite(score) else None
        columns = {**chosen.columns, "signal": known}
        return Response(seen.model, (replace(chosen, columns=columns),))

    def to_call(self, step: Step, request: Request) -> tuple[str, Request]:
        """Which model a step calls, and with what."""
        return step.model, request

    def choose(self, stages: Sequence[Seen]) -> tuple[Ints, Ints]:
        """Which stage's sample is the answer when the last of `stages` accepts: step, place."""
        return own_answer(stages)

    def decide(self, draw: Draw, memo: dict[object, Any] | None = None) -> Decisions:
        """What it does with every question of a draw; DataError if that lacks a model or column."""
        memo = {} if memo is None else memo
        n = draw.questions
        cost, calls = np.zeros(n, np.int64), np.zeros(n, np.int64)
        model, place = np.empty(n, np.int64), np.empty(n, np.int64)
        alive = np.ones(n, np.bool_)
        stages: list[Seen] = []
        indices: list[int] = []
        for number, step in enumerate(self.steps):
            index = draw.index(step.model)
            indices.append(index)
            stages.append(seen_of(draw, index, step.samples, memo))
            paid = draw.cost[index][:, : step.samples].sum(axis=1)
            made = step.samples
            accepted, refused = alive.copy(), None
            if number < len(self.steps) - 1 and step.signal is not None:
                if step.signal.bought is not None:
                    paid = paid + bought_cost(draw, index, step.signal.bought, stages[-1].chosen)
                    made += 1
                key = (tuple(indices), tuple(s.samples for s in self.steps), step.signal)
                if key not in memo:
                    memo[key] = step.signal.values(stages)
                accepted &= memo[key] >= step.accept
                refused = alive & ~accepted & (memo[key] < step.abstain)
            cost += np.where(alive, paid, 0)
            calls += np.where(alive, made, 0)
            which, where = self.choose(stages)
            model[accepted] = np.array(indices)[which[accepted]]
            place[accepted] = where[accepted]
            if refused is not None:
                model[refused], place[refused] = -1, 0
                alive &= ~refused
            alive &= ~accepted
        return Decisions(cost, model, place, calls)

    def get_params(self) -> dict[str, Any]:
        """The constructor's parameters."""
        return {
            "temperature": self.temperature,
            "steps": [
                {
                    "model": step.model,
                    "samples": step.samples,
                    "accept": step.accept,
                    "abstain": step.abstain,
                    "signal": None
                    if step.signal is None
                    else {"kind": step.signal.kind, **step.signal.get_params()},
                }
                for step in self.steps
            ],
        }

    @classmethod
    def from_params(cls, params: dict[str, Any]) -> Self:
        """The policy with these parameters."""
        params = dict(params)
        steps = []
        for told in params.pop("steps"):
            step = dict(told)
            signal = step.pop("signal", None)
            steps.append(Step(**step, signal=signal and signal_from_params(signal)))
        return cls(steps=tuple(steps), **params)

    @classmethod
    def ladder(
        cls,
        draw: Draw,
        right: Sequence[Floats],
        score: Callable[[tuple[int, ...]], Floats],
        signal: Callable[[tuple[int, ...]], Signal],
        *,
        samples: Sequence[int] | None = None,
        chains: Sequence[tuple[int, ...]] | None = None,
        choose: Callable[[Sequence[Seen], bool], tuple[Ints, Ints]] = own_answer,
        **settings: Any,
    ) -> list[Self]:
        """The ladder of cascades whose steps are scored by `signal`.

        `score(models)` is the score to set thresholds by of the last of some models asked in
        turn: that of questions the signal has not learnt from (see `signals.learning`).
        `choose(stages, ends)` is what `choose` will do when the last of them accepts. `settings`
        are the policy's other parameters.
        """
        counts = samples or [1] * len(draw.models)
        memo: dict[object, Any] = {}
        stages = [seen_of(draw, m, counts[m], memo) for m in range(len(draw.models))]

        def rightness(models: tuple[int, ...], ends: bool) -> Floats:
            step, place = choose([stages[m] for m in models], ends)
            taken = np.empty(draw.questions)
            for index, model in enumerate(models):
                here = np.flatnonzero(step == index)
                taken[here] = right[model][here, place[here]]
            return taken

        costs = [draw.cost[m][:, : counts[m]].sum(axis=1) for m in range(len(stages))]
        scoring = []
        for m, stage in enumerate(stages):
            bought = signal((m,)).bought
            scoring.append(
                np.zeros_like(costs[m])
                if bought is None
                else bought_cost(draw, m, bought, stage.chosen)
            )
        scores: dict[tuple[int, ...], Floats] = {}

        def scored(models: tuple[int, ...]) -> Floats:
            if models not in scores:
                scores[models] = score(models)
            return scores[models]

        return [
            cls(steps=_steps(draw, chain, counts, signal), **settings)
            for chain in best_chains(rightness, costs, scoring, scored, chains)
        ]


def _steps(
    draw: Draw,
    chain: Chain,
    samples: Sequence[int],
    signal: Callable[[tuple[int, ...]], Signal],
) -> tuple[Step, ...]:
    steps = []
    for place, model in enumerate(chain.models):
        last = place == len(chain.models) - 1
        steps.append(
            Step(draw.models[model], samples[model])
            if last
            else Step(
                draw.models[model],
                samples[model],
                signal(chain.models[: place + 1]),
                chain.thresholds[place],
            )
        )
    return tuple(steps)


def seen_of(draw: Draw, model: int, samples: int, memo: dict[object, Any]) -> Seen:
    """`signals.seen.of_draw`, kept in `memo`, with the prompts read once for all models."""
    key = ("seen", model, samples)
    if key not in memo:
        if "prompts" not in memo:
            memo["prompts"] = Prompts(draw)
        memo[key] = of_draw(draw, model, samples, memo["prompts"])
    seen: Seen = memo[key]
    return seen
