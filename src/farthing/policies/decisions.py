"""What a policy does with every question of a recording at once, and how it is learnt from one.

`decide` is the fast twin of `answer`: a test holds the two equal question by question for every
policy. `fit` makes policies from questions whose right answers are known, or from agreement with
the strongest model where they are not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, Self, runtime_checkable

import numpy as np

from farthing.core.protocols import Policy
from farthing.models.draw import Draw
from farthing.models.recording import Floats, Ints
from farthing.signals.seen import of_draw

Truth = Literal["correct", "agreement"]

PRICES = (*np.geomspace(3.0, 0.003, 15).tolist(), 0.0)
"""What an answer's cost weighs against its being right, by place in a ladder: how many right
answers one gives up to save what the strongest model costs per question. Falling, so that a
ladder goes from cheap to dear."""


@dataclass(frozen=True, slots=True)
class Decisions:
    """What a policy did with each of n questions of a draw.

    Attributes:
        cost: picodollars of all its calls, shape (n,).
        model: which of the draw's models gave the answer, shape (n,); -1 where it abstained.
        place: which of that model's drawn samples it is, shape (n,).
        calls: how many calls it made, shape (n,).
    """

    cost: Ints
    model: Ints
    place: Ints
    calls: Ints

    def take(self, values: Sequence[Floats]) -> Floats:
        """For each question the value of its answer; `values[model]` has shape (n, samples).

        Zero where it abstained.
        """
        taken = np.zeros(len(self.model))
        for index, table in enumerate(values):
            here = np.flatnonzero(self.model == index)
            taken[here] = table[here, self.place[here]]
        return taken


@runtime_checkable
class Learnt(Policy, Protocol):
    """A policy that can be learnt from a recording and decided on one at once."""

    kind: ClassVar[str]

    @property
    def asks(self) -> tuple[str, ...]:
        """The models that it may call, the strongest last."""
        ...

    @property
    def samples(self) -> Mapping[str, int]:
        """How many samples of each model it takes, where that is more than one."""
        ...

    def decide(self, draw: Draw, memo: dict[object, Any] | None = None) -> Decisions:
        """What it does with every question, in the draw's order.

        `memo` may be shared by the policies of one ladder on one draw: what they have in common
        is then worked out once.
        """
        ...

    @classmethod
    def fit(cls, draw: Draw, right: Sequence[Floats], *, seed: int = 0) -> list[Self]:
        """A ladder of policies, one for each of `PRICES`: from cheap to dear.

        `right[model]` says how right each drawn sample is, 0 to 1, shape (n, samples). The draw's
        models go from cheap to strong. A place of the ladder means the same in every fit, so
        that places can be chosen on other questions than those a policy was learnt from.

        Raises DataError when the draw lacks what the policy looks at.
        """
        ...


def rightness(draw: Draw, truth: Truth = "correct") -> list[Floats]:
    """How right each drawn sample of each model is, 0 to 1, shapes (n, samples).

    "agreement" asks whether it is the commonest answer of the last model, which needs no labels.
    NaN where it is not known.
    """
    if truth == "correct":
        return [draw.correct(model) for model in range(len(draw.models))]
    last = len(draw.models) - 1
    strongest = of_draw(draw, last, draw.samples[last])
    answer = np.take_along_axis(strongest.answers, strongest.chosen[:, None], 1)
    return [((codes == answer) & (answer >= 0)).astype(float) for codes in draw.answers]
