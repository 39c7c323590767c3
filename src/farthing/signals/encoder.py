"""Texts as vectors, for what is learnt from them.

Words and pairs of words are the default, and learn from some hundred texts. The extra
`embeddings` adds vectors of a small model's tokens, which know words before they learn. Of a text
of more than `LONGEST` characters the first and the last halves of so many are read.
"""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Protocol
from zlib import crc32

import numpy as np
from scipy.sparse import csr_matrix

from farthing.core.errors import ExtraError, ParamError
from farthing.models.recording import Floats, Ints

FEATURES = 2**11
DIMENSIONS = 48
EMBEDDED = 64
OVERSAMPLING = 10
ITERATIONS = 4
ENOUGH = 150
LEARNT_FROM = 4000
LONGEST = 16_000
KEPT = 64
KEPT_BYTES = 2**26
_WORD = re.compile(r"\w+")


class Encoder(Protocol):
    """Texts to vectors of about unit length, shape (texts, dimensions)."""

    kind: ClassVar[str]

    def encode(self, texts: Sequence[str]) -> Floats: ...

    def get_params(self) -> dict[str, Any]: ...


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
        return _unit(vectors)

    @cached_property
    def _basis(self) -> Floats:
        return np.ascontiguousarray(self.components.T, float)

    @classmethod
    def fit(cls, texts: Sequence[str], *, seed: int = 0) -> Tfidf:
        """Learn weights and dimensions from `texts`."""
        counts = _counts(texts, FEATURES)
        seen = np.bincount(counts.column, minlength=FEATURES)
        idf = single(np.log((1 + len(texts)) / (1 + seen)) + 1.0)
        return cls(idf, _principal(_weighted(counts, idf), DIMENSIONS, seed))

    def get_params(self) -> dict[str, Any]:
        """The constructor's parameters."""
        return {"idf": self.idf, "components": self.components}


@dataclass(frozen=True, eq=False)
class Wordllama:
    """The mean of the vectors of a text's tokens, brought to the dimensions that vary most.

    Source: the model of 256 dimensions in the package wordllama (Miller, 2024), with principal
    components (Hotelling, 1933). Needs the extra `embeddings`; nothing is downloaded.

    Attributes:
        mean: of the learning texts, shape (256,).
        components: shape (dimensions, 256).
    """

    kind: ClassVar[str] = "wordllama"

    mean: Floats
    components: Floats

    def __post_init__(self) -> None:
        _wordllama()  # told when a plan is loaded, not by the first request
        object.__setattr__(self, "mean", single(self.mean))
        object.__setattr__(self, "components", single(self.components))

    def encode(self, texts: Sequence[str]) -> Floats:
        """Vectors of unit length; ExtraError if the extra is missing."""
        vectors = (_embedded(texts) - self.mean) @ self.components.T.astype(float)
        return np.round(_unit(vectors), 9)

    @classmethod
    def fit(cls, texts: Sequence[str], *, seed: int = 0) -> Wordllama:
        """Learn from `texts` which dimensions vary; ExtraError if the extra is missing."""
        vectors = _embedded(texts)
        mean = single(vectors.mean(axis=0))
        return cls(mean, _principal(vectors - mean, EMBEDDED, seed))

    def get_params(self) -> dict[str, Any]:
        """The constructor's parameters."""
        return {"mean": self.mean, "components": self.components}


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


def single(values: Any) -> Floats:
    """An array in single precision, which is what plans keep of what was learnt."""
    narrow: Floats = np.asarray(values, np.float32)
    return narrow


def _digest(texts: Sequence[str]) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for text in texts:
        content = text.encode("utf-8", "surrogatepass")
        digest.update(b"%d " % len(content) + content)
    return digest.digest()


def _read(text: str) -> str:
    half = LONGEST // 2
    return text if len(text) <= LONGEST else f"{text[:half]} {text[-half:]}"


def _unit(vectors: Floats) -> Floats:
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))[:, None]
    unit: Floats = vectors / np.where(lengths > 1e-12, lengths, 1.0)
    return unit


def _principal(matrix: Any, most: int, seed: int) -> Floats:
    """The right singular vectors of the greatest singular values, shape (at most `most`, width).

    Source: randomised decomposition (Halko, Martinsson & Tropp, 2011), with power iterations.
    """
    count = min(most, *matrix.shape)
    draws = min(count + OVERSAMPLING, *matrix.shape)
    basis = np.random.default_rng(seed).normal(size=(matrix.shape[1], draws))
    for _ in range(ITERATIONS):
        basis, _ = np.linalg.qr(matrix.T @ np.linalg.qr(matrix @ basis)[0])
    left, _ = np.linalg.qr(matrix @ basis)
    _, sizes, vectors = np.linalg.svd((matrix.T @ left).T, full_matrices=False)
    known = max(1, int((sizes[:count] > 1e-6 * max(sizes[0], 1e-6)).sum()))
    kept: Floats = vectors[:known]
    return kept


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
        found = _WORD.findall(_read(text).lower())
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


def _embedded(texts: Sequence[str]) -> Floats:
    """The mean of each text's tokens, of unit length, shape (texts, 256)."""
    tokenizer, table = _wordllama()
    vectors = np.zeros((len(texts), table.shape[1]))
    for row, text in enumerate(texts):
        known = _read(text).encode("utf-8", "replace").decode()
        tokens = tokenizer.encode(known, add_special_tokens=False).ids
        if tokens:
            vectors[row] = table[tokens].mean(axis=0, dtype=float)
    return _unit(vectors)


@cache
def _wordllama() -> tuple[Any, Any]:
    """The tokenizer and the table of vectors in the package wordllama.

    Its files are read here, since its own loader looks for the tokenizer where it is not, and
    then downloads it; and since importing it sets the program's logging up.
    """
    package = find_spec("wordllama")
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise ExtraError("tokenizers", "embeddings") from error
    if package is None or not package.submodule_search_locations:
        raise ExtraError("wordllama", "embeddings")
    from safetensors.numpy import load_file

    folder = Path(package.submodule_search_locations[0])
    tokenizer = Tokenizer.from_file(
        str(folder / "tokenizers" / "l2_supercat_tokenizer_config.json")
    )
    tokenizer.no_padding()
    tokenizer.no_truncation()
    weights = load_file(str(folder / "weights" / "l2_supercat_256.safetensors"))
    return tokenizer, weights["embedding.weight"].astype(np.float32)
