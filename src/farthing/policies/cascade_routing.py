"""Routing and cascading in one: after each answer the next model is chosen anew, or none."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from scipy.special import expit

from farthing.core.protocols import Operation
from farthing.core.request import Request
from farthing.core.response import Response, Sample
from farthing.models.draw import Draw, bought_cost
from farthing.models.recording import Floats, Ints
from farthing.policies.decisions import PRICES, Decisions
from farthing.policies.estimates import (
    Known,
    answer_codes,
    estimates,
    greater,
    members,
    number_of,
    prompt_odds,
)
from farthing.policies.measures import Measures, measure, worthwhile
from farthing.policies.sampling import ask_samples
from farthing.policies.scored import seen_of
from farthing.policies.stopping import or_best
from farthing.policies.threshold import plain_signal
from farthing.signals.calibrated import Calibrated
from farthing.signals.encoder import Encoder, encoder_from_params, learn_encoder
from farthing.signals.seen import Codes, Prompts, Seen, of_samples

MOST = 4


@dataclass(frozen=True, eq=False)
class CascadeRouting:
    """Asks the cheapest of the models that are worth asking next, until none is.

    Before a call and after each one it estimates how right each model is, from the prompt, from
    the signals of the answers so far, and from whether they agree. Of all sets of models that
    hold those asked already it takes the one whose best answer should be worth most, less the
    price of what is still to be paid; if that is none but those, it stops, and the answer
    is that of the model it then thinks best.

    Source: A Unified Approach to Routing and Cascading for LLMs (Dekoninck, Baader & Vechev,
    2024). What an estimate will be once a model has answered is normally distributed, as there;
    the expected best of several is Clark's (1961) approximation, not sampled.

    Attributes:
        models: their names, cheap to strong.
        samples_each: how many answers each gives; the commonest stands.
        costs: what each one's answer and signal cost in the mean, as a share of the strongest's.
        price: how much of being right one gives up to save the strongest model's mean cost.
        encoder: makes vectors of prompts.
        signals: of each model but the last.
        before: log odds of being right by the prompt, shape (models, dimensions + 1).
        after: the same for each set of models asked, by what is then known, shape (sets, models,
            features + 1); the number of a set is the sum of two to the power of each model's place.
        spread: how much an estimate moves when its model is asked, shape (sets, models).
        most: how many models are asked at most.
    """

    kind: ClassVar[str] = "cascade_routing"

    models: tuple[str, ...]
    samples_each: tuple[int, ...]
    costs: tuple[float, ...]
    price: float
    encoder: Encoder
    signals: tuple[Calibrated, ...]
    before: Floats
    after: Floats
    spread: Floats
    most: int = 3

    @property
    def asks(self) -> tuple[str, ...]:
        """The models that it may call, the strongest last."""
        return self.models

    @property
    def samples(self) -> Mapping[str, int]:
        """How many samples of each model it takes, where that is more than one."""
        pairs = zip(self.models, self.samples_each, strict=True)
        return {model: count for model, count in pairs if count > 1}

    async def answer(self, request: Request, operation: Operation) -> Response:
        """The answer thought best; how sure that is is in the sample's `columns["signal"]`."""
        asked: dict[int, tuple[Seen, Sequence[Sample]]] = {}
        return await or_best(
            self._decide(request, operation, asked),
            operation,
            lambda: self._response(asked, max(asked), None) if asked else None,
        )

    async def _decide(
        self,
        request: Request,
        operation: Operation,
        asked: dict[int, tuple[Seen, Sequence[Sample]]],
    ) -> Response:
        if any(signal.logprobs for signal in self.signals):
            request = replace(request, logprobs=True)
        codes = Codes()
        known = Known.empty(1, len(self.models), self._prior(self.encoder.encode([request.prompt])))
        while True:
            expected, best = self._judge(known.features(tuple(asked)), number_of(asked))
            model = int(self._next(best, number_of(asked))[0])
            if model < 0:
                chosen = int(expected[0].argmax())
                return self._response(asked, chosen, float(expected[0, chosen]))
            node = f"{self.kind}/{len(asked)}"
            samples = await ask_samples(
                self.models[model], request, operation, node=node, count=self.samples_each[model]
            )
            seen = of_samples(self.models[model], request.prompt, samples, codes)
            asked[model] = seen, samples
            if model < len(self.signals):
                signal = self.signals[model]
                if signal.bought is not None:
                    seen = await signal.buy(seen, samples, request, operation, node)
                    asked[model] = seen, samples
                known.scores[:, model] = signal.normal(signal.signal.values([seen]))
            known.answers[:, model] = answer_codes(seen)

    def _response(
        self,
        asked: Mapping[int, tuple[Seen, Sequence[Sample]]],
        model: int,
        signal: float | None,
    ) -> Response:
        seen, samples = asked[model]
        chosen = samples[int(seen.chosen[0])]
        columns = {**chosen.columns, "signal": signal}
        return Response(seen.model, (replace(chosen, columns=columns),))

    def decide(self, draw: Draw, memo: dict[object, Any] | None = None) -> Decisions:
        """What it does with every question of a draw; DataError if that lacks a model or column."""
        memo = {} if memo is None else memo
        n, drawn = draw.questions, [draw.index(name) for name in self.models]
        seen = [
            seen_of(draw, m, count, memo) for m, count in zip(drawn, self.samples_each, strict=True)
        ]
        key = (self.kind, self.signals)
        if key not in memo:
            if (vectors := ("vectors", self.encoder)) not in memo:
                memo[vectors] = self.encoder.encode(Prompts(draw))
            memo[key] = Known.of(seen, self.signals, self._prior(memo[vectors]))
        known: Known = memo[key]
        paid = []
        for place, (index, count) in enumerate(zip(drawn, self.samples_each, strict=True)):
            total = draw.cost[index][:, :count].sum(axis=1)
            if place < len(self.signals) and self.signals[place].bought is not None:
                name = self.signals[place].bought or ""
                total = total + bought_cost(draw, index, name, seen[place].chosen)
            paid.append(total)
        cost, calls = np.zeros(n, np.int64), np.zeros(n, np.int64)
        chosen, state = np.zeros(n, np.int64), np.zeros(n, np.int64)
        running = np.arange(n)
        while len(running):
            onward = []
            for number in np.unique(state[running]):
                here = running[state[running] == number]
                judged = (self.kind, self.signals, int(number))
                if judged not in memo:
                    memo[judged] = self._judge(known.features(members(number)), int(number))
                expected, best = memo[judged]
                models = self._next({key: value[here] for key, value in best.items()}, int(number))
                stopping = here[models < 0]
                chosen[stopping] = expected[stopping].argmax(axis=1)
                for model in np.unique(models[models >= 0]):
                    going = here[models == model]
                    cost[going] += paid[model][going]
                    bought = model < len(self.signals) and self.signals[model].bought is not None
                    calls[going] += self.samples_each[model] + int(bought)
                    state[going] += 1 << int(model)
                    onward.append(going)
            running = np.concatenate(onward) if onward else np.zeros(0, np.int64)
        places = np.stack([stage.chosen for stage in seen])[chosen, np.arange(n)]
        return Decisions(cost, np.array(drawn)[chosen], places, calls)

    def _prior(self, vectors: Floats) -> Floats:
        """Log odds of each model by the prompt, shape (n, models)."""
        odds: Floats = vectors @ self.before[:, :-1].T + self.before[:, -1]
        return odds

    def _judge(self, features: Floats, number: int) -> tuple[Floats, dict[int, Floats]]:
        """How right each asked model is, and what the best of each set of models is worth.

        For the models asked, by the number of their set: shape (n, models), -1 for those that
        were not. The worth of a set is that of its best answer once all of it is asked, by the
        set's number, shapes (n,).
        """
        weights = self.after[number]
        chances = expit(features @ weights[:, :-1].T + weights[:, -1])
        asked = [bool(number >> m & 1) for m in range(len(self.models))]
        expected: Floats = np.where(asked, chances, -1.0).round(9)
        standing = expected.max(axis=1)
        worth: dict[int, Floats] = {number: standing} if number else {}
        open_ = [m for m, done in enumerate(asked) if not done]
        for size in range(1, self.most - sum(asked) + 1):
            for more in itertools.combinations(open_, size):
                mean, variance = (standing, np.zeros(len(standing))) if number else (None, None)
                for model in more:
                    mean, variance = greater(
                        mean, variance, chances[:, model], self.spread[number, model] ** 2
                    )
                assert mean is not None
                worth[number + sum(1 << m for m in more)] = np.minimum(mean, 1.0)
        return expected, worth

    def _next(self, worth: Mapping[int, Floats], number: int) -> Ints:
        """The model to ask next, -1 to stop, by what each set of models is worth."""
        sets = list(worth)
        first = [
            next((m for m in range(len(self.models)) if (each ^ number) >> m & 1), -1)
            for each in sets
        ]
        still = [
            sum(cost for m, cost in enumerate(self.costs) if (each ^ number) >> m & 1)
            for each in sets
        ]
        gains = np.stack([worth[each] for each in sets], axis=1) - self.price * np.array(still)
        chosen: Ints = np.array(first)[np.round(gains, 9).argmax(axis=1)]
        return chosen

    @classmethod
    def fit(cls, draw: Draw, right: Sequence[Floats], *, seed: int = 0) -> list[Self]:
        """The ladder (see `policies.decisions.Learnt`); DataError where there is no signal.

        Where the signal is paid for, each place has it only if it pays on these questions.
        ExtraError if scikit-learn is missing.
        """
        signal, counts = plain_signal(draw)
        memo: dict[object, Any] = {}
        told = measure(draw, right, signal, counts, memo)
        models = worthwhile(told, MOST)
        answers = [told.right[m] for m in models]
        encoder, vectors = learn_encoder(list(Prompts(draw)), seed=seed)
        before, odds = prompt_odds(vectors, answers, seed)
        signals = tuple(Calibrated.fit(signal, told.scores[m], told.right[m]) for m in models[:-1])
        ladders = []
        for used in (signals,) if signal.bought is None else (signals, ()):
            known = Known.of([told.seen[m] for m in models], used, odds)
            after, spread = estimates(known, np.stack(answers, axis=1), seed)
            common: dict[str, Any] = {
                "models": tuple(draw.models[m] for m in models),
                "samples_each": tuple(counts[m] for m in models),
                "costs": _mean_costs(told, models, len(used)),
                "encoder": encoder,
                "signals": used,
                "before": before,
                "after": after,
                "spread": spread,
            }
            ladders.append([cls(price=price, **common) for price in PRICES])
        if len(ladders) == 1:
            return ladders[0]

        def gain(policy: Self) -> float:
            done = policy.decide(draw, memo)
            return float(done.take(right).mean() - policy.price * done.cost.mean() / told.unit)

        return [max(pair, key=gain) for pair in zip(*ladders, strict=True)]

    def get_params(self) -> dict[str, Any]:
        """The constructor's parameters; what is learnt is in arrays."""
        return {
            "models": list(self.models),
            "samples_each": list(self.samples_each),
            "costs": list(self.costs),
            "price": self.price,
            "encoder": {"kind": self.encoder.kind, **self.encoder.get_params()},
            "signals": [signal.get_params() for signal in self.signals],
            "before": self.before,
            "after": self.after,
            "spread": self.spread,
            "most": self.most,
        }

    @classmethod
    def from_params(cls, params: dict[str, Any]) -> Self:
        """The policy with these parameters; numbers as lists or arrays."""
        told = {
            **{name: np.asarray(params[name], float) for name in ("before", "after", "spread")},
            **{name: tuple(params[name]) for name in ("models", "samples_each", "costs")},
            "encoder": encoder_from_params(params["encoder"]),
            "signals": tuple(Calibrated.from_params(table) for table in params["signals"]),
        }
        return cls(**{**params, **told})


def _mean_costs(told: Measures, models: Sequence[int], scored: int) -> tuple[float, ...]:
    """As a share of the strongest's, with the signal of the first `scored` models."""
    return tuple(
        float((told.cost[m] + (told.scoring[m] if place < scored else 0)).mean()) / told.unit
        for place, m in enumerate(models)
    )
