"""Texts as weighted counts of their words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar
from zlib import crc32

import numpy as np
from scipy.sparse import csr_matrix

from farthing.models.recording import Floats, Ints
from farthing.signals.vectors import beginning_and_end, principal, single, unit

FEATURES = 2**11
DIMENSIONS = 48
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, eq=False)
class Tfidf:
    """Weighted counts of words and word pairs, hashed, and brought to few dimensions.

    Source: tf-idf with truncated singular value decomposition (Deerwester et al., 1990), over
    hashed features (Weinberger et al., 2009). Needs no extra.

    Attributes:
        idf: weight of each hashed feature, shape (features,).
        components: shape (dimensions, features).
    """

    kind: ClassVar[str] = "tfidf"

    idf: Floats
    components: Floats

    def __post_init__(self) -> None:
        object.__setattr__(self, "idf", single(self.idf))
        object.__setattr__(self, "components", single(self.components))

    def encode(self, texts: Sequence[str]) -> Floats:
        """Vectors of unit length, or zero for a text without a word that is known."""
        vectors: Floats = _weighted(_counts(texts, len(self.idf)), self.idf) @ self._basis
        return unit(vectors)

    @cached_property
    def _basis(self) -> Floats:
        return np.ascontiguousarray(self.components.T, float)

    @classmethod
    def fit(cls, texts: Sequence[str], *, seed: int = 0) -> Tfidf:
        """Learn weights and dimensions from `texts`."""
        counts = _counts(texts, FEATURES)
        seen = np.bincount(counts.column, minlength=FEATURES)
        idf = single(np.log((1 + len(texts)) / (1 + seen)) + 1.0)
        return cls(idf, principal(_weighted(counts, idf), DIMENSIONS, seed))

    def get_params(self) -> dict[str, Any]:
        """The constructor's parameters."""
        return {"idf": self.idf, "components": self.components}


@dataclass(frozen=True, slots=True)
class _Counts:
    """How often words and pairs of words occur in texts.

    Attributes:
        texts: how many there are.
        row, column, count: text, hashed feature and count, in the order of texts.
    """

    texts: int
    row: Ints
    column: Ints
    count: Ints


def _counts(texts: Sequence[str], features: int) -> _Counts:
    codes: dict[str, int] = {}
    words: list[int] = []
    lengths = []
    for text in texts:
        found = _WORD.findall(beginning_and_end(text).lower())
        lengths.append(len(found))
        for word in found:
            code = codes.get(word)
            if code is None:
                code = codes[word] = crc32(word.encode("utf-8", "surrogatepass"))
            words.append(code)
    ones = np.array(words, np.int64)
    row = np.repeat(np.arange(len(lengths)), lengths)
    inside = row[1:] == row[:-1]
    pairs = (ones[:-1] * 31 + ones[1:])[inside]
    keys = np.concatenate([row, row[1:][inside]]) * features
    keys += np.concatenate([ones, pairs]) % features
    keys, counts = np.unique(keys, return_counts=True)
    return _Counts(len(lengths), keys // features, keys % features, counts)


def _weighted(counts: _Counts, idf: Floats) -> Any:
    """Rows of unit length: 1 + log of a count, times the feature's weight."""
    weights = (1.0 + np.log(counts.count)) * idf[counts.column]
    weights /= np.sqrt(np.bincount(counts.row, weights * weights, counts.texts))[counts.row]
    begin = np.searchsorted(counts.row, np.arange(counts.texts + 1))
    return csr_matrix((weights, counts.column, begin), (counts.texts, len(idf)))
