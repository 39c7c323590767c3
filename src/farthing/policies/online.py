"""A stream of items to classify: small classifiers learn from the model until they stand in."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self
from zlib import crc32

import numpy as np

from farthing.core.protocols import Operation
from farthing.core.request import Request
from farthing.core.response import Response, Sample
from farthing.models.arrow import pa
from farthing.models.draw import Draw
from farthing.models.recording import Ints
from farthing.policies.pupils import Doubt, LinearPupil, NetworkPupil, copy_arrays
from farthing.signals.seen import Prompts

PUPILS = (LinearPupil, NetworkPupil)


@dataclass(frozen=True, slots=True)
class Streamed:
    """What was done with each of n items, in their order.

    Attributes:
        cost: picodollars, shape (n,).
        rung: 0 and 1 for the pupils, 2 for the model, shape (n,).
        answers: what was answered; None where the model gave no answer.
    """

    cost: Ints
    rung: Ints
    answers: Sequence[str | None]


@dataclass(eq=False)
class Streaming:
    """What policies over a stream of items share; a subclass has a `kind`.

    Attributes:
        model: gives the labels.
        answers: all that there are.
        price: what the model's cost is worth, from 0 (ask it always) to 1 (never, but to learn).
        explore: the least share of items that go to the model to learn from.
        state: what was learnt, as `get_params` tells it; None to begin anew.
    """

    kind: ClassVar[str] = ""

    model: str
    answers: tuple[str, ...]
    price: float = 0.1
    explore: float = 0.05
    state: dict[str, Any] | None = None
    _mind: _Mind = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.answers = tuple(self.answers)
        folded = [answer.casefold() for answer in self.answers]
        if len(folded) < 2 or len(set(folded)) < len(folded):
            raise ValueError("answers must name at least two, each once")
        if not 0 <= self.price <= 1:
            raise ValueError(f"price is a number from 0 to 1, not {self.price}")
        if not 0 <= self.explore <= 1:
            raise ValueError(f"explore is a share from 0 to 1, not {self.explore}")
        self._mind = _Mind(self.answers)
        self._lock = threading.Lock()
        if self.state is not None:
            self._load(self.state)
            self.state = None

    @property
    def asks(self) -> tuple[str, ...]:
        """The model."""
        return (self.model,)

    async def answer(self, request: Request, operation: Operation) -> Response:
        """A classifier's answer, which is no call, or the model's."""
        with self._lock:
            thought = self._mind.think(request.prompt, request.question_id(), self)
        if thought.rung < len(PUPILS):
            text = self.answers[thought.label]
            sample = Sample(
                text, text, read=True, finish_reason="stop", columns={"signal": thought.sure}
            )
            return Response(f"{self.kind}/{PUPILS[thought.rung].name}", (sample,))
        asked = self._asked(request)
        response = await operation.call(self.model, asked, node=self.kind, final=True)
        label = self._label(response.samples[0])
        if label is not None:
            with self._lock:
                self._learn(request.prompt, label)
        return response

    def _asked(self, request: Request) -> Request:
        """What the model is asked."""
        return request

    def _learn(self, prompt: str, label: int) -> None:
        """Learn from an answer of the model."""
        self._mind.learn(prompt, label)

    def _told(self) -> dict[str, Any]:
        """`state`: what is learnt."""
        return self._mind.told()

    def _load(self, state: dict[str, Any]) -> None:
        """Take over a `state`; ValueError or KeyError where it does not fit."""
        self._mind.load(state)

    def _label(self, sample: Sample) -> int | None:
        """The place of an answer among `answers`, read without regard to case; None if none."""
        said = (sample.text if sample.answer is None else sample.answer).strip().casefold()
        folded = [answer.casefold() for answer in self.answers]
        return folded.index(said) if said in folded else None

    def get_params(self) -> dict[str, Any]:
        """The constructor's parameters; `state` is a copy of what is learnt by now."""
        with self._lock:
            state = self._told()
        return {
            "model": self.model,
            "answers": list(self.answers),
            "price": self.price,
            "explore": self.explore,
            "state": state,
        }

    @classmethod
    def from_params(cls, params: dict[str, Any]) -> Self:
        """The policy with these parameters."""
        return cls(**params)


