"""The tiny models as Farthing models: priced, sampled, driven token by token."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from farthing.core.errors import ConfigError, RequestError
from farthing.core.money import Rates
from farthing.core.protocols import ModelCard, State
from farthing.core.request import Request
from farthing.core.response import Chunk, Response, Sample
from farthing.core.usage import Usage
from farthing.models.tiny import _tokens
from farthing.models.tiny._chains import parse
from farthing.models.tiny._engine import Cache, Floats, Ints, Shape, Weights

TINY_SIZES: tuple[str, ...] = ("small", "mid", "large")
WEIGHTS = Path(__file__).parent / "weights"

PRICED_CONTEXT = 16
"""The context length, in tokens, at which the FLOPs behind the prices are counted."""

_LARGE_INPUT = 150_000  # picodollars a token: $0.15 and $0.60 per million tokens
_OUTPUT_TO_INPUT = 4
_SAMPLES_ON_LOOP = 64


class TinyState:
    """What a tiny model remembers of the tokens it has read: its KV cache.

    Attributes:
        logits: after the last token read, shape (vocabulary,); None when nothing was read
            since the state was made or cut, or when the last step read a tree.
    """

    __slots__ = ("_cache", "logits")

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self.logits: Floats | None = None

    def __len__(self) -> int:
        """Tokens held."""
        return self._cache.length

    @property
    def nbytes(self) -> int:
        """Bytes of the keys and values held: 8 for each layer, unit of width and token."""
        return self._cache.nbytes

    def fork(self) -> TinyState:
        """An independent copy."""
        copy = TinyState(self._cache.rows([0]))
        copy.logits = self.logits
        return copy

    def truncate(self, n: int) -> None:
        """Forget all but the first `n` tokens; RequestError if it does not hold so many."""
        if not 0 <= n <= len(self):
            raise RequestError(f"cannot truncate to {n} tokens: the state holds {len(self)}")
        if n < len(self):
            self.keep(range(n))

    def keep(self, indices: Sequence[int]) -> None:
        """Forget all but the tokens at `indices`, in that order.

        Kept tokens keep the positions they were read at; the next token follows the highest.
        RequestError if an index is not that of a token held.
        """
        chosen = np.asarray(indices, np.int64)
        if len(chosen) and not (chosen.min() >= 0 and chosen.max() < len(self)):
            raise RequestError(f"cannot keep tokens {chosen.tolist()}: the state holds {len(self)}")
        self._cache = self._cache.tokens(chosen)
        self.logits = None


@dataclass(frozen=True, slots=True)
class _Step:
    """One decoded token of each sample that was still running.

    Attributes:
        samples: their indices.
        tokens: what each of them chose.
        logprobs: of the chosen tokens, at temperature 1.
        ended: finish reason of each sample, None while it runs on.
    """

    samples: list[int]
    tokens: list[int]
    logprobs: list[float]
    ended: list[str | None]


class _Tally:
    """What one sample has produced so far."""

    __slots__ = ("finish_reason", "logprobs", "pieces", "text", "tokens")

    def __init__(self) -> None:
        self.text = ""
        self.tokens: list[int] = []
        self.logprobs: list[float] = []
        self.pieces: list[str] = []
        self.finish_reason: str | None = None

    def add(self, token: int, logprob: float, ended: str | None) -> str:
        """Count a token; the text that it adds."""
        self.tokens.append(token)
        self.logprobs.append(logprob)
        self.finish_reason = ended
        piece = _tokens.piece(token)
        if piece and self.text:
            piece = " " + piece
        self.text += piece
        self.pieces.append(piece)
        return piece

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
        )


class TinyModel:
    """A small real transformer that works chains of arithmetic, in numpy.

    It answers the chain in the last user message with the value after each step, such as
    ``7 4 9`` for ``3 + 4 * 2 - 5 =``; the answer is the last number. Usage is counted, not
    estimated: the prompt's tokens once, whatever `n`, and each sample's tokens with its end
    token. Log-probabilities are those of the model at temperature 1, whatever temperature the
    tokens were drawn at.

    Temperature None means 0, the most likely token, unlike vendors' default of 1; so does 0.
    A seed fixes the samples, and sample i does not depend on `n`. `max_tokens` None means up to
    the end of the context window. Other fields of a request (`top_p`, `stop`, ...) are ignored.

    Attributes:
        size: "small", "mid" or "large".
        card: its name is `tiny-` and the size; prices are in proportion to FLOPs per token.
        vocabulary: number of tokens.
        eos: the token that ends a working.
    """

    def __init__(self, size: str) -> None:
        """Load the shipped weights; ConfigError if there is no such size."""
        price = rates(size)
        self.size = size
        self._weights = Weights.load(WEIGHTS / size)
        self.shape: Shape = self._weights.shape
        self.vocabulary = self.shape.vocabulary
        self.eos = _tokens.EOS
        self.card = ModelCard(
            name=f"tiny-{size}",
            rates=price,
            price_source="FLOPs",
            context_window=self.shape.positions,
            shows=frozenset({"text", "logprobs"}),
            n=True,
        )

    def flops_per_token(self, context: int = PRICED_CONTEXT) -> int:
        """FLOPs of one token that attends to `context` tokens, itself included, by formula.

        See `Shape.flops_per_token` for what is counted.
        """
        return self.shape.flops_per_token(context)

    def encode(self, text: str) -> list[int]:
        """The prompt's tokens for the last chain in `text`; RequestError if there is none."""
        return _tokens.encode(parse(text))

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of a working's tokens."""
        return _tokens.decode(tokens)

    def start(self, tokens: Sequence[int]) -> TinyState:
        """Read a prompt (prefill); an empty one gives an empty state."""
        state = TinyState(Cache.empty(self.shape))
        if len(tokens):
            batch = self._checked(tokens)
            state.logits = self._weights.forward(state._cache, batch, last=True)[0, 0]
        return state

    def step(
        self,
        state: State,
        tokens: Sequence[int],
        mask: NDArray[np.bool_] | None = None,
    ) -> Floats:
        """Read several tokens, or a tree of them, in one pass.

        `mask[i, j]` says whether new token i sees new token j, shape (len(tokens),
        len(tokens)); each token sees itself and everything read before. None means a plain
        sequence. Tokens of a tree get the positions of their depth, so that after
        `state.keep` of one branch the state is as if that branch alone had been read.
        Returns the logits after each token, shape (len(tokens), vocabulary). TypeError if the
        state is not of this kind of model.
        """
        if not isinstance(state, TinyState):
            raise TypeError(f"want a TinyState, not {type(state).__name__}")
        batch = self._checked(tokens)
        if mask is not None:
            mask = np.asarray(mask, np.bool_)
            if mask.shape != (len(tokens), len(tokens)):
                raise RequestError(
                    f"mask has shape {mask.shape}, want {(len(tokens), len(tokens))}"
                )
        logits: Floats = self._weights.forward(state._cache, batch, mask, last=False)[0]
        state.logits = logits[-1] if mask is None else None
        return logits

    async def complete(self, request: Request) -> Response:
        """Answer with `request.n` samples; RequestError if the prompt has no readable chain.

        Runs on the event loop, after letting other tasks go first: an answer of one sample
        takes under a millisecond, less than a hand-over to a thread is worth. Above 64 samples
        (7 ms for the large model) it runs in a thread.
        """
        prompt, limit = self._read(request)
        if request.n > _SAMPLES_ON_LOOP:
            tallies = await asyncio.to_thread(self._answer, prompt, limit, request)
        else:
            await asyncio.sleep(0)
            tallies = self._answer(prompt, limit, request)
        return Response(
            model=self.card.name,
            samples=tuple(tally.sample(logprobs=request.logprobs) for tally in tallies),
            usage=_usage(prompt, tallies),
            usage_basis="exact",
        )

    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        """Answer token by token; one chunk a token, then one with the usage."""
        prompt, limit = self._read(request)
        tallies = [_Tally() for _ in range(request.n)]
        for step in self._decode(prompt, limit, request):
            rows = zip(step.samples, step.tokens, step.logprobs, step.ended, strict=True)
            for index, token, logprob, ended in rows:
                tally = tallies[index]
                text = tally.add(token, logprob, ended)
                tokens = ((text, logprob),) if request.logprobs else None
                if ended is None:
                    yield Chunk(text, index, tokens=tokens)
                else:
                    yield Chunk(
                        text,
                        index,
                        finish_reason=ended,
                        mean_logprob=tally.mean_logprob,
                        min_logprob=tally.min_logprob,
                        output_tokens=len(tally.tokens),
                        tokens=tokens,
                    )
            await asyncio.sleep(0)
        yield Chunk(usage=_usage(prompt, tallies), usage_basis="exact")

    def _checked(self, tokens: Sequence[int]) -> Ints:
        batch = np.asarray(tokens, np.int64)[None]
        if batch.size == 0:
            raise RequestError("no tokens to read")
        if batch.min() < 0 or batch.max() >= self.vocabulary:
            raise RequestError(f"tokens must be 0 to {self.vocabulary - 1}: {list(tokens)}")
        return batch

    def _read(self, request: Request) -> tuple[list[int], int]:
        """The prompt's tokens and the most tokens a sample may have."""
        if request.n < 1:
            raise RequestError(f"n must be at least 1, not {request.n}", param="n")
        heat = request.temperature or 0.0
        if not (math.isfinite(heat) and heat >= 0):
            raise RequestError(f"temperature must be 0 or more, not {heat}", param="temperature")
        if request.max_tokens is not None and request.max_tokens < 1:
            raise RequestError(
                f"max_tokens must be at least 1, not {request.max_tokens}", param="max_tokens"
            )
        prompt = self.encode(request.prompt)
        room = self.shape.positions - len(prompt)
        return prompt, room if request.max_tokens is None else min(room, request.max_tokens)

    def _answer(self, prompt: list[int], limit: int, request: Request) -> list[_Tally]:
        tallies = [_Tally() for _ in range(request.n)]
        for step in self._decode(prompt, limit, request):
            rows = zip(step.samples, step.tokens, step.logprobs, step.ended, strict=True)
            for index, token, logprob, ended in rows:
                tallies[index].add(token, logprob, ended)
        return tallies

    def _decode(self, prompt: list[int], limit: int, request: Request) -> Iterator[_Step]:
        """Decode all samples as one batch; greedy samples are one row, since they are equal."""
        n, heat = request.n, request.temperature or 0.0
        cache = Cache.empty(self.shape)
        logits = self._weights.forward(cache, np.asarray([prompt], np.int64), last=True)[:, 0]
        members = [[index] for index in range(n)] if heat else [list(range(n))]
        draws = _draws(request.seed, n, limit) if heat else None
        if heat and n > 1:
            cache = cache.rows(np.zeros(n, np.int64))
            logits = np.repeat(logits, n, axis=0)
        for position in range(limit):
            logprobs = _log_softmax(logits)
            if draws is None:
                chosen = logprobs.argmax(-1)
            else:
                chosen = _choose(logprobs, heat, draws[:, position])
            picked = logprobs[np.arange(len(chosen)), chosen].tolist()
            tokens: list[int] = chosen.tolist()
            full = position + 1 == limit
            ends = [
                "stop" if token == _tokens.EOS else "length" if full else None for token in tokens
            ]
            yield _Step(
                [index for group in members for index in group],
                [token for token, group in zip(tokens, members, strict=True) for _ in group],
                [logp for logp, group in zip(picked, members, strict=True) for _ in group],
                [end for end, group in zip(ends, members, strict=True) for _ in group],
            )
            running = [row for row, end in enumerate(ends) if end is None]
            if not running:
                return
            if len(running) < len(tokens):
                members = [members[row] for row in running]
                cache, chosen = cache.rows(running), chosen[running]
                draws = None if draws is None else draws[running]
            logits = self._weights.forward(cache, chosen[:, None], last=True)[:, 0]


