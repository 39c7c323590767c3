"""What is to be gained by keeping an answer, by what its verification lets us believe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np

from farthing.models.recording import Floats, Ints
from farthing.signals.seen import Seen
from farthing.signals.signal import Derived, Signal

BINS = 6


@dataclass(frozen=True, eq=False)
class Belief(Derived):
    """The gain of keeping the last answer over asking on, in a partly observed decision process.

    The hidden state of a question is which models of a chain are right about it: of two models
    it is easy for the small one, needs the large one, or is solved by neither. What is observed
    of a model that was asked is the signal of its answer, in bins, which depends on whether that
    model is right. The process ends with the chain, so its value is worked out exactly, from the
    end: one more model is asked where that is worth its price.

    Source: AutoMix (Aggarwal et al., 2023), whose process has two models.

    Attributes:
        signal: what is observed.
        prior: the chance of each state, shape (2,) * models; index 1 is right.
        cuts: for each model but the last the bounds of its bins, ascending.
        chances: for each model but the last the chance of each bin where the model is wrong, and
            where it is right, shape (2, bins).
        costs: of each model with its signal, as a share of the strongest model's.
        price: how much of being right one gives up to save the strongest model's cost.
    """

    kind: ClassVar[str] = "belief"

    signal: Signal
    prior: Floats
    cuts: tuple[Floats, ...]
    chances: tuple[Floats, ...]
    costs: tuple[float, ...]
    price: float

    def values(self, stages: Sequence[Seen]) -> Floats:
        """Gains in right answers, shape (n,); the answer is to be kept from 0 on."""
        observed = [self.signal.values(stages[: n + 1]) for n in range(len(stages))]
        return self.gains(observed)

    def gains(self, observed: Sequence[Floats]) -> Floats:
        """As `values`, of the signals of the models asked so far."""
        bins = [binned(values, cuts) for values, cuts in zip(observed, self.cuts, strict=False)]
        gains: Floats = self._tables[len(bins) - 1][tuple(bins)]
        return gains

    @cached_property
    def _tables(self) -> list[Floats]:
        """For each model but the last the gain at each combination of bins up to it."""
        tables: list[Floats] = []
        for model in range(len(self.cuts)):
            shape = tuple(chances.shape[1] for chances in self.chances[: model + 1])
            table = np.empty(shape)
            for bins in np.ndindex(*shape):
                belief = self.prior
                for place, seen in enumerate(bins):
                    belief = self._after(belief, place, seen)
                belief = belief / belief.sum()
                table[bins] = self._right(belief, model) - self._onward(belief, model + 1)
            tables.append(table)
        return tables

    def _after(self, belief: Floats, model: int, seen: int) -> Floats:
        """The belief after an observation, not normalised: its sum is the observation's chance."""
        shape = [1] * belief.ndim
        shape[model] = 2
        after: Floats = belief * self.chances[model][:, seen].reshape(shape)
        return after

    def _right(self, belief: Floats, model: int) -> float:
        """The chance that a model is right, times the belief's sum."""
        return float(np.take(belief, 1, axis=model).sum())

    def _onward(self, belief: Floats, model: int) -> float:
        """The value of asking a model and going on as is best, times the belief's sum."""
        paid = self.price * self.costs[model] * float(belief.sum())
        if model == len(self.cuts):
            return self._right(belief, model) - paid
        value = -paid
        for seen in range(self.chances[model].shape[1]):
            after = self._after(belief, model, seen)
            value += max(self._right(after, model), self._onward(after, model + 1))
        return value

    @classmethod
    def fit(
        cls,
        signal: Signal,
        observed: Sequence[Floats],
        right: Sequence[Floats],
        costs: Sequence[float],
        price: float,
    ) -> Self:
        """Learn from n questions.

        `right[m]` is how right model m of the chain is, `observed[m]` its signal, for each but
        the last, shapes (n,). Every state and bin counts as seen once more than it was.
        """
        n, models = len(right[0]), len(right)
        states = np.ones((n, *([1] * models)))
        for place, values in enumerate(right):
            shape = [n] + [1] * models
            shape[place + 1] = 2
            states = states * np.stack([1 - values, values], axis=1).reshape(shape)
        counts = states.sum(axis=0) + 1.0
        cuts, chances = [], []
        for place, values in enumerate(observed):
            known = values[np.isfinite(values)]
            levels = np.linspace(0, 1, BINS + 1)[1:-1]
            found = np.unique(np.quantile(known, levels)) if len(known) else np.zeros(0)
            bins = binned(values, found)
            told = np.stack([1 - right[place], right[place]])
            seen = np.stack([np.bincount(bins, w, len(found) + 1) for w in told]) + 1.0
            cuts.append(found)
            chances.append(seen / seen.sum(axis=1, keepdims=True))
        return cls(signal, counts / counts.sum(), tuple(cuts), tuple(chances), tuple(costs), price)

    def get_params(self) -> dict[str, Any]:
        """The constructor's parameters."""
        return {
            "signal": {"kind": self.signal.kind, **self.signal.get_params()},
            "prior": self.prior,
            "cuts": list(self.cuts),
            "chances": list(self.chances),
            "costs": list(self.costs),
            "price": self.price,
        }

    @classmethod
    def from_params(cls, params: dict[str, Any]) -> Belief:
        """The signal with these parameters."""
        from farthing.signals.registry import from_params

        params = dict(params)
        return cls(
            from_params(params.pop("signal")),
            np.asarray(params.pop("prior"), float),
            tuple(np.asarray(cuts, float) for cuts in params.pop("cuts")),
            tuple(np.asarray(chances, float) for chances in params.pop("chances")),
            tuple(params.pop("costs")),
            **params,
        )


def binned(values: Floats, cuts: Floats) -> Ints:
    """The bin of each value; what is unknown is in the lowest."""
    known = np.where(np.isnan(values), -np.inf, values)
    bins: Ints = np.searchsorted(cuts, known, side="left")
    return bins
