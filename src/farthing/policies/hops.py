"""Several hops from model to model, each chosen by the answers so far."""

from __future__ import annotations

import itertools
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
from farthing.policies.sampling import ask_samples
from farthing.policies.stopping import or_best
from farthing.policies.threshold import plain_signal
from farthing.signals.seen import Codes, Seen, of_draw, of_samples

MODELS, CALLS, SAMPLES, BINS = 4, 4, 3, 4
PRIOR = 8.0
"""How many questions the mean of all states with the same calls counts for in each state."""

Counts = tuple[int, ...]
"""How many samples of each model were taken."""


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
        stages = _stages(draw, drawn, self.limits, memo)
        cost, calls = np.zeros(n, np.int64), np.zeros(n, np.int64)
        model, place = np.zeros(n, np.int64), np.zeros(n, np.int64)
        going: dict[Counts, Ints] = {(0,) * len(self.models): np.arange(n)}
        while going:
            onward: dict[Counts, list[Ints]] = {}
            for counts, here in going.items():
                key = (self.kind, self.models, self.cuts, counts)
                if key not in memo:
                    memo[key] = self._state(stages, counts)
                slots = _slots(counts)
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
        return _number(stages, counts, self.column, self.cuts)

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
        stages = _stages(draw, models, limits, {})
        table = draw.recording.table
        known = (c for c in LOGPROBS if c in table.column_names and not table[c].null_count)
        column = next(known, "")
        cuts = tuple(_cuts(stage, column) for stage in stages) if column else ()
        solved = _Table(
            {counts: _number(stages, counts, column, cuts) for counts in _reachable(limits)},
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


class _Table:
    """All that could be called, on questions whose right answers are known.

    Attributes:
        states: for each way to have called, states and labels, see `_number`.
        right, cost: of each model's samples, shapes (n, samples); cost as a share of the
            strongest's mean.
    """

    def __init__(
        self,
        states: Mapping[Counts, tuple[Ints, Ints]],
        right: Sequence[Floats],
        cost: Sequence[Floats],
    ) -> None:
        self.right, self.cost = right, cost
        self.cells = {
            counts: np.unique(numbers, return_inverse=True)
            for counts, (numbers, _) in states.items()
        }
        self.order = sorted(states, key=sum, reverse=True)

    def best(self, price: float) -> tuple[Ints, Ints]:
        """States and actions of the pipeline that is worth most at a price."""
        worth: dict[Counts, Floats] = {}
        actions = {}
        for counts in self.order:
            values = self._stops(counts)
            for model in range(len(counts)):
                more = tuple(c + (m == model) for m, c in enumerate(counts))
                if more in worth:
                    values[model] = worth[more] - price * self.cost[model][:, counts[model]]
            worth[counts], actions[counts] = self._choose(counts, values)
        return self._listed(actions)

    def fixed(self, price: float) -> tuple[Ints, Ints]:
        """States and actions of the best pipeline whose calls do not depend on answers."""
        found = []
        for counts in self.order:
            if not sum(counts):
                continue
            worth, actions = self._choose(counts, self._stops(counts))
            paid = sum(self.cost[model][:, place].mean() for model, place in _slots(counts))
            found.append((float(worth.mean()) - price * paid, counts, actions))
        _, counts, actions = max(found, key=lambda each: each[0])
        chosen, reached = {counts: actions}, [0] * len(counts)
        for model, _ in _slots(counts):
            at = tuple(reached)
            chosen[at] = np.full(len(self.cells[at][0]), model)
            reached[model] += 1
        return self._listed(chosen)

    def _stops(self, counts: Counts) -> dict[int, Floats]:
        """By action, how right each sample is."""
        return {
            -1 - slot: self.right[model][:, place]
            for slot, (model, place) in enumerate(_slots(counts))
        }

    def _choose(self, counts: Counts, values: Mapping[int, Floats]) -> tuple[Floats, Ints]:
        """What comes of the best action in each cell, shape (n,), and these actions."""
        numbers, cell = self.cells[counts]
        size = np.bincount(cell, minlength=len(numbers))
        means = np.stack(
            [
                (np.bincount(cell, value, len(numbers)) + PRIOR * value.mean()) / (size + PRIOR)
                for value in values.values()
            ],
            axis=1,
        )
        chosen = means.argmax(axis=1)
        came = np.stack(list(values.values()), axis=1)[np.arange(len(cell)), chosen[cell]]
        return came, np.array(list(values))[chosen]

    def _listed(self, actions: Mapping[Counts, Ints]) -> tuple[Ints, Ints]:
        """States and actions that can be reached from the beginning, by ascending state."""
        reached, wanted = [], [(0,) * len(self.right)]
        while wanted:
            counts = wanted.pop()
            reached.append(counts)
            for model in np.unique(actions[counts][actions[counts] >= 0]):
                more = tuple(c + (m == model) for m, c in enumerate(counts))
                if more not in reached and more not in wanted:
                    wanted.append(more)
        states = np.concatenate([self.cells[counts][0] for counts in reached])
        order = np.argsort(states)
        return states[order], np.concatenate([actions[counts] for counts in reached])[order]


def _reachable(limits: Counts) -> list[Counts]:
    ranges = (range(limit + 1) for limit in limits)
    return [counts for counts in itertools.product(*ranges) if sum(counts) <= CALLS]


def _slots(counts: Counts) -> list[tuple[int, int]]:
    """Model and number of each sample that was taken."""
    return [(model, place) for model, count in enumerate(counts) for place in range(count)]


def _stages(
    draw: Draw, models: Sequence[int], limits: Counts, memo: dict[object, Any]
) -> list[Seen]:
    key = ("hops", tuple(models), limits)
    if key not in memo:
        memo[key] = [
            of_draw(draw, model, limit) for model, limit in zip(models, limits, strict=True)
        ]
    stages: list[Seen] = memo[key]
    return stages


def _number(
    stages: Sequence[Seen | None], counts: Counts, column: str, cuts: Sequence[Sequence[float]]
) -> tuple[Ints, Ints]:
    """The numbers of the states after `counts`, shape (n,), and labels, shape (n, samples).

    Equal answers have the same label, from 1 in the order of samples; 0 is no answer.
    """
    taken = [
        stage.answers[:, place]
        for stage, count in zip(stages, counts, strict=True)
        for place in range(count)
        if stage is not None
    ]
    n = next((len(stage.answers) for stage in stages if stage is not None), 1)
    labels = np.zeros((n, len(taken)), np.int64)
    for slot, answers in enumerate(taken):
        labels[:, slot] = np.where(answers >= 0, labels.max(axis=1, initial=0) + 1, 0)
        for before in reversed(range(slot)):
            same = (taken[before] == answers) & (answers >= 0)
            labels[same, slot] = labels[same, before]
    number = np.zeros(n, np.int64)
    for digit in (*counts, *labels.T):
        number = number * (CALLS + 1) + digit
    number = number * (CALLS + 1) + len(taken)
    strongest = max((m for m, count in enumerate(counts) if count), default=None)
    level = np.zeros(n, np.int64)
    if column and strongest is not None and (stage := stages[strongest]) is not None:
        values = stage.columns[column][:, 0] if column in stage.columns else np.full(n, np.nan)
        level = np.where(np.isnan(values), 0, 1 + np.searchsorted(cuts[strongest], values))
    return number * (BINS + 1) + level, labels


def _cuts(stage: Seen, column: str) -> tuple[float, ...]:
    """Values that divide a model's first samples into `BINS` equal parts."""
    known = stage.columns[column][:, 0]
    known = known[~np.isnan(known)]
    if not len(known):
        return (0.0,) * (BINS - 1)
    parts = np.quantile(known, np.arange(1, BINS) / BINS, method="lower")
    return tuple(parts.tolist())
