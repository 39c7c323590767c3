"""Models are switched where one does not agree with itself, and all of them vote in the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np

from farthing.models.draw import Draw
from farthing.models.recording import Floats, Ints
from farthing.policies.scored import ScoredCascade, own_answer, seen_of
from farthing.policies.threshold import cheap_samples
from farthing.signals.agreement import Agreement
from farthing.signals.mixed import elect
from farthing.signals.seen import Seen

LEAST = 0.01


@dataclass(frozen=True)
class ModelSwitch(ScoredCascade):
    """Samples one model; if its answers agree that is it, else the next model is sampled.

    If none agrees enough, the answer is by a vote of all samples. A model's samples have together
    the weight of its prior times its consistency: one less the entropy of its answers, as a
    share of the most that it could be.

    Source: Do We Truly Need So Many Samples? Multi-LLM Repeated Sampling Efficiently Scales
    Test-Time Compute (Chen et al., 2025). The priors here are log odds of being right, with
    which a vote of independent voters weighs best.

    Attributes:
        priors: what each model's vote weighs, by name; 1 for a model that is not named.
    """

    kind: ClassVar[str] = "modelswitch"
    last_stands: ClassVar[bool] = False

    priors: Mapping[str, float] = field(default_factory=dict)

    def choose(self, stages: Sequence[Seen]) -> tuple[Ints, Ints]:
        """Which stage's sample is the answer when the last of `stages` accepts: step, place."""
        return _chosen(stages, len(stages) == len(self.steps), self.priors)

    def get_params(self) -> dict[str, Any]:
        """The constructor's parameters."""
        return {**super().get_params(), "priors": dict(self.priors)}

    @classmethod
    def fit(cls, draw: Draw, right: Sequence[Floats], *, seed: int = 0) -> list[Self]:
        """The ladder (see `policies.decisions.Learnt`)."""
        signal, samples = Agreement(), cheap_samples(draw)
        memo: dict[object, Any] = {}
        priors = {name: _log_odds(right[m]) for m, name in enumerate(draw.models)}

        def score(models: tuple[int, ...]) -> Floats:
            return signal.values([seen_of(draw, m, samples[m], memo) for m in models])

        def choose(stages: Sequence[Seen], ends: bool) -> tuple[Ints, Ints]:
            return _chosen(stages, ends, priors)

        return cls.ladder(
            draw, right, score, lambda models: signal,
            samples=samples, choose=choose, priors=priors,
        )  # fmt: skip


def consistency(seen: Seen) -> Floats:
    """How far a model agrees with itself, `LEAST` to 1, shape (n,)."""
    samples = seen.answers.shape[1]
    if samples == 1:
        return np.ones(len(seen.answers))
    share = np.maximum(seen.votes, 1) / samples
    entropy = -np.log(share).mean(axis=1)
    agreement: Floats = np.maximum(1 - entropy / np.log(samples), LEAST)
    return agreement


def _chosen(stages: Sequence[Seen], ends: bool, priors: Mapping[str, float]) -> tuple[Ints, Ints]:
    if not ends:
        return own_answer(stages)
    weights = [
        priors.get(stage.model, 1.0) * consistency(stage) / stage.answers.shape[1]
        for stage in stages
    ]
    step, place, votes = elect(stages, weights)
    last_step, last_place = own_answer(stages)
    none = votes <= 0
    return np.where(none, last_step, step), np.where(none, last_place, place)


def _log_odds(right: Floats) -> float:
    """Of a model's answers, with one right and one wrong added; at least `LEAST`."""
    good = float(right.sum())
    return max(float(np.log((good + 1) / (right.size - good + 1))), LEAST)