@dataclass(eq=False)
class Online(Streaming):
    """Asks a small classifier, then a less small one, then the model; all learn from the model.

    A classifier answers where its chance of being wrong is at most `price`: what the model's answer
    costs, in right answers. Else the next is asked. The model's answers are the labels, and
    also those with which the chances of being wrong are learnt. Some items go to the model
    whatever the classifiers think: many at first, then the share `explore`, so that a
    shift is noticed. It is for traffic with a closed set of answers.

    Source: Online Cascade Learning for Efficient Inference over Streams (Nie, Ding, Hu, Jermaine
    & Chaudhuri, 2024). As there, the loss of a decision is its error plus the weighted cost, and
    items that go to the model by chance fade out; deferral is learnt by gradient steps on a
    convex loss, which have no regret in the long run against the best fixed weights.

    It changes as it answers: one object serves one stream, and may be used from several threads and
    tasks at once.
    """

    kind: ClassVar[str] = "online"

    def decide(self, draw: Draw) -> Streamed:
        """What it would do with a draw's questions one after the other; it stays as it is.

        As each waits for what the one before has taught, this takes time for each, about a
        millisecond. DataError if the draw lacks the model.
        """
        with self._lock:
            mind = deepcopy(self._mind)
        index = draw.index(self.model)
        rows = draw.rows[index][:, 0]
        said = draw.recording.table["answer"].cast(pa.string()).take(pa.array(rows)).to_pylist()
        cost = np.zeros(draw.questions, np.int64)
        rungs = np.zeros(draw.questions, np.int64)
        answers: list[str | None] = []
        pairs = zip(Prompts(draw), draw.recording.questions, said, strict=True)
        for place, (prompt, question, answer) in enumerate(pairs):
            thought = mind.think(prompt, question, self)
            rungs[place] = thought.rung
            if thought.rung < len(PUPILS):
                answers.append(self.answers[thought.label])
                continue
            cost[place] = draw.cost[index][place, 0]
            answers.append(answer)
            label = self._label(Sample(answer or "", answer))
            if label is not None:
                mind.learn(prompt, label)
        return Streamed(cost, rungs, answers)


@dataclass(frozen=True, slots=True)
class _Thought:
    """Who answers (a pupil's number, or that of the model), what, and how sure it is."""

    rung: int
    label: int = -1
    sure: float = 0.0


class _Mind:
    """The pupils, and the doubt about each."""

    def __init__(self, answers: Sequence[str]) -> None:
        self.pupils: list[LinearPupil | NetworkPupil] = [kind(len(answers)) for kind in PUPILS]
        self.doubts = [Doubt() for _ in self.pupils]
        self.seen = self.learnt = 0

    def think(self, text: str, question: str, policy: Streaming) -> _Thought:
        """Who is to answer; the item is counted."""
        self.seen += 1
        drawn = crc32(f"{question} {self.seen}".encode("utf-8", "surrogatepass")) / 2**32
        if drawn < max(policy.explore, 1 / np.sqrt(1 + self.learnt)):
            return _Thought(len(self.pupils))
        for rung, (pupil, doubt) in enumerate(zip(self.pupils, self.doubts, strict=True)):
            chances = pupil.chances(text)
            wrong = doubt.chance(chances)
            if wrong <= policy.price:
                return _Thought(rung, int(chances.argmax()), 1 - wrong)
        return _Thought(len(self.pupils))

    def learn(self, text: str, label: int) -> int:
        """What the last pupil thought before it learnt this.

        Doubt is first, since that is about what a pupil says of what it has not seen.
        """
        for pupil, doubt in zip(self.pupils, self.doubts, strict=True):
            chances = pupil.chances(text)
            doubt.learn(chances, bool(chances.argmax() != label))
            pupil.learn(text, label)
        self.learnt += 1
        return int(chances.argmax())

    def told(self) -> dict[str, Any]:
        """All of it, by name: numbers, lists, and copies of arrays."""
        state: dict[str, Any] = {"seen": self.seen, "learnt": self.learnt}
        for pupil, doubt in zip(self.pupils, self.doubts, strict=True):
            arrays = {name: array.copy() for name, array in pupil.arrays().items()}
            state[pupil.name] = {**arrays, "doubt": doubt.weights.copy()}
            if isinstance(pupil, NetworkPupil):
                state[pupil.name]["lately"] = [list(pair) for pair in pupil.lately]
        return state

    def load(self, state: dict[str, Any]) -> None:
        """Take over what `told` told; ValueError or KeyError where it does not fit."""
        self.seen, self.learnt = int(state["seen"]), int(state["learnt"])
        for pupil, doubt in zip(self.pupils, self.doubts, strict=True):
            told = state[pupil.name]
            copy_arrays(told, {**pupil.arrays(), "doubt": doubt.weights})
            if isinstance(pupil, NetworkPupil):
                pupil.lately = [(str(text), int(label)) for text, label in told["lately"]]
                pupil.learnt = self.learnt
