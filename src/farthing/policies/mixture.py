"""A cascade that goes by whether different ways of asking come to the same answer."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np

from farthing.core.request import Message, Request
from farthing.models.draw import Draw
from farthing.models.recording import Floats, Ints
from farthing.policies.ladder import LONGEST, chains
from farthing.policies.scored import ScoredCascade, Step, own_answer, seen_of
from farthing.policies.threshold import cheap_samples
from farthing.signals.mixed import Mixed, elect
from farthing.signals.seen import Seen

MOST = 7


@dataclass(frozen=True)
class PromptKind:
    """A model that is asked in a way of its own.

    Attributes:
        name: what a step calls it.
        model: who is asked.
        system: the system message, before those of the request.
    """

    name: str
    model: str
    system: str


@dataclass(frozen=True)
class Mixture(ScoredCascade):
    """Asks in several ways, and the strongest model where their answers do not agree.

    The steps are kinds of prompts: chain of thought, program of thought, other examples; in a
    recording they are models named MODEL/KIND, live models of their own, or `kinds`. They are
    asked in turn, each as often as it has samples, until they agree enough, and the answer is
    that of all their samples' vote; the last step's answer is its own. A threshold that the
    first kind never reaches asks all kinds always, as published.

    Source: Mixture of Thoughts (Yue et al., 2024), its vote and verify forms.

    Attributes:
        kinds: of prompts that this policy holds itself.
    """

    kind: ClassVar[str] = "mixture"

    kinds: tuple[PromptKind, ...] = ()

    @property
    def asks(self) -> tuple[str, ...]:
        """The models that it may call, the strongest last."""
        held = {kind.name: kind.model for kind in self.kinds}
        last: dict[str, None] = {}
        for step in self.steps:
            model = held.get(step.model, step.model)
            last.pop(model, None)
            last[model] = None
        return tuple(last)

    def to_call(self, step: Step, request: Request) -> tuple[str, Request]:
        """A kind's model, with the kind's system message."""
        for kind in self.kinds:
            if kind.name == step.model:
                messages = (Message("system", kind.system), *request.messages)
                asked = replace(
                    request, messages=messages, question=request.question_id(), raw=None
                )
                return kind.model, asked
        return step.model, request

    def choose(self, stages: Sequence[Seen]) -> tuple[Ints, Ints]:
        """Which stage's sample is the answer when the last of `stages` accepts: step, place."""
        return _leading(stages, len(stages) == len(self.steps))

    def get_params(self) -> dict[str, Any]:
        """The constructor's parameters."""
        return {**super().get_params(), "kinds": [asdict(kind) for kind in self.kinds]}

    @classmethod
    def from_params(cls, params: dict[str, Any]) -> Self:
        """The policy with these parameters."""
        kinds = tuple(PromptKind(**kind) for kind in params.get("kinds", ()))
        return super().from_params({**params, "kinds": kinds})

    @classmethod
    def fit(
        cls, draw: Draw, right: Sequence[Floats], *, seed: int = 0, form: str = "vote"
    ) -> list[Self]:
        """The ladder (see `policies.decisions.Learnt`); `form` is "vote" or "verify"."""
        signal, samples = Mixed(form), cheap_samples(draw)
        memo: dict[object, Any] = {}

        def score(models: tuple[int, ...]) -> Floats:
            return signal.values([seen_of(draw, m, samples[m], memo) for m in models])

        return cls.ladder(
            draw, right, score, lambda models: signal,
            samples=samples, chains=_chains(draw, right), choose=_leading,
        )  # fmt: skip


def _leading(stages: Sequence[Seen], ends: bool) -> tuple[Ints, Ints]:
    if ends:
        return own_answer(stages)
    step, place, _ = elect(stages)
    return step, place


def _chains(draw: Draw, right: Sequence[Floats]) -> list[tuple[int, ...]]:
    """Chains of the models on the frontier, and of the other kinds of prompts to these models."""
    costs = np.array([float(cost[:, 0].mean()) for cost in draw.cost])
    plain = chains(costs, np.array([float(values.mean()) for values in right]))
    front = [chain[0] for chain in plain if len(chain) == 1]
    bases = [name.rpartition("/")[0] or name for name in draw.models]
    wanted = [bases[model] for model in front]
    others = [m for m, base in enumerate(bases) if m not in front and base in wanted]
    taken = sorted([*front, *others[: MOST - len(front)]], key=lambda m: (costs[m], m))
    if len(taken) == len(front):
        return plain
    sizes = range(1, min(LONGEST, len(taken)) + 1)
    return [chain for size in sizes for chain in itertools.combinations(taken, size)]
