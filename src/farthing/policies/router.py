"""Routers: one model is chosen before any is called. What the learnt routers share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from farthing.core.protocols import Operation
from farthing.core.request import Request
from farthing.core.response import Response
from farthing.models.draw import Draw
from farthing.models.recording import Floats, Ints
from farthing.policies.decisions import PRICES, Decisions
from farthing.signals.seen import Prompts


@dataclass(frozen=True, eq=False)
class Router:
    """Calls the model whose expected rightness, less the price of its cost, is highest.

    A policy of this shape is a subclass with a `kind`, an `expects` and a `fit`.

    Attributes:
        models: their names, cheap to strong.
        costs: what each one's answer costs in the mean, as a share of the strongest's.
        price: how much of being right one gives up to save the strongest model's mean cost.
    """

    kind: ClassVar[str] = ""

    models: tuple[str, ...]
    costs: tuple[float, ...]
    price: float

    @property
    def asks(self) -> tuple[str, ...]:
        """The models that it may call, the strongest last."""
        return self.models

    @property
    def samples(self) -> Mapping[str, int]:
        """Empty: it takes one sample."""
        return {}

    def expects(self, prompts: Sequence[str]) -> Floats:
        """How right each model's answer to each prompt should be, shape (prompts, models)."""
        raise NotImplementedError

    def choose(self, expected: Floats) -> Ints:
        """The model for each row of what is expected, the cheapest among equals."""
        chosen: Ints = (expected - self.price * np.asarray(self.costs)).argmax(axis=1)
        return chosen

    async def answer(self, request: Request, operation: Operation) -> Response:
        """The answer of the model that is expected to be worth most."""
        model = self.models[int(self.choose(self.expects([request.prompt]))[0])]
        return await operation.call(model, request, node=self.kind, final=True)

    def decide(self, draw: Draw, memo: dict[object, Any] | None = None) -> Decisions:
        """What it does with every question of a draw; DataError if that lacks a model."""
        memo = {} if memo is None else memo
        key = (self.kind, "expects")
        if key not in memo:
            memo[key] = self.expects(Prompts(draw))
        chosen = self.choose(memo[key])
        model = np.array([draw.index(name) for name in self.models])[chosen]
        first = np.stack([cost[:, 0] for cost in draw.cost])
        n = draw.questions
        return Decisions(
            first[model, np.arange(n)], model, np.zeros(n, np.int64), np.ones(n, np.int64)
        )

    @classmethod
    def ladder(cls, draw: Draw, make: Callable[[tuple[float, ...], float], Self]) -> list[Self]:
        """What `make(costs, price)` makes for each of the prices."""
        means = np.array([float(cost[:, 0].mean()) for cost in draw.cost])
        costs = tuple((means / max(means[-1], 1.0)).tolist())
        return [make(costs, price) for price in PRICES]
