"""The tiny models as Farthing models: priced, sampled, driven token by token."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from farthing.core.errors import ConfigError, RequestError
from farthing.core.money import Rates
from farthing.core.protocols import ModelCard, State
from farthing.core.request import Request
from farthing.core.response import Chunk, Response
from farthing.core.usage import Usage
from farthing.models.tiny import _tokens
from farthing.models.tiny._chains import parse
from farthing.models.tiny._decoding import (
    Step,
    Tally,
    choose,
    draws,
    log_softmax,
    stops_of,
    top_of,
)
from farthing.models.tiny._engine import Cache, Floats, Ints, Shape, Weights
from farthing.models.tiny._heads import (
    START,
    Heads,
    Running,
    Totals,
    evidence,
    followed,
    heads_of,
    shown,
)
from farthing.models.tiny._held import Held, Read

TINY_SIZES: tuple[str, ...] = ("small", "mid", "large")
WEIGHTS = Path(__file__).parent / "weights"

PRICED_CONTEXT = 16
"""The context length, in tokens, at which the FLOPs behind the prices are counted."""

_LARGE_INPUT = 150_000  # picodollars a token: $0.15 and $0.60 per million tokens
_OUTPUT_TO_INPUT = 4
_INPUT_TO_HELD = 10
_SAMPLES_ON_LOOP = 64
_HELD_BYTES = 64 * 2**20


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
class Asked:
    """What a tiny model reads in a request.

    Attributes:
        tokens: of the prompt, then of the working that is to be continued.
        prefix: how many of them are of the working; 0 for a plain prompt.
        parted: whether a continuation begins with a space.
        limit: the most tokens that a sample may have.
        stops: texts that end a sample.
        top: how many likeliest tokens are wanted of each place.
        heads: whether what the heads say is wanted.
    """

    tokens: tuple[int, ...]
    prefix: int
    parted: bool
    limit: int
    stops: tuple[str, ...]
    top: int
    heads: bool

    def tallies(self, n: int, running: Running = START) -> list[Tally]:
        """Empty ones of n samples; `running` is that of the working that they continue."""
        return [Tally(self.stops, parted=self.parted, running=running) for _ in range(n)]

    def usage(self, held: int, tallies: list[Tally]) -> Usage:
        """What is billed where the first `held` tokens were still held."""
        return Usage(
            input=len(self.tokens) - held,
            cache_read=held,
            output=sum(len(tally.tokens) for tally in tallies),
        )


class TinyModel:
    """A small real transformer that works chains of arithmetic, in numpy.

    It answers the chain in the last user message with the value after each step, such as
    ``7 4 9`` for ``3 + 4 * 2 - 5 =``; the answer is the last number. Usage is counted, not
    estimated: the prompt's tokens once, whatever `n`, and each sample's tokens with its end
    token. Log-probabilities are those of the model at temperature 1, whatever temperature the
    tokens were drawn at.

    A last message of role "assistant" is the beginning of a working, such as ``7 4``: it is
    continued, and the answer's text is what follows. The tokens of prompt and prefix that are
    still held from an earlier call are not read again; they are usage of `cache_read`, at a
    tenth of the price of input. A plain prompt is always read, and billed, anew.

    Temperature None means 0, the most likely token, unlike vendors' default of 1; so does 0.
    A seed fixes the samples, and sample i does not depend on `n`; a working that is continued
    step by step with one seed is that which comes in one call. `max_tokens` None means up to
    the end of the context window, and `extra["stop"]` are texts before which a sample ends, as
    in OpenAI's format. With `logprobs`, `extra["top_logprobs"]` asks for so many of the likeliest
    tokens at each place, in whole answers alone; all 17 fit. Other fields of a request (`top_p`,
    ...) are ignored.

    `extra["heads"]` true asks what the model says of its own working after each token: a list in
    a sample's `fields["heads"]`, an entry a token, with `enough` and `joint` (see `_heads`), in
    whole answers alone. It takes no pass more; but a working that the model has not written
    itself, lately, is read from its beginning.

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
        self._held = Held(_HELD_BYTES)
        self._totals = Totals()
        self.shape: Shape = self._weights.shape
        self.vocabulary = self.shape.vocabulary
        self.eos = _tokens.EOS
        self.card = ModelCard(
            name=f"tiny-{size}",
            rates=price,
            price_source="FLOPs",
            context_window=self.shape.positions,
            shows=frozenset({"text", "logprobs", "heads"}),
            n=True,
            on_disconnect="cancel",
        )

    @cached_property
    def heads(self) -> Heads:
        """What says `enough` and `joint`, loaded on first use."""
        return Heads.load(WEIGHTS / self.size)

    def flops_per_token(self, context: int = PRICED_CONTEXT, *, heads: bool = False) -> int:
        """FLOPs of one token that attends to `context` tokens, itself included, by formula.

        See `Shape.flops_per_token` for what is counted; `heads` counts them too.
        """
        return self.shape.flops_per_token(context) + (self.heads.flops if heads else 0)

    def encode(self, text: str) -> list[int]:
        """The prompt's tokens for the last chain in `text`; RequestError if there is none."""
        return _tokens.encode(parse(text))

    def encode_working(self, text: str) -> list[int]:
        """The tokens of the beginning of a working; RequestError if it could not be one."""
        return _tokens.encode_working(text)

    def sample(self, text: str, *, temperature: float = 1.0, seed: int | None = None) -> str:
        """A working of the last chain in `text`, without asking for it as a request."""
        request = Request.ask(text, temperature=temperature, seed=seed)
        return self._answer(self.read(request), request)[1][0].text

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

    def read_all(
        self, sequences: Sequence[Sequence[int]], *, stream: list[Floats] | None = None
    ) -> Floats:
        """The logits after each of several sequences of one length, shape (n, vocabulary).

        All are read in one pass, from their beginnings; `stream` is as of `Weights.forward`.
        """
        batch = np.asarray(sequences, np.int64)
        cache = Cache.empty(self.shape, len(batch))
        return self._weights.forward(cache, batch, last=True, stream=stream)[:, 0]

    async def complete(self, request: Request) -> Response:
        """Answer with `request.n` samples; RequestError if the prompt has no readable chain.

        Runs on the event loop, after letting other tasks go first: an answer of one sample
        takes under a millisecond, less than a hand-over to a thread is worth. Above 64 samples
        (7 ms for the large model) it runs in a thread.
        """
        asked = self.read(request)
        if request.n > _SAMPLES_ON_LOOP:
            held, tallies = await asyncio.to_thread(self._answer, asked, request)
        else:
            await asyncio.sleep(0)
            held, tallies = self._answer(asked, request)
        return Response(
            model=self.card.name,
            samples=tuple(tally.sample(logprobs=request.logprobs) for tally in tallies),
            usage=asked.usage(held, tallies),
            usage_basis="exact",
        )

    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        """Answer token by token; each chunk has the usage so far, and one at the end has all."""
        asked = self.read(request)
        cache, read, held, running = self._prefill(asked)
        tallies = asked.tallies(request.n, running)
        for step in self._decode(asked, cache, read, request, tallies):
            for index, _, logprob in step:
                tally = tallies[index]
                tokens = ((tally.pieces[-1], logprob),) if request.logprobs else None
                usage = asked.usage(held, tallies)
                if tally.finish_reason is None:
                    yield Chunk(
                        tally.fresh(), index, usage=usage, usage_basis="exact", tokens=tokens
                    )
                else:
                    yield Chunk(
                        tally.fresh(),
                        index,
                        finish_reason=tally.finish_reason,
                        usage=usage,
                        usage_basis="exact",
                        mean_logprob=tally.mean_logprob,
                        min_logprob=tally.min_logprob,
                        output_tokens=len(tally.tokens),
                        tokens=tokens,
                    )
            await asyncio.sleep(0)
        yield Chunk(usage=asked.usage(held, tallies), usage_basis="exact")

    def _checked(self, tokens: Sequence[int]) -> Ints:
        batch = np.asarray(tokens, np.int64)[None]
        if batch.size == 0:
            raise RequestError("no tokens to read")
        if batch.min() < 0 or batch.max() >= self.vocabulary:
            raise RequestError(f"tokens must be 0 to {self.vocabulary - 1}: {list(tokens)}")
        return batch

    def read(self, request: Request) -> Asked:
        """What `request` asks; RequestError if it cannot be read, or leaves no room to answer."""
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
        last = request.messages[-1]
        text = last.text if last.role == "assistant" else ""
        prefix = _tokens.encode_working(text)
        tokens = (*prompt, *prefix)
        room = self.shape.positions - len(tokens)
        if room < 1:
            raise RequestError(
                f"{len(tokens)} tokens leave no room in the context window of "
                f"{self.shape.positions}",
                param="messages",
                code="context_length_exceeded",
            )
        return Asked(
            tokens,
            prefix=len(prefix),
            parted=bool(prefix) and not text[-1].isspace(),
            limit=room if request.max_tokens is None else min(room, request.max_tokens),
            stops=stops_of(request.extra.get("stop")),
            top=top_of(request.extra.get("top_logprobs")) if request.logprobs else 0,
            heads=heads_of(request.extra.get("heads")),
        )

    def _prefill(self, asked: Asked) -> tuple[Cache, Read, int, Running]:
        """Read what is not held: cache, last token's reading, how much was held, and `Running`."""
        tokens, prompt = asked.tokens, len(asked.tokens) - asked.prefix
        known = self._totals.get(tokens) if asked.heads and asked.prefix else START
        found = self._held.longest(tokens) if asked.prefix and known else None
        held, cache, read = found or (0, Cache.empty(self.shape), None)
        if read is None or held < len(tokens):
            rest = np.asarray([tokens[held:]], np.int64)
            stream: list[Floats] = []
            logits = self._weights.forward(cache, rest, last=known is not None, stream=stream)[0]
            read = logits[-1], np.concatenate(stream, -1)[0]
            self._held.keep(tokens, cache, read)
            if known is None:
                logprobs = log_softmax(logits[prompt - 1 : -1])
                known = START
                for row, token in zip(logprobs, tokens[prompt:], strict=True):
                    known = followed(known, float(row[token]))
                self._totals.note(tokens, known)
        return cache, read, held, known or START

    def _answer(self, asked: Asked, request: Request) -> tuple[int, list[Tally]]:
        """How many tokens were held, and the finished samples."""
        cache, read, held, running = self._prefill(asked)
        tallies = asked.tallies(request.n, running)
        for _ in self._decode(asked, cache, read, request, tallies):
            pass
        return held, tallies

    def _decode(
        self, asked: Asked, cache: Cache, read: Read, request: Request, tallies: list[Tally]
    ) -> Iterator[Step]:
        """Decode all samples as one batch; greedy samples are one row, since they are equal.

        What unfinished workings have read is held, so that they can be continued.
        """
        n, heat, limit = request.n, request.temperature or 0.0, asked.limit
        logits, seen = read[0][None], self.heads.see(read[1][None]) if asked.heads else None
        members = [[index] for index in range(n)] if heat else [list(range(n))]
        drawn = draws(request.seed, n, limit, asked.prefix) if heat else None
        if heat and n > 1:
            cache = cache.rows(np.zeros(n, np.int64))
            logits = np.repeat(logits, n, axis=0)
            seen = None if seen is None else np.repeat(seen, n, axis=0)
        for position in range(limit):
            logprobs = log_softmax(logits)
            if drawn is None:
                chosen = logprobs.argmax(-1)
            else:
                chosen = choose(logprobs, heat, drawn[:, position])
            picked = logprobs[np.arange(len(chosen)), chosen].tolist()
            tokens: list[int] = chosen.tolist()
            step = Step(
                [index for group in members for index in group],
                [token for token, group in zip(tokens, members, strict=True) for _ in group],
                [logp for logp, group in zip(picked, members, strict=True) for _ in group],
                full=position + 1 == limit,
            )
            if asked.top:
                for row, group in enumerate(members):
                    for index in group:
                        tallies[index].look(logprobs[row], asked.top)
            for index, token, logprob in step:
                tallies[index].add(token, logprob, full=step.full)
            if seen is not None:
                self._introspect(asked, seen, members, tallies)
            yield step
            running = []
            for row, group in enumerate(members):
                tally = tallies[group[0]]
                if tally.finish_reason is None:
                    running.append(row)
                elif position and tokens[row] != self.eos:
                    working = (*asked.tokens, *tally.tokens[:-1])
                    self._held.keep(working, cache.rows([row]), None)
            if not running:
                return
            if len(running) < len(tokens):
                members = [members[row] for row in running]
                cache, chosen = cache.rows(running), chosen[running]
                drawn = None if drawn is None else drawn[running]
            stream: list[Floats] | None = None if seen is None else []
            logits = self._weights.forward(cache, chosen[:, None], last=True, stream=stream)[:, 0]
            if stream is not None:
                seen = self.heads.see(np.concatenate(stream, -1))

    def _introspect(
        self, asked: Asked, seen: Floats, members: list[list[int]], tallies: list[Tally]
    ) -> None:
        """Note what the heads say after each row's last token."""
        leads = [tallies[group[0]] for group in members]
        rows = self.heads.tell(
            seen,
            [
                evidence(lead.running, lead.logprobs[-1], ends=lead.tokens[-1] == self.eos)
                for lead in leads
            ],
        )
        for row, lead, group in zip(rows, leads, members, strict=True):
            told = shown(row)
            for index in group:
                tallies[index].heads.append(told)
            if lead.tokens[-1] != self.eos:
                self._totals.note((*asked.tokens, *lead.tokens), lead.running)


def load(size: str) -> TinyModel:
    """The shipped model of `size`: "small", "mid" or "large"."""
    return TinyModel(size)


def rates(size: str) -> Rates:
    """The prices of a size, in proportion to its FLOPs per token; ConfigError if there is none.

    The large model costs $0.60 per million output tokens; input costs a quarter of output,
    and input that is still held a tenth of that, in whole picodollars.
    """
    if size not in TINY_SIZES:
        raise ConfigError(f"no tiny model {size!r}: there are {', '.join(TINY_SIZES)}")
    flops = {name: _shape(name).flops_per_token(PRICED_CONTEXT) for name in (size, "large")}
    per_input = round(_LARGE_INPUT * flops[size] / flops["large"])
    return Rates(
        input=per_input,
        output=_OUTPUT_TO_INPUT * per_input,
        cache_read=round(per_input / _INPUT_TO_HELD),
    )


def _shape(size: str) -> Shape:
    config = (WEIGHTS / size / "config.json").read_text(encoding="utf-8")
    return Shape.from_config(json.loads(config))