def load(size: str) -> TinyModel:
    """The shipped model of `size`: "small", "mid" or "large"."""
    return TinyModel(size)


def rates(size: str) -> Rates:
    """The prices of a size, in proportion to its FLOPs per token; ConfigError if there is none.

    The large model costs $0.60 per million output tokens; input costs a quarter of output, in
    whole picodollars.
    """
    if size not in TINY_SIZES:
        raise ConfigError(f"no tiny model {size!r}: there are {', '.join(TINY_SIZES)}")
    flops = {name: _shape(name).flops_per_token(PRICED_CONTEXT) for name in (size, "large")}
    per_input = round(_LARGE_INPUT * flops[size] / flops["large"])
    return Rates(input=per_input, output=_OUTPUT_TO_INPUT * per_input)


def _shape(size: str) -> Shape:
    config = (WEIGHTS / size / "config.json").read_text(encoding="utf-8")
    return Shape.from_config(json.loads(config))


def _usage(prompt: list[int], tallies: list[_Tally]) -> Usage:
    return Usage(input=len(prompt), output=sum(len(tally.tokens) for tally in tallies))


def _draws(seed: int | None, n: int, limit: int) -> NDArray[np.float64]:
    """Uniform numbers, shape (n, limit): row i depends on the seed and i alone."""
    root = np.random.SeedSequence(None if seed is None else [seed < 0, abs(seed)])
    streams = (np.random.SeedSequence(root.entropy, spawn_key=(i,)) for i in range(n))
    return np.stack([np.random.default_rng(stream).random(limit) for stream in streams])


def _log_softmax(logits: Floats) -> NDArray[np.float64]:
    exact = logits.astype(np.float64)
    exact -= exact.max(-1, keepdims=True)
    shifted: NDArray[np.float64] = exact - np.log(np.exp(exact).sum(-1, keepdims=True))
    return shifted


def _choose(
    logprobs: NDArray[np.float64], heat: float, draws: NDArray[np.float64]
) -> NDArray[np.int64]:
    """A token a row from softmax(logprobs / heat), by inverting its distribution function."""
    with np.errstate(over="ignore"):  # a temperature near 0 leaves the likeliest alone
        scaled = (logprobs - logprobs.max(-1, keepdims=True)) / heat
    cumulative = np.exp(scaled).cumsum(-1)
    chosen: NDArray[np.int64] = (cumulative <= draws[:, None] * cumulative[:, -1:]).sum(-1)
    return chosen
