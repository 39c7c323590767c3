"""Routers: one model is chosen before any is called. What the learnt routers share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Self

import numpy as np

from farthing.core.protocols import Operation
from farthing.core.request import Request
from farthing.core.response import Response
from farthing.models.draw import Draw
from farthing.models.recording import Floats, Ints
from farthing.policies.decisions import PRICES, Decisions
from farthing.signals.encoder import Encoder, encoder_from_params, vectors_of
from farthing.signals.seen import Prompts


@dataclass(frozen=True, eq=False)
class Router:
    """Calls the model whose expected rightness, less the price of its cost, is highest.

    A policy of this shape is a subclass with a `kind`, an `expects` and a `fit`. Fields of its own
    that are not in `SCALARS` are arrays.

    Attributes:
        models: their names, cheap to strong.
        costs: what each one's answer costs in the mean, as a share of the strongest's.
        price: how much of being right one gives up to save the strongest model's mean cost.
        encoder: makes vectors of prompts.
    """

    kind: ClassVar[str] = ""
    SCALARS: ClassVar[tuple[str, ...]] = ()
    PRECISION: ClassVar[type[np.floating[Any]]] = np.float32

    models: tuple[str, ...]
    costs: tuple[float, ...]
    price: float
    encoder: Encoder

    def __post_init__(self) -> None:
        if not self.models or len(self.models) != len(self.costs):
            raise ValueError("models and costs are lists of the same length, of at least one")
        for name in self._arrays():
            object.__setattr__(self, name, np.asarray(getattr(self, name), self.PRECISION))

    @classmethod
    def _arrays(cls) -> list[str]:
        common = {field.name for field in fields(Router)}
        names = (field.name for field in fields(cls) if field.init)
        return [name for name in names if name not in common and name not in cls.SCALARS]

    @property
    def asks(self) -> tuple[str, ...]:
        """The models that it may call, the strongest last."""
        return self.models

    @property
    def samples(self) -> Mapping[str, int]:
        """Empty: it takes one sample."""
        return {}

    def expects(self, vectors: Floats) -> Floats:
        """How right each model's answer to each prompt should be, shape (prompts, models)."""
        raise NotImplementedError

    def choose(self, expected: Floats) -> Ints:
        """The model for each row of what is expected, the cheapest among equals."""
        gain = expected - self.price * np.asarray(self.costs)
        chosen: Ints = np.round(gain, 9).argmax(axis=1)
        return chosen

    async def answer(self, request: Request, operation: Operation) -> Response:
        """The answer of the model that is expected to be worth most."""
        expected = self.expects(self.encoder.encode([request.prompt]))
        model = self.models[int(self.choose(expected)[0])]
        return await operation.call(model, request, node=self.kind, final=True)

    def decide(self, draw: Draw, memo: dict[object, Any] | None = None) -> Decisions:
        """What it does with every question of a draw; DataError if that lacks a model."""
        memo = {} if memo is None else memo
        key = (self.kind, "expects")
        if key not in memo:
            memo[key] = self.expects(self.vectors(draw, memo))
        model = np.array([draw.index(name) for name in self.models])[self.choose(memo[key])]
        n = draw.questions
        cost = np.stack([cost[:, 0] for cost in draw.cost])[model, np.arange(n)]
        return Decisions(cost, model, np.zeros(n, np.int64), np.ones(n, np.int64))

    def vectors(self, draw: Draw, memo: dict[object, Any]) -> Floats:
        """The vectors of a draw's prompts, kept in `memo`."""
        key = ("vectors", self.encoder)
        if key not in memo:
            memo[key] = vectors_of(self.encoder, Prompts(draw))
        vectors: Floats = memo[key]
        return vectors

    def get_params(self) -> dict[str, Any]:
        """The constructor's parameters; those of the encoder and of what is learnt are arrays."""
        params = {field.name: getattr(self, field.name) for field in fields(self) if field.init}
        told = {"kind": self.encoder.kind, **self.encoder.get_params()}
        return {**params, "models": list(self.models), "costs": list(self.costs), "encoder": told}

    @classmethod
    def from_params(cls, params: dict[str, Any]) -> Self:
        """The policy with these parameters; numbers as lists or arrays."""
        told = {
            "models": tuple(params["models"]),
            "costs": tuple(float(cost) for cost in params["costs"]),
            "encoder": encoder_from_params(params["encoder"]),
        }
        return cls(**{**params, **told})

    @classmethod
    def ladder(cls, draw: Draw, encoder: Encoder, **learnt: Any) -> list[Self]:
        """The policy with what is `learnt`, at each of the prices."""
        means = np.array([float(cost[:, 0].mean()) for cost in draw.cost])
        costs = tuple((means / max(means[-1], 1.0)).tolist())
        first = cls(draw.models, costs, PRICES[0], encoder, **learnt)
        return [replace(first, price=price) for price in PRICES]
