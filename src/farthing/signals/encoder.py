"""Texts as vectors, for what is learnt from them.

Needs the extra `learn` (scikit-learn).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Protocol

import numpy as np

from farthing.core.errors import ExtraError
from farthing.models.recording import Floats

FEATURES = 2**13
DIMENSIONS = 48


class Encoder(Protocol):
    """Texts to vectors of about unit length, shape (texts, dimensions)."""

    kind: ClassVar[str]

    def encode(self, texts: Sequence[str]) -> Floats: ...

    def get_params(self) -> dict[str, Any]: ...


@dataclass(frozen=True, eq=False)
class Tfidf:
    """Weighted counts of words and word pairs, hashed, and brought to few dimensions.

    Source: tf-idf with truncated singular value decomposition (Deerwester et al., 1990), over
    hashed features (Weinberger et al., 2009).

    Attributes:
        idf: weight of each hashed feature, shape (features,).
        components: shape (dimensions, features).
    """

    kind: ClassVar[str] = "tfidf"

    idf: Floats
    components: Floats

    def encode(self, texts: Sequence[str]) -> Floats:
        """Vectors of unit length, or zero for a text without words."""
        if not len(texts):
            return np.zeros((0, len(self.components)))
        counts = self._hashing.transform(list(texts))
        vectors = counts.multiply(self.idf[None, :]).tocsr() @ self.components.T
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit: Floats = vectors / np.where(lengths > 0, lengths, 1.0)
        return unit

    @cached_property
    def _hashing(self) -> Any:
        return _hashing(len(self.idf))

    @classmethod
    def fit(cls, texts: Sequence[str], *, seed: int = 0) -> Tfidf:
        """Learn weights and dimensions from `texts`; ExtraError if scikit-learn is missing."""
        counts = _hashing(FEATURES).transform(list(texts))
        from sklearn.decomposition import TruncatedSVD

        seen = np.bincount(counts.indices, minlength=FEATURES)
        idf = np.log((1 + counts.shape[0]) / (1 + seen)) + 1.0
        weighted = counts.multiply(idf[None, :]).tocsr()
        dimensions = max(1, min(DIMENSIONS, counts.shape[0] - 1))
        reduced = TruncatedSVD(dimensions, random_state=seed).fit(weighted)
        return cls(idf, np.asarray(reduced.components_))

    def get_params(self) -> dict[str, Any]:
        """The constructor's parameters."""
        return {"idf": self.idf, "components": self.components}


def _hashing(features: int) -> Any:
    try:
        from sklearn.feature_extraction.text import HashingVectorizer
    except ImportError as error:
        raise ExtraError("scikit-learn", "learn") from error
    return HashingVectorizer(
        n_features=features, ngram_range=(1, 2), alternate_sign=False, norm="l2"
    )


ENCODERS: dict[str, Any] = {Tfidf.kind: Tfidf}


def encoder_from_params(table: dict[str, Any]) -> Encoder:
    """The encoder of the table's `kind` with its other entries as parameters."""
    params = dict(table)
    kind = ENCODERS[params.pop("kind")]
    built: Encoder = kind(**{name: np.asarray(value, float) for name, value in params.items()})
    return built
