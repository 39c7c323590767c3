"""Texts as vectors, for what is learnt from them.

Words and pairs of words are the default, and learn from some hundred texts. The extra
`embeddings` adds vectors of a small model's tokens, which know words before they learn. Of a text
of more than `vectors.LONGEST` characters the first and the last halves of so many are read.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, ClassVar, Protocol

import numpy as np

from farthing.core.errors import ExtraError, ParamError
from farthing.models.recording import Floats
from farthing.signals.tfidf import Tfidf
from farthing.signals.wordllama import Wordllama

ENOUGH = 150
LEARNT_FROM = 4000
KEPT = 64
KEPT_BYTES = 2**26


class Encoder(Protocol):
    """Texts to vectors of about unit length, shape (texts, dimensions)."""

    kind: ClassVar[str]

    def encode(self, texts: Sequence[str]) -> Floats: ...

    def get_params(self) -> dict[str, Any]: ...


ENCODERS: dict[str, Any] = {encoder.kind: encoder for encoder in (Tfidf, Wordllama)}
_encoders: OrderedDict[tuple[str, int, bytes], Encoder] = OrderedDict()
_vectors: OrderedDict[tuple[Encoder, bytes], Floats] = OrderedDict()


def best(texts: int) -> str:
    """The kind of encoder to learn from that many texts, of those that are installed.

    The embeddings, where they are installed, while there are fewer than `ENOUGH` texts.
    """
    embeds = texts < ENOUGH and find_spec("wordllama") and find_spec("tokenizers")
    return Wordllama.kind if embeds else Tfidf.kind


def learn_encoder(
    texts: Sequence[str], kind: str | None = None, *, seed: int = 0
) -> tuple[Encoder, Floats]:
    """An encoder of that kind learnt from `texts`, by default of the `best`, and their vectors.

    Of more than `LEARNT_FROM` texts it learns from so many. The latest encoders are kept, so that
    several policies may learn from the same texts. Raises ParamError if there is no such kind,
    ExtraError if it is not installed.
    """
    kind = kind or best(len(texts))
    if kind not in ENCODERS:
        known = ", ".join(ENCODERS)
        raise ParamError(f"no encoder is called {kind!r}; known: {known}", place=("encoder",))
    key = (kind, seed, _digest(texts))
    encoder = _encoders.pop(key, None)
    if encoder is None:
        some = np.random.default_rng(seed).permutation(len(texts))[:LEARNT_FROM]
        encoder = ENCODERS[kind].fit([texts[place] for place in np.sort(some)], seed=seed)
    _encoders[key] = encoder
    while len(_encoders) > KEPT:
        _encoders.popitem(last=False)
    return encoder, vectors_of(encoder, texts)


def vectors_of(encoder: Encoder, texts: Sequence[str]) -> Floats:
    """`encoder.encode(texts)`; the latest are kept, up to `KEPT_BYTES` of them."""
    key = (encoder, _digest(texts))
    vectors = _vectors.pop(key, None)
    if vectors is None:
        vectors = encoder.encode(texts)
    _vectors[key] = vectors
    while len(_vectors) > 1 and sum(kept.nbytes for kept in _vectors.values()) > KEPT_BYTES:
        _vectors.popitem(last=False)
    return vectors


def encoder_from_params(table: dict[str, Any]) -> Encoder:
    """The encoder of the table's `kind` with its other entries as parameters.

    Raises ParamError if there is no such kind, or for parameters that do not fit.
    """
    params = dict(table)
    kind = params.pop("kind", None)
    if kind not in ENCODERS:
        known = ", ".join(ENCODERS)
        raise ParamError(
            f"no encoder is called {kind!r}; known: {known}", place=("encoder", "kind")
        )
    try:
        built: Encoder = ENCODERS[kind](**params)
    except ExtraError as error:
        raise ParamError(str(error), place=("encoder", "kind")) from error
    except (TypeError, ValueError) as error:
        raise ParamError(
            f"encoder {kind!r} cannot be built: {error}", place=("encoder",)
        ) from error
    return built


def _digest(texts: Sequence[str]) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for text in texts:
        content = text.encode("utf-8", "surrogatepass")
        digest.update(b"%d " % len(content) + content)
    return digest.digest()
