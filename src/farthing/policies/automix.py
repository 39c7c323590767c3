"""Cascades in which a model is asked whether its own answer is right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from farthing.core.errors import DataError
from farthing.models.draw import Draw, bought_cost, cost_column
from farthing.models.recording import Floats, Ints
from farthing.policies.decisions import PRICES
from farthing.policies.ladder import chains
from farthing.policies.scored import ScoredCascade, Step, seen_of
from farthing.signals.belief import Belief
from farthing.signals.learning import out_of_fold
from farthing.signals.verification import Verification


@dataclass(frozen=True)
class AutoMix(ScoredCascade):
    """Accepts an answer that its own model calls right often enough.

    Source: AutoMix (Aggarwal et al., 2023), its thresholds.
    """

    kind: ClassVar[str] = "automix"

    @classmethod
    def fit(cls, draw: Draw, right: Sequence[Floats], *, seed: int = 0) -> list[Self]:
        """The ladder (see `policies.decisions.Learnt`).

        DataError where the recording does not hold what self-verification said.
        """
        signal = _verification(draw)
        memo: dict[object, Any] = {}

        def score(models: tuple[int, ...]) -> Floats:
            return signal.values([seen_of(draw, m, 1, memo) for m in models])

        return cls.ladder(draw, right, score, lambda models: signal)


@dataclass(frozen=True)
class AutoMixPomdp(ScoredCascade):
    """Asks on where that is worth its price, by what verification lets it believe.

    Unlike a threshold it also uses verification that is wrong more often than right. See
    `signals.belief`.

    Source: AutoMix (Aggarwal et al., 2023), its router by a partly observed Markov decision
    process. There it has two models; here it has up to three.
    """

    kind: ClassVar[str] = "automix-pomdp"

    @classmethod
    def fit(cls, draw: Draw, right: Sequence[Floats], *, seed: int = 0) -> list[Self]:
        """The ladder (see `policies.decisions.Learnt`).

        A chain is chosen by its gain on questions whose beliefs were learnt without them.
        DataError where the recording does not hold what self-verification said.
        """
        signal = _verification(draw)
        memo: dict[object, Any] = {}
        stages = [seen_of(draw, m, 1, memo) for m in range(len(draw.models))]
        answers = [values[:, 0] for values in right]
        means = np.array([float(cost[:, 0].mean()) for cost in draw.cost])
        tried = chains(means, np.array([float(values.mean()) for values in answers]))
        observing = sorted({m for chain in tried for m in chain[:-1]})
        observed = {m: signal.values([stages[m]]) for m in observing}
        unit = max(float(means[-1]), 1.0)
        told = [
            _Told(
                chain,
                [observed[m] for m in chain[:-1]],
                [answers[m] for m in chain],
                [
                    *(
                        (draw.cost[m][:, 0] + bought_cost(draw, m, signal.column, stages[m].chosen))
                        / unit
                        for m in chain[:-1]
                    ),
                    draw.cost[chain[-1]][:, 0] / unit,
                ],
            )
            for chain in tried
        ]
        found = []
        for price in PRICES:
            gains = [chain.expected_gain(signal, price, seed) for chain in told]
            found.append(told[int(np.argmax(gains))].steps(signal, price, draw.models))
        return [cls(steps=steps) for steps in found]


@dataclass(frozen=True, slots=True)
class _Told:
    """What a recording tells of a chain: signals, rightness and costs of its models."""

    models: tuple[int, ...]
    observed: list[Floats]
    right: list[Floats]
    cost: list[Floats]

    def belief(self, signal: Verification, price: float, questions: Ints | None = None) -> Belief:
        """What is learnt from some of the questions."""
        some = slice(None) if questions is None else questions
        return Belief.fit(
            signal,
            [values[some] for values in self.observed],
            [values[some] for values in self.right],
            [float(values[some].mean()) for values in self.cost],
            price,
        )

    def expected_gain(self, signal: Verification, price: float, seed: int) -> float:
        """The mean gain of questions that were not learnt from."""
        if len(self.models) == 1:
            return float((self.right[0] - price * self.cost[0]).mean())

        def gained(train: Ints, test: Ints) -> Floats:
            belief = self.belief(signal, price, train)
            gain, alive = np.zeros(len(test)), np.ones(len(test), np.bool_)
            for place in range(len(self.models)):
                gain -= np.where(alive, price * self.cost[place][test], 0.0)
                kept = alive
                if place < len(self.models) - 1:
                    seen = [values[test] for values in self.observed[: place + 1]]
                    kept = alive & (belief.gains(seen) >= 0)
                gain += np.where(kept, self.right[place][test], 0.0)
                alive = alive & ~kept
            return gain

        return float(out_of_fold(gained, len(self.right[0]), seed=seed).mean())

    def steps(self, signal: Verification, price: float, names: Sequence[str]) -> tuple[Step, ...]:
        """The chain's steps, learnt from all questions."""
        if len(self.models) == 1:
            return (Step(names[self.models[0]]),)
        belief = self.belief(signal, price)
        steps = [Step(names[m], signal=belief, accept=0.0) for m in self.models[:-1]]
        return (*steps, Step(names[self.models[-1]]))


def _verification(draw: Draw) -> Verification:
    """Self-verification as the recording holds it; DataError where it does not."""
    signal = Verification()
    table, path = draw.recording.table, draw.recording.path
    known = signal.column in table.column_names
    if not known or table[signal.column].null_count == len(table):
        raise DataError(
            f"{path}: no column {signal.column!r}, which holds what a model said of its own "
            "answer when it was asked again"
        )
    if cost_column(draw.recording, signal.column) is None:
        raise DataError(
            f"{path}: what {signal.column!r} cost is not recorded; it belongs into a column "
            f"'{signal.column}_cost_usd'"
        )
    return signal
