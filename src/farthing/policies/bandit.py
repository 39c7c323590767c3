"""A router that goes on learning from live traffic."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from farthing.core.errors import CapError, UpstreamError
from farthing.core.protocols import Operation
from farthing.core.request import Request
from farthing.core.response import Response
from farthing.models.draw import Draw
from farthing.models.recording import Floats
from farthing.policies.decisions import Decisions
from farthing.policies.lesson import Expects, best_setting, lesson
from farthing.policies.router import Router

Flags = NDArray[np.bool_]

PENALTIES = (300.0, 100.0, 30.0, 10.0, 3.0)
WEAK = 1e-2
BLOCK = 256


@dataclass(frozen=True, eq=False)
class Bandit(Router):
    """Draws what to expect of each model from what it knows of it, and learns from probes.

    How right a model is, is linear in the prompt's vector and a constant, with a normal posterior.
    A model that is little known may so be tried where it is not thought best. Source: Thompson
    sampling for contextual bandits with linear payoffs (Agrawal & Goyal, 2013), with the price of
    the models' costs.

    With probability `probe` a question is a probe: an answer of another than the strongest model
    is compared with the strongest's, which is asked too, as a judge. The same answer counts as
    right as the strongest is expected to be, another as wrong. The strongest model itself is
    learnt in `fit` alone. Other questions teach nothing, so nothing is tried on them: what is
    expected of the models is not drawn there, but the mean. What is learnt stays in this object;
    `get_params` tells it.

    Random numbers come from the question's identifier: the same question, the same numbers.

    Attributes:
        means: of the models' weights, those of the constant last, shape (models, dimensions + 1).
        covariances: of the weights, up to `spread` squared, shape (models, dimensions + 1,
            dimensions + 1).
        probe: the probability of a probe.
        spread: standard deviation of an answer's rightness about its mean; a half is the
            largest that there is between 0 and 1.
        seed: of the random numbers.
    """

    kind: ClassVar[str] = "bandit"
    SCALARS: ClassVar[tuple[str, ...]] = ("probe", "spread", "seed")
    PRECISION: ClassVar[type[np.floating[Any]]] = np.float64

    means: Floats
    covariances: Floats
    probe: float = 0.02
    spread: float = 0.5
    seed: int = 0
    _knowledge: _Knowledge = field(init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.probe <= 1 or self.spread < 0:
            raise ValueError("probe lies in [0, 1], and spread is not negative")
        if self.covariances.shape != (*self.means.shape, self.means.shape[-1]):
            raise ValueError("covariances has a square matrix for each row of means")
        object.__setattr__(self, "_knowledge", _Knowledge(self.means, self.covariances))

    async def answer(self, request: Request, operation: Operation) -> Response:
        """The answer of the model whose drawn worth is highest; then perhaps a probe."""
        last = len(self.models) - 1
        vector = _with_constant(self.encoder.encode([request.prompt]))
        noise, probing = self._noise([request.question_id()])
        model = int(self.choose(self._knowledge.draw(vector, noise))[0])
        response = await operation.call(self.models[model], request, node=self.kind, final=True)
        if model != last and probing[0]:
            try:
                judge = await operation.call(
                    self.models[last], request, node=f"{self.kind}/probe", kind="judge"
                )
            except (CapError, UpstreamError):
                return response
            answer = response.samples[0].answer
            agrees = answer is not None and answer == judge.samples[0].answer
            self._knowledge.learn(vector[0], model, last, agrees)
        return response

    def decide(self, draw: Draw, memo: dict[object, Any] | None = None) -> Decisions:
        """What it does with the questions one after the other, learning as it goes.

        It starts from what this object knows, which stays as it is.
        """
        memo = {} if memo is None else memo
        indices = np.array([draw.index(name) for name in self.models])
        last, n = len(self.models) - 1, draw.questions
        vectors = _with_constant(self.vectors(draw, memo))
        key = (self.kind, "noise")
        if key not in memo:
            memo[key] = self._noise(draw.recording.questions)
        noise, probing = memo[key]
        first = np.stack([draw.answers[index][:, 0] for index in indices])
        agrees = (first == first[last]) & (first >= 0)
        knowledge = self._knowledge.copy()
        chosen = np.empty(n, np.int64)
        for begin in range(0, n, BLOCK):
            part = slice(begin, min(begin + BLOCK, n))
            drawn = knowledge.draw(vectors[part], noise[part])
            models = self.choose(drawn)
            for place in np.flatnonzero(probing[part]):
                model, question = int(models[place]), begin + int(place)
                if model == last:
                    continue
                knowledge.learn(vectors[question], model, last, bool(agrees[model, question]))
                rest = slice(question + 1, part.stop)
                drawn[place + 1 :, model] = knowledge.draw(
                    vectors[rest], noise[rest, model : model + 1], model
                )[:, 0]
                models[place + 1 :] = self.choose(drawn[place + 1 :])
            chosen[part] = models
        probed = probing & (chosen != last)
        costs = np.stack([draw.cost[index][:, 0] for index in indices])
        cost = costs[chosen, np.arange(n)] + np.where(probed, costs[last], 0)
        return Decisions(cost, indices[chosen], np.zeros(n, np.int64), 1 + probed.astype(np.int64))

    def _noise(self, questions: Sequence[str]) -> tuple[Floats, Flags]:
        """By how much draws go from the mean, shape (n, models), and which questions are probes.

        Zero where there is no probe.
        """
        words = len(self.models) + 1
        drawn = b"".join(_bytes(question, 8 * words, self.seed) for question in questions)
        uniform = (np.frombuffer(drawn, "<u8").reshape(-1, words) >> np.uint64(11)) + 0.5
        uniform *= 2.0**-53
        probing: Flags = uniform[:, -1] < self.probe
        return np.where(probing[:, None], self.spread * ndtri(uniform[:, :-1]), 0.0), probing

    def get_params(self) -> dict[str, Any]:
        """The constructor's parameters, with what has been learnt since."""
        means, covariances = self._knowledge.told()
        return {**super().get_params(), "means": means, "covariances": covariances}

    @classmethod
    def fit(
        cls, draw: Draw, right: Sequence[Floats], *, seed: int = 0, encoder: str | None = None
    ) -> list[Self]:
        """The ladder (see `policies.decisions.Learnt`), each policy with a posterior of its own.

        The prior's width is the one that errs least. `encoder` names a kind of
        `signals.encoder`, by default the best.
        """
        told = lesson(draw, right, encoder, seed)

        def learn(vectors: Floats, right: Floats, penalty: float) -> Expects:
            means, _ = _posterior(_with_constant(vectors), right, penalty)
            return lambda asked: _with_constant(asked) @ means.T

        penalty = best_setting(told, PENALTIES, learn)
        means, covariance = _posterior(_with_constant(told.vectors), told.right, penalty)
        covariances = np.repeat(covariance[None], len(means), axis=0)
        return cls.ladder(draw, told.encoder, means=means, covariances=covariances, seed=seed)


