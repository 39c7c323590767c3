"""Several hops from model to model, each chosen by the answers so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np

from farthing.core.protocols import Operation
from farthing.core.request import Request
from farthing.core.response import Response, Sample
from farthing.models.draw import LOGPROBS, Draw
from farthing.models.recording import Floats, Ints
from farthing.policies.decisions import PRICES, Decisions
from farthing.policies.measures import measure, worthwhile
from farthing.policies.pipelines import (
    Counts,
    Table,
    cuts_of,
    number_states,
    reachable,
    slots_of,
    stages_of,
)
from farthing.policies.sampling import ask_samples
from farthing.policies.stopping import or_best
from farthing.policies.threshold import plain_signal
from farthing.signals.seen import Codes, Seen, of_samples

MODELS, SAMPLES = 4, 3


@dataclass(frozen=True, eq=False)
class Hops:
    """Asks models, each perhaps more than once, until the answers so far say to stop.

    The state is which samples were taken, which of their answers are equal, and in which bin the
    log-probability of the strongest model asked lies, where that is known; what was spent follows
    from the calls. For each state it has the call to make next, or the sample to answer with.

    Source: a pipeline as a Markov decision process of finite horizon, as in HierRouter:
    Coordinated Routing of Specialized Large Language Models via Reinforcement Learning (Gupta et
    al., 2025). There a policy gradient learns it, and models go on with each other's answers.
    Here models answer the question itself, so that a recording tells what every pipeline would
    have come to, and it is solved backwards, each state by the mean of that (Bellman, 1957).

    Attributes:
        models: their names, cheap to strong.
        limits: how many samples of each may be taken.
        states: numbers of the states that were seen, ascending.
        actions: for each of these the model to ask next, or -1 - i to answer with sample i, counted
            by models and then by the order of asking.
        column: the log-probability that it looks at; empty for none.
        cuts: between the bins of that, for each model.
    """

    kind: ClassVar[str] = "hops"

    models: tuple[str, ...]
    limits: tuple[int, ...]
    states: Ints
    actions: Ints
    column: str = ""
    cuts: tuple[tuple[float, ...], ...] = ()

    @property
    def asks(self) -> tuple[str, ...]:
        """The models that it may call, the strongest last."""
        return self.models

    @property
    def samples(self) -> Mapping[str, int]:
        """How many samples of each model it takes at most, where that is more than one."""
        pairs = zip(self.models, self.limits, strict=True)
        return {model: limit for model, limit in pairs if limit > 1}

    async def answer(self, request: Request, operation: Operation) -> Response:
        """An answer that was given; the share of all samples that agree is its signal."""
        asked: list[list[Sample]] = [[] for _ in self.models]
        return await or_best(
            self._decide(request, operation, asked),
            operation,
            lambda: self._response(asked, sum(map(len, asked)) - 1) if any(asked) else None,
        )

    async def _decide(
        self, request: Request, operation: Operation, asked: list[list[Sample]]
    ) -> Response:
        if self.column:
            request = replace(request, logprobs=True)
        codes = Codes()
        while True:
            seen = [
                of_samples(name, request.prompt, samples, codes) if samples else None
                for name, samples in zip(self.models, asked, strict=True)
            ]
            state = self._state(seen, tuple(map(len, asked)))
            action = int(self._actions(*state)[0])
            if action < 0:
                return self._response(asked, -1 - action)
            node = f"{self.kind}/{sum(map(len, asked))}"
            asked[action] += await ask_samples(
                self.models[action], request, operation, node=node, count=1,
                first=len(asked[action]),
            )  # fmt: skip

    def _response(self, asked: Sequence[Sequence[Sample]], slot: int) -> Response:
        told = [
            (name, sample)
            for name, samples in zip(self.models, asked, strict=True)
            for sample in samples
        ]
        model, chosen = told[slot]
        agreeing = sum(sample.answer == chosen.answer for _, sample in told) / len(told)
        columns = {**chosen.columns, "signal": None if chosen.answer is None else agreeing}
        return Response(model, (replace(chosen, columns=columns),))

    def decide(self, draw: Draw, memo: dict[object, Any] | None = None) -> Decisions:
        """What it does with every question of a draw; DataError if that lacks a model."""
        memo = {} if memo is None else memo
        n, drawn = draw.questions, [draw.index(name) for name in self.models]
        stages = stages_of(draw, drawn, self.limits, memo)
        cost, calls = np.zeros(n, np.int64), np.zeros(n, np.int64)
        model, place = np.zeros(n, np.int64), np.zeros(n, np.int64)
        going: dict[Counts, Ints] = {(0,) * len(self.models): np.arange(n)}
        while going:
            onward: dict[Counts, list[Ints]] = {}
            for counts, here in going.items():
                key = (self.kind, self.models, self.cuts, counts)
                if key not in memo:
                    memo[key] = self._state(stages, counts)
                slots = slots_of(counts)
                numbers, labels = memo[key]
                actions = self._actions(numbers[here], labels[here])
                for action in np.unique(actions):
                    some = here[actions == action]
                    if action < 0:
                        model[some], place[some] = slots[-1 - int(action)]
                        continue
                    taken = counts[action]
                    cost[some] += draw.cost[drawn[action]][some, taken]
                    calls[some] += 1
                    more = tuple(c + (m == action) for m, c in enumerate(counts))
                    onward.setdefault(more, []).append(some)
            going = {counts: np.concatenate(parts) for counts, parts in onward.items()}
        return Decisions(cost, np.array(drawn)[model], place, calls)

    def _state(self, stages: Sequence[Seen | None], counts: Counts) -> tuple[Ints, Ints]:
        """The numbers of the states after `counts`, shape (n,), and labels of the answers."""
        return number_states(stages, counts, self.column, self.cuts)

    def _actions(self, numbers: Ints, labels: Ints) -> Ints:
        """What to do in each state; where it was never seen, the answer given most, the last so."""
        at = np.searchsorted(self.states, numbers).clip(0, len(self.states) - 1)
        known = self.states[at] == numbers
        if known.all():
            found: Ints = self.actions[at]
            return found
        votes = ((labels[:, :, None] == labels[:, None, :]) & (labels > 0)[:, :, None]).sum(axis=2)
        last = labels.shape[1] - 1 - votes[:, ::-1].argmax(axis=1)
        actions: Ints = np.where(known, self.actions[at], -1 - last)
        return actions

    @classmethod
    def fit(
        cls, draw: Draw, right: Sequence[Floats], *, seed: int = 0, fixed: bool = False
    ) -> list[Self]:
        """The ladder (see `policies.decisions.Learnt`).

        With `fixed` it is of pipelines that make the same calls whatever is answered, and only
        choose among the answers: what there is to beat.
        """
        signal, counts = plain_signal(draw)
        told = measure(draw, right, signal, counts)
        models = worthwhile(told, MODELS)
        limits = tuple(min(draw.samples[m], SAMPLES) for m in models)
        stages = stages_of(draw, models, limits, {})
        table = draw.recording.table
        known = (c for c in LOGPROBS if c in table.column_names and not table[c].null_count)
        column = next(known, "")
        cuts = tuple(cuts_of(stage, column) for stage in stages) if column else ()
        solved = Table(
            {counts: number_states(stages, counts, column, cuts) for counts in reachable(limits)},
            [right[m] for m in models],
            [draw.cost[m] / told.unit for m in models],
        )
        names = tuple(draw.models[m] for m in models)
        return [
            cls(
                names, limits, *(solved.fixed(price) if fixed else solved.best(price)), column, cuts
            )
            for price in PRICES
        ]

    def get_params(self) -> dict[str, Any]:
        """The constructor's parameters; states and actions are arrays."""
        return {
            "models": list(self.models),
            "limits": list(self.limits),
            "states": self.states,
            "actions": self.actions,
            "column": self.column,
            "cuts": [list(cuts) for cuts in self.cuts],
        }

    @classmethod
    def from_params(cls, params: dict[str, Any]) -> Self:
        """The policy with these parameters; numbers as lists or arrays."""
        told = {
            **{name: np.asarray(params[name], np.int64) for name in ("states", "actions")},
            **{name: tuple(params[name]) for name in ("models", "limits")},
            "cuts": tuple(tuple(map(float, cuts)) for cuts in params.get("cuts", ())),
        }
        return cls(**{**params, **told})
