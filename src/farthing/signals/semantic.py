"""How far samples mean the same, however they put it."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from farthing.models.recording import Floats
from farthing.signals.encoder import Encoder, encoder_from_params
from farthing.signals.seen import Seen
from farthing.signals.signal import Free

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True, eq=False)
class Semantic(Free):
    """The share of samples that mean what the last model's commonest answer means.

    Without an encoder two answers mean the same if they are equal but for case, punctuation,
    articles and white space; with one, each sample counts by the cosine of its output to the
    chosen one's, if that is positive.

    Source: normalised answers as SQuAD compares them (Rajpurkar et al., 2016); agreement by
    meaning after semantic uncertainty (Kuhn et al., 2023).

    Attributes:
        encoder: turns outputs into vectors.
    """

    kind: ClassVar[str] = "semantic"

    encoder: Encoder | None = None

    def values(self, stages: Sequence[Seen]) -> Floats:
        """Shares from 0 to 1, shape (n,); 0 where the last model gave no answer."""
        last = stages[-1]
        rows = np.arange(len(last.answers))
        known = last.answers[rows, last.chosen] >= 0
        if self.encoder is None:
            said = np.array([[normalised(one) for one in row] for row in last.said], object)
            same = (said == said[rows, last.chosen][:, None]) & (last.answers >= 0)
            shares: Floats = same.mean(axis=1)
            return np.where(known, shares, 0.0)
        flat = [text for row in last.texts for text in row]
        vectors = self.encoder.encode(flat).reshape(*last.answers.shape, -1)
        near = np.einsum("nsd,nd->ns", vectors, vectors[rows, last.chosen])
        near[rows, last.chosen] = 1.0
        return np.where(known, np.clip(near, 0.0, 1.0).mean(axis=1), 0.0)

    def get_params(self) -> dict[str, Any]:
        """The constructor's parameters."""
        encoder = self.encoder
        told = None if encoder is None else {"kind": encoder.kind, **encoder.get_params()}
        return {"encoder": told}

    @classmethod
    def from_params(cls, params: dict[str, Any]) -> Semantic:
        """The signal with these parameters."""
        params = dict(params)
        encoder = params.pop("encoder", None)
        return cls(encoder and encoder_from_params(encoder), **params)


def normalised(text: str) -> str:
    """The text in lower case, without punctuation, articles and superfluous white space."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())