class _Knowledge:
    """The posteriors of the models' weights; threads may share it."""

    def __init__(self, means: Floats, covariances: Floats) -> None:
        self._means, self._covariances = means.copy(), covariances.copy()
        self._lock = threading.Lock()

    def copy(self) -> _Knowledge:
        return _Knowledge(*self.told())

    def told(self) -> tuple[Floats, Floats]:
        with self._lock:
            return self._means.copy(), self._covariances.copy()

    def draw(self, vectors: Floats, noise: Floats, model: int | None = None) -> Floats:
        """How right each model, or the one, is by weights drawn for each vector.

        Weights w of a normal distribution give w . x a normal one, so that is drawn alone, by
        `noise` standard deviations from its mean.
        """
        some = slice(None) if model is None else slice(model, model + 1)
        with self._lock:
            drawn: Floats = vectors @ self._means[some].T
            rows = np.flatnonzero(noise[:, 0])
            for column, covariance in enumerate(self._covariances[some] if len(rows) else ()):
                variance = ((vectors[rows] @ covariance) * vectors[rows]).sum(axis=1)
                drawn[rows, column] += np.sqrt(np.maximum(variance, 0.0)) * noise[rows, column]
        return drawn

    def learn(self, vector: Floats, model: int, last: int, agrees: bool) -> None:
        """Take in one probe: a posterior's update by one question (Sherman & Morrison, 1950)."""
        with self._lock:
            right = float(np.clip(vector @ self._means[last], 0.0, 1.0)) if agrees else 0.0
            along = self._covariances[model] @ vector
            gain = along / (1.0 + float(vector @ along))
            self._means[model] += gain * (right - float(vector @ self._means[model]))
            self._covariances[model] -= np.outer(gain, along)


def _with_constant(vectors: Floats) -> Floats:
    wide: Floats = np.column_stack([vectors, np.ones(len(vectors))])
    return wide


def _posterior(inputs: Floats, right: Floats, penalty: float) -> tuple[Floats, Floats]:
    """Means, shape (models, inputs), and the covariance that all models have."""
    prior = np.full(inputs.shape[1], penalty)
    prior[-1] = WEAK
    covariance: Any = np.linalg.inv(inputs.T @ inputs + np.diag(prior))
    means: Floats = right.T @ inputs @ covariance
    return means, covariance


def _bytes(question: str, count: int, seed: int) -> bytes:
    text = f"{seed} {question}".encode("utf-8", "surrogatepass")
    return hashlib.shake_128(text).digest(count)
