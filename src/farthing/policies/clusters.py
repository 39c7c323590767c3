"""A router by kinds of questions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from farthing.core.errors import ExtraError
from farthing.models.draw import Draw
from farthing.models.recording import Floats
from farthing.policies.lesson import Expects, best_setting, lesson
from farthing.policies.router import Router
from farthing.signals.vectors import single

CLUSTERS = (1, 2, 4, 8, 16, 32, 64)
LEAST = 8
SHRINK = 10.0


@dataclass(frozen=True, eq=False)
class Clusters(Router):
    """Sends all questions of one kind to the model that is worth most for that kind.

    Kinds are clusters of prompts by k-means (Lloyd, 1982), and what a model is expected to do on
    one is its mean there, shrunk to its mean over all. Source: the router by clusters of
    Universal Model Routing for Efficient LLM Inference (Jitkrittum et al., 2025).

    Attributes:
        centres: of the clusters, shape (clusters, dimensions).
        right: how right each model should be in each, 0 to 1, shape (clusters, models).
    """

    kind: ClassVar[str] = "clusters"

    centres: Floats
    right: Floats

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.centres) != len(self.right) or not len(self.centres):
            raise ValueError("centres and right are as long as each other, and not empty")

    def expects(self, vectors: Floats) -> Floats:
        """How right each model's answer to each prompt should be, shape (prompts, models)."""
        expected: Floats = self.right[_nearest(vectors, self.centres)].astype(float)
        return expected

    @classmethod
    def fit(
        cls, draw: Draw, right: Sequence[Floats], *, seed: int = 0, encoder: str | None = None
    ) -> list[Self]:
        """The ladder (see `policies.decisions.Learnt`); as many clusters as foretell best.

        `encoder` names a kind of `signals.encoder`, by default the best. ExtraError without
        scikit-learn.
        """
        told = lesson(draw, right, encoder, seed)
        counts = [count for count in CLUSTERS if count == 1 or count * LEAST <= len(told.right)]

        def learn(vectors: Floats, right: Floats, count: int) -> Expects:
            centres, means = _learn(vectors, right, count, seed)
            return lambda asked: means[_nearest(asked, centres)]

        centres, means = _learn(told.vectors, told.right, best_setting(told, counts, learn), seed)
        return cls.ladder(draw, told.encoder, centres=centres, right=means)


def _learn(vectors: Floats, right: Floats, count: int, seed: int) -> tuple[Floats, Floats]:
    """Centres, and the models' shrunk means at each."""
    centres = _centres(vectors, min(count, len(np.unique(vectors, axis=0))), seed)
    member = np.eye(len(centres))[_nearest(vectors, centres)]
    total = member.T @ right + SHRINK * right.mean(axis=0)
    means = total / (member.sum(axis=0)[:, None] + SHRINK)
    return centres, single(means)


def _centres(vectors: Floats, count: int, seed: int) -> Floats:
    if count == 1:
        return single(vectors.mean(axis=0, keepdims=True))
    try:
        from sklearn.cluster import KMeans
    except ImportError as error:
        raise ExtraError("scikit-learn", "learn") from error
    found: Any = KMeans(count, n_init=3, random_state=seed).fit(vectors)
    return single(found.cluster_centers_)


def _nearest(vectors: Floats, centres: Floats) -> Any:
    """The nearest centre of each vector, the first of equals, shape (n,)."""
    wide = centres.astype(float)
    nearness = vectors @ wide.T - (wide**2).sum(axis=1) / 2
    return np.round(nearness, 9).argmax(axis=1)
