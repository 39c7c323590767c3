"""A cascade whose answers are judged by a scorer that has learnt which are right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self, TypeVar

import numpy as np

from farthing.models.draw import Draw
from farthing.models.recording import Floats
from farthing.policies.scored import ScoredCascade, seen_of
from farthing.signals.encoder import Encoder, learn_encoder
from farthing.signals.learned import Learned
from farthing.signals.seen import Prompts

C = TypeVar("C", bound=ScoredCascade)


@dataclass(frozen=True)
class Frugal(ScoredCascade):
    """Accepts an answer that a learnt scorer of question and answer takes to be right.

    It scores the question, the model's output where the recording holds it, and which models
    before gave the same answer; log-probabilities are not looked at. Chains have up to three
    models, and thresholds those that gain most at a price, which stands for a budget.

    Source: FrugalGPT (Chen et al., 2023). There the scorer is a fine-tuned DistilBERT; here it is
    logistic regression, or boosted trees, on few dimensions of the texts.
    """

    kind: ClassVar[str] = "frugal"

    @classmethod
    def fit(
        cls,
        draw: Draw,
        right: Sequence[Floats],
        *,
        seed: int = 0,
        classifier: str = "logistic",
    ) -> list[Self]:
        """The ladder (see `policies.decisions.Learnt`); `classifier` is "logistic" or "trees".

        ExtraError if scikit-learn is missing.
        """
        prompts = Prompts(draw)
        has_texts = "text" in draw.recording.table.column_names
        texts = list(prompts)
        if has_texts:
            texts += seen_of(draw, 0, 1, {}).chosen_texts
        looks = ("prompt", *(("text",) if has_texts else ()), "answer", "earlier")
        encoder, _ = learn_encoder(texts, seed=seed)
        return learned_ladder(cls, draw, right, looks, encoder, classifier=classifier, seed=seed)


def learned_ladder(
    cls: type[C],
    draw: Draw,
    right: Sequence[Floats],
    looks: Sequence[str],
    encoder: Encoder | None = None,
    *,
    classifier: str = "logistic",
    seed: int = 0,
) -> list[C]:
    """The ladder of cascades whose every prefix of a chain has a scorer of its own.

    Thresholds are set on the scores of questions that a scorer has not learnt from.
    """
    memo: dict[object, object] = {}
    learnt: dict[tuple[int, ...], tuple[Learned, Floats]] = {}

    def scorer(models: tuple[int, ...]) -> tuple[Learned, Floats]:
        if models not in learnt:
            stages = [seen_of(draw, model, 1, memo) for model in models]
            answers = np.asarray(right[models[-1]][:, 0], float)
            learnt[models] = Learned.fit(
                stages, answers, looks, encoder=encoder, classifier=classifier, seed=seed
            )
        return learnt[models]

    return cls.ladder(draw, right, lambda models: scorer(models)[1], lambda m: scorer(m)[0])
