"""C3PO's cascades as a ladder, to stand beside the policies that learn from labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np

from farthing.core.protocols import Operation
from farthing.core.request import Request
from farthing.core.response import Response
from farthing.models.draw import Draw
from farthing.models.recording import Floats
from farthing.plan.outcomes import Outcomes
from farthing.plan.search import Candidate, frontier
from farthing.policies.cascade import Cascade, Stage
from farthing.policies.decisions import PRICES, Decisions, rightness
from farthing.policies.ladder import chains
from farthing.policies.scored import seen_of
from farthing.policies.threshold import plain_signal
from farthing.signals.column import Column

ALPHA = 0.1
MODELS = 3
BUDGETS = 8


@dataclass(frozen=True)
class C3po:
    """The cascade of least regret for which at most one request in ten costs more than a budget.

    Its ladder goes through budgets. It looks at no labels: regret is to answer otherwise than the
    strongest model. At most three models are asked, spread over the frontier.

    Source: C3PO (Valkanas et al., 2025).
    """

    kind: ClassVar[str] = "c3po"

    cascade: Cascade

    @property
    def asks(self) -> tuple[str, ...]:
        """The models that it may call, the strongest last."""
        return tuple(stage.model for stage in self.cascade.stages)

    @property
    def samples(self) -> Mapping[str, int]:
        """How many samples of each model it takes, where that is more than one."""
        return {s.model: s.samples for s in self.cascade.stages if s.samples > 1}

    async def answer(self, request: Request, operation: Operation) -> Response:
        """The cascade's answer."""
        return await self.cascade.answer(request, operation)

    def decide(self, draw: Draw, memo: dict[object, Any] | None = None) -> Decisions:
        """What it does with every question of a draw."""
        memo = {} if memo is None else memo
        stages = self.cascade.stages
        wanted = tuple(draw.index(stage.model) for stage in stages)
        counts = tuple(stage.samples for stage in stages)
        key = (self.kind, wanted, counts)
        if key not in memo:
            memo[key] = Outcomes(draw.only(wanted, counts), self.cascade.signal)
        sequence = memo[key].sequence(tuple(range(len(wanted))))
        walked = sequence.walk(float(stage.accept) for stage in stages[:-1])
        model = np.array(wanted)[walked.stage]
        place = np.zeros(draw.questions, np.int64)
        for index, count in zip(wanted, counts, strict=True):
            here = model == index
            place[here] = seen_of(draw, index, count, memo).chosen[here]
        return Decisions(walked.cost, model, place, walked.calls)

    def get_params(self) -> dict[str, Any]:
        """The constructor's parameters."""
        return self.cascade.get_params()

    @classmethod
    def from_params(cls, params: dict[str, Any]) -> Self:
        """The policy with these parameters."""
        return cls(Cascade.from_params(params))

    @classmethod
    def fit(cls, draw: Draw, right: Sequence[Floats], *, seed: int = 0) -> list[Self]:
        """The ladder (see `policies.decisions.Learnt`)."""
        signal, samples = plain_signal(draw)
        name = signal.name if isinstance(signal, Column) else "agreement"
        means = np.array([float(cost[:, 0].mean()) for cost in draw.cost])
        agree = np.array([float(r[:, 0].mean()) for r in rightness(draw, "agreement")])
        front = [chain[0] for chain in chains(means, agree) if len(chain) == 1]
        spread = np.unique(np.rint(np.linspace(0, len(front) - 1, MODELS)).astype(int))
        asked = [front[place] for place in spread]
        few = draw.only(asked, [samples[m] for m in asked])
        outcomes = Outcomes(few, name)
        ends = [outcomes.end(m).cost for m in range(len(asked))]
        dearest = sum(float(end.max()) for end in ends)
        budgets = np.geomspace(max(1.0, float(ends[0].min())), dearest, BUDGETS)
        level = int(ALPHA * draw.questions)
        found: list[Self] = []
        for budget in budgets:
            steps = frontier(outcomes, int(budget), [level])
            kept = [step for step in steps if step.violations <= level] or steps[:1]
            found.append(cls(_cascade(few, kept[-1], name, paid=signal.bought is not None)))
        return [found[place * BUDGETS // len(PRICES)] for place in range(len(PRICES))]


def _cascade(draw: Draw, candidate: Candidate, signal: str, *, paid: bool) -> Cascade:
    accepts: list[float | Literal["always", "skip"]] = [*candidate.thresholds, "always"]
    stages = tuple(
        Stage(draw.models[m], draw.samples[m], accept)
        for m, accept in zip(candidate.models, accepts, strict=True)
    )
    return Cascade(stages, signal, signal_attempt=paid)
