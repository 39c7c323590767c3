"""Choosing tokens, and what the samples of one request have come to."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farthing.core.errors import RequestError
from farthing.core.response import Sample, TokenLogprob
from farthing.models.tiny import _tokens
from farthing.models.tiny._engine import Floats
from farthing.models.tiny._heads import START, Running, Told, followed

MOST_TOP = 20

_DRAWN = 32
"""Numbers of each seeded row that are drawn at once: an answer has hardly more tokens."""


@dataclass(frozen=True, slots=True)
class Step:
    """One decoded token of each sample that was still running.

    Attributes:
        samples: their indices.
        tokens: what each of them chose.
        logprobs: of the chosen tokens, at temperature 1.
        full: whether no further token may follow.
    """

    samples: list[int]
    tokens: list[int]
    logprobs: list[float]
    full: bool

    def __iter__(self) -> Iterator[tuple[int, int, float]]:
        return zip(self.samples, self.tokens, self.logprobs, strict=True)


class Tally:
    """What one sample has produced so far.

    Args:
        stops: texts that end it; the text is cut before the first of them.
        parted: whether a space goes before the first character, since it continues a working.
        running: log-probabilities of the working that it continues.
    """

    __slots__ = ("_parted", "_stops", "finish_reason", "heads", "logprobs", "pieces", "running",
                 "shown", "text", "tokens", "top")  # fmt: skip

    def __init__(
        self, stops: Sequence[str] = (), *, parted: bool = False, running: Running = START
    ) -> None:
        self.text = ""
        self.tokens: list[int] = []
        self.logprobs: list[float] = []
        self.pieces: list[str] = []
        self.top: list[tuple[TokenLogprob, ...]] = []
        self.heads: list[Told] = []
        self.running = running
        self.finish_reason: str | None = None
        self.shown = 0
        self._stops, self._parted = stops, parted

    def look(self, logprobs: NDArray[np.float64], count: int) -> None:
        """Note the `count` likeliest of the tokens that can come next."""
        likeliest = np.argsort(-logprobs, kind="stable")[:count].tolist()
        self.top.append(tuple((self._spaced(token), float(logprobs[token])) for token in likeliest))

    def add(self, token: int, logprob: float, *, full: bool) -> str | None:
        """Count a token; why the sample ends with it, or None."""
        self.tokens.append(token)
        self.logprobs.append(logprob)
        self.running = followed(self.running, logprob)
        piece = self._spaced(token)
        self.text += piece
        self.pieces.append(piece)
        found = [at for stop in self._stops if (at := self.text.find(stop)) >= 0]
        if found:
            self.text = self.text[: min(found)]
        if found or token == _tokens.EOS:
            self.finish_reason = "stop"
        elif full:
            self.finish_reason = "length"
        return self.finish_reason

    def _spaced(self, token: int) -> str:
        """What a token adds to the text."""
        piece = _tokens.piece(token)
        return " " + piece if piece and (self.text or self._parted) else piece

    def fresh(self) -> str:
        """The text since the last call, but for an end that may yet turn out to be a stop."""
        end = len(self.text)
        if self.finish_reason is None:
            end -= max((_overlap(self.text, stop) for stop in self._stops), default=0)
        start, self.shown = self.shown, max(self.shown, end)
        return self.text[start:end]

    @property
    def mean_logprob(self) -> float:
        return math.fsum(self.logprobs) / len(self.logprobs)

    @property
    def min_logprob(self) -> float:
        return min(self.logprobs)

    def sample(self, *, logprobs: bool) -> Sample:
        """The finished sample; `logprobs` adds those of its tokens."""
        return Sample(
            text=self.text,
            finish_reason=self.finish_reason,
            mean_logprob=self.mean_logprob,
            min_logprob=self.min_logprob,
            output_tokens=len(self.tokens),
            tokens=tuple(zip(self.pieces, self.logprobs, strict=True)) if logprobs else None,
            top=tuple(self.top) if logprobs and self.top else None,
            fields={"heads": self.heads} if self.heads else {},
        )


def stops_of(wanted: Any) -> tuple[str, ...]:
    """The stop texts of a request, as on the wire: a text, a list of them, or None.

    RequestError for anything else.
    """
    stops = (wanted,) if isinstance(wanted, str) else wanted or ()
    fits = isinstance(stops, list | tuple) and all(isinstance(s, str) and s for s in stops)
    if not fits:
        raise RequestError(f"stop must be a text or a list of texts, not {wanted!r}", param="stop")
    return tuple(stops)


def top_of(wanted: Any) -> int:
    """How many likeliest tokens a request wants of each place, as on the wire: 0 to 20, or None.

    RequestError for anything else.
    """
    count = 0 if wanted is None else wanted
    if not isinstance(count, int) or not 0 <= count <= MOST_TOP:
        raise RequestError(
            f"top_logprobs must be 0 to {MOST_TOP}, not {wanted!r}", param="top_logprobs"
        )
    return count


def draws(seed: int | None, n: int, limit: int, skipped: int = 0) -> NDArray[np.float64]:
    """Uniform numbers, shape (n, limit): row i depends on the seed and i alone.

    The first `skipped` of each row are left out: they have chosen the tokens before.
    """
    most = skipped + limit
    if seed is not None and most <= _DRAWN:
        return np.stack([_drawn(seed, i)[skipped:most] for i in range(n)])
    entropy = np.random.SeedSequence(None if seed is None else _entropy(seed)).entropy
    return np.stack([_uniform(entropy, i, most)[skipped:] for i in range(n)])


@lru_cache(4096)
def _drawn(seed: int, row: int) -> NDArray[np.float64]:
    return _uniform(_entropy(seed), row, _DRAWN)


def _entropy(seed: int) -> list[int]:
    return [seed < 0, abs(seed)]


def _uniform(entropy: Any, row: int, count: int) -> NDArray[np.float64]:
    return np.random.default_rng(np.random.SeedSequence(entropy, spawn_key=(row,))).random(count)


def log_softmax(logits: Floats) -> NDArray[np.float64]:
    exact = logits.astype(np.float64)
    exact -= exact.max(-1, keepdims=True)
    shifted: NDArray[np.float64] = exact - np.log(np.exp(exact).sum(-1, keepdims=True))
    return shifted


def cumulated(logprobs: NDArray[np.float64], heat: float) -> NDArray[np.float64]:
    """The unnormalised distribution functions of softmax(logprobs / heat), one a row."""
    with np.errstate(over="ignore"):  # a temperature near 0 leaves the likeliest alone
        scaled = (logprobs - logprobs.max(-1, keepdims=True)) / heat
    cumulative: NDArray[np.float64] = np.exp(scaled).cumsum(-1)
    return cumulative


def choose(
    logprobs: NDArray[np.float64], heat: float, draws: NDArray[np.float64]
) -> NDArray[np.int64]:
    """A token a row from softmax(logprobs / heat), by inverting its distribution function."""
    cumulative = cumulated(logprobs, heat)
    chosen: NDArray[np.int64] = (cumulative <= draws[:, None] * cumulative[:, -1:]).sum(-1)
    return chosen


def _overlap(text: str, stop: str) -> int:
    """The length of the longest end of `text` that `stop` begins with."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if stop.startswith(text[-n:])), 0)
