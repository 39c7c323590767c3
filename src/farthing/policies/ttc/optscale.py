"""The least number of answers of which the best is good enough with a stated confidence."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
from scipy.special import betainc

from farthing.core.protocols import Operation
from farthing.core.request import Request
from farthing.core.response import Response
from farthing.models.recording import Floats
from farthing.policies.ttc.best_of_n import Drawing, asked_of
from farthing.policies.ttc.params import built, params_of
from farthing.policies.ttc.searching import Aggregate
from farthing.policies.ttc.spending import Spending
from farthing.signals.steps import StepReward


@dataclass(frozen=True)
class Prior:
    """What the scores of a question's answers are thought to be before one is there.

    Attributes:
        mean, sd: of the scores, from 0 to 1.
        weight: how many scores this counts as.
    """

    mean: float = 0.5
    sd: float = 0.3
    weight: float = 2.0

    def __post_init__(self) -> None:
        if not 0 < self.mean < 1:
            raise ValueError(f"prior: mean must be between 0 and 1, not {self.mean}")
        if not 0 < self.sd**2 < self.mean * (1 - self.mean):
            raise ValueError(f"prior: no scores with mean {self.mean} have sd {self.sd}")
        if not self.weight > 0:
            raise ValueError(f"prior: weight must be above 0, not {self.weight}")

    def get_params(self) -> dict[str, Any]:
        """The constructor's parameters."""
        return {"mean": self.mean, "sd": self.sd, "weight": self.weight}

    @classmethod
    def fit(cls, scores: Floats) -> Prior:
        """The prior of recorded scores, shape (questions, samples), at least two of each.

        Its weight is the variance within questions over that of their means.
        """
        mean = float(np.clip(scores.mean(), 1e-3, 1 - 1e-3))
        within = float(scores.var(axis=1, ddof=1).mean())
        between = float(scores.mean(axis=1).var(ddof=1)) - within / scores.shape[1]
        sd = math.sqrt(float(np.clip(within, 1e-6, 0.999 * mean * (1 - mean))))
        return cls(mean, sd, float(np.clip(within / max(between, 1e-9), 0.1, 1e3)))

    def least(self, scores: list[float], target: float, confidence: float) -> int:
        """How many answers in all make the best score `target` with `confidence`.

        The scores are taken to be of the Beta distribution whose mean and variance are those of
        `scores` and the prior together. Its distribution function F says how many: the best
        of N stays below with probability F(target)**N.
        """
        total = self.weight + len(scores)
        mean = (self.weight * self.mean + sum(scores)) / total
        spread = self.weight * (self.sd**2 + self.mean**2) + sum(score**2 for score in scores)
        variance = min(spread / total - mean**2, 0.999 * mean * (1 - mean))
        strength = mean * (1 - mean) / max(variance, 1e-9) - 1
        below = float(betainc(mean * strength, (1 - mean) * strength, target))
        if below <= 0:
            return 1
        return math.ceil(math.log(1 - confidence) / math.log(below)) if below < 1 else 10**9


@dataclass(frozen=True)
class OptScale:
    """Samples a model until the best score should be `target` with probability `confidence`.

    The number that this takes, ln(1 - confidence) / ln F(target), is reckoned anew after each
    answer. It ends too when a score has come to the target. A question on which the target is
    out of reach takes all `samples`.

    Source: OptScale: Probabilistic Optimality for Inference-time Scaling (Wang et al., 2025);
    there a small model predicts the distribution of each question, here a prior is learnt from
    a recording (`Prior.fit`) and corrected by the scores that come. The confidence is that of this
    model of the scores: it holds as far as they are so distributed.

    Attributes:
        model: who answers.
        reward: what scores an answer, see `signals.steps`.
        target: the score to come to, between 0 and 1.
        confidence: the probability of coming to it at which it stops, between 0 and 1.
        samples: how many answers there are at most.
        prior: what scores are expected.
        aggregate, temperature, spending: as those of `best_of_n`.
    """

    kind: ClassVar[str] = "optscale"

    model: str
    reward: StepReward
    target: float = 0.9
    confidence: float = 0.9
    samples: int = 16
    prior: Prior = field(default_factory=Prior)
    aggregate: Aggregate = "last"
    temperature: float | None = 1.0
    spending: Spending = field(default_factory=Spending)

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise ValueError(f"samples must be at least 1, not {self.samples}")
        for name in ("target", "confidence"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} must be between 0 and 1, not {getattr(self, name)}")

    @property
    def asks(self) -> tuple[str, ...]:
        """The models that it may call, the one that answers last."""
        return asked_of(self.model, self.reward)

    async def answer(self, request: Request, operation: Operation) -> Response:
        """The answer that scores best; its score is `columns["signal"]`."""

        def more(scores: list[float]) -> int:
            if scores and max(scores) >= self.target:
                return 0
            least = self.prior.least(scores, self.target, self.confidence)
            return int(min(least, self.samples) > len(scores))

        drawing = Drawing(
            self.model, self.reward, self.aggregate, self.temperature, self.spending, self.kind
        )
        return await drawing.best(request, operation, more)

    def get_params(self) -> dict[str, Any]:
        """The constructor's parameters."""
        return params_of(self)

    @classmethod
    def from_params(cls, params: dict[str, Any]) -> Self:
        """The policy with these parameters."""
        made = built(params)
        if isinstance(made.get("prior"), dict):
            made["prior"] = Prior(**made["prior"])
        return cls(**made)
